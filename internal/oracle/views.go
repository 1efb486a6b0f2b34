package oracle

import (
	"fmt"
	"math/big"
	"strings"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/fold"
	"github.com/pinflow/pinflow/internal/metric"
)

// View draws a view of a schema.
func (g Gen) View(s *event.Schema) metric.View {
	x := grammar{g, s}
	v := metric.View{Version: 1, Name: "pins", Stream: "pin", TimeZone: pick(g, Zones...), Grain: pick(g, "minute", "hour", "day")}
	if g.chance(20) {
		v.Time, v.Grain = pick(g, event.ColumnReceivedAt, "t0"), "day"
	}
	if g.chance(60) {
		v.Filter = x.expression(boolean, 2)
	}
	if g.chance(40) {
		v.Late.Accept = pick(g, "0s", "10m", "1d")
	}
	if g.chance(20) {
		v.Backfill.From = "2026-06-01"
	}
	for i := range g.IntN(3) {
		v.Dimensions = append(v.Dimensions, metric.Dimension{
			Name: fmt.Sprintf("dim%d", i), Expr: x.expression(pick(g, long, double, boolean, instant, date, text), g.IntN(3)),
		})
	}
	if g.chance(40) {
		v.Dimensions = append(v.Dimensions, metric.Dimension{Name: "element", Expr: x.leaf(list), Unnest: true})
	}
	for i := range 1 + g.IntN(6) {
		m := metric.Measure{Name: fmt.Sprintf("m%d", i), Agg: pick(g, "count", "sum", "min", "max", "avg", "count_distinct_approx", "percentile")}
		kind := pick(g, long, double)
		switch m.Agg {
		case "count_distinct_approx", "count":
			kind = pick(g, long, double, boolean, instant, date, text)
		case "min", "max":
			kind = pick(g, long, double, instant, date)
		case "percentile":
			p := 0.5
			m.Percentile = &p
		}
		if m.Agg != "count" || g.chance(50) {
			m.Expr = x.expression(kind, g.IntN(3))
		}
		if g.chance(40) {
			m.Filter = x.expression(boolean, 2)
		}
		v.Measures = append(v.Measures, m)
	}
	return v
}

// Block makes a block of the rows of a view's statement, as the driver gives them.
func Block(c *metric.Compiled, rows [][]any) (*fold.States, error) {
	b := fold.NewBuilder(c)
	for _, row := range rows {
		whole := false
		if c.Unnest >= 0 {
			whole, row = row[0].(bool), row[1:]
		}
		bucket, row := row[0].(int64), row[1:]
		dims := make([]fold.Scalar, len(c.Dims))
		for d := range dims {
			dims[d] = scalar(row[d])
		}
		b.Group(bucket, whole, dims)
		for i, v := range row[len(dims):] {
			if err := setState(b, i, fold.TypeOf(c.States[i]), v); err != nil {
				return nil, err
			}
		}
	}
	return b.States()
}

func scalar(v any) fold.Scalar {
	switch v := v.(type) {
	case nil:
		return fold.Scalar{Null: true}
	case int64:
		return fold.Scalar{Int: v}
	case float64:
		return fold.Scalar{Float: v}
	case bool:
		if v {
			return fold.Scalar{Int: 1}
		}
		return fold.Scalar{}
	}
	return fold.Scalar{Text: fmt.Sprint(v)}
}

func setState(b *fold.Builder, i int, t fold.Type, v any) error {
	if v == nil {
		return nil
	}
	switch t {
	case fold.SumLong:
		x, ok := v.(*big.Int)
		if small, short := v.(int64); short {
			x, ok = big.NewInt(small), true
		}
		if !ok {
			return fmt.Errorf("state %d: a sum that is %T", i, v)
		}
		low := new(big.Int).And(x, new(big.Int).SetUint64(1<<64-1))
		b.Sum(i, new(big.Int).Rsh(x, 64).Int64(), low.Uint64())
	case fold.SumDouble, fold.MinDouble, fold.MaxDouble:
		b.Double(i, v.(float64))
	case fold.Distinct:
		var packed []int64
		for _, x := range v.([]any) {
			packed = append(packed, x.(int64))
		}
		b.Registers(i, packed)
	case fold.Quantile:
		var bins []fold.Bin
		for _, x := range v.([]any) {
			pair, ok := x.([]any) // or by name, as DuckDB's driver has it
			if m, named := x.(map[string]any); named {
				pair, ok = []any{m["bin"], m["n"]}, true
			}
			if !ok || len(pair) != 2 {
				return fmt.Errorf("state %d: a bucket that is %T", i, x)
			}
			bins = append(bins, fold.Bin{Bin: int32(pair[0].(int64)), N: pair[1].(int64)})
		}
		b.Bins(i, bins)
	default:
		b.Long(i, v.(int64))
	}
	return nil
}

// Tell writes a block as texts: group → state → value. Sums of doubles are left out.
func Tell(c *metric.Compiled, s *fold.States) map[string]map[string]string {
	out := map[string]map[string]string{}
	for i := range s.N {
		states := map[string]string{}
		for k := range s.Cols {
			if text := stateText(&s.Cols[k], i); text != "" {
				st := c.States[k]
				name := fmt.Sprintf("s%d %s", k, st.Op)
				if st.Expr != nil {
					name += " " + st.Expr.Canonical()
				}
				states[name] = text
			}
		}
		out[Key(s, i)] = states
	}
	return out
}

// Key names a group.
func Key(s *fold.States, i int) string {
	parts := []string{fmt.Sprint(s.Buckets[i])}
	for d := range s.Dims {
		if code := s.Dims[d].Codes[i]; code == 0 {
			parts = append(parts, "NULL")
		} else {
			parts = append(parts, fmt.Sprintf("%q", s.Dims[d].Text(code)))
		}
	}
	return strings.Join(parts, " ")
}

func stateText(c *fold.Column, i int) string {
	switch c.Type {
	case fold.Count:
		if c.Ints == nil {
			return "0"
		}
		return fmt.Sprint(c.Ints[i])
	case fold.SumLong:
		return fmt.Sprintf("%d:%d", c.High[i], uint64(c.Ints[i]))
	case fold.SumDouble:
		return ""
	case fold.MinDouble, fold.MaxDouble:
		return fmt.Sprint(c.Floats[i])
	case fold.Distinct:
		var b strings.Builder
		c.HLLs[i].Each(func(r int, rank uint8) { fmt.Fprintf(&b, "%d:%d ", r, rank) })
		return "registers " + b.String()
	case fold.Quantile:
		return fmt.Sprint("bins ", c.Bins[c.Offs[i]:c.Offs[i+1]], c.Counts[c.Offs[i]:c.Offs[i+1]])
	}
	return fmt.Sprint(c.Ints[i])
}
