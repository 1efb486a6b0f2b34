package pages

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
)

var errShort = errors.New("page ends within its values")

// hybrid reads integers of so many bits in Parquet's hybrid of runs and bit-packed groups
// (https://parquet.apache.org/docs/file-format/data-pages/encodings/, RLE = 3).
type hybrid struct {
	data  []byte
	width int

	run    int // values left of a run
	value  int32
	packed []byte // bits of a packed run, and some that follow
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
	// A word more than the run has, so that its last values are read as the others are.
	h.packed, h.bit, h.left, h.data = h.data[:min(size+8, len(h.data))], 0, 8*count, h.data[size:]
	if h.width > 0 {
		h.left = min(h.left, 8*size/h.width)
	}
	if h.left == 0 {
		return errShort
	}
	return nil
}

// read fills dst with codes of a dictionary of so many entries.
func (h *hybrid) read(dst []int32, entries int) error {
	for len(dst) > 0 {
		n := 0
		switch {
		case h.run > 0:
			n = min(h.run, len(dst))
			if uint32(h.value) >= uint32(entries) {
				return beyond(dst[:1], entries, h.value)
			}
			for i := range dst[:n] {
				dst[i] = h.value
			}
			h.run -= n
		case h.left > 0:
			n = min(h.left, len(dst))
			if over := unpack(dst[:n], h.packed, h.bit, h.width, entries); over {
				return beyond(dst[:n], entries, 0)
			}
			h.bit, h.left = h.bit+n*h.width, h.left-n
		default:
			if err := h.next(); err != nil {
				return err
			}
		}
		dst = dst[n:]
	}
	return nil
}

// beyond says which code is not of the dictionary.
func beyond(codes []int32, entries int, most int32) error {
	for _, code := range codes {
		if uint32(code) > uint32(most) {
			most = code
		}
	}
	return fmt.Errorf("code %d of a dictionary of %d entries", uint32(most), entries)
}

// unpack reads values of width bits, at most 32, from a bit of src on, and tells whether one is no entry.
func unpack(dst []int32, src []byte, bit, width, entries int) (over bool) {
	mask, last := uint64(1)<<width-1, int64(entries)-1
	beyond, i := int64(0), 0 // negative as soon as last − value is for one
	if width <= 8 {
		for ; i < len(dst) && bit&7 != 0 && bit>>3+8 <= len(src); i++ {
			v := binary.LittleEndian.Uint64(src[bit>>3:]) >> (bit & 7) & mask
			dst[i], beyond = int32(v), beyond|(last-int64(v))
			bit += width
		}
		if bit&7 == 0 && bit>>3 <= len(src) {
			n, out := unpackWords(dst[i:], src[bit>>3:], width, last)
			i, bit, beyond = i+n, bit+n*width, beyond|out
		}
	}
	for ; i < len(dst) && bit>>3+8 <= len(src); i++ {
		v := binary.LittleEndian.Uint64(src[bit>>3:]) >> (bit & 7) & mask
		dst[i], beyond = int32(v), beyond|(last-int64(v))
		bit += width
	}
	for ; i < len(dst); i++ {
		var tail [8]byte
		copy(tail[:], src[min(bit>>3, len(src)):])
		v := binary.LittleEndian.Uint64(tail[:]) >> (bit & 7) & mask
		dst[i], beyond = int32(v), beyond|(last-int64(v))
		bit += width
	}
	return beyond < 0
}

// unpackWords is unpack of values of at most 8 bits from the beginning of a byte on, while there are whole words:
// eight of them are in one. It returns how many it read.
func unpackWords(dst []int32, src []byte, width int, last int64) (n int, beyond int64) {
	mask, shift := uint64(1)<<width-1, width&63
	for ; n+8 <= len(dst) && len(src) >= 8; n += 8 {
		x, v, out := binary.LittleEndian.Uint64(src), uint64(0), (*[8]int32)(dst[n:])
		v = x & mask
		out[0], beyond, x = int32(v), beyond|(last-int64(v)), x>>shift
		v = x & mask
		out[1], beyond, x = int32(v), beyond|(last-int64(v)), x>>shift
		v = x & mask
		out[2], beyond, x = int32(v), beyond|(last-int64(v)), x>>shift
		v = x & mask
		out[3], beyond, x = int32(v), beyond|(last-int64(v)), x>>shift
		v = x & mask
		out[4], beyond, x = int32(v), beyond|(last-int64(v)), x>>shift
		v = x & mask
		out[5], beyond, x = int32(v), beyond|(last-int64(v)), x>>shift
		v = x & mask
		out[6], beyond, x = int32(v), beyond|(last-int64(v)), x>>shift
		v = x & mask
		out[7], beyond = int32(v), beyond|(last-int64(v))
		src = src[width:]
	}
	return n, beyond
}

// set takes n values of one bit if they are all set and of one run, and tells whether they were.
func (h *hybrid) set(n int) (bool, error) {
	for h.run == 0 && h.left == 0 {
		if err := h.next(); err != nil {
			return false, err
		}
	}
	if h.run < n || h.value == 0 {
		return false, nil
	}
	h.run -= n
	return true, nil
}

// eight are the bits of a byte, the lowest first.
var eight = func() (of [256][8]bool) {
	for b := range of {
		for i := range of[b] {
			of[b][i] = b>>i&1 != 0
		}
	}
	return of
}()

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
			set += unpackFlags(dst[:n], h.packed, h.bit)
			h.bit, h.left, dst = h.bit+n, h.left-n, dst[n:]
		default:
			if err := h.next(); err != nil {
				return set, err
			}
		}
	}
	return set, nil
}

// unpackFlags reads bits from one of src on and returns how many are set.
func unpackFlags(dst []bool, src []byte, bit int) (set int) {
	i := 0
	one := func() {
		if dst[i] = src[bit>>3]>>(bit&7)&1 != 0; dst[i] {
			set++
		}
		i, bit = i+1, bit+1
	}
	for i < len(dst) && bit&7 != 0 {
		one()
	}
	for ; i+8 <= len(dst); i, bit = i+8, bit+8 {
		b := src[bit>>3]
		*(*[8]bool)(dst[i:]) = eight[b]
		set += bits.OnesCount8(b)
	}
	for i < len(dst) {
		one()
	}
	return set
}
