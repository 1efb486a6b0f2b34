package pages

import (
	"encoding/binary"
	"errors"
)

var errShort = errors.New("page ends within its values")

// hybrid reads integers of so many bits in Parquet's hybrid of runs and bit-packed groups
// (https://parquet.apache.org/docs/file-format/data-pages/encodings/, RLE = 3).
type hybrid struct {
	data  []byte
	width int

	run    int // values left of a run
	value  int32
	packed []byte // bits of a packed run
	bit    int    // next bit of it
	left   int    // values left of it
}

func (h *hybrid) reset(data []byte, width int) { *h = hybrid{data: data, width: width} }

// next begins the next run.
func (h *hybrid) next() error {
	head, n := binary.Uvarint(h.data)
	if n <= 0 {
		return errShort
	}
	h.data = h.data[n:]
	count := int(head >> 1)
	if head&1 == 0 {
		size := (h.width + 7) / 8
		if len(h.data) < size || count == 0 {
			return errShort
		}
		h.value = 0
		for i := range size {
			h.value |= int32(h.data[i]) << (8 * i)
		}
		h.run, h.data = count, h.data[size:]
		return nil
	}
	// The last groups of a page need not be there as a whole.
	size := min(count*h.width, len(h.data))
	h.packed, h.bit, h.left, h.data = h.data[:size], 0, 8*count, h.data[size:]
	if h.width > 0 {
		h.left = min(h.left, 8*size/h.width)
	}
	if h.left == 0 {
		return errShort
	}
	return nil
}

// read fills dst.
func (h *hybrid) read(dst []int32) error {
	for len(dst) > 0 {
		switch {
		case h.run > 0:
			n := min(h.run, len(dst))
			for i := range dst[:n] {
				dst[i] = h.value
			}
			h.run, dst = h.run-n, dst[n:]
		case h.left > 0:
			n := min(h.left, len(dst))
			unpack(dst[:n], h.packed, h.bit, h.width)
			h.bit, h.left, dst = h.bit+n*h.width, h.left-n, dst[n:]
		default:
			if err := h.next(); err != nil {
				return err
			}
		}
	}
	return nil
}

// unpack reads values of width bits, at most 32, from a bit of src on.
func unpack(dst []int32, src []byte, bit, width int) {
	mask := uint64(1)<<width - 1
	i := 0
	if width <= 8 && bit&7 == 0 { // eight of them are one word
		for ; i+8 <= len(dst) && bit>>3+8 <= len(src); i += 8 {
			x, eight := binary.LittleEndian.Uint64(src[bit>>3:]), dst[i:i+8:i+8]
			for k := range eight {
				eight[k] = int32(x & mask)
				x >>= width & 63
			}
			bit += 8 * width
		}
	}
	for ; i < len(dst) && bit>>3+8 <= len(src); i++ {
		dst[i] = int32(binary.LittleEndian.Uint64(src[bit>>3:]) >> (bit & 7) & mask)
		bit += width
	}
	for ; i < len(dst); i++ {
		var tail [8]byte
		copy(tail[:], src[min(bit>>3, len(src)):])
		dst[i] = int32(binary.LittleEndian.Uint64(tail[:]) >> (bit & 7) & mask)
		bit += width
	}
}

// flags fills dst with values of one bit and returns how many are set.
func (h *hybrid) flags(dst []bool) (set int, err error) {
	for len(dst) > 0 {
		switch {
		case h.run > 0:
			n := min(h.run, len(dst))
			for i := range dst[:n] {
				dst[i] = h.value != 0
			}
			if h.value != 0 {
				set += n
			}
			h.run, dst = h.run-n, dst[n:]
		case h.left > 0:
			n := min(h.left, len(dst))
			for i := range dst[:n] {
				dst[i] = h.packed[(h.bit+i)>>3]>>((h.bit+i)&7)&1 != 0
				if dst[i] {
					set++
				}
			}
			h.bit, h.left, dst = h.bit+n, h.left-n, dst[n:]
		default:
			if err := h.next(); err != nil {
				return set, err
			}
		}
	}
	return set, nil
}
