package audit

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/pinflow/pinflow/internal/calendar"
	"github.com/pinflow/pinflow/internal/column"
	"github.com/pinflow/pinflow/internal/fold"
	"github.com/pinflow/pinflow/internal/metric"
)

// listed is how many differences a report names.
const listed = 100

// tolerance of sums of doubles, as a part of Σ|x|: the same numbers in another order.
const tolerance = 1e-9

// cell is a group of a bucket: its row on either side, -1 where it is not.
type cell struct{ answer, lake int }

// contest is two blocks of the same grouping, the second one with magnitudes.
type contest struct {
	v      *metric.Compiled
	grain  calendar.Grain
	answer *fold.States
	lake   *fold.States
	owners [][]string // by state: the measures made of it
	at     []int
}

// compare notes every difference, in order of time, group and measure.
func (c *comparison) compare(ans *answer, got, truth *fold.States) {
	v := ans.r.Compiled()
	x := &contest{v: v, grain: ans.grain, answer: got, lake: truth}
	x.owners, x.at = owners(v, c.measures), make([]int, len(v.States))
	for i := range x.at {
		x.at[i] = i
	}
	var found []finding
	buckets := map[int64]bool{}
	cells := x.cells()
	for _, k := range cells {
		b, row := x.side(k)
		buckets[b.Buckets[row]] = true
		found = append(found, x.differences(k)...)
	}
	c.report.Groups += len(cells)
	c.report.Buckets += len(buckets)
	slices.SortStableFunc(found, x.order)
	for _, f := range found {
		if len(c.report.Differences) >= listed {
			c.report.More++
			continue
		}
		b, row := x.side(f.cell)
		f.Bucket, f.Group = c.show(b.Buckets[row]), group(v, b, row)
		c.report.Differences = append(c.report.Differences, f.Difference)
	}
}

// owners are the measures made of each state; a state of none that was asked for has none.
func owners(v *metric.Compiled, asked []string) [][]string {
	out := make([][]string, len(v.States))
	for i := range v.Measures {
		m := &v.Measures[i]
		if m.Ratio() || len(asked) > 0 && !slices.Contains(asked, m.Name) {
			continue
		}
		for _, s := range m.States {
			out[s] = append(out[s], m.Name)
		}
	}
	if len(asked) > 0 {
		return out
	}
	for s := range v.States {
		if name := hidden(v.States[s]); name != "" && len(out[s]) == 0 {
			out[s] = append(out[s], name)
		}
	}
	return out
}

// hidden is the name of a state that no measure shows.
func hidden(s metric.State) string {
	switch s.Op {
	case metric.OpRows:
		return "_rows"
	case metric.OpErrors:
		return "_errors"
	case metric.OpLateDropped:
		return "_late_dropped"
	case metric.OpLate:
		return "_late_" + s.Grain.String()
	default:
		return ""
	}
}

// cells pairs the rows of the two blocks.
func (x *contest) cells() []cell {
	type key struct {
		bucket int64
		group  string
	}
	index := map[key]int{}
	var out []cell
	for side, b := range []*fold.States{x.answer, x.lake} {
		for i := range b.N {
			k := key{b.Buckets[i], b.Key(i)}
			at, known := index[k]
			if !known {
				at = len(out)
				index[k], out = at, append(out, cell{-1, -1})
			}
			if side == 0 {
				out[at].answer = i
			} else {
				out[at].lake = i
			}
		}
	}
	return out
}

// side is a block that has the group, and its row there.
func (x *contest) side(k cell) (*fold.States, int) {
	if k.answer >= 0 {
		return x.answer, k.answer
	}
	return x.lake, k.lake
}

type finding struct {
	cell
	Difference
}

// differences are the measures of a group whose states differ.
func (x *contest) differences(k cell) []finding {
	var out []finding
	for s := range x.v.States {
		if len(x.owners[s]) == 0 || x.same(s, k) {
			continue
		}
		for _, name := range x.owners[s] {
			if !slices.ContainsFunc(out, func(f finding) bool { return f.Measure == name }) {
				out = append(out, finding{k, x.difference(name, s, k)})
			}
		}
	}
	return out
}

func (x *contest) difference(name string, state int, k cell) Difference {
	value := func(b *fold.States, row int) *string {
		return text(fold.Integer(ints(&b.Cols[state], row)), column.Long)
	}
	if m := x.v.Measure(name); m != nil {
		value = func(b *fold.States, row int) *string {
			if row < 0 {
				return text(fold.Empty(m), m.Kind)
			}
			return text(fold.Value(m, b, x.at, row), m.Kind)
		}
	}
	d := Difference{Measure: name, Answer: value(x.answer, k.answer), Lake: value(x.lake, k.lake)}
	switch {
	case k.answer < 0:
		d.Detail = "the answer has no such group"
	case k.lake < 0:
		d.Detail = "the lake has no such group"
	case d.Answer == d.Lake || d.Answer != nil && d.Lake != nil && *d.Answer == *d.Lake:
		d.Detail = fmt.Sprintf("its %s differ", parts[x.v.States[state].Op])
	}
	return d
}

// parts is what a state is made of, in words.
var parts = map[metric.Op]string{
	metric.OpCount: "numbers of values", metric.OpSum: "sums", metric.OpMin: "least values", metric.OpMax: "greatest values",
	metric.OpDistinct: "registers", metric.OpQuantile: "buckets of values",
}

// same tells whether a state is the same on both sides: exactly, sums of doubles within the tolerance.
func (x *contest) same(s int, k cell) bool {
	a, b := &x.answer.Cols[s], &x.lake.Cols[s]
	switch a.Type {
	case fold.SumDouble:
		magnitude := 0.0
		if k.lake >= 0 {
			magnitude = sum(&x.lake.Cols[x.v.MagnitudeState(s)], k.lake)
		}
		return near(sum(a, k.answer), sum(b, k.lake), magnitude)
	case fold.SumLong:
		return ints(a, k.answer) == ints(b, k.lake) && of(a.High, k.answer, 0) == of(b.High, k.lake, 0)
	case fold.MinDouble, fold.MaxDouble:
		none := math.Inf(1)
		if a.Type == fold.MaxDouble {
			none = math.Inf(-1)
		}
		return near(of(a.Floats, k.answer, none), of(b.Floats, k.lake, none), 0)
	case fold.Distinct:
		return bytes.Equal(of(a.HLLs, k.answer, nil), of(b.HLLs, k.lake, nil))
	case fold.Quantile:
		i, n := bins(a, k.answer)
		j, m := bins(b, k.lake)
		return slices.Equal(i, j) && slices.Equal(n, m)
	case fold.Count, fold.MinLong, fold.MaxLong, fold.Invalid:
	}
	return ints(a, k.answer) == ints(b, k.lake)
}

func of[T any](values []T, row int, none T) T {
	if row < 0 || values == nil {
		return none
	}
	return values[row]
}

// ints is an integer state, of no row that of no value.
func ints(c *fold.Column, row int) int64 {
	none := int64(0)
	switch c.Type {
	case fold.MinLong:
		none = math.MaxInt64
	case fold.MaxLong:
		none = math.MinInt64
	default:
	}
	return of(c.Ints, row, none)
}

func sum(c *fold.Column, row int) float64 { return of(c.Floats, row, 0) + of(c.Rest, row, 0) }

func bins(c *fold.Column, row int) ([]int32, []int64) {
	if row < 0 {
		return nil, nil
	}
	from, to := c.Offs[row], c.Offs[row+1]
	return c.Bins[from:to], c.Counts[from:to]
}

// near tells whether two sums of numbers with that Σ|x| are the same. Beyond the range of double a sum is
// no number, and which one depends on the order.
func near(a, b, magnitude float64) bool {
	finite := func(x float64) bool { return x-x == 0 }
	return a == b || !finite(a) && !finite(b) || math.Abs(a-b) <= tolerance*magnitude
}

func text(n fold.Number, kind column.Kind) *string {
	if n.Null {
		return nil
	}
	s := n.Text(kind)
	if n.Double {
		s = strconv.FormatFloat(n.F, 'g', -1, 64)
	}
	return &s
}

// order is by time, then by the dimensions' values in the view's order, NULL and whole events first, then by
// the place of the measure, hidden ones last.
func (x *contest) order(a, b finding) int {
	p, i := x.side(a.cell)
	q, j := x.side(b.cell)
	if by := cmp.Compare(p.Buckets[i], q.Buckets[j]); by != 0 {
		return by
	}
	for d := range p.Dims {
		if by := bytes.Compare(value(&p.Dims[d], i), value(&q.Dims[d], j)); by != 0 {
			return by
		}
	}
	place := func(f finding) int {
		i := slices.IndexFunc(x.v.Measures, func(m metric.NamedMeasure) bool { return m.Name == f.Measure })
		if i < 0 {
			return len(x.v.Measures)
		}
		return i
	}
	return cmp.Compare(place(a), place(b))
}

// value is a dimension's value, nil for NULL and for whole events.
func value(d *fold.Dim, row int) []byte {
	code := d.Codes[row]
	if code == 0 || string(d.Text(code)) == fold.Whole {
		return nil
	}
	return d.Text(code)
}

// group names a row's dimension values.
func group(v *metric.Compiled, b *fold.States, row int) map[string]*string {
	out := map[string]*string{}
	for _, d := range v.Dimensions {
		if d.Stored < 0 {
			continue
		}
		dim := &b.Dims[d.Stored]
		code := dim.Codes[row]
		switch {
		case code == 0:
			out[d.Name] = nil
		case d.Stored != v.Unnest || string(dim.Text(code)) != fold.Whole:
			s := string(dim.Text(code))
			out[d.Name] = &s
		}
	}
	return out
}
