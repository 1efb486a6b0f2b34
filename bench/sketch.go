package main

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/pinflow/pinflow/internal/sketch"
)

var sketchBench = bench{
	name: "sketch", title: "accuracy of distinct counts and percentiles",
	how: "Exact answers against the states that views keep. Distinct: 10^k different numbers, counted in 64 trials (8 of 10^6, 2 of 10^7) with other numbers each; the error is in % of the exact count, its root mean square and its greatest. Percentiles: a million values of each distribution, the greatest error of p1, p10, p50, p90, p99 and p99.9 in % of the exact value at that rank (nearest rank).",
	run: runSketch,
}

func runSketch(ctx context.Context, e *env) ([]figure, error) {
	var out []figure
	for k, n := 0, 1; n <= 10_000_000; k, n = k+1, n*10 {
		trials := map[int]int{1_000_000: 8, 10_000_000: 2}[n]
		if trials == 0 {
			trials = 64
		}
		square, worst := 0.0, 0.0
		for trial := range trials {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			off := math.Abs(distinct(uint64(trial), n)-float64(n)) / float64(n) * 100
			square, worst = square+off*off/float64(trials), max(worst, off)
		}
		out = append(out, most(fmt.Sprintf("distinct of 10^%d, root mean square", k), math.Sqrt(square), "%", 2), fact(fmt.Sprintf("distinct of 10^%d, greatest", k), worst, "%"))
		e.say("distinct of 10^%d: %.3f %%", k, math.Sqrt(square))
	}
	for _, d := range distributions() {
		out = append(out, most("percentiles, "+d.name, percentileError(d.draw), "%", 100*sketch.QuantileError))
	}
	return out, nil
}

// distinct is the rounded estimate of n different numbers.
func distinct(trial uint64, n int) float64 {
	var h sketch.HLL
	first := int64(trial * 0x9E3779B97F4A7C15 >> 1)
	for i := range n {
		h = h.Add(sketch.HashLong(first + int64(i)))
	}
	return math.Round(h.Estimate())
}

type distribution struct {
	name string
	draw func(r *rand.Rand) float64
}

func distributions() []distribution {
	zipf := func(r *rand.Rand) float64 { // skewed: most are 1, some are huge
		return math.Floor(math.Pow(1-r.Float64(), -1/1.1))
	}
	return []distribution{
		{"uniform 0 to 1", func(r *rand.Rand) float64 { return r.Float64() }},
		{"normal around 0", func(r *rand.Rand) float64 { return r.NormFloat64() }},
		{"log-normal", func(r *rand.Rand) float64 { return math.Exp(3 * r.NormFloat64()) }},
		{"Zipf 1.1", zipf},
		{"two values", func(r *rand.Rand) float64 { return 1 + 999*float64(r.IntN(2)) }},
	}
}

func percentileError(draw func(*rand.Rand) float64) float64 {
	r, values, count := rand.New(rand.NewPCG(1, 2)), make([]float64, 1_000_000), map[int32]int64{}
	for i := range values {
		values[i] = draw(r)
		count[sketch.Bucket(values[i])]++
	}
	slices.Sort(values)
	var bins []int32
	for b := range count {
		bins = append(bins, b)
	}
	slices.Sort(bins)
	counts := make([]int64, len(bins))
	for i, b := range bins {
		counts[i] = count[b]
	}
	worst := 0.0
	for _, p := range []float64{0.01, 0.1, 0.5, 0.9, 0.99, 0.999} {
		want := values[sketch.Rank(p, uint64(len(values)))-1]
		got := sketch.Quantile(bins, counts, p, values[0], values[len(values)-1])
		worst = max(worst, math.Abs(got-want)/math.Abs(want)*100)
	}
	return worst
}
