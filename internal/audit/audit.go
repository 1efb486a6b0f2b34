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

// Config of audits.
type Config struct {
	Wait  time.Duration // most time to wait for the lake; 0: 20 s
	Share float64       // of its time that the background check works; 0: 0.2
	Every time.Duration // between two days of the background check; 0: 1 min
	Owner string        // names this process in the ledger
}

// Store is the part of the ledger that audits read.
type Store interface {
	Load(ctx context.Context) (*ledger.Snapshot, error)
	Read(ctx context.Context, q ledger.Read) (*ledger.Data, error)
	LakeVector(ctx context.Context) (span.Vector, error)
}

// Lake is what the answers are compared with.
type Lake interface {
	Scan(ctx context.Context, sel lake.Selection, fn func(*lake.Block) error) (int64, error)
}

// Request asks for a range: dates (whole days of the view's zone) or moments in RFC 3339, To exclusive; an
// empty To is the end of From's day.
type Request struct {
	View, From, To string
}

// Report is what an audit found.
type Report struct {
	View        string       `json:"view"`
	Version     string       `json:"version"`
	From        string       `json:"from"`
	To          string       `json:"to"`
	Rows        int64        `json:"rows"`    // of the lake, folded
	Buckets     int          `json:"buckets"` // compared
	Groups      int          `json:"groups"`
	OK          bool         `json:"ok"`
	Differences []Difference `json:"differences"` // the first of them
	More        int          `json:"more"`        // that are not listed
}

// Difference is one measure of one group of one bucket.
type Difference struct {
	Bucket  string             `json:"bucket"`
	Group   map[string]*string `json:"group"`
	Measure string             `json:"measure"`
	Answer  *string            `json:"answer"` // null: NULL, or no such group
	Lake    *string            `json:"lake"`
}

// Auditor audits views.
type Auditor struct {
	cfg   Config
	store Store
	lake  Lake
	codec *segment.Codec
}

// New returns an auditor.
func New(cfg Config, store Store, lake Lake) (*Auditor, error) {
	if cfg.Wait == 0 {
		cfg.Wait = 20 * time.Second
	}
	if cfg.Share <= 0 || cfg.Share > 1 {
		cfg.Share = 0.2
	}
	if cfg.Every == 0 {
		cfg.Every = time.Minute
	}
	codec, err := segment.NewCodec()
	if err != nil {
		return nil, err
	}
	return &Auditor{cfg: cfg, store: store, lake: lake, codec: codec}, nil
}

// Audit compares a range, day by day. A mistake in the request is a fault of kind Record.
func (a *Auditor) Audit(ctx context.Context, r Request) (*Report, error) {
	return a.audit(ctx, r, func(context.Context) error { return nil })
}

func (a *Auditor) audit(ctx context.Context, r Request, pause func(context.Context) error) (*Report, error) {
	data, err := a.store.Read(ctx, ledger.Read{View: r.View})
	if err != nil {
		return nil, fmt.Errorf("auditing view %s: %w", r.View, err)
	}
	snap, err := a.store.Load(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the catalogue: %w", err)
	}
	reader, err := history.New(snap, data.Version.ID)
	if err != nil {
		return nil, err
	}
	clock := calendar.NewClock(reader.Compiled().Zone)
	from, to, err := bounds(r, clock)
	if err != nil {
		return nil, err
	}
	c := &comparison{a: a, clock: clock, pause: pause, version: data.Version.ID, report: &Report{
		View: r.View, Version: data.Version.Hash, From: show(from, clock), To: show(to, clock), Differences: []Difference{},
	}}
	for from < to {
		end := min(to, clock.End(calendar.Day, from))
		if err := c.day(ctx, from, end); err != nil {
			return nil, fmt.Errorf("auditing view %s from %s: %w", r.View, show(from, clock), err)
		}
		from = end
	}
	c.report.OK = len(c.report.Differences) == 0
	return c.report, nil
}

func show(us int64, clock *calendar.Clock) string {
	return time.UnixMicro(us).In(clock.Zone().Location()).Format(time.RFC3339)
}

func bounds(r Request, clock *calendar.Clock) (from, to int64, err error) {
	bad := func(name, text string) error {
		return fault.New(fault.Record, "bad_parameter", "%s=%s is no date and no time: write 2026-11-22 or 2026-11-22T10:00:00Z", name, text)
	}
	loc := clock.Zone().Location()
	at, ok := moment(r.From, loc)
	if !ok {
		return 0, 0, bad("from", r.From)
	}
	from = clock.Start(calendar.Day, at)
	end := from
	if r.To != "" {
		if end, ok = moment(r.To, loc); !ok {
			return 0, 0, bad("to", r.To)
		}
		end-- // the day of the last moment
	}
	to = clock.End(calendar.Day, end)
	if to <= from {
		return 0, 0, fault.New(fault.Record, "bad_parameter", "the range ends at %s before it begins at %s", r.To, r.From)
	}
	return from, to, nil
}

func moment(text string, loc *time.Location) (int64, bool) {
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if t, err := time.ParseInLocation(layout, text, loc); err == nil && t.Year() > 1900 && t.Year() < 2200 {
			return t.UnixMicro(), true
		}
	}
	return 0, false
}

// comparison is an audit in progress.
type comparison struct {
	a       *Auditor
	clock   *calendar.Clock
	version int64
	report  *Report
	pause   func(context.Context) error
}

// day compares [from, to), which lies within a day of the view's zone.
func (c *comparison) day(ctx context.Context, from, to int64) error {
	snap, err := c.a.store.Load(ctx)
	if err != nil {
		return fmt.Errorf("reading the catalogue: %w", err)
	}
	r, err := history.New(snap, c.version)
	if err != nil {
		return fault.New(fault.Transient, "catalogue_moving", "the view changed meanwhile: %w", err)
	}
	grain, data, err := c.answer(ctx, r, from, to)
	if err != nil {
		return err
	}
	if err := c.a.passed(ctx, data.Positions); err != nil {
		return err
	}
	by := fold.Everything(r.Compiled(), grain)
	by.From, by.To = from, to
	answer, err := c.a.merge(r, by, data)
	if err != nil {
		return err
	}
	truth, err := c.fold(ctx, r, by, data)
	if err != nil {
		return err
	}
	c.compare(r.Compiled(), grain, answer, truth)
	return nil
}

// answer reads the segments of the finest tier that is whole.
func (c *comparison) answer(ctx context.Context, r *history.Reader, from, to int64) (calendar.Grain, *ledger.Data, error) {
	v := r.Compiled()
	var floors map[string]int64
	for range 5 {
		grain := calendar.Day
		for _, tier := range slices.Backward(segment.Tiers(v)) {
			if floor, dropped := floors[tier.String()]; segment.Floor(v, tier, time.Now().UnixMicro()) <= from && (!dropped || floor <= from) {
				grain = tier
			}
		}
		data, err := c.a.store.Read(ctx, ledger.Read{View: c.report.View, Parts: []ledger.Part{{Tier: grain.String(), From: from, To: to}}})
		switch {
		case err != nil:
			return 0, nil, err
		case data.Version.ID != c.version:
			return 0, nil, fault.New(fault.Transient, "catalogue_moving", "another version of view %s answers now", c.report.View)
		}
		if floor, dropped := data.Floors[grain.String()]; !dropped || floor <= from {
			return grain, data, nil
		}
		floors = data.Floors
	}
	return 0, nil, fault.New(fault.Transient, "catalogue_moving", "the tiers of view %s move too fast to be read", c.report.View)
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

// merge decodes and merges the answer's segments.
func (a *Auditor) merge(r *history.Reader, by fold.Grouping, data *ledger.Data) (*fold.States, error) {
	blocks := make([]*fold.States, len(data.Segments))
	for i := range data.Segments {
		var err error
		if blocks[i], err = a.codec.Decode(data.Segments[i].Data); err != nil {
			return nil, fmt.Errorf("decoding segment %d: %w", data.Segments[i].ID, err)
		}
	}
	merged, err := fold.Regroup(r.Compiled(), by, blocks...)
	if err != nil {
		return nil, fmt.Errorf("merging the answer: %w", err)
	}
	return merged, nil
}

const usPerDay = 24 * 60 * 60 * 1_000_000

// fold folds the lake's rows that the answer is made of.
func (c *comparison) fold(ctx context.Context, r *history.Reader, by fold.Grouping, data *ledger.Data) (*fold.States, error) {
	sel := lake.Selection{Table: r.View.Stream, Columns: r.Columns()}
	byEvent := r.Compiled().Time == event.ColumnEventTime
	first, last := int64(0), int64(1)
	if byEvent {
		first, last = floorDay(by.From), floorDay(by.To-1)+1
	}
	var blocks []*fold.States
	for d := first; d < last; d++ {
		if byEvent {
			sel.From, sel.To = d*usPerDay, (d+1)*usPerDay
		}
		rows := r.Rows
		within := c.within(data, byEvent, d)
		_, err := c.a.lake.Scan(ctx, sel, func(b *lake.Block) error {
			if err := r.Add(b, within); err != nil {
				return err
			}
			return c.pause(ctx)
		})
		if err != nil {
			return nil, err
		}
		c.report.Rows += r.Rows - rows
		blocks = append(blocks, r.Take()...)
	}
	merged, err := fold.Regroup(r.Compiled(), by, blocks...)
	if err != nil {
		return nil, fmt.Errorf("merging the lake's states: %w", err)
	}
	return merged, nil
}

func floorDay(us int64) int64 {
	d := us / usPerDay
	if us%usPerDay < 0 {
		d--
	}
	return d
}

// within says which rows of a lake day the answer is made of: what live has read, and below the version's
// cut only days that were filled in.
func (c *comparison) within(data *ledger.Data, byEvent bool, d int64) history.Bounds {
	filled := filled(data, byEvent, time.Unix(d*usPerDay/1e6, 0).UTC().Format(time.DateOnly))
	return func(k span.Key) span.Range {
		to, live := data.Positions[k]
		if !live {
			to = math.MaxInt64 // an imported file
		}
		if filled {
			return span.Range{To: to}
		}
		return span.Range{From: data.Version.Cut[k], To: to}
	}
}

// filled tells whether the history of a lake's day is in the answer.
func filled(data *ledger.Data, byEvent bool, day string) bool {
	f := data.Filling
	switch {
	case f == nil, !f.Listed:
		return false
	case !byEvent:
		return len(f.Missing) == 0
	}
	return !slices.ContainsFunc(f.Missing, func(t ledger.TaskDay) bool { return t.Day == day })
}
