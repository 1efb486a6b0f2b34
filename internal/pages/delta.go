package pages

import (
	"encoding/binary"
	"fmt"
)

// delta reads integers that are kept as differences, packed in small groups of as many bits as the group's
// greatest needs (https://parquet.apache.org/docs/file-format/data-pages/encodings/, DELTA_BINARY_PACKED = 5).
type delta struct {
	data   []byte // what follows the group in hand
	left   int    // values left, the first one aside
	ahead  bool   // the first value, which is in last, was not given yet
	narrow bool   // sums wrap at 32 bits
	last   int64
	groups int // in a block
	size   int // of a group

	least  int64  // difference of the block in hand
	widths []byte // of its groups to come

	packed []byte // the group in hand, and what follows
	bit    int    // next bit of it
	width  int
	in     int // values left of it
}

// mostDelta is how many values a group may have: writers take 32 or some times that.
const mostDelta = 1 << 16

func (d *delta) reset(data []byte, narrow bool) error {
	var head [3]uint64
	for i := range head {
		x, n := binary.Uvarint(data)
		if n <= 0 {
			return errShort
		}
		head[i], data = x, data[n:]
	}
	first, n := binary.Varint(data)
	if n <= 0 {
		return errShort
	}
	block, groups, values := head[0], head[1], head[2]
	if groups == 0 || groups > block || block%groups != 0 || block/groups%8 != 0 || block/groups > mostDelta || groups > mostDelta || values > 1<<31 {
		return fmt.Errorf("%d differences in blocks of %d and %d groups", values, block, groups)
	}
	*d = delta{data: data[n:], ahead: values > 0, narrow: narrow, last: first, groups: int(groups), size: int(block / groups)}
	d.left = max(0, int(values)-1)
	return nil
}

// read fills dst.
func (d *delta) read(dst []int64) error {
	if d.ahead && len(dst) > 0 {
		dst[0], d.ahead = d.last, false
		dst = dst[1:]
	}
	if len(dst) > d.left {
		return errShort
	}
	d.left -= len(dst)
	for len(dst) > 0 {
		if d.in == 0 {
			if err := d.next(); err != nil {
				return err
			}
		}
		n := min(d.in, len(dst))
		d.sum(dst[:n])
		d.in, dst = d.in-n, dst[n:]
	}
	return nil
}

// next begins the next group.
func (d *delta) next() error {
	if len(d.widths) == 0 {
		least, n := binary.Varint(d.data)
		if n <= 0 || len(d.data)-n < d.groups {
			return errShort
		}
		d.least, d.widths, d.data = least, d.data[n:n+d.groups], d.data[n+d.groups:]
	}
	d.width, d.widths = int(d.widths[0]), d.widths[1:]
	if d.width > 64 {
		return fmt.Errorf("differences of %d bits", d.width)
	}
	d.packed, d.bit, d.in = d.data, 0, d.size
	// The last group of a page need not be there as a whole.
	d.data = d.data[min(d.size/8*d.width, len(d.data)):]
	return nil
}

// sum appends differences of the group in hand to the sum so far.
func (d *delta) sum(dst []int64) {
	last, i := d.last, 0
	switch {
	case d.narrow || d.width > 56: // seldom
		for i = range dst {
			last += d.least + int64(d.one())
			if d.narrow {
				last = int64(int32(last))
			}
			dst[i] = last
		}
		d.last = last
		return
	case d.width == 0:
		for i = range dst {
			last += d.least
			dst[i] = last
		}
		d.last = last
		return
	}
	mask, bit := uint64(1)<<d.width-1, d.bit
	for ; i < len(dst) && bit>>3+8 <= len(d.packed); i++ {
		last += d.least + int64(binary.LittleEndian.Uint64(d.packed[bit>>3:])>>(bit&7)&mask)
		dst[i] = last
		bit += d.width
	}
	for d.bit = bit; i < len(dst); i++ {
		last += d.least + int64(d.one())
		dst[i] = last
	}
	d.last = last
}

// one is the next difference of the group in hand, whatever its width; what is not there is 0.
func (d *delta) one() uint64 {
	var bytes [16]byte
	copy(bytes[:], d.packed[min(d.bit>>3, len(d.packed)):])
	shift := d.bit & 7
	x := binary.LittleEndian.Uint64(bytes[:])>>shift | binary.LittleEndian.Uint64(bytes[8:])<<(64-shift)
	d.bit += d.width
	if d.width < 64 {
		x &= 1<<d.width - 1
	}
	return x
}
