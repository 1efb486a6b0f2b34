package query

import (
	"slices"

	"github.com/pinflow/pinflow/internal/calendar"
	"github.com/pinflow/pinflow/internal/fold"
	"github.com/pinflow/pinflow/internal/metric"
)

// Revised is a bucket that late events changed after its end. Late counts each event once, by whatever
// dimensions the rows are; under a filter on several values of an unnested dimension it counts values.
type Revised struct {
	Time string `json:"time"`
	Late int64  `json:"late"`
}

// Partial is a bucket of which only what came since a moment within it is there: the first, as a rule.
type Partial struct {
	Time  string `json:"time"`
	Since string `json:"since"`
}

// partial lists the bucket that the data begins within, if it is part of the answer.
func (t *table) partial() []Partial {
	p, w := t.p, t.w
	for k, b := range p.buckets {
		if s := w.at(b); b < w.since && w.since < p.end(k) && (s.source == sourceLive || s.source == sourceLake) {
			return []Partial{{p.show(b), p.show(w.since)}}
		}
	}
	return []Partial{}
}

// bookkept are the states that say what the numbers are worth.
func (p *plan) bookkept() []int {
	return []int{metric.StateErrors, metric.StateLateDropped, p.c.LateState(p.lateGrain())}
}

// Columns of the bookkeeping.
const (
	keptErrors = iota
	keptDropped
	keptLate
)

// bookkeeping is the hidden states by time alone. They come with the rows, but where these are by an unnested
// dimension, which has an event under each of its values: then whole events are read once more.
func (p *plan) bookkeeping(t *table, parts []fold.Part) (*fold.States, error) {
	if !p.unnested() {
		out := &fold.States{N: t.block.N, Buckets: t.block.Buckets}
		for _, s := range p.bookkept() {
			out.Cols = append(out.Cols, t.block.Cols[t.at[s]])
		}
		return out, nil
	}
	return p.regroup(fold.Grouping{Grain: p.grain, Clock: calendar.NewClock(p.zone), States: p.bookkept(), Match: p.match}, parts)
}

// unnested tells whether rows are by a dimension that has several values of an event.
func (p *plan) unnested() bool {
	return slices.ContainsFunc(p.by, func(d *metric.NamedDimension) bool { return d.Unnest })
}

// each says of a count of events how it counts where an event has several values of a dimension.
func (p *plan) each() string {
	if p.elements == "" {
		return ""
	}
	return ", each once for every value that passes,"
}

// revised lists the finished buckets that late events changed.
func (t *table) revised() []Revised {
	out := []Revised{}
	late, all := map[int64]int64{}, int64(0)
	for i, n := range t.whole.Cols[keptLate].Ints {
		late[t.whole.Buckets[i]] += n
		all += n
	}
	if t.p.grain == calendar.None {
		if t.w.total(t.p.to, all) == stateRevised {
			out = append(out, Revised{t.p.show(t.p.from), all})
		}
		return out
	}
	for k, b := range t.p.buckets {
		if n := late[b]; n > 0 && t.w.state(b, t.p.end(k), n) == stateRevised {
			out = append(out, Revised{t.p.show(b), n})
		}
	}
	return out
}
