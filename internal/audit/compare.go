package audit

import (
	"math"
	"strconv"

	"github.com/pinflow/pinflow/internal/calendar"
	"github.com/pinflow/pinflow/internal/column"
	"github.com/pinflow/pinflow/internal/fold"
	"github.com/pinflow/pinflow/internal/metric"
)

// listed is how many differences a report names.
const listed = 100

// tolerance of doubles: sums of the same numbers in another order.
const tolerance = 1e-9

// hidden states that are compared beside the measures.
var hidden = []struct {
	name  string
	state int
}{{"_rows", metric.StateRows}, {"_errors", metric.StateErrors}, {"_late_dropped", metric.StateLateDropped}}

type cell struct {
	bucket int64
	group  string
}

// compare notes every difference of two blocks of the same grouping.
func (c *comparison) compare(v *metric.Compiled, grain calendar.Grain, answer, truth *fold.States) {
	at := make([]int, len(v.States))
	for i := range at {
		at[i] = i
	}
	rows := map[cell][2]int{}
	buckets := map[int64]bool{}
	for side, b := range []*fold.States{answer, truth} {
		for i := range b.N {
			k := cell{b.Buckets[i], b.Key(i)}
			pair, known := rows[k]
			if !known {
				pair = [2]int{-1, -1}
			}
			pair[side] = i
			rows[k], buckets[k.bucket] = pair, true
		}
	}
	c.report.Groups += len(rows)
	c.report.Buckets += len(buckets)
	for k, pair := range rows {
		c.compareRow(v, at, grain, k, answer, truth, pair)
	}
}

func (c *comparison) compareRow(v *metric.Compiled, at []int, grain calendar.Grain, k cell, answer, truth *fold.States, pair [2]int) {
	differ := func(measure string, a, b *string) {
		if len(c.report.Differences) >= listed {
			c.report.More++
			return
		}
		block, row := answer, pair[0]
		if row < 0 {
			block, row = truth, pair[1]
		}
		c.report.Differences = append(c.report.Differences, Difference{show(k.bucket, c.clock), group(v, block, row), measure, a, b})
	}
	count := func(b *fold.States, row, state int) int64 {
		if row < 0 || b.Cols[state].Ints == nil {
			return 0
		}
		return b.Cols[state].Ints[row]
	}
	states := append(hidden[:len(hidden):len(hidden)], struct {
		name  string
		state int
	}{"_late", v.LateState(grain)})
	for _, h := range states {
		if a, b := count(answer, pair[0], h.state), count(truth, pair[1], h.state); a != b {
			differ(h.name, text(fold.Integer(a), column.Long), text(fold.Integer(b), column.Long))
		}
	}
	for i := range v.Measures {
		m := &v.Measures[i]
		if m.Ratio() || m.States == nil {
			continue
		}
		a, b := fold.Empty(m), fold.Empty(m)
		if pair[0] >= 0 {
			a = fold.Value(m, answer, at, pair[0])
		}
		if pair[1] >= 0 {
			b = fold.Value(m, truth, at, pair[1])
		}
		if !same(a, b) {
			differ(m.Name, text(a, m.Kind), text(b, m.Kind))
		}
	}
}

func same(a, b fold.Number) bool {
	switch {
	case a.Null || b.Null:
		return a.Null == b.Null
	case a.Double || b.Double:
		x, y := a.Float64(), b.Float64()
		return x == y || math.Abs(x-y) <= tolerance*math.Max(math.Abs(x), math.Abs(y))
	}
	return a.High == b.High && a.Low == b.Low
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

// group names a row's dimension values.
func group(v *metric.Compiled, b *fold.States, row int) map[string]*string {
	out := map[string]*string{}
	for _, d := range v.Dimensions {
		if d.Stored < 0 {
			continue
		}
		dim := &b.Dims[d.Stored]
		out[d.Name] = nil
		if code := dim.Codes[row]; code != 0 {
			s := string(dim.Text(code))
			out[d.Name] = &s
		}
	}
	return out
}
