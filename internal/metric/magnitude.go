package metric

import (
	"slices"

	"github.com/pinflow/pinflow/internal/column"
)

// WithMagnitudes returns the view with one more state after its own for each sum of doubles: Σ|x|, by which
// sums of the same numbers in another order are compared. No segment holds these.
func (c *Compiled) WithMagnitudes() *Compiled {
	out := *c
	out.States = slices.Clone(c.States)
	for _, s := range c.States {
		if s.Op == OpSum && s.Kind == column.Double {
			s.Op = OpMagnitude
			out.States = append(out.States, s)
		}
	}
	return &out
}

// MagnitudeState is where WithMagnitudes put Σ|x| of a state; -1: it is no sum of doubles.
func (c *Compiled) MagnitudeState(state int) int {
	at := len(c.States)
	for i, s := range c.States {
		if s.Op != OpSum || s.Kind != column.Double {
			continue
		}
		if i == state {
			return at
		}
		at++
	}
	return -1
}
