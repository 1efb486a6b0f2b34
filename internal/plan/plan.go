package plan

import (
	"fmt"
	"slices"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/ledger"
)

// Category says what a change costs (UX: what plan says of a change).
type Category string

// The categories. Add, Metadata and a Schema change that only grows are applied by `up` by itself.
const (
	Schema   Category = "schema"
	Add      Category = "add"
	Metadata Category = "metadata"
	Rebuild  Category = "rebuild"
	Remove   Category = "remove"
	Refused  Category = "refused"
)

// View is a compiled view as the project's files have it.
type View struct {
	Name, Stream, Hash   string
	Definition, Metadata []byte
}

// Change is one difference between the files and what runs.
type Change struct {
	Category Category
	Stream   string
	View     string // "" of a stream
	Detail   string // one line for people
	Auto     bool   // `up` applies it by itself
	Schema   *event.Stream
	Of       *View
}

// Streams lists how the project's streams differ from those that run.
func Streams(streams []event.Stream, snap *ledger.Snapshot) []Change {
	var changes []Change
	for i := range streams {
		changes = append(changes, diffStream(&streams[i], find(snap.Streams, func(s ledger.Stream) bool { return s.Name == streams[i].Name }))...)
	}
	for _, s := range snap.Streams {
		if find(streams, func(d event.Stream) bool { return d.Name == s.Name }) == nil {
			changes = append(changes, Change{Category: Remove, Stream: s.Name, Detail: "is no longer in the project; it goes on running"})
		}
	}
	return changes
}

// Views lists how the project's views differ from those that run.
func Views(views []View, snap *ledger.Snapshot) []Change {
	var changes []Change
	for i := range views {
		v := &views[i]
		if c := diffView(v, find(snap.Views, func(r ledger.View) bool { return r.Name == v.Name })); c != nil {
			changes = append(changes, *c)
		}
	}
	for _, r := range snap.Views {
		if serving(&r) != nil && find(views, func(v View) bool { return v.Name == r.Name }) == nil {
			changes = append(changes, Change{Category: Remove, Stream: r.Stream, View: r.Name, Detail: "is no longer in the project; it goes on running"})
		}
	}
	return changes
}

func find[T any](all []T, match func(T) bool) *T {
	if i := slices.IndexFunc(all, match); i >= 0 {
		return &all[i]
	}
	return nil
}

func diffStream(want *event.Stream, have *ledger.Stream) []Change {
	if have == nil || len(have.Schemas) == 0 {
		return []Change{{Category: Schema, Stream: want.Name, Detail: fmt.Sprintf("new stream, %d fields", len(want.Fields)), Auto: true, Schema: want}}
	}
	now := have.Schemas[len(have.Schemas)-1].Definition
	var changes []Change
	refuse := func(format string, args ...any) {
		changes = append(changes, Change{Category: Refused, Stream: want.Name, Detail: fmt.Sprintf(format, args...)})
	}
	grown := now // the running definition with the new fields: what may be applied of the change
	grown.Fields = slices.Clone(now.Fields)
	added := 0
	for _, f := range want.Fields {
		old := find(now.Fields, func(o event.Field) bool { return o.Name == f.Name })
		switch {
		case old == nil:
			grown.Fields = append(grown.Fields, f)
			added++
		case !sameField(*old, f):
			refuse("field %s: a declared field never changes its type or cleaning: declare a new field, {name: %s_2, from: %s, …}, and leave this one", f.Name, f.Name, from(*old))
		}
	}
	for _, f := range now.Fields {
		if find(want.Fields, func(w event.Field) bool { return w.Name == f.Name }) == nil {
			refuse("field %s: a declared field stays: put it back", f.Name)
		}
	}
	for _, d := range settings(&now, want) {
		changes = append(changes, Change{Category: Schema, Stream: want.Name, Detail: d + ": not applied by itself; the running value stays"})
	}
	if added > 0 && len(changes) == 0 {
		changes = append(changes, Change{Category: Schema, Stream: want.Name, Detail: fmt.Sprintf("%d new fields", added), Auto: true, Schema: &grown})
	}
	return changes
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

// settings lists what differs beside the fields.
func settings(now, want *event.Stream) []string {
	var diffs []string
	differ := func(name string, a, b any) {
		if a != b {
			diffs = append(diffs, fmt.Sprintf("%s %v → %v", name, a, b))
		}
	}
	differ("topic", now.Topic, want.Topic)
	differ("partitions", now.Partitions, want.Partitions)
	differ("key", now.Key, want.Key)
	differ("event_id", now.EventID, want.EventID)
	differ("event_time", now.EventTime, want.EventTime)
	differ("max_age", now.MaxAge, want.MaxAge)
	differ("max_ahead", now.MaxAhead, want.MaxAhead)
	differ("grace", now.Grace, want.Grace)
	differ("dedup", now.Dedup, want.Dedup)
	return diffs
}

func serving(v *ledger.View) *ledger.ViewVersion {
	return find(v.Versions, func(vv ledger.ViewVersion) bool { return vv.State == ledger.Serving })
}

func diffView(want *View, have *ledger.View) *Change {
	c := &Change{Stream: want.Stream, View: want.Name, Of: want}
	var runs *ledger.ViewVersion
	if have != nil {
		runs = serving(have)
	}
	switch {
	case runs == nil:
		c.Category, c.Auto, c.Detail = Add, true, "new view"
	case runs.Hash != want.Hash:
		c.Category, c.Detail = Rebuild, "its definition changed; the running version goes on serving"
	case string(have.Metadata) != string(want.Metadata):
		c.Category, c.Auto, c.Detail = Metadata, true, "names, formats or ratios changed"
	default:
		return nil
	}
	return c
}

// Compose makes of the changes that `up` applies one ledger change a stream, on the snapshot's epochs.
func Compose(changes []Change, snap *ledger.Snapshot) []ledger.Change {
	var out []ledger.Change
	at := func(stream string) *ledger.Change {
		if c := find(out, func(c ledger.Change) bool { return c.Stream == stream }); c != nil {
			return c
		}
		c := ledger.Change{Stream: stream}
		if s := find(snap.Streams, func(s ledger.Stream) bool { return s.Name == stream }); s != nil {
			c.Epoch = s.Epoch
		}
		out = append(out, c)
		return &out[len(out)-1]
	}
	for _, c := range changes {
		if !c.Auto {
			continue
		}
		to := at(c.Stream)
		switch c.Category {
		case Schema:
			to.Schema = c.Schema
		case Add:
			to.Views = append(to.Views, ledger.ViewChange{Name: c.Of.Name, Metadata: c.Of.Metadata, Hash: c.Of.Hash, Definition: c.Of.Definition, State: ledger.Serving})
		case Metadata:
			to.Views = append(to.Views, ledger.ViewChange{Name: c.Of.Name, Metadata: c.Of.Metadata})
		case Rebuild, Remove, Refused: // never by itself
		}
	}
	return out
}
