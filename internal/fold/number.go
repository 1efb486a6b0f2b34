package fold

import (
	"math"
	"math/big"
	"strconv"

	"github.com/pinflow/pinflow/internal/column"
	"github.com/pinflow/pinflow/internal/metric"
	"github.com/pinflow/pinflow/internal/sketch"
)

// Number is a finished value: NULL, an integer of 128 bits, or a double.
type Number struct {
	Null   bool
	Double bool
	High   int64
	Low    uint64
	F      float64
}

// Integer makes a Number of an int64.
func Integer(x int64) Number { return Number{High: x >> 63, Low: uint64(x)} }

// Float64 is the nearest double; 0 for NULL.
func (n Number) Float64() float64 {
	switch {
	case n.Null:
		return 0
	case n.Double:
		return n.F
	}
	if n.High == int64(n.Low)>>63 {
		return float64(int64(n.Low))
	}
	return float64(n.High)*(1<<64) + float64(n.Low)
}

// AppendJSON appends the number as JSON.
func (n Number) AppendJSON(dst []byte) []byte {
	switch {
	case n.Null:
		return append(dst, "null"...)
	case n.Double:
		return strconv.AppendFloat(dst, n.F, 'g', -1, 64)
	case n.High == int64(n.Low)>>63:
		return strconv.AppendInt(dst, int64(n.Low), 10)
	}
	x := new(big.Int).Lsh(big.NewInt(n.High), 64)
	return x.Add(x, new(big.Int).SetUint64(n.Low)).Append(dst, 10)
}

// double is NULL where x is not finite: a sum beyond the range of double.
func double(x float64) Number {
	if x-x != 0 {
		return Number{Null: true}
	}
	if x == 0 {
		x = 0
	}
	return Number{Double: true, F: x}
}

// Value finishes a measure for row i of a block whose columns hold the view's states at: at[s] is
// the column of state s. A ratio divides two values with Divide instead.
func Value(m *metric.NamedMeasure, b *States, at []int, i int) Number {
	first := &b.Cols[at[m.States[0]]]
	switch first.Type {
	case Distinct:
		return Integer(int64(math.Round(first.HLLs[i].Estimate())))
	case Quantile:
		return quantile(m, b, at, i)
	case Count:
		return Integer(first.Ints[i])
	default:
	}
	count := b.Cols[at[m.States[1]]].Ints[i]
	if count == 0 {
		return Number{Null: true}
	}
	switch first.Type {
	case SumLong:
		n := Number{High: first.High[i], Low: uint64(first.Ints[i])}
		if m.Agg == "avg" {
			return double(n.Float64() / float64(count))
		}
		return n
	case SumDouble:
		sum := first.Floats[i] + first.Rest[i]
		if m.Agg == "avg" {
			sum /= float64(count)
		}
		return double(sum)
	case MinDouble, MaxDouble:
		return double(first.Floats[i])
	case MinLong, MaxLong, Count, Distinct, Quantile, Invalid:
	}
	return Integer(first.Ints[i])
}

// quantile finishes a percentile of its states: bins, least and greatest value.
func quantile(m *metric.NamedMeasure, b *States, at []int, i int) Number {
	c, least, greatest := &b.Cols[at[m.States[0]]], &b.Cols[at[m.States[1]]], &b.Cols[at[m.States[2]]]
	from, to := c.Offs[i], c.Offs[i+1]
	if from == to {
		return Number{Null: true}
	}
	limit := func(c *Column) float64 {
		if c.Floats != nil {
			return c.Floats[i]
		}
		return float64(c.Ints[i])
	}
	return double(sketch.Quantile(c.Bins[from:to], c.Counts[from:to], m.Percentile, limit(least), limit(greatest)))
}

// Divide is a ratio's value: NULL where a side is NULL or the denominator is 0.
func Divide(a, b Number) Number {
	if a.Null || b.Null || b.Float64() == 0 {
		return Number{Null: true}
	}
	return double(a.Float64() / b.Float64())
}

// Empty is the value of a measure over no rows: 0 for counts, distinct ones too, else NULL.
func Empty(m *metric.NamedMeasure) Number {
	if m.Agg == "count" || m.Agg == "count_distinct_approx" {
		return Integer(0)
	}
	return Number{Null: true}
}

// Text is the value as people write it: times of min and max as RFC 3339, dates as dates.
func (n Number) Text(kind column.Kind) string {
	if !n.Null && !n.Double && (kind == column.Timestamptz || kind == column.Date) {
		v := column.Vec{Kind: kind, Len: 1, Ints: []int64{int64(n.Low)}}
		return string(appendValue(nil, &v, 0))
	}
	return string(n.AppendJSON(nil))
}
