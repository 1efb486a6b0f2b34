package fold

import (
	"bytes"
	"math"
	"slices"

	"github.com/pinflow/pinflow/internal/column"
	"github.com/pinflow/pinflow/internal/metric"
	"github.com/pinflow/pinflow/internal/sketch"
)

// Type is how a column of states is kept and merged.
type Type uint8

// The types, with the slices of Column that carry them.
const (
	Invalid   Type = iota
	Count          // Ints; adds
	SumLong        // Ints are the low, High the high 64 bits of a 128-bit two's complement sum
	SumDouble      // Floats are the sum, Rest what rounding took from it
	MinLong        // Ints; of no value MaxInt64
	MaxLong        // Ints; of no value MinInt64
	MinDouble      // Floats; of no value +Inf
	MaxDouble      // Floats; of no value −Inf
	Distinct       // HLLs
	Quantile       // bins of group i are Bins and Counts [Offs[i]:Offs[i+1]], in order of their number
)

var typeNames = [...]string{"invalid", "count", "sum_long", "sum_double", "min_long", "max_long", "min_double", "max_double", "distinct", "quantile"}

func (t Type) String() string { return typeNames[t] }

// TypeNamed returns the type with that name, or Invalid.
func TypeNamed(name string) Type { return Type(max(0, slices.Index(typeNames[:], name))) }

// TypeOf is the type of a state of a view.
func TypeOf(s metric.State) Type {
	isDouble := s.Kind == column.Double
	switch s.Op {
	case metric.OpRows, metric.OpCount, metric.OpErrors, metric.OpLateDropped, metric.OpLate:
		return Count
	case metric.OpMagnitude:
		return SumDouble
	case metric.OpSum:
		if isDouble {
			return SumDouble
		}
		return SumLong
	case metric.OpMin:
		if isDouble {
			return MinDouble
		}
		return MinLong
	case metric.OpMax:
		if isDouble {
			return MaxDouble
		}
		return MaxLong
	case metric.OpDistinct:
		return Distinct
	case metric.OpQuantile:
		return Quantile
	case metric.OpInvalid:
	}
	return Invalid
}

// Column holds one state of every group. Slices that the type does not use are nil; of a Count that
// is 0 everywhere Ints is nil too.
type Column struct {
	Type   Type
	Ints   []int64
	High   []int64
	Floats []float64
	Rest   []float64
	HLLs   []sketch.HLL
	Offs   []int32 // one more than there are groups
	Bins   []int32 // numbers of buckets
	Counts []int64 // values in them, never 0

	tally *tally // where a Quantile is counted until settle makes Offs, Bins and Counts of it
	held  int    // bytes in HLLs
}

// States is a block: rows of bucket, dimension values and states. A block that was handed out is
// not changed any more.
type States struct {
	N       int
	Buckets []int64 // starts, microseconds
	Dims    []Dim
	Cols    []Column
}

// Dim is a column of dimension values, dictionary-coded: code 0 is NULL, code c is text c−1.
type Dim struct {
	Codes []uint32
	Offs  []int32 // one more than there are texts
	Bytes []byte
}

// Texts is the number of texts in the dictionary.
func (d *Dim) Texts() int { return max(0, len(d.Offs)-1) }

// Text is the text of a code above 0.
func (d *Dim) Text(code uint32) []byte { return d.Bytes[d.Offs[code-1]:d.Offs[code]] }

// Bytes is about how much memory the block takes.
func (s *States) Bytes() int {
	n := 8 * cap(s.Buckets)
	for i := range s.Dims {
		n += 4*cap(s.Dims[i].Codes) + 4*cap(s.Dims[i].Offs) + cap(s.Dims[i].Bytes)
	}
	for i := range s.Cols {
		n += s.Cols[i].bytes()
	}
	return n
}

func (c *Column) bytes() int {
	n := 8*(cap(c.Ints)+cap(c.High)+cap(c.Floats)+cap(c.Rest)+cap(c.Counts)) + 4*(cap(c.Offs)+cap(c.Bins))
	return n + 24*cap(c.HLLs) + c.held + c.tally.memory()
}

// Range returns the least and greatest bucket start; of an empty block 0, 0.
func (s *States) Range() (from, to int64) {
	if s.N == 0 {
		return 0, 0
	}
	return slices.Min(s.Buckets), slices.Max(s.Buckets)
}

// grow appends the state of no row until there are n.
func (c *Column) grow(n int) {
	switch c.Type {
	case Count:
		c.Ints = extend(c.Ints, n, 0)
	case SumLong:
		c.Ints, c.High = extend(c.Ints, n, 0), extend(c.High, n, 0)
	case SumDouble:
		c.Floats, c.Rest = extend(c.Floats, n, 0), extend(c.Rest, n, 0)
	case MinLong:
		c.Ints = extend(c.Ints, n, math.MaxInt64)
	case MaxLong:
		c.Ints = extend(c.Ints, n, math.MinInt64)
	case MinDouble:
		c.Floats = extend(c.Floats, n, math.Inf(1))
	case MaxDouble:
		c.Floats = extend(c.Floats, n, math.Inf(-1))
	case Distinct:
		c.HLLs = extend(c.HLLs, n, nil)
	case Quantile:
		if c.tally == nil {
			c.tally = newTally()
		}
	case Invalid:
	}
}

func extend[T any](s []T, n int, v T) []T {
	if cap(s) < n {
		s = slices.Grow(s, n-len(s))
	}
	for len(s) < n {
		s = append(s, v)
	}
	return s
}

func (c *Column) reset() {
	c.Ints, c.High, c.Floats, c.Rest = c.Ints[:0], c.High[:0], c.Floats[:0], c.Rest[:0]
	c.HLLs, c.held, c.Offs, c.Bins, c.Counts = nil, 0, nil, nil, nil
	c.tally.reset()
}

// pick returns the states of the groups, in that order.
func (c *Column) pick(groups []uint32) Column {
	out := Column{
		Type: c.Type, Ints: pick(c.Ints, groups), High: pick(c.High, groups),
		Floats: pick(c.Floats, groups), Rest: pick(c.Rest, groups), HLLs: pick(c.HLLs, groups),
	}
	if c.Type == Quantile {
		out.pickBins(c, groups)
	}
	for _, h := range out.HLLs {
		out.held += len(h)
	}
	return out
}

func pick[T any](s []T, groups []uint32) []T {
	if len(s) == 0 {
		return nil
	}
	out := make([]T, len(groups))
	for i, g := range groups {
		out[i] = s[g]
	}
	return out
}

// rank returns, per code, the order of its text: NULL first, then by bytes.
func (d *Dim) rank() []uint32 {
	order := make([]uint32, d.Texts())
	for i := range order {
		order[i] = uint32(i + 1)
	}
	slices.SortFunc(order, func(a, b uint32) int { return bytes.Compare(d.Text(a), d.Text(b)) })
	rank := make([]uint32, d.Texts()+1)
	for i, code := range order {
		rank[code] = uint32(i + 1)
	}
	return rank
}

// sorted returns the rows ordered by bucket and dimension values.
func (s *States) sorted() []uint32 {
	order := make([]uint32, s.N)
	for i := range order {
		order[i] = uint32(i)
	}
	ranks := make([][]uint32, len(s.Dims))
	for d := range s.Dims {
		ranks[d] = s.Dims[d].rank()
	}
	slices.SortFunc(order, func(a, b uint32) int {
		if x, y := s.Buckets[a], s.Buckets[b]; x != y {
			if x < y {
				return -1
			}
			return 1
		}
		for d := range s.Dims {
			codes := s.Dims[d].Codes
			if x, y := ranks[d][codes[a]], ranks[d][codes[b]]; x != y {
				return int(x) - int(y)
			}
		}
		return 0
	})
	return order
}

// take returns the given rows as a block with dictionaries of its own.
func (s *States) take(rows []uint32) *States {
	out := &States{N: len(rows), Buckets: pick(s.Buckets, rows)}
	for d := range s.Dims {
		out.Dims = append(out.Dims, s.Dims[d].take(rows))
	}
	for c := range s.Cols {
		out.Cols = append(out.Cols, s.Cols[c].pick(rows))
	}
	return out
}

func (d *Dim) take(rows []uint32) Dim {
	out := Dim{Codes: make([]uint32, len(rows)), Offs: []int32{0}}
	recode := make([]uint32, d.Texts()+1)
	for i, r := range rows {
		code := d.Codes[r]
		if code == 0 {
			continue
		}
		if recode[code] == 0 {
			out.Bytes = append(out.Bytes, d.Text(code)...)
			out.Offs = append(out.Offs, int32(len(out.Bytes)))
			recode[code] = uint32(len(out.Offs) - 1)
		}
		out.Codes[i] = recode[code]
	}
	return out
}

// MaxBlock is about how many bytes a block takes at most before it is split: its segment then stays
// below 1 MiB.
const MaxBlock = 960 << 10

// Split cuts the block into blocks of at most about max bytes, ordered by bucket and dimension
// values; cut (nil: none) gives a key per bucket that no block may span, such as the day.
func (s *States) Split(limit int, cut func(bucket int64) int64) []*States {
	if s.N == 0 {
		return nil
	}
	order := s.sorted()
	var out []*States
	// seen[d][code] is the number of the last block that has the text: its dictionary has it once.
	seen := make([][]int, len(s.Dims))
	for d := range seen {
		seen[d] = make([]int, s.Dims[d].Texts()+1)
	}
	for from := 0; from < len(order); {
		block := len(out) + 1
		size, to := 0, from
		for ; to < len(order); to++ {
			r := order[to]
			w := s.width(r, seen, block)
			if to > from && (size+w > limit || (cut != nil && cut(s.Buckets[r]) != cut(s.Buckets[order[from]]))) {
				break
			}
			size += w
			for d := range s.Dims {
				seen[d][s.Dims[d].Codes[r]] = block
			}
		}
		out = append(out, s.take(order[from:to]))
		from = to
	}
	return out
}

// width is how many bytes a row adds to a block.
func (s *States) width(r uint32, seen [][]int, block int) int {
	w := 8
	for d := range s.Dims {
		w += 4
		code := s.Dims[d].Codes[r]
		if seen[d][code] != block && code > 0 {
			w += len(s.Dims[d].Text(code)) + 4
		}
	}
	for c := range s.Cols {
		switch col := &s.Cols[c]; col.Type {
		case SumLong, SumDouble:
			w += 16
		case Distinct:
			w += 4 + len(col.HLLs[r])
		case Quantile:
			w += 4 + 12*int(col.Offs[r+1]-col.Offs[r])
		default:
			w += 8
		}
	}
	return w
}
