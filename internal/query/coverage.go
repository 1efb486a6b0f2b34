package query

import (
	"fmt"
	"slices"
	"time"

	"github.com/pinflow/pinflow/internal/calendar"
	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/metric"
	"github.com/pinflow/pinflow/internal/segment"
)

// Coverage says where the numbers of a stretch of time come from.
type Coverage struct {
	From   string `json:"from"`
	To     string `json:"to"`
	Source string `json:"source"` // lake | live | backfilling | missing
	Reason string `json:"reason,omitempty"`
}

// Sources of coverage.
const (
	sourceLive        = "live"
	sourceLake        = "lake"
	sourceBackfilling = "backfilling"
	sourceMissing     = "missing"
)

const (
	beforeFirst  = "before the first event"
	beforeFrom   = "the view has no history of that time: backfill.from is later"
	beganWithin  = "this version of the view began within it"
	noHistory    = "the view has no history: backfill.from is none"
	olderVersion = "before this version of the view"
)

// States of points.
const (
	stateComplete    = "complete"
	stateIncomplete  = "incomplete"
	stateRevised     = "revised"
	stateBackfilling = "backfilling"
	stateMissing     = "missing"
)

// stretch is [from, to) with one source.
type stretch struct {
	from, to       int64
	source, reason string
}

// worth knows what the points of an answer are worth.
type worth struct {
	stretches []stretch
	final     int64 // buckets that end here or before are complete
	now       int64
	changed   int64 // when a version without history began; 0: it has one, or needs none

	since int64 // within a bucket: from when on there is data; 0: from the start of one
	clock *calendar.Clock
	edge  calendar.Grain
}

func newWorth(p *plan, d *ledger.Data, now time.Time, wait time.Duration) *worth {
	w := &worth{now: now.UnixMicro(), final: -1 << 62}
	if !d.CompleteTo.IsZero() {
		w.final = d.CompleteTo.UnixMicro() - p.c.Grace - wait.Microseconds()
	}
	clock, edge := calendar.NewClock(p.zone), max(p.grain, p.c.Grain)
	w.clock, w.edge = clock, edge
	// What is asked beyond the present is not there yet; it is no gap.
	end := min(p.to, clock.End(edge, max(w.now, p.from)))
	created := max(since(d), p.c.From)
	begin, live := w.bounds(p, d, created)
	f := d.Filling
	if f == nil {
		f = &ledger.Filling{Listed: true}
	}
	if f.Backfill == 0 && live > begin { // what lies below the cut is of any time
		begin = min(begin, p.from)
	}
	begin = listedFrom(f, begin, p.from)
	known := begin
	if begin = clock.Start(edge, begin); live > begin {
		live = clock.End(edge, live-1)
	}
	first := p.from // where history is wanted
	if p.c.From > first {
		first = max(first, min(begin, end, clock.Start(edge, p.c.From)))
	}
	w.add(p.from, first, sourceMissing, beforeFrom)
	w.add(first, min(begin, end), sourceMissing, beforeFirst)
	switch {
	case live <= begin:
	case f.Backfill != 0:
		w.history(p, f, clock, edge, max(p.from, begin), min(live, end))
	default:
		w.forward(p, d, clock.Start(edge, d.Version.CreatedAt.UnixMicro()), max(p.from, begin), min(live, end))
	}
	w.add(max(p.from, begin, live), end, sourceLive, "")
	w.imports(p, f, clock, edge, end)
	for _, h := range p.holes {
		if h.from = clock.Start(edge, h.from); clock.Start(edge, h.to) != h.to { // a bucket of which a part is gone
			h.to = clock.End(edge, h.to)
		}
		w.punch(h, fmt.Sprintf("the view keeps %ss from %s on only", p.tierAsked(), p.show(p.floors[p.tierAsked()])))
	}
	if first := clock.Start(edge, created); p.grain != calendar.None && first < created && known >= first {
		w.partly(created, fmt.Sprintf("there is data since %s", p.show(created)))
	}
	return w
}

// partly says of the bucket that holds a moment that only what follows it is there. What is not there at all,
// or not yet, stays so.
func (w *worth) partly(since int64, reason string) {
	w.since = since
	at := hole{w.clock.Start(w.edge, since), w.clock.End(w.edge, since)}
	var out []stretch
	for _, s := range w.stretches {
		if s.source == sourceMissing || s.source == sourceBackfilling || s.to <= at.from || s.from >= at.to {
			out = append(out, s)
			continue
		}
		within, after := s, s
		within.to, after.from = min(s.to, at.to), min(s.to, at.to)
		if within.reason == "" {
			within.reason = reason
		}
		for _, x := range []stretch{within, after} {
			if x.from < x.to {
				out = append(out, x)
			}
		}
	}
	w.stretches = out
}

// forward covers [from, to), where events may lie below the cut of a version without history: nothing is
// there of what ended before the version, and a part of the buckets that it began in.
func (w *worth) forward(p *plan, d *ledger.Data, began, from, to int64) {
	why := olderVersion
	if p.c.NoHistory {
		why = noHistory
	}
	w.changed = d.Version.CreatedAt.UnixMicro()
	if w.clock.Start(w.edge, w.changed) != w.changed {
		w.since = w.changed
	}
	w.add(from, min(began, to), sourceMissing, why)
	w.add(max(from, began), to, sourceLive, beganWithin)
}

// punch makes what was found in a stretch missing; where there was nothing before, nothing is.
func (w *worth) punch(h hole, reason string) { w.cover(h, sourceMissing, reason) }

// cover is punch with any source.
func (w *worth) cover(h hole, source, reason string) {
	var out []stretch
	for _, s := range w.stretches {
		if s.source == sourceMissing || s.to <= h.from || s.from >= h.to {
			out = append(out, s)
			continue
		}
		before, after := s, s
		before.to, after.from = max(s.from, h.from), min(s.to, h.to)
		for _, x := range []stretch{before, {before.to, after.from, source, reason}, after} {
			if x.from < x.to {
				out = append(out, x)
			}
		}
	}
	w.stretches = out
}

// bounds returns when the data begins, and from when on it is all live: before that instant events
// may lie below the version's cut. A version that began with its stream has no such events; its live
// part begins at no time.
func (w *worth) bounds(p *plan, d *ledger.Data, created int64) (begin, live int64) {
	begin = created
	if at := earlier(p.c, d.Earliest, created); at != 0 {
		begin = at
	}
	live = -1 << 62
	for _, at := range d.Version.Cut {
		if at > 0 {
			// An event below the cut was received before, and may be ahead by max_ahead.
			live = max(live, d.Version.CreatedAt.Add(p.c.Schema.Stream.MaxAhead).UnixMicro())
		}
	}
	return begin, live
}

// since is when the stream began: nobody could post to it before. What an older time stands in came late or was
// imported, and whether there is more of that time nobody knows.
func since(d *ledger.Data) int64 {
	at := d.Version.CreatedAt.UnixMicro()
	for _, s := range d.Stream.Schemas {
		at = min(at, s.CreatedAt.UnixMicro())
	}
	return at
}

// earlier is the oldest bucket's start if it tells of data from before a moment; 0: it does not. The start of
// the very bucket, of some tier, that holds the moment says nothing of what was before.
func earlier(c *metric.Compiled, oldest, at int64) int64 {
	clock := calendar.NewClock(c.Zone)
	if oldest >= at || slices.ContainsFunc(segment.Tiers(c), func(g calendar.Grain) bool { return clock.Start(g, at) == oldest }) {
		return 0
	}
	return oldest
}

// listedFrom is when the data of a version begins whose history is filled in: before its days are listed
// nobody knows.
func listedFrom(f *ledger.Filling, begin, from int64) int64 {
	if !f.Listed {
		return min(begin, from)
	}
	us, ok := dayStart(f.First)
	filled := !slices.ContainsFunc(f.Missing, func(d ledger.TaskDay) bool { return d.Day == f.First })
	switch {
	case !ok, filled && begin < us+usPerDay: // of a day that is there the first bucket is known
		return begin
	}
	return min(begin, us)
}

const usPerDay = 24 * 60 * 60 * 1_000_000

// dayStart is where a day of the lake begins.
func dayStart(day string) (int64, bool) {
	at, err := time.Parse(time.DateOnly, day)
	return at.UnixMicro(), err == nil
}

// history covers [from, to), which lies below the version's cut: by the lake, less every bucket that a
// day may hold rows of that is not done. A view by another time than the event's has to wait for all.
func (w *worth) history(p *plan, f *ledger.Filling, clock *calendar.Clock, edge calendar.Grain, from, to int64) {
	missing := slices.DeleteFunc(slices.Clone(f.Missing), func(d ledger.TaskDay) bool { return d.Log != 0 })
	if !f.Listed || len(missing) > 0 && p.c.Time != event.ColumnEventTime {
		source, why := lacking(f, ledger.TaskDay{})
		w.add(from, to, source, why)
		return
	}
	for _, d := range missing {
		us, ok := dayStart(d.Day)
		if !ok {
			continue
		}
		begin, end := max(from, clock.Start(edge, us)), min(to, clock.End(edge, us+usPerDay-1))
		if begin >= end {
			continue
		}
		w.add(from, begin, sourceLake, "")
		source, why := lacking(f, d)
		w.join(begin, end, source, why)
		from = end
	}
	w.add(from, to, sourceLake, "")
}

// imports takes back what days of imported files lack that are not filled in yet, on whatever side of the
// version's cut they lie.
func (w *worth) imports(p *plan, f *ledger.Filling, clock *calendar.Clock, edge calendar.Grain, end int64) {
	for _, d := range f.Missing {
		us, ok := dayStart(d.Day)
		if d.Log == 0 || !ok {
			continue
		}
		h := hole{from: max(p.from, clock.Start(edge, us)), to: min(end, clock.End(edge, us+usPerDay-1))}
		if p.c.Time != event.ColumnEventTime { // any bucket may be in it
			h = hole{from: p.from, to: end}
		}
		source, why := sourceBackfilling, "an imported file is being filled in"
		if d.State == ledger.Failed {
			source, why = sourceMissing, "filling in "+d.Day+" of an imported file failed"
		}
		if h.from < h.to {
			w.cover(h, source, why)
		}
	}
}

// lacking says why history is not there.
func lacking(f *ledger.Filling, d ledger.TaskDay) (source, why string) {
	switch {
	case d.State == ledger.Failed:
		return sourceMissing, "filling in " + d.Day + " failed"
	case f.State == ledger.Failed:
		return sourceMissing, "filling in its history failed"
	case f.State == ledger.Paused:
		return sourceBackfilling, "its back-fill is paused"
	}
	return sourceBackfilling, "history is being filled in"
}

// join adds a stretch, as one with the last if that is its like.
func (w *worth) join(from, to int64, source, reason string) {
	if n := len(w.stretches); n > 0 {
		if last := &w.stretches[n-1]; last.to == from && last.source == source && last.reason == reason {
			last.to = to
			return
		}
	}
	w.add(from, to, source, reason)
}

func (w *worth) add(from, to int64, source, reason string) {
	if from < to {
		w.stretches = append(w.stretches, stretch{from, to, source, reason})
	}
}

// at is the stretch of the bucket that starts there; none beyond the present.
func (w *worth) at(bucket int64) stretch {
	for _, s := range w.stretches {
		if bucket >= s.from && bucket < s.to {
			return s
		}
	}
	return stretch{}
}

// some tells whether rows of the bucket are no more than what came late, or in files, after a version without history
// had begun: they count in totals, so they are shown.
func (w *worth) some(bucket int64) bool {
	s := w.at(bucket)
	return s.source == sourceMissing && (s.reason == noHistory || s.reason == olderVersion)
}

// state is what the bucket [from, to) is worth, with so many late rows.
func (w *worth) state(from, to, late int64) string {
	s := w.at(from)
	switch {
	case s.source == sourceMissing:
		return stateMissing
	case s.source == sourceBackfilling:
		return stateBackfilling
	case to > w.final, s.reason == beganWithin, from < w.since && w.since < to:
		return stateIncomplete
	case late > 0:
		return stateRevised
	}
	return stateComplete
}

// total is what a number over the whole range is worth, with so many late rows: parts before the first event take nothing
// from it unless there is nothing else.
func (w *worth) total(to, late int64) string {
	state := stateMissing
	hole := false
	for _, s := range w.stretches {
		switch s.source {
		case sourceBackfilling:
			return stateBackfilling
		case sourceLive, sourceLake:
			state = stateComplete
			hole = hole || s.reason == beganWithin
		case sourceMissing:
			hole = hole || s.reason != beforeFirst
		}
	}
	switch {
	case state != stateComplete:
	case hole || to > w.final:
		return stateIncomplete
	case late > 0:
		return stateRevised
	}
	return state
}

func (w *worth) coverage(show func(int64) string) []Coverage {
	out := make([]Coverage, len(w.stretches))
	for i, s := range w.stretches {
		out[i] = Coverage{show(s.from), show(s.to), s.source, s.reason}
	}
	return out
}
