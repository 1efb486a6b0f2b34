package fold

import (
	"math"
	"math/bits"
	"strconv"
	"time"

	"github.com/pinflow/pinflow/internal/calendar"
	"github.com/pinflow/pinflow/internal/column"
	"github.com/pinflow/pinflow/internal/expr"
	"github.com/pinflow/pinflow/internal/metric"
)

// fold adds the values of the rows to the states of their groups.
func (c *Column) fold(v *column.Vec, op metric.Op, rows []int32, gids []uint32) {
	switch {
	case op == metric.OpCount:
		c.foldCount(v, rows, gids)
	case op == metric.OpMagnitude:
		for k, r := range rows {
			if v.Valid == nil || v.Valid[r] {
				c.addDouble(gids[k], math.Abs(v.Floats[r]), 0)
			}
		}
	case c.Type == SumLong:
		c.foldSumLong(v, rows, gids)
	case c.Type == SumDouble:
		for k, r := range rows {
			if v.Valid == nil || v.Valid[r] {
				c.addDouble(gids[k], v.Floats[r], 0)
			}
		}
	case c.Type == MinLong, c.Type == MaxLong:
		for k, r := range rows {
			if v.Valid == nil || v.Valid[r] {
				c.limitLong(gids[k], v.Ints[r])
			}
		}
	case c.Type == MinDouble, c.Type == MaxDouble:
		for k, r := range rows {
			if v.Valid == nil || v.Valid[r] {
				c.limitDouble(gids[k], v.Floats[r])
			}
		}
	case c.Type == Distinct:
		c.foldDistinct(v, rows, gids)
	case c.Type == Quantile:
		c.foldQuantile(v, rows, gids)
	}
}

func (c *Column) foldCount(v *column.Vec, rows []int32, gids []uint32) {
	counts := c.Ints
	if v.Valid == nil {
		for _, g := range gids {
			counts[g]++
		}
		return
	}
	for k, r := range rows {
		if v.Valid[r] {
			counts[gids[k]]++
		}
	}
}

func (c *Column) foldSumLong(v *column.Vec, rows []int32, gids []uint32) {
	low, high := c.Ints, c.High
	for k, r := range rows {
		if v.Valid != nil && !v.Valid[r] {
			continue
		}
		x, g := v.Ints[r], gids[k]
		sum, carry := bits.Add64(uint64(low[g]), uint64(x), 0)
		low[g] = int64(sum)
		if d := x>>63 + int64(carry); d != 0 { // seldom: the upper half is left out of the cache
			high[g] += d
		}
	}
}

// addDouble adds a sum and its rest: Knuth's TwoSum keeps what rounding takes, so that a sum of any
// number of values stays within a few units in the last place of Σ|x|.
func (c *Column) addDouble(g uint32, x, rest float64) {
	a := c.Floats[g]
	sum := a + x
	b := sum - a
	c.Rest[g] += (a - (sum - b)) + (x - b) + rest
	c.Floats[g] = sum
}

func (c *Column) limitLong(g uint32, x int64) {
	if c.Type == MinLong {
		c.Ints[g] = min(c.Ints[g], x)
	} else {
		c.Ints[g] = max(c.Ints[g], x)
	}
}

func (c *Column) limitDouble(g uint32, x float64) {
	if c.Type == MinDouble {
		c.Floats[g] = min(c.Floats[g], x)
	} else {
		c.Floats[g] = max(c.Floats[g], x)
	}
}

// merge adds the states of rows of another column to those of their groups.
func (c *Column) merge(o *Column, rows []int32, gids []uint32) {
	switch c.Type {
	case Count:
		if len(o.Ints) == 0 { // all 0
			return
		}
		for k, r := range rows {
			c.Ints[gids[k]] += o.Ints[r]
		}
	case SumLong:
		for k, r := range rows {
			g := gids[k]
			sum, carry := bits.Add64(uint64(c.Ints[g]), uint64(o.Ints[r]), 0)
			c.Ints[g] = int64(sum)
			c.High[g] += o.High[r] + int64(carry)
		}
	case SumDouble:
		for k, r := range rows {
			c.addDouble(gids[k], o.Floats[r], o.Rest[r])
		}
	case MinLong, MaxLong:
		for k, r := range rows {
			c.limitLong(gids[k], o.Ints[r])
		}
	case MinDouble, MaxDouble:
		for k, r := range rows {
			c.limitDouble(gids[k], o.Floats[r])
		}
	case Distinct:
		for k, r := range rows {
			c.setHLL(gids[k], c.HLLs[gids[k]].Merge(o.HLLs[r]))
		}
	case Quantile:
		for k, r := range rows {
			for i := o.Offs[r]; i < o.Offs[r+1]; i++ {
				c.tally.add(gids[k], o.Bins[i], o.Counts[i])
			}
		}
	case Invalid:
	}
}

func floatBits(x float64) int64 { return int64(math.Float64bits(x)) }

// appendValue appends the text of a dimension value: what its dictionary holds.
func appendValue(dst []byte, v *column.Vec, i int) []byte {
	switch v.Kind {
	case column.Double:
		return expr.AppendDouble(dst, v.Floats[i])
	case column.Boolean:
		return strconv.AppendBool(dst, v.Ints[i] != 0)
	case column.Timestamptz:
		return time.UnixMicro(v.Ints[i]).UTC().AppendFormat(dst, time.RFC3339Nano)
	case column.Date:
		y, m, d := calendar.Civil(v.Ints[i])
		return time.Date(y, time.Month(m), d, 0, 0, 0, 0, time.UTC).AppendFormat(dst, "2006-01-02")
	case column.String, column.JSON:
		return append(dst, v.Text(i)...)
	default:
		return strconv.AppendInt(dst, v.Ints[i], 10)
	}
}
