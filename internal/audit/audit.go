package audit

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/pinflow/pinflow/internal/calendar"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/history"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/metric"
	"github.com/pinflow/pinflow/internal/nearest"
	"github.com/pinflow/pinflow/internal/segment"
	"github.com/pinflow/pinflow/internal/span"
)

// Config of audits.
type Config struct {
	Wait  time.Duration // most time to wait for the lake; 0: 20 s
	Share float64       // of its time that the background check works; 0: 0.2
	Every time.Duration // between two days of the background check; 0: 1 min
	Owner string        // names this process in the ledger
	// GiveWay says why the background check has to wait now, "" if it has not to. nil: never.
	GiveWay func(ctx context.Context) string
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

// Request asks for a range: dates (whole days of the view's zone) or moments in RFC 3339, widened to whole
// buckets of what is kept there. To is exclusive; empty, it is the end of From's day.
type Request struct {
	View, From, To string
	Measures       []string // nil: all, and the hidden ones
}

// Report is what an audit found.
type Report struct {
	View        string       `json:"view"`
	Version     string       `json:"version"`
	VersionID   int64        `json:"-"`
	From        string       `json:"from"`
	To          string       `json:"to"`
	Rows        int64        `json:"rows"`    // of the lake, folded
	Buckets     int          `json:"buckets"` // compared
	Groups      int          `json:"groups"`
	OK          bool         `json:"ok"`          // no difference in what was compared, and all of it can be read
	Uncovered   []Uncovered  `json:"uncovered"`   // what the view does not have, in order of time
	Differences []Difference `json:"differences"` // the first of them, by time, group and measure
	More        int          `json:"more"`        // that are not listed
	Damaged     []Damaged    `json:"damaged"`     // segments that cannot be read: what they held is among the differences
}

// Damaged is a segment of the answer that cannot be read.
type Damaged struct {
	Segment int64  `json:"segment"`
	From    string `json:"from"` // first and last bucket
	To      string `json:"to"`
	Rows    int64  `json:"rows"` // groups of buckets
	Detail  string `json:"detail"`
}

// Uncovered is a stretch of which the view does not have all: rows of the lake that its answer leaves out
// on purpose, or a tier that no longer keeps it.
type Uncovered struct {
	From   string `json:"from"`
	To     string `json:"to"`
	Rows   int64  `json:"rows"` // of the lake; 0: they were not read
	Reason string `json:"reason"`
}

// Difference is one measure of one group of one bucket.
type Difference struct {
	Bucket  string             `json:"bucket"`
	Group   map[string]*string `json:"group"` // without the unnested dimension: every event counted once
	Measure string             `json:"measure"`
	Answer  *string            `json:"answer"` // null: NULL, or no such group
	Lake    *string            `json:"lake"`
	Detail  string             `json:"detail,omitempty"` // what differs, where the two numbers do not show it
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
	if cfg.GiveWay == nil {
		cfg.GiveWay = func(context.Context) string { return "" }
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

// restarts is how often an audit begins anew because another version serves.
const restarts = 3

func (a *Auditor) audit(ctx context.Context, r Request, pause func(context.Context) error) (*Report, error) {
	for n := 0; ; n++ {
		report, err := a.once(ctx, r, pause)
		if fault.CodeOf(err) == moving && n < restarts {
			continue
		}
		return report, err
	}
}

// moving is the code of what changed while it was read.
const moving = "catalogue_moving"

// once audits the version that serves now.
func (a *Auditor) once(ctx context.Context, r Request, pause func(context.Context) error) (*Report, error) {
	data, err := a.store.Read(ctx, ledger.Read{View: r.View})
	if err != nil {
		return nil, fmt.Errorf("auditing view %s: %w", r.View, err)
	}
	reader, err := a.reader(ctx, data.Version.ID)
	if err != nil {
		return nil, err
	}
	clock := calendar.NewClock(reader.Compiled().Zone)
	from, to, err := bounds(r, clock)
	if err != nil {
		return nil, err
	}
	if err := known(reader.Compiled(), r.Measures); err != nil {
		return nil, err
	}
	c := &comparison{a: a, clock: clock, pause: pause, version: data.Version.ID, measures: r.Measures, report: &Report{
		View: r.View, Version: data.Version.Hash, VersionID: data.Version.ID, Uncovered: []Uncovered{}, Differences: []Difference{}, Damaged: []Damaged{},
	}}
	for day := from; day < to; {
		end := min(to, clock.End(calendar.Day, day))
		if err := c.day(ctx, day, end); err != nil {
			return nil, fmt.Errorf("auditing view %s from %s: %w", r.View, c.show(day), err)
		}
		day = end
	}
	c.report.OK = len(c.report.Differences) == 0 && len(c.report.Damaged) == 0
	return c.report, nil
}

// reader folds rows of the version under the catalogue as it is now.
func (a *Auditor) reader(ctx context.Context, version int64) (*history.Reader, error) {
	snap, err := a.store.Load(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the catalogue: %w", err)
	}
	r, err := history.ForAudit(snap, version)
	if fault.Is(err, fault.Lost) {
		return nil, fault.New(fault.Transient, moving, "the view changed meanwhile: %w", err)
	}
	return r, err
}

// known refuses measures that the view does not have.
func known(v *metric.Compiled, measures []string) error {
	var names []string
	for i := range v.Measures {
		if m := &v.Measures[i]; !m.Ratio() && m.States != nil {
			names = append(names, m.Name)
		}
	}
	for _, name := range measures {
		m := v.Measure(name)
		switch {
		case slices.Contains(names, name):
		case m != nil && m.Ratio():
			return bad("measures", "%s is a ratio: audit %s and %s", name, m.Numerator, m.Denominator)
		default:
			err := bad("measures", "view %s has no measure %q", v.Name, name)
			if near := nearest.Name(name, names); near != "" {
				return err.WithAdvice("did you mean %q?", near)
			}
			return err.WithAdvice("use some of: %v", names)
		}
	}
	return nil
}

func bad(name, format string, args ...any) *fault.Error {
	return fault.New(fault.Record, "bad_parameter", name+": "+format, args...)
}

// bounds is the range asked for: days are whole.
func bounds(r Request, clock *calendar.Clock) (from, to int64, err error) {
	loc := clock.Zone().Location()
	read := func(name, text string) (int64, error) {
		for _, layout := range []string{time.DateOnly, time.RFC3339} {
			switch t, err := time.ParseInLocation(layout, text, loc); {
			case err != nil:
			case t.Year() < 1970 || t.Year() >= 2200:
				return 0, bad(name, "%s is too far away", text).WithAdvice("events are between 1970 and 2200")
			default:
				return t.UnixMicro(), nil
			}
		}
		return 0, bad(name, "%q is no date and no time: write 2026-11-22 or 2026-11-22T10:00:00Z", text)
	}
	if from, err = read("from", r.From); err != nil {
		return 0, 0, err
	}
	if r.To == "" {
		return from, clock.End(calendar.Day, from), nil
	}
	if to, err = read("to", r.To); err != nil {
		return 0, 0, err
	}
	if to <= from {
		return 0, 0, bad("to", "the range ends at %s, it begins at %s: the end is not part of it", r.To, r.From)
	}
	return from, to, nil
}
