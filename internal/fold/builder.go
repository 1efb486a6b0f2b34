package fold

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/pinflow/pinflow/internal/column"
	"github.com/pinflow/pinflow/internal/metric"
	"github.com/pinflow/pinflow/internal/sketch"
)

// Builder makes a block of states that another engine computed, with the statement of metric's SQL. A
// group begins with Group; then its states are set, those that are not are of no row.
type Builder struct {
	c     *metric.Compiled
	s     *States
	dicts []*dict
	value column.Vec // room for one
	err   error
}

// Scalar is a value of a dimension: Int of longs, booleans (0 or 1), instants and dates.
type Scalar struct {
	Null  bool
	Int   int64
	Float float64
	Text  string
}

// Bin is a bucket of a quantile and the number of values in it.
type Bin struct {
	Bin int32
	N   int64
}

// NewBuilder returns a builder of an empty block.
func NewBuilder(c *metric.Compiled) *Builder {
	b := &Builder{c: c, s: &States{}}
	for range c.Dims {
		b.s.Dims, b.dicts = append(b.s.Dims, Dim{}), append(b.dicts, newDict())
	}
	for _, s := range c.States {
		col := Column{Type: TypeOf(s)}
		if col.Type == Quantile {
			col.Offs = []int32{0}
		}
		b.s.Cols = append(b.s.Cols, col)
	}
	return b
}

// Group begins a group. whole says of a view with an unnested dimension that the group counts whole
// events; the value of that dimension is then left aside.
func (b *Builder) Group(bucket int64, whole bool, dims []Scalar) {
	b.closeBins()
	b.s.N++
	b.s.Buckets = append(b.s.Buckets, bucket)
	for d := range b.c.Dims {
		code := uint32(0)
		switch v := dims[d]; {
		case d == b.c.Unnest && whole:
			code = b.dicts[d].code([]byte(Whole))
		case v.Null:
		default:
			code = b.dicts[d].code(b.text(b.c.Dims[d].Kind, v))
		}
		b.s.Dims[d].Codes = append(b.s.Dims[d].Codes, code)
	}
	for i := range b.s.Cols {
		if c := &b.s.Cols[i]; c.Type != Quantile {
			c.grow(b.s.N)
		}
	}
}

// text is the value as a dictionary has it.
func (b *Builder) text(kind column.Kind, v Scalar) []byte {
	if kind == column.String || kind == column.List {
		return []byte(v.Text)
	}
	b.value = column.Vec{Kind: kind, Len: 1, Ints: []int64{v.Int}, Floats: []float64{v.Float}}
	return appendValue(nil, &b.value, 0)
}

// Long sets a count or the limit of longs.
func (b *Builder) Long(state int, x int64) { b.s.Cols[state].Ints[b.s.N-1] = x }

// Sum sets a sum of longs: 128 bits, two's complement.
func (b *Builder) Sum(state int, high int64, low uint64) {
	b.s.Cols[state].Ints[b.s.N-1], b.s.Cols[state].High[b.s.N-1] = int64(low), high
}

// Double sets a sum or limit of doubles.
func (b *Builder) Double(state int, x float64) { b.s.Cols[state].Floats[b.s.N-1] = x }

// Registers sets a distinct count: register · 64 + rank of each register that is not 0.
func (b *Builder) Registers(state int, packed []int64) {
	slices.Sort(packed)
	var h sketch.HLL
	for _, x := range packed {
		if x < 0 || x >= sketch.Registers<<6 || x&63 == 0 || x&63 > sketch.MaxRank {
			b.err = cmp.Or(b.err, fmt.Errorf("state %d: %d is no register and rank", state, x))
			return
		}
		h = h.Set(int(x>>6), uint8(x&63))
	}
	b.s.Cols[state].setHLL(uint32(b.s.N-1), h)
}

// Bins sets a quantile.
func (b *Builder) Bins(state int, bins []Bin) {
	slices.SortFunc(bins, func(x, y Bin) int { return cmp.Compare(x.Bin, y.Bin) })
	c := &b.s.Cols[state]
	for i, x := range bins {
		if x.Bin < -sketch.MaxBucket || x.Bin > sketch.MaxBucket || x.N <= 0 || (i > 0 && x.Bin == bins[i-1].Bin) {
			b.err = cmp.Or(b.err, fmt.Errorf("state %d: %d values in bucket %d", state, x.N, x.Bin))
			return
		}
		c.Bins, c.Counts = append(c.Bins, x.Bin), append(c.Counts, x.N)
	}
}

// closeBins ends the lists of the group in hand.
func (b *Builder) closeBins() {
	for i := range b.s.Cols {
		if c := &b.s.Cols[i]; c.Type == Quantile && b.s.N > 0 {
			c.Offs = append(c.Offs, int32(len(c.Bins)))
		}
	}
}

// States returns the block and empties the builder.
func (b *Builder) States() (*States, error) {
	b.closeBins()
	s, err := b.s, b.err
	for d := range s.Dims {
		s.Dims[d] = b.dicts[d].dim(s.Dims[d].Codes)
	}
	*b = *NewBuilder(b.c)
	return s, err
}
