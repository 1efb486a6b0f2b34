package days

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/pinflow/pinflow/internal/calendar"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/span"
)

// States of a day.
const (
	Open     = "open"     // it may still get events on time
	Waiting  = "waiting"  // its cut is set and not reached in live and lake
	Complete = "complete" // it landed
)

// Day is a day of a stream as people ask about it.
type Day struct {
	Stream     string          `json:"stream"`
	Date       string          `json:"date"`
	Zone       string          `json:"zone"`
	State      string          `json:"state"`
	Complete   float64         `json:"complete"` // 0 to 1: of an open day the part of its time, of a waiting one of its offsets
	CutAt      *time.Time      `json:"cut_at"`
	LandedAt   *time.Time      `json:"landed_at"`
	EtaFrom    *time.Time      `json:"eta_from,omitempty"` // of a waiting day: when it lands if it goes on like this
	EtaTo      *time.Time      `json:"eta_to,omitempty"`
	Totals     json.RawMessage `json:"totals,omitempty"` // at landing
	DeadlineAt *time.Time      `json:"deadline_at"`      // the earliest of the stream's views; null: none has one
	Late       *int64          `json:"late_events"`      // that came after its end and grace; null: no view counts the zone's days
	Revised    bool            `json:"revised"`          // it landed, and late events count since
	Since      *time.Time      `json:"since,omitempty"`  // when the stream began, if within the day
	Note       string          `json:"note,omitempty"`   // what it waits for
}

// Source is the part of the ledger that a report reads.
type Source interface {
	Days(ctx context.Context, stream string, limit int) ([]ledger.Day, error)
	Progress(ctx context.Context) (*ledger.Progress, error)
	CompleteTo(ctx context.Context, stream string, unit ledger.Unit) (time.Time, error)
}

// Late counts a view's late rows by date of its zone, from the first date to the last.
type Late func(ctx context.Context, view, first, last string) (map[string]int64, error)

// Reporter tells the state of days.
type Reporter struct {
	led  Source
	late Late
	pace *Pace
}

// NewReporter returns a reporter. Without late nothing is said of late events; pace is shared with the unit that
// keeps the days, nil: its own.
func NewReporter(led Source, late Late, pace *Pace) *Reporter {
	return &Reporter{led: led, late: late, pace: cmp.Or(pace, NewPace())}
}

// DaysOf lists a stream's newest days, newest first: those of the ledger, at most limit, and those after
// them that are not over.
func (r *Reporter) DaysOf(ctx context.Context, snap *ledger.Snapshot, stream string, limit int) ([]Day, error) {
	f := facts{snap: snap, stream: stream, now: time.Now().UTC(), dead: map[span.Log]bool{}, topics: map[span.Log]string{}}
	for _, l := range snap.LogsOf(stream) {
		f.dead[l.ID], f.topics[l.ID] = l.Dead, l.Topic
	}
	stored, err := r.led.Days(ctx, stream, limit)
	if err != nil {
		return nil, err
	}
	if f.completeTo, err = r.led.CompleteTo(ctx, stream, ledger.Live); err != nil {
		return nil, err
	}
	if f.progress, err = r.led.Progress(ctx); err != nil {
		return nil, err
	}
	out := f.open(stored)
	for i := range stored {
		d := f.day(&stored[i])
		if d.State == Waiting {
			r.pace.Note(&stored[i], f.now, lacks(stored[i].Cut, f.progress, f.dead))
			if from, to, ok := r.pace.Landing(&stored[i]); ok {
				from, to = from.UTC(), to.UTC()
				d.EtaFrom, d.EtaTo = &from, &to
			}
		}
		out = append(out, d)
	}
	for i := range out {
		if at, ok := f.deadline(&out[i]); ok {
			out[i].DeadlineAt = &at
		}
	}
	if err := r.countLate(ctx, &f, out); err != nil {
		return nil, err
	}
	for i := range out {
		f.begun(&out[i])
	}
	return out, nil
}

// begun says of the day that the stream began within that it is not a whole one.
func (f *facts) begun(d *Day) {
	at := slices.IndexFunc(f.snap.Streams, func(s ledger.Stream) bool { return s.Name == f.stream && len(s.Schemas) > 0 })
	zone, err := calendar.Load(d.Zone)
	if at < 0 || err != nil {
		return
	}
	since := f.snap.Streams[at].Schemas[0].CreatedAt
	begin, ok := dayOf(zone, d.Date)
	if !ok || dayAt(zone, since) != begin || !since.After(day{zone, begin.date - 1}.end()) {
		return
	}
	since = since.UTC()
	d.Since = &since
	note := "the stream began at " + since.In(zone.Location()).Format("15:04")
	if d.Note != "" {
		note = d.Note + "; " + note
	}
	d.Note = note
}

// facts are what was read of a stream.
type facts struct {
	snap       *ledger.Snapshot
	stream     string
	now        time.Time
	completeTo time.Time
	progress   *ledger.Progress
	dead       map[span.Log]bool
	topics     map[span.Log]string
}

// open are the days after the newest stored one of each zone up to today's; without one, today's alone.
func (f *facts) open(stored []ledger.Day) []Day {
	var out []Day
	for _, z := range zones(f.snap, f.stream) {
		today := dayAt(z, f.now)
		first := today
		for i := range stored {
			if last, ok := dayOf(z, stored[i].Date); ok && stored[i].Zone == z.Name() {
				first = last.next()
				break // newest first
			}
		}
		first.date = max(first.date, today.date-7)
		for d := today; d.date >= first.date; d.date-- {
			out = append(out, f.openDay(d))
		}
	}
	return out
}

func (f *facts) openDay(d day) Day {
	out := Day{Stream: f.stream, Date: d.String(), Zone: d.zone.Name(), State: Open, Note: "nothing is complete yet"}
	if f.completeTo.IsZero() {
		return out
	}
	begin, end := day{d.zone, d.date - 1}.end(), d.end()
	out.Complete = min(1, max(0, float64(f.completeTo.Sub(begin))/float64(end.Sub(begin))))
	out.Note = fmt.Sprintf("live lag %s", f.now.Sub(f.completeTo).Round(100*time.Millisecond))
	return out
}

// day is a stored day.
func (f *facts) day(d *ledger.Day) Day {
	out := Day{Stream: d.Stream, Date: d.Date, Zone: d.Zone, State: Waiting, CutAt: &d.CutAt}
	if json.Valid(d.Totals) {
		out.Totals = d.Totals
	}
	if !d.LandedAt.IsZero() {
		out.State, out.LandedAt, out.Complete = Complete, &d.LandedAt, 1
		return out
	}
	out.Complete = f.reached(d.Cut)
	if g := blocked(d.Cut, f.progress, f.dead); g != nil {
		where := fmt.Sprintf("%s/%d", f.topics[g.key.Log], g.key.Partition)
		switch g.what {
		case "conservation":
			out.Note = where + ": offsets are not accounted for"
		default:
			out.Note = fmt.Sprintf("%s is %d records behind in the %s", where, g.want-g.at, map[string]string{"live": "live numbers", "lake": "lake"}[g.what])
		}
	}
	return out
}

// reached is the part of a cut's offsets that live and lake have, whichever has less.
func (f *facts) reached(cut span.Vector) float64 {
	var all, live, lake, liveAll int64
	for k, at := range cut {
		n := at - f.progress.Start[k]
		all += n
		lake += min(n, f.progress.Lake[k]-f.progress.Start[k])
		if !f.dead[k.Log] {
			liveAll += n
			live += min(n, f.progress.Live[k]-f.progress.Start[k])
		}
	}
	part := 1.0
	if all > 0 {
		part = float64(lake) / float64(all)
	}
	if liveAll > 0 {
		part = min(part, float64(live)/float64(liveAll))
	}
	return max(0, part)
}

// deadline is the earliest moment at which one of the stream's views wants the day: the time of day that it
// names, on the day after.
func (f *facts) deadline(d *Day) (at time.Time, ok bool) {
	for _, v := range f.snap.Views {
		zone, by, wants := deadlineOf(&v)
		if v.Stream != f.stream || !wants {
			continue
		}
		date, err := time.ParseInLocation(time.DateOnly+" 15:04", d.Date+" "+by, zone.Location())
		if date = date.AddDate(0, 0, 1); err == nil && (!ok || date.Before(at)) {
			at, ok = date.UTC(), true
		}
	}
	return at, ok
}

// deadlineOf reads what a view that is not dropped says of its deadline.
func deadlineOf(v *ledger.View) (zone *calendar.Zone, by string, ok bool) {
	var meta struct {
		Deadline *struct {
			By       string `json:"by"`
			TimeZone string `json:"time_zone"`
		} `json:"deadline"`
	}
	name, _, serves := servingZone(v)
	if !serves || json.Unmarshal(v.Metadata, &meta) != nil || meta.Deadline == nil {
		return nil, "", false
	}
	if meta.Deadline.TimeZone != "" {
		name = meta.Deadline.TimeZone
	}
	zone, err := calendar.Load(name)
	return zone, meta.Deadline.By, err == nil
}

// servingZone is the zone of a view's serving version, and the column that its buckets are of.
func servingZone(v *ledger.View) (zone, column string, ok bool) {
	for i := range v.Versions {
		var d struct {
			TimeZone string `json:"time_zone"`
			Time     string `json:"time"`
		}
		if v.Versions[i].State == ledger.Serving && json.Unmarshal(v.Versions[i].Definition, &d) == nil {
			return d.TimeZone, d.Time, true
		}
	}
	return "", "", false
}

// countLate adds what views count of late rows: of the views of a zone the one that counts most.
func (r *Reporter) countLate(ctx context.Context, f *facts, out []Day) error {
	if r.late == nil || len(out) == 0 {
		return nil
	}
	first, last := out[0].Date, out[0].Date
	for i := range out {
		first, last = min(first, out[i].Date), max(last, out[i].Date)
	}
	for i := range f.snap.Views {
		v := &f.snap.Views[i]
		zone, column, ok := servingZone(v)
		if !ok || v.Stream != f.stream || column != "_event_time" {
			continue
		}
		counts, err := r.late(ctx, v.Name, first, last)
		if err != nil {
			return fmt.Errorf("counting late events by view %s: %w", v.Name, err)
		}
		for i := range out {
			if d := &out[i]; d.Zone == zone {
				n := counts[d.Date]
				if d.Late != nil {
					n = max(n, *d.Late)
				}
				d.Late = &n
				if d.Revised = d.State == Complete && n > 0; d.Revised {
					d.Note = fmt.Sprintf("revised: %d events came late", n)
				}
			}
		}
	}
	return nil
}
