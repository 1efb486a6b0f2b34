package expr

import (
	"bytes"
	"math"
	"math/bits"
	"sort"

	"github.com/pinflow/pinflow/internal/column"
)

func addLongs(s *step, c strictCall, n int) {
	a, b, out := c.args[0].Ints, c.args[1].Ints, s.out.Ints
	for i := range n {
		x, y := a[i], b[i]
		r := x + y
		out[i] = r
		if (x^r)&(y^r) < 0 {
			c.batch.fail(s, i, c.active)
		}
	}
}

func subLongs(s *step, c strictCall, n int) {
	a, b, out := c.args[0].Ints, c.args[1].Ints, s.out.Ints
	for i := range n {
		x, y := a[i], b[i]
		r := x - y
		out[i] = r
		if (x^y)&(x^r) < 0 {
			c.batch.fail(s, i, c.active)
		}
	}
}

func mulLongs(s *step, c strictCall, n int) {
	a, b, out := c.args[0].Ints, c.args[1].Ints, s.out.Ints
	for i := range n {
		x, y := a[i], b[i]
		hi, lo := bits.Mul64(magnitude(x), magnitude(y))
		out[i] = x * y
		limit := uint64(math.MaxInt64)
		if (x < 0) != (y < 0) {
			limit++
		}
		if hi != 0 || lo > limit {
			c.batch.fail(s, i, c.active)
		}
	}
}

func magnitude(x int64) uint64 {
	if x < 0 {
		return -uint64(x)
	}
	return uint64(x)
}

func negateLong(s *step, c strictCall, n int) {
	a := c.args[0].Ints
	for i := range n {
		s.out.Ints[i] = -a[i]
		if a[i] == math.MinInt64 {
			c.batch.fail(s, i, c.active)
		}
	}
}

func addDoubles(s *step, c strictCall, n int) {
	a, b := c.args[0].Floats, c.args[1].Floats
	for i := range n {
		s.out.Floats[i] = a[i] + b[i]
	}
}

func subDoubles(s *step, c strictCall, n int) {
	a, b := c.args[0].Floats, c.args[1].Floats
	for i := range n {
		s.out.Floats[i] = a[i] - b[i]
	}
}

func mulDoubles(s *step, c strictCall, n int) {
	a, b := c.args[0].Floats, c.args[1].Floats
	for i := range n {
		s.out.Floats[i] = a[i] * b[i]
	}
}

func divide(s *step, c strictCall, n int) {
	a, b := c.args[0].Floats, c.args[1].Floats
	for i := range n {
		if b[i] == 0 {
			s.out.Floats[i] = 0
			setNull(&s.out, i)
			continue
		}
		s.out.Floats[i] = a[i] / b[i]
	}
}

func negateDouble(s *step, c strictCall, n int) {
	a := c.args[0].Floats
	for i := range n {
		s.out.Floats[i] = -a[i]
	}
}

func toBool(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

func equalInts(s *step, c strictCall, n int) {
	a, b, out := c.args[0].Ints[:n], c.args[1].Ints[:n], s.out.Ints[:n]
	for i := range out {
		out[i] = toBool(a[i] == b[i])
	}
}

func differInts(s *step, c strictCall, n int) {
	a, b, out := c.args[0].Ints[:n], c.args[1].Ints[:n], s.out.Ints[:n]
	for i := range out {
		out[i] = toBool(a[i] != b[i])
	}
}

func lessInts(s *step, c strictCall, n int) {
	a, b, out := c.args[0].Ints[:n], c.args[1].Ints[:n], s.out.Ints[:n]
	for i := range out {
		out[i] = toBool(a[i] < b[i])
	}
}

func atMostInts(s *step, c strictCall, n int) {
	a, b, out := c.args[0].Ints[:n], c.args[1].Ints[:n], s.out.Ints[:n]
	for i := range out {
		out[i] = toBool(a[i] <= b[i])
	}
}

// finiteOnly makes a comparison NULL where a side is NaN or infinite.
func finiteOnly(s *step, c strictCall, n int) {
	a, b := c.args[0].Floats, c.args[1].Floats
	for i := range n {
		if a[i]-a[i] != 0 || b[i]-b[i] != 0 {
			setNull(&s.out, i)
		}
	}
}

func equalDoubles(s *step, c strictCall, n int) {
	for i := range n {
		s.out.Ints[i] = toBool(c.args[0].Floats[i] == c.args[1].Floats[i])
	}
	finiteOnly(s, c, n)
}

func differDoubles(s *step, c strictCall, n int) {
	for i := range n {
		s.out.Ints[i] = toBool(c.args[0].Floats[i] != c.args[1].Floats[i])
	}
	finiteOnly(s, c, n)
}

func lessDoubles(s *step, c strictCall, n int) {
	for i := range n {
		s.out.Ints[i] = toBool(c.args[0].Floats[i] < c.args[1].Floats[i])
	}
	finiteOnly(s, c, n)
}

func atMostDoubles(s *step, c strictCall, n int) {
	for i := range n {
		s.out.Ints[i] = toBool(c.args[0].Floats[i] <= c.args[1].Floats[i])
	}
	finiteOnly(s, c, n)
}

func equalTexts(s *step, c strictCall, n int)  { matchTexts(s, c, n, 1) }
func differTexts(s *step, c strictCall, n int) { matchTexts(s, c, n, 0) }

func matchTexts(s *step, c strictCall, n int, equal int64) {
	a, b, out := c.args[0], c.args[1], s.out.Ints[:n]
	if a.one {
		a, b = b, a
	}
	if !b.one {
		for i := range out {
			out[i] = toBool(bytes.Equal(a.text(i), b.text(i))) ^ 1 ^ equal
		}
		return
	}
	want, offs := b.text(0), a.Offs
	if a.one {
		fill(out, toBool(bytes.Equal(a.text(0), want))^1^equal)
		return
	}
	if a.Codes != nil {
		for i := range out {
			out[i] = toBool(string(a.text(i)) == string(want)) ^ 1 ^ equal
		}
		return
	}
	for i := range out {
		from, to := offs[i], offs[i+1]
		out[i] = toBool(int(to-from) == len(want) && string(a.Bytes[from:to]) == string(want)) ^ 1 ^ equal
	}
}

func lessTexts(s *step, c strictCall, n int) {
	for i := range n {
		s.out.Ints[i] = toBool(bytes.Compare(c.args[0].text(i), c.args[1].text(i)) < 0)
	}
}

func atMostTexts(s *step, c strictCall, n int) {
	for i := range n {
		s.out.Ints[i] = toBool(bytes.Compare(c.args[0].text(i), c.args[1].text(i)) <= 0)
	}
}

func notBool(s *step, c strictCall, n int) {
	a := c.args[0].Ints
	for i := range n {
		s.out.Ints[i] = 1 - a[i]
	}
}

// literalSet is the right side of in.
type literalSet struct {
	ints   []int64 // ascending
	floats []float64
	texts  map[string]struct{}
	null   bool
}

func newLiteralSet(items []*node) *literalSet {
	set := &literalSet{texts: map[string]struct{}{}}
	for _, x := range items {
		switch {
		case x.null:
			set.null = true
		case x.kind == double:
			set.floats = append(set.floats, x.f)
		case x.kind == text:
			set.texts[x.s] = struct{}{}
		default:
			set.ints = append(set.ints, x.i)
		}
	}
	sort.Slice(set.ints, func(i, j int) bool { return set.ints[i] < set.ints[j] })
	sort.Float64s(set.floats)
	return set
}

func (set *literalSet) has(o operand, kind column.Kind, i int) bool {
	switch kind {
	case double:
		x := o.Floats[i]
		at := sort.SearchFloat64s(set.floats, x)
		return at < len(set.floats) && set.floats[at] == x
	case text:
		_, ok := set.texts[string(o.text(i))]
		return ok
	default:
		x := o.Ints[i]
		at := sort.Search(len(set.ints), func(j int) bool { return set.ints[j] >= x })
		return at < len(set.ints) && set.ints[at] == x
	}
}

func inSet(s *step, c strictCall, n int) {
	set, kind := s.aux.(*literalSet), s.args[0].n.kind
	for i := range n {
		found := set.has(c.args[0], kind, i)
		s.out.Ints[i] = toBool(found)
		if kind == double {
			if x := c.args[0].Floats[i]; x-x != 0 {
				setNull(&s.out, i)
			}
		}
		if !found && set.null {
			setNull(&s.out, i)
		}
	}
}
