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

// values are those of an input that are not NULL, with their groups.
type values struct {
	gids   []uint32
	ints   []int64 // nil of doubles and of texts
	floats []float64

	ownGids   []uint32 // memory of what cannot be shared
	ownInts   []int64
	ownFloats []float64
}

// of takes the values of the rows; all: of every row in order.
func (x *values) of(v *column.Vec, rows []int32, gids []uint32, all bool) {
	x.gids, x.ints, x.floats = gids, nil, nil
	isText := v.Kind == column.String || v.Kind == column.JSON || v.Kind == column.List
	if all && v.Valid == nil {
		switch {
		case v.Kind == column.Double:
			x.floats = v.Floats[:len(gids)]
		case !isText:
			x.ints = v.Ints[:len(gids)]
		}
		return
	}
	x.ownGids = sized(x.ownGids, len(gids))
	var n int
	switch {
	case v.Kind == column.Double:
		x.ownFloats = sized(x.ownFloats, len(gids))
		n = gather(x.ownFloats, x.ownGids, v.Floats, v.Valid, rows, gids, all)
		x.floats = x.ownFloats[:n]
	case isText:
		for k, g := range gids {
			r := k
			if !all {
				r = int(rows[k])
			}
			x.ownGids[n] = g
			if v.Valid == nil || v.Valid[r] {
				n++
			}
		}
	default:
		x.ownInts = sized(x.ownInts, len(gids))
		n = gather(x.ownInts, x.ownGids, v.Ints, v.Valid, rows, gids, all)
		x.ints = x.ownInts[:n]
	}
	x.gids = x.ownGids[:n]
}

// gather lists the values that are there and returns how many they are.
func gather[T int64 | float64](out []T, outGids []uint32, from []T, valid []bool, rows []int32, gids []uint32, all bool) int {
	switch {
	case all:
		return gatherAll(out, outGids, from, valid, gids)
	case valid == nil:
		for k, r := range rows {
			out[k], outGids[k] = from[r], gids[k]
		}
		return len(rows)
	}
	n := 0
	for k, r := range rows {
		out[n], outGids[n] = from[r], gids[k]
		if valid[r] {
			n++
		}
	}
	return n
}

// gatherAll is gather of all rows in order: mostly eight in a row are there.
func gatherAll[T int64 | float64](out []T, outGids []uint32, from []T, valid []bool, gids []uint32) (n int) {
	var eight [8]bool
	for i := range eight {
		eight[i] = true
	}
	k := 0
	for ; k+8 <= len(gids); k += 8 {
		if *(*[8]bool)(valid[k:]) == eight {
			*(*[8]T)(out[n:]), *(*[8]uint32)(outGids[n:]) = *(*[8]T)(from[k:]), *(*[8]uint32)(gids[k:])
			n += 8
			continue
		}
		for i := k; i < k+8; i++ {
			out[n], outGids[n] = from[i], gids[i]
			if valid[i] {
				n++
			}
		}
	}
	for ; k < len(gids); k++ {
		out[n], outGids[n] = from[k], gids[k]
		if valid[k] {
			n++
		}
	}
	return n
}

// fold adds values to the states of their groups.
func (c *Column) fold(x *values, op metric.Op) {
	switch {
	case op == metric.OpCount:
		counts := c.Ints
		for _, g := range x.gids {
			counts[g]++
		}
	case op == metric.OpMagnitude:
		for k, f := range x.floats {
			c.addDouble(x.gids[k], math.Abs(f), 0)
		}
	case c.Type == SumLong:
		c.foldSumLong(x.ints, x.gids)
	case c.Type == SumDouble:
		for k, f := range x.floats {
			c.addDouble(x.gids[k], f, 0)
		}
	case c.Type == MinLong:
		limit(c.Ints, x.ints, x.gids, func(a, b int64) bool { return a < b })
	case c.Type == MaxLong:
		limit(c.Ints, x.ints, x.gids, func(a, b int64) bool { return a > b })
	case c.Type == MinDouble:
		limit(c.Floats, x.floats, x.gids, func(a, b float64) bool { return a < b })
	case c.Type == MaxDouble:
		limit(c.Floats, x.floats, x.gids, func(a, b float64) bool { return a > b })
	}
}

func (c *Column) foldSumLong(ints []int64, gids []uint32) {
	low, high := c.Ints, c.High
	for k, x := range ints {
		g := gids[k]
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

// limit keeps the value of each group that goes before all others.
func limit[T int64 | float64](limits, values []T, gids []uint32, before func(a, b T) bool) {
	for k, x := range values {
		if g := gids[k]; before(x, limits[g]) {
			limits[g] = x
		}
	}
}
