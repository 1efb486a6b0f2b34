package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/pinflow/pinflow/internal/calendar"
	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/metric"
)

// Category says what a change costs.
type Category string

// The categories. Add, Metadata and a Schema change that only grows are applied by `up` by itself.
const (
	Schema   Category = "schema"
	Add      Category = "add"
	Metadata Category = "metadata"
	Rebuild  Category = "rebuild"
	Forward  Category = "forward"
	Remove   Category = "remove"
	Refused  Category = "refused" // not to be had: says what to do instead
)

// Stream is a stream as the project's files have it.
type Stream struct {
	event.Stream
	File string
	Line func(path string) int // where the path stands in the file
}

// View is a view as the project's files have it.
type View struct {
	metric.View
	File string
	Line func(path string) int
}

// Board is a dashboard: what would look different.
type Board struct {
	Name     string
	Measures []string // VIEW.MEASURE
}

// Project is what the files say.
type Project struct {
	Streams []Stream
	Views   []View
	Boards  []Board
}

// Change is one difference between the files and what runs.
type Change struct {
	Category   Category  `json:"category"`
	Stream     string    `json:"stream"`
	View       string    `json:"view,omitempty"` // "" of a stream
	File       string    `json:"file,omitempty"`
	Line       int       `json:"line,omitempty"`
	Key        string    `json:"key,omitempty"` // what differs, the first of it: filter, measures.posted
	Detail     string    `json:"detail"`        // one line for people
	Diff       []string  `json:"diff,omitempty"`
	Measures   []string  `json:"measures,omitempty"`   // whose numbers change
	Dashboards []string  `json:"dashboards,omitempty"` // that show them
	Auto       bool      `json:"auto"`                 // `up` applies it by itself
	Serves     bool      `json:"serves,omitempty"`     // an older version serves until the new one is filled in
	Backfill   *Estimate `json:"backfill,omitempty"`

	schema   *event.Stream
	change   *ledger.ViewChange
	compiled *metric.Compiled // of a version that is new
	reason   string           // why it is refused
}

// Applies tells whether apply does anything about it.
func (c *Change) Applies() bool { return c.schema != nil || c.change != nil }

// comparer compares a project with a snapshot.
type comparer struct {
	p       *Project
	snap    *ledger.Snapshot
	changes []Change
	schemas map[string]*event.Schema // by stream: as they will be
}

// Compare lists how the project differs from what runs. A fault is one of the ledger's documents.
func Compare(p *Project, snap *ledger.Snapshot) ([]Change, error) {
	c := &comparer{p: p, snap: snap, schemas: map[string]*event.Schema{}}
	for i := range p.Streams {
		if err := c.stream(&p.Streams[i]); err != nil {
			return nil, err
		}
	}
	for i := range snap.Streams {
		s := &snap.Streams[i]
		if find(p.Streams, func(d Stream) bool { return d.Name == s.Name }) == nil {
			c.changes = append(c.changes, Change{Category: Refused, Stream: s.Name, Detail: "stream " + s.Name + " is no longer in the project: it goes on running, for its events are kept"})
		}
	}
	for i := range p.Views {
		if err := c.view(&p.Views[i]); err != nil {
			return nil, err
		}
	}
	for i := range snap.Views {
		v := &snap.Views[i]
		if find(p.Views, func(d View) bool { return d.Name == v.Name }) == nil {
			c.changes = append(c.changes, Change{
				Category: Remove, Stream: v.Stream, View: v.Name, Detail: "the view is no longer in the project: it is hidden at once, its segments are dropped later",
				Dashboards: c.boards(v.Name, nil), change: &ledger.ViewChange{Name: v.Name, Drop: true},
			})
		}
	}
	return c.changes, nil
}

func find[T any](all []T, match func(T) bool) *T {
	if i := slices.IndexFunc(all, match); i >= 0 {
		return &all[i]
	}
	return nil
}

// boards lists the dashboards that show measures of a view (nil: any).
func (c *comparer) boards(view string, measures []string) []string {
	var out []string
	for _, b := range c.p.Boards {
		shows := slices.ContainsFunc(b.Measures, func(m string) bool {
			v, measure, _ := strings.Cut(m, ".")
			return v == view && (measures == nil || slices.Contains(measures, measure))
		})
		if shows {
			out = append(out, b.Name)
		}
	}
	return out
}

// stream compares a stream and compiles it as it will be.
func (c *comparer) stream(want *Stream) error {
	have := find(c.snap.Streams, func(s ledger.Stream) bool { return s.Name == want.Name })
	def, version := want.Stream, int32(1)
	if have == nil || len(have.Schemas) == 0 {
		c.changes = append(c.changes, Change{
			Category: Schema, Stream: want.Name, File: want.File, Line: want.Line("name"),
			Detail: fmt.Sprintf("new stream, %s", plural(len(want.Fields), "field")), Auto: true, schema: &want.Stream,
		})
	} else {
		newest := have.Schemas[len(have.Schemas)-1]
		grown, changes := diffStream(want, &newest.Definition)
		c.changes = append(c.changes, changes...)
		def, version = newest.Definition, newest.Version
		if grown != nil {
			def, version = *grown, version+1
		}
	}
	schema, err := event.Compile(def, version)
	if err != nil {
		return fmt.Errorf("compiling stream %s: %w", want.Name, err)
	}
	c.schemas[want.Name] = schema
	return nil
}

// diffStream returns the running definition with the new fields, nil if there are none.
func diffStream(want *Stream, now *event.Stream) (*event.Stream, []Change) {
	var changes []Change
	note := func(cat Category, path, format string, args ...any) {
		changes = append(changes, Change{Category: cat, Stream: want.Name, File: want.File, Line: want.Line(path), Key: path, Detail: fmt.Sprintf(format, args...)})
	}
	grown := *now
	grown.Fields = slices.Clone(now.Fields)
	var added []string
	first := ""
	for i, f := range want.Fields {
		old := find(now.Fields, func(o event.Field) bool { return o.Name == f.Name })
		path := fmt.Sprintf("fields[%d]", i)
		switch {
		case old == nil:
			if first == "" {
				first = path
			}
			grown.Fields, added = append(grown.Fields, f), append(added, fmt.Sprintf("+ field %s: %s%s", f.Name, f.Type, readFrom(f)))
		case !sameField(*old, f):
			note(Refused, path, "field %s: a declared field never changes its type or cleaning: declare a new field, {name: %s_2, from: %s, …}, and leave this one", f.Name, f.Name, from(*old))
		}
	}
	for _, f := range now.Fields {
		if find(want.Fields, func(w event.Field) bool { return w.Name == f.Name }) == nil {
			note(Refused, "fields", "field %s: a declared field stays: put it back", f.Name)
		}
	}
	more := want.Partitions > now.Partitions
	for _, d := range settings(now, &want.Stream) {
		if d.key == "partitions" && more {
			continue
		}
		note(Refused, d.key, "%s: this version does not change it on a stream that runs; the running value stays", d.text)
	}
	if len(added) > 0 {
		changes = append(changes, Change{
			Category: Schema, Stream: want.Name, File: want.File, Line: want.Line(first), Key: first,
			Detail: plural(len(added), "new field") + ", for history too", Diff: added, Auto: true, schema: &grown,
		})
	}
	if more { // after the fields, which it brings along: of two changes of a schema the last one holds
		wider := grown
		wider.Partitions = want.Partitions
		note(Schema, "partitions", "partitions %d → %d: keys move to other partitions, and an event that is sent again across the change is not seen to be a duplicate", now.Partitions, want.Partitions)
		changes[len(changes)-1].schema = &wider
	}
	if len(added) == 0 {
		return nil, changes
	}
	return &grown, changes
}

func readFrom(f event.Field) string {
	if f.From == "" || f.From == f.Name {
		return ""
	}
	return " from " + f.From
}

func from(f event.Field) string {
	if f.From != "" {
		return f.From
	}
	return f.Name
}

func sameField(a, b event.Field) bool {
	nullIf := slices.Equal(a.NullIf, b.NullIf)
	a.NullIf, b.NullIf = nil, nil
	a.From, b.From = from(a), from(b)
	return nullIf && fmt.Sprint(a) == fmt.Sprint(b)
}

type setting struct{ key, text string }

// settings lists what differs beside the fields.
func settings(now, want *event.Stream) []setting {
	var diffs []setting
	differ := func(name, a, b string) {
		if a != b {
			diffs = append(diffs, setting{name, fmt.Sprintf("%s %s → %s", name, cmp.Or(a, "none"), cmp.Or(b, "none"))})
		}
	}
	differ("topic", now.Topic, want.Topic)
	differ("partitions", fmt.Sprint(now.Partitions), fmt.Sprint(want.Partitions))
	differ("key", now.Key, want.Key)
	differ("event_id", now.EventID, want.EventID)
	differ("event_time", now.EventTime, want.EventTime)
	differ("max_age", calendar.Duration(now.MaxAge), calendar.Duration(want.MaxAge))
	differ("max_ahead", calendar.Duration(now.MaxAhead), calendar.Duration(want.MaxAhead))
	differ("grace", calendar.Duration(now.Grace), calendar.Duration(want.Grace))
	differ("dedup", dedupText(now.Dedup), dedupText(want.Dedup))
	return diffs
}

func dedupText(d event.Dedup) string {
	return fmt.Sprintf("{records: %d, within: %s}", d.Records, calendar.Duration(d.Within))
}

// Compose makes of changes one ledger change a stream, on the snapshot's epochs; with auto only of those
// that `up` applies by itself.
func Compose(changes []Change, snap *ledger.Snapshot, auto bool) []ledger.Change {
	var out []ledger.Change
	at := func(stream string) *ledger.Change {
		if c := find(out, func(c ledger.Change) bool { return c.Stream == stream }); c != nil {
			return c
		}
		out = append(out, ledger.Change{Stream: stream, Epoch: epochOf(snap, stream)})
		return &out[len(out)-1]
	}
	for i := range changes {
		c := &changes[i]
		if !c.Applies() || auto && !c.Auto {
			continue
		}
		to := at(c.Stream)
		if c.schema != nil {
			to.Schema = c.schema
		}
		if c.change != nil {
			to.Views = append(to.Views, *c.change)
		}
	}
	return out
}

func epochOf(snap *ledger.Snapshot, stream string) int64 {
	if s := find(snap.Streams, func(s ledger.Stream) bool { return s.Name == stream }); s != nil {
		return s.Epoch
	}
	return 0
}

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}
