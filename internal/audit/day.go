package audit

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/pinflow/pinflow/internal/calendar"
	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/fold"
	"github.com/pinflow/pinflow/internal/history"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/segment"
	"github.com/pinflow/pinflow/internal/span"
)

// comparison is an audit in progress.
type comparison struct {
	a        *Auditor
	clock    *calendar.Clock
	version  int64
	measures []string
	report   *Report
	pause    func(context.Context) error
}

func (c *comparison) show(us int64) string {
	return time.UnixMicro(us).In(c.clock.Zone().Location()).Format(time.RFC3339)
}

// answer is a stretch of time as the ledger has it at one moment.
type answer struct {
	r        *history.Reader
	grain    calendar.Grain // of its buckets; None: no tier has all of it
	from, to int64          // whole buckets
	data     *ledger.Data
}

// day compares [from, to), which lies within a day of the view's zone.
func (c *comparison) day(ctx context.Context, from, to int64) error {
	ans, err := c.answer(ctx, from, to)
	if err != nil {
		return err
	}
	if c.report.From == "" {
		c.report.From = c.show(ans.from)
	}
	c.report.To = c.show(ans.to)
	if ans.grain == calendar.None {
		c.uncovered(ans.from, ans.to, 0, fmt.Sprintf("the view keeps days from %s on only", c.show(c.floor(ans, calendar.Day))))
		return nil
	}
	if err := c.a.passed(ctx, ans.data.Positions); err != nil {
		return err
	}
	by := fold.Everything(ans.r.Compiled(), ans.grain)
	by.From, by.To = ans.from, ans.to
	got, err := c.merge(ans, by)
	if err != nil {
		return err
	}
	truth, err := c.fold(ctx, ans)
	if err != nil {
		return err
	}
	c.compare(ans, got, truth)
	return nil
}

// answer reads the segments of the finest tier that is whole, under a catalogue not older than they are.
func (c *comparison) answer(ctx context.Context, from, to int64) (*answer, error) {
	out := &answer{data: &ledger.Data{}}
	for range 5 {
		r, err := c.a.reader(ctx, c.version)
		if err != nil {
			return nil, err
		}
		out.r = r
		c.choose(out, from, to)
		grain := out.grain
		part := ledger.Part{Tier: max(grain, calendar.Minute).String(), From: out.from, To: out.to}
		out.data, err = c.a.store.Read(ctx, ledger.Read{View: c.report.View, Parts: []ledger.Part{part}})
		switch {
		case err != nil:
			return nil, err
		case out.data.Version.ID != c.version:
			return nil, fault.New(fault.Transient, moving, "another version of view %s answers now", c.report.View)
		}
		schemas := out.data.Stream.Schemas
		if c.choose(out, from, to); out.grain == grain && schemas[len(schemas)-1].Version <= r.Schema() {
			return out, nil
		}
	}
	return nil, fault.New(fault.Transient, moving, "the tiers of view %s move too fast to be read", c.report.View)
}

// choose takes the finest tier that is whole in [from, to), as far as the data in hand tells, and widens
// the stretch to its buckets.
func (c *comparison) choose(out *answer, from, to int64) {
	out.grain, out.from, out.to = calendar.None, from, to
	for _, tier := range segment.Tiers(out.r.Compiled()) {
		start := c.clock.Start(tier, from)
		if c.floor(out, tier) <= start {
			out.grain, out.from, out.to = tier, start, c.clock.End(tier, to-1)
			return
		}
	}
}

// floor is where a tier begins to be whole.
func (c *comparison) floor(a *answer, tier calendar.Grain) int64 {
	floor := segment.Floor(a.r.Compiled(), tier, time.Now().UnixMicro())
	if dropped, ok := a.data.Floors[tier.String()]; ok {
		floor = max(floor, dropped)
	}
	return floor
}

const lookEvery = 200 * time.Millisecond

// passed waits until the lake holds all that live has read.
func (a *Auditor) passed(ctx context.Context, positions span.Vector) error {
	deadline := time.NewTimer(a.cfg.Wait)
	defer deadline.Stop()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		at, err := a.store.LakeVector(ctx)
		if err != nil {
			return fmt.Errorf("reading the lake's offsets: %w", err)
		}
		if at.Reaches(positions) {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-deadline.C:
			return fault.New(fault.Transient, "lake_behind", "the lake has not caught up with live within %s", a.cfg.Wait).
				WithAdvice("see pinflow status").WithExit(fault.ExitNotComplete)
		case <-tick.C:
		}
	}
}

// merge decodes and merges the answer's segments. It goes on without one that is damaged, so that the differences
// name what it held.
func (c *comparison) merge(ans *answer, by fold.Grouping) (*fold.States, error) {
	var blocks []*fold.States
	for i := range ans.data.Segments {
		s := &ans.data.Segments[i]
		block, err := c.a.codec.Decode(s.Data)
		if err == nil {
			err = fold.Fits(ans.r.Compiled(), block)
		}
		switch {
		case err == nil:
			blocks = append(blocks, block)
		case fault.Is(err, fault.Corrupt):
			c.damaged(s, err)
		default:
			return nil, fmt.Errorf("decoding segment %d: %w", s.ID, err)
		}
	}
	merged, err := fold.Regroup(ans.r.Compiled(), by, blocks...)
	if err != nil {
		return nil, fmt.Errorf("merging the answer: %w", err)
	}
	return merged, nil
}

// damaged notes a segment once, though several days may read it.
func (c *comparison) damaged(s *ledger.Segment, err error) {
	if !slices.ContainsFunc(c.report.Damaged, func(d Damaged) bool { return d.Segment == s.ID }) {
		c.report.Damaged = append(c.report.Damaged, Damaged{s.ID, c.show(s.From), c.show(s.To), s.Rows, err.Error()})
	}
}

const usPerDay = 24 * 60 * 60 * 1_000_000

// mostBytes of states are held before those of other times are let go.
const mostBytes = 64 << 20

// fold folds the lake's rows that the answer is made of.
func (c *comparison) fold(ctx context.Context, ans *answer) (*fold.States, error) {
	v := ans.r.Folded()
	by := fold.Everything(v, ans.grain)
	by.From, by.To = ans.from, ans.to
	held := &fold.States{}
	settle := func() error {
		merged, err := fold.Regroup(v, by, slices.Insert(ans.r.Take(), 0, held)...)
		if err != nil {
			return fmt.Errorf("merging the lake's states: %w", err)
		}
		held = merged
		return nil
	}
	var err error
	if held, err = fold.Regroup(v, by); err != nil {
		return nil, fmt.Errorf("merging the lake's states: %w", err)
	}
	for _, x := range c.scans(ans) {
		rows, below, within := ans.r.Rows, ans.r.Below, c.within(ans.data, x)
		_, err := c.a.lake.Scan(ctx, x.sel, func(b *lake.Block) error {
			if err := ans.r.Add(b, within); err != nil {
				return err
			}
			if ans.r.Bytes() > mostBytes {
				if err := settle(); err != nil {
					return err
				}
			}
			return c.pause(ctx)
		})
		if err != nil {
			return nil, err
		}
		c.report.Rows += ans.r.Rows - rows
		if below = ans.r.Below - below; below > 0 {
			c.uncovered(x.from, x.to, below, c.lacking(ans, x.day))
		}
	}
	if err := settle(); err != nil {
		return nil, err
	}
	return held, nil
}

// scan is one reading of the lake, and the buckets that its rows may be in.
type scan struct {
	sel      lake.Selection
	day      string // of the lake; "": of many days
	from, to int64
}

// scans are the days of the lake that can hold rows of the answer's buckets; of a view by another time than
// the event's, all of them together, less what was not received then if that is its time.
func (c *comparison) scans(ans *answer) []scan {
	v := ans.r.Compiled()
	sel := lake.Selection{Table: ans.r.View.Stream, Columns: ans.r.Columns()}
	switch v.Time {
	case event.ColumnEventTime:
	case event.ColumnReceivedAt: // files say between which moments their rows were received
		sel.ReceivedFrom, sel.ReceivedTo = ans.from, ans.to
		fallthrough
	default:
		return []scan{{sel: sel, from: ans.from, to: ans.to}}
	}
	var out []scan
	for d := floorDay(ans.from); d <= floorDay(ans.to-1); d++ {
		day := d * usPerDay
		sel.From, sel.To = max(day, ans.from), min(day+usPerDay, ans.to)
		out = append(out, scan{sel, time.UnixMicro(day).UTC().Format(time.DateOnly), sel.From, sel.To})
	}
	return out
}

func floorDay(us int64) int64 {
	d := us / usPerDay
	if us%usPerDay < 0 {
		d--
	}
	return d
}

// within says which rows of a scan the answer is made of: what live has read; below the version's cut and
// of imported files only days that were filled in.
func (c *comparison) within(data *ledger.Data, x scan) history.Bounds {
	f := data.Filling
	if f == nil {
		f = &ledger.Filling{}
	}
	history := f.Has(x.day)
	return func(k span.Key) span.Range {
		cut := data.Version.Cut[k]
		to, live := data.Positions[k]
		switch {
		case live:
		case slices.ContainsFunc(data.Importing, func(f ledger.Importing) bool { return f.Log == k.Log }):
			return span.Range{From: math.MaxInt64, To: math.MaxInt64}
		case slices.Contains(f.Imports, k.Log):
			if f.Lacks(k.Log, x.day) {
				return span.Range{From: math.MaxInt64, To: math.MaxInt64}
			}
			return span.Range{To: math.MaxInt64}
		default: // a file that was imported before the version was made; or is being imported, cut 0
			to = cut
		}
		if history {
			return span.Range{To: to}
		}
		return span.Range{From: cut, To: to}
	}
}

// lacking says why rows below the version's cut are not in the answer.
func (c *comparison) lacking(ans *answer, day string) string {
	f := ans.data.Filling
	if f == nil {
		f = &ledger.Filling{}
	}
	for _, t := range f.Missing {
		if t.State == ledger.Failed && (t.Day == day || day == "") {
			return "filling in " + t.Day + " failed"
		}
	}
	if f.Backfill == 0 || f.Has(day) {
		if slices.ContainsFunc(f.Missing, func(t ledger.TaskDay) bool { return t.Log != 0 }) {
			return "an imported file is being filled in"
		}
		if len(ans.data.Importing) > 0 {
			return "the import of " + ans.data.Importing[0].Name + " has not ended"
		}
	}
	if f.Backfill == 0 {
		return "before the version's cut, and it has no history: backfill.from is none"
	}
	if f.State == ledger.Paused {
		return "its back-fill is paused"
	}
	return "its history is being filled in"
}

// uncovered notes a stretch, as one with the last if that is its like.
func (c *comparison) uncovered(from, to, rows int64, reason string) {
	if n := len(c.report.Uncovered); n > 0 {
		if last := &c.report.Uncovered[n-1]; last.To == c.show(from) && last.Reason == reason {
			last.To, last.Rows = c.show(to), last.Rows+rows
			return
		}
	}
	c.report.Uncovered = append(c.report.Uncovered, Uncovered{c.show(from), c.show(to), rows, reason})
}
