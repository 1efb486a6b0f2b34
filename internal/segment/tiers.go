package segment

import (
	"github.com/pinflow/pinflow/internal/calendar"
	"github.com/pinflow/pinflow/internal/metric"
)

// Tiers are the grains that a view's segments have, finest first: its own, and the coarser ones that
// they are rolled up to.
func Tiers(c *metric.Compiled) []calendar.Grain {
	var out []calendar.Grain
	for g := max(c.Grain, calendar.Minute); g <= calendar.Day; g++ {
		out = append(out, g)
	}
	return out
}

// Floor is the start of the oldest bucket of a tier that keep still holds at a moment (microseconds). It
// is where a bucket of the next tier begins: what is older is whole in that one. Forever: beginning of time.
func Floor(c *metric.Compiled, tier calendar.Grain, now int64) int64 {
	keep, ok := c.Keep[tier]
	if !ok || keep == metric.Forever || keep > now-calendar.Beginning {
		return calendar.Beginning
	}
	return calendar.NewClock(c.Zone).Start(min(tier+1, calendar.Day), now-keep)
}

// TierFor is the finest tier that still keeps a bucket that starts before the end (microseconds): what is
// folded of older rows up to there is written to it. The coarsest tier takes what none keeps.
func TierFor(c *metric.Compiled, end, now int64) calendar.Grain {
	for _, tier := range Tiers(c) {
		if Floor(c, tier, now) < end {
			return tier
		}
	}
	return calendar.Day
}

// Skipped are the tiers that have nothing of what was folded to a coarser one, each with where the first of
// its buckets begins that may be whole again: the end of what was folded, or the next boundary after it.
func Skipped(c *metric.Compiled, tier calendar.Grain, end int64) map[string]int64 {
	out := map[string]int64{}
	for _, t := range Tiers(c) {
		if t < tier {
			out[t.String()] = calendar.NewClock(c.Zone).End(t+1, end-1)
		}
	}
	return out
}
