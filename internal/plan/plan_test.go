package plan_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/metric"
	"github.com/pinflow/pinflow/internal/plan"
)

func pin(change func(*event.Stream)) event.Stream {
	s := event.Stream{Name: "pin", Topic: "pin", Partitions: 2, Fields: []event.Field{
		{Name: "category", Type: "string"},
		{Name: "followers", Type: "long", From: "follower_count", NullIf: []string{"User Info Error"}},
	}}
	if change != nil {
		change(&s)
	}
	return s
}

func compile(t *testing.T, v metric.View, s event.Stream) *metric.Compiled {
	t.Helper()
	schema, err := event.Compile(s, 1)
	if err != nil {
		t.Fatal(err)
	}
	c, problems := metric.Compile(v, schema)
	if c == nil {
		t.Fatal(problems)
	}
	return c
}

func pins(change func(*metric.View)) metric.View {
	v := metric.View{
		Version: 1, Name: "pins", Stream: "pin", Filter: "category <> 'x'",
		Dimensions: []metric.Dimension{{Name: "category"}},
		Measures: []metric.Measure{
			{Name: "posted", Agg: "count"},
			{Name: "reach", Agg: "sum", Expr: "followers"},
			{Name: "mean", Type: "ratio", Numerator: "reach", Denominator: "posted"},
		},
	}
	if change != nil {
		change(&v)
	}
	return v
}

// running is the project as it runs: states are of versions of pins with changes, oldest first.
func running(t *testing.T, versions ...ledger.ViewVersion) *ledger.Snapshot {
	t.Helper()
	s := &ledger.Snapshot{Streams: []ledger.Stream{{Name: "pin", Epoch: 7, Schemas: []ledger.SchemaVersion{{Version: 1, Definition: pin(nil)}}}}}
	if len(versions) == 0 {
		versions = []ledger.ViewVersion{as(t, ledger.Serving, nil)}
	}
	s.Views = []ledger.View{{Name: "pins", Stream: "pin", Metadata: versions[0].Metadata, Versions: versions}}
	return s
}

func as(t *testing.T, state string, change func(*metric.View)) ledger.ViewVersion {
	c := compile(t, pins(change), pin(nil))
	return ledger.ViewVersion{Hash: c.Hash(), Definition: c.Definition(), Metadata: c.Metadata(), State: state}
}

func project(streams []event.Stream, views ...metric.View) *plan.Project {
	p := &plan.Project{Boards: []plan.Board{{Name: "growth", Measures: []string{"pins.posted"}}, {Name: "other", Measures: []string{"geos.n", "pins.reach"}}}}
	for _, s := range streams {
		p.Streams = append(p.Streams, plan.Stream{Stream: s, File: "streams/" + s.Name + ".yaml", Line: lineOf})
	}
	for _, v := range views {
		p.Views = append(p.Views, plan.View{View: v, File: "metrics/" + v.Name + ".yaml", Line: lineOf})
	}
	return p
}

// lineOf is as many lines down as the path is long: enough to tell which path was asked for.
func lineOf(path string) int { return len(path) }

func compared(t *testing.T, p *plan.Project, snap *ledger.Snapshot) []plan.Change {
	t.Helper()
	changes, err := plan.Compare(p, snap)
	if err != nil {
		t.Fatal(err)
	}
	return changes
}

func lines(changes []plan.Change) string {
	var b strings.Builder
	for _, c := range changes {
		fmt.Fprintf(&b, "%s %s auto=%v %s\n", c.Category, strings.TrimPrefix(c.Stream+"/"+c.View, "/"), c.Auto, c.Detail)
	}
	return b.String()
}

func TestStreams(t *testing.T) {
	const refused = "refused pin/ auto=false field followers: a declared field never changes its type or cleaning: declare a new field, {name: followers_2, from: follower_count, …}, and leave this one\n"
	for name, tc := range map[string]struct {
		stream event.Stream
		want   string
	}{
		"same":       {pin(nil), ""},
		"from spelt": {pin(func(s *event.Stream) { s.Fields[0].From = "category" }), ""},
		"order":      {pin(func(s *event.Stream) { s.Fields[0], s.Fields[1] = s.Fields[1], s.Fields[0] }), ""},
		"new field":  {pin(func(s *event.Stream) { s.Fields = append(s.Fields, event.Field{Name: "mood", Type: "string"}) }), "schema pin/ auto=true 1 new field, for history too\n"},
		"type":       {pin(func(s *event.Stream) { s.Fields[1].Type = "double" }), refused},
		"null_if":    {pin(func(s *event.Stream) { s.Fields[1].NullIf = nil }), refused},
		"field gone": {pin(func(s *event.Stream) { s.Fields = s.Fields[:1] }), "refused pin/ auto=false field followers: a declared field stays: put it back\n"},
		"partitions": {pin(func(s *event.Stream) { s.Partitions = 4 }), "schema pin/ auto=false partitions 2 → 4: keys move to other partitions, and an event that is sent again across the change is not seen to be a duplicate\n"},
		"fewer":      {pin(func(s *event.Stream) { s.Partitions = 1 }), "refused pin/ auto=false partitions 2 → 1: this version does not change it on a stream that runs; the running value stays\n"},
		"new and bad": {pin(func(s *event.Stream) {
			s.Fields = append(s.Fields, event.Field{Name: "x", Type: "long"})
			s.Fields[1].Type = "double"
		}), refused + "schema pin/ auto=true 1 new field, for history too\n"},
	} {
		t.Run(name, func(t *testing.T) {
			snap := running(t)
			snap.Views = nil
			if diff := cmp.Diff(tc.want, lines(compared(t, project([]event.Stream{tc.stream}), snap))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A new stream comes on epoch zero; a refused field does not come along with a new one.
func TestCompose(t *testing.T) {
	geo := pin(func(s *event.Stream) { s.Name, s.Topic = "geo", "geo" })
	grown := pin(func(s *event.Stream) {
		s.Fields = append(s.Fields, event.Field{Name: "x", Type: "long"})
		s.Fields[1].Type = "double"
	})
	snap := running(t)
	snap.Views = nil
	got := plan.Compose(compared(t, project([]event.Stream{grown, geo}), snap), snap, true)
	kept := pin(func(s *event.Stream) { s.Fields = append(s.Fields, event.Field{Name: "x", Type: "long"}) })
	if diff := cmp.Diff([]ledger.Change{{Stream: "pin", Epoch: 7, Schema: &kept}, {Stream: "geo", Schema: &geo}}, got); diff != "" {
		t.Error(diff)
	}
}

func TestViews(t *testing.T) {
	filter := func(v *metric.View) { v.Filter = "category <> 'y'" }
	none := func(v *metric.View) { v.Backfill.From = "none" }
	for name, tc := range map[string]struct {
		change   func(*metric.View)
		versions []ledger.ViewVersion
		want     string
		check    func(t *testing.T, c *plan.Change, l *ledger.ViewChange)
	}{
		"same": {},
		"metadata": {change: func(v *metric.View) { v.DisplayName = "P"; v.Measures[0].Unit = "pins" }, want: "metadata auto=true", check: func(t *testing.T, c *plan.Change, l *ledger.ViewChange) {
			equal(t, []string{"+ display_name: P", "+ measures.posted.unit: pins"}, c.Diff)
			equal(t, "display_name, measures.posted.unit: at once", c.Detail)
			equal(t, len("display_name"), c.Line)
			equal(t, true, l.Definition == nil && l.Shown == nil)
		}},
		"ratio": {change: func(v *metric.View) { v.Measures = v.Measures[:2] }, want: "metadata auto=true", check: func(t *testing.T, c *plan.Change, _ *ledger.ViewChange) {
			equal(t, []string{"- measures.mean: reach / posted"}, c.Diff)
		}},
		"keep and format": {change: func(v *metric.View) {
			v.Keep = map[string]string{"minute": "10d", "day": "forever"}
			v.Measures[1].Format = "integer"
		}, want: "metadata auto=true", check: func(t *testing.T, c *plan.Change, _ *ledger.ViewChange) {
			equal(t, []string{"+ keep.day: forever", "+ keep.minute: 10d", "+ measures.reach.format: integer"}, c.Diff)
			equal(t, len("keep.day"), c.Line)
		}},
		"same again": {change: func(v *metric.View) { v.Measures = append(v.Measures, metric.Measure{Name: "again", Agg: "count"}) }, want: "metadata auto=true"},
		"filter": {change: filter, want: "rebuild auto=false", check: func(t *testing.T, c *plan.Change, l *ledger.ViewChange) {
			equal(t, []string{"- filter: (category <> 'x')", "+ filter: (category <> 'y')"}, c.Diff)
			equal(t, []string{"posted", "reach", "mean"}, c.Measures)
			equal(t, []string{"growth", "other"}, c.Dashboards)
			equal(t, len("filter"), c.Line)
			equal(t, true, l.Anew && l.State == ledger.Building)
		}},
		"filter, names and a ratio": {change: func(v *metric.View) {
			filter(v)
			v.DisplayName, v.Measures[1].Format = "P", "integer"
			v.Measures = append(v.Measures, metric.Measure{Name: "value", Type: "ratio", Numerator: "posted", Denominator: "reach"})
		}, want: "rebuild auto=false", check: func(t *testing.T, c *plan.Change, _ *ledger.ViewChange) {
			equal(t, "filter, display_name, measures.reach.format, measures.value", c.Detail)
			equal(t, []string{"+ display_name: P", "+ measures.reach.format: integer", "+ measures.value: posted / reach"}, c.Diff[2:])
		}},
		"measure": {change: func(v *metric.View) { v.Measures[1].Expr = "followers + 1" }, want: "rebuild auto=false", check: func(t *testing.T, c *plan.Change, _ *ledger.ViewChange) {
			equal(t, []string{"reach", "mean"}, c.Measures)
			equal(t, []string{"other"}, c.Dashboards)
			equal(t, len("measures[1]"), c.Line)
		}},
		"measure gone": {change: func(v *metric.View) { v.Measures = v.Measures[:1] }, want: "rebuild auto=false", check: func(t *testing.T, c *plan.Change, _ *ledger.ViewChange) {
			equal(t, []string{"reach"}, c.Measures)
			equal(t, []string{"- measures.reach: sum of followers", "- measures.mean: reach / posted"}, c.Diff)
		}},
		"new measure": {change: func(v *metric.View) {
			v.Measures = append(v.Measures, metric.Measure{Name: "most", Agg: "max", Expr: "followers"})
		}, want: "rebuild auto=false", check: func(t *testing.T, _ *plan.Change, l *ledger.ViewChange) {
			equal(t, true, strings.Contains(string(l.Shown), `"most"`)) // it is shown, and has no numbers yet
		}},
		"history from a date": {change: func(v *metric.View) { v.Backfill.From = "2026-01-01" }, want: "rebuild auto=false"},
		"no history":          {change: none, want: "forward auto=false", check: func(t *testing.T, _ *plan.Change, l *ledger.ViewChange) { equal(t, ledger.Serving, l.State) }},
		"other stream":        {change: func(v *metric.View) { v.Stream = "geo" }, want: "refused auto=false"},
		"does not compile":    {change: func(v *metric.View) { v.Filter = "mood = 'good'" }, want: "refused auto=false"},
		"back to standby": {versions: []ledger.ViewVersion{as(t, ledger.Standby, nil), as(t, ledger.Serving, filter)}, want: "rebuild auto=false", check: func(t *testing.T, c *plan.Change, l *ledger.ViewChange) {
			equal(t, false, l.Anew)
			equal(t, "back to the version that stands by: at once", c.Detail)
		}},
		"standby of another history": {versions: []ledger.ViewVersion{as(t, ledger.Standby, none), as(t, ledger.Serving, filter)}, want: "rebuild auto=false", check: func(t *testing.T, _ *plan.Change, l *ledger.ViewChange) { equal(t, true, l.Anew) }},
		"being built":                {change: filter, versions: []ledger.ViewVersion{as(t, ledger.Serving, nil), as(t, ledger.Building, filter)}},
		"given up": {versions: []ledger.ViewVersion{as(t, ledger.Serving, nil), as(t, ledger.Building, filter)}, want: "rebuild auto=false", check: func(t *testing.T, _ *plan.Change, l *ledger.ViewChange) {
			equal(t, true, l.Keep && l.Definition == nil)
		}},
		"changed while it is built": {change: filter, versions: []ledger.ViewVersion{as(t, ledger.Building, nil)}, want: "rebuild auto=false", check: func(t *testing.T, c *plan.Change, _ *ledger.ViewChange) {
			equal(t, "filter; what is being built is given up", c.Detail)
			equal(t, false, c.Serves)
		}},
		"dropped before": {versions: []ledger.ViewVersion{as(t, ledger.Dropped, nil)}, want: "add auto=true"},
	} {
		t.Run(name, func(t *testing.T) {
			snap := running(t, tc.versions...)
			geo := pin(func(s *event.Stream) { s.Name, s.Topic = "geo", "geo" })
			snap.Streams = append(snap.Streams, ledger.Stream{Name: "geo", Epoch: 1, Schemas: []ledger.SchemaVersion{{Version: 1, Definition: geo}}})
			changes := compared(t, project([]event.Stream{pin(nil), geo}, pins(tc.change)), snap)
			got := ""
			for _, c := range changes {
				got += fmt.Sprintf("%s auto=%v", c.Category, c.Auto)
			}
			equal(t, tc.want, got)
			if tc.check != nil {
				var l ledger.ViewChange
				if composed := plan.Compose(changes, snap, false); len(composed) == 1 {
					l = composed[0].Views[0]
				}
				tc.check(t, &changes[0], &l)
			}
		})
	}
	gone := compared(t, project([]event.Stream{pin(nil)}), running(t))
	equal(t, "remove pin/pins auto=false the view is no longer in the project: it is hidden at once, its segments are dropped later\n", lines(gone))
	equal(t, true, plan.Compose(gone, running(t), false)[0].Views[0].Drop)
	equal(t, 0, len(plan.Compose(gone, running(t), true)))
}

func equal(t *testing.T, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func input(t *testing.T, change func(*metric.View)) plan.Input {
	return plan.Input{
		Project: project([]event.Stream{pin(nil)}, pins(change)), Files: map[string]string{"metrics/pins.yaml": "text"}, Snap: running(t),
		Days: map[string][]lake.DayFiles{"pin": {{Day: "2025-12-31", Rows: 5, Bytes: 1 << 20}, {Day: "2026-01-01", Rows: 1_900_000_000, Bytes: 38 << 30}}},
	}
}

func made(t *testing.T, in plan.Input) *plan.Document {
	t.Helper()
	d, err := plan.Make(in)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestText(t *testing.T) {
	in := input(t, func(v *metric.View) { v.Filter, v.Backfill.From = "category <> 'y'", "2026-01-01" })
	in.Speed = plan.Speed{Row: 1.0 / 2_000_000, Day: 0.05, Workers: 1}
	want := `Compared with what is running (1 view, 2 measures, history 2025-12-31 … now, 2 days):
  ~ pins   rebuild   metrics/pins.yaml:6  filter, backfill
      - filter: (category <> 'x')
      + filter: (category <> 'y')
      + backfill: from: 2026-01-01T00:00:00Z
      affects: posted, reach, mean · dashboards: growth, other
      back-fill 1 day · 1.9 B rows · 38 GiB read · ~13–20 minutes · the old version serves meanwhile
Plan: 0 add, 1 rebuild, 0 metadata, 0 remove.   Nothing was changed. Run: pinflow apply
`
	equal(t, want, made(t, in).Text("Nothing was changed. Run: pinflow apply"))
	equal(t, "No differences: what runs (1 view) is what the files say.\n", made(t, input(t, nil)).Text("x"))
}

// A document is taken back only as it was made, and only on the base it was made on.
func TestDocumentComesBack(t *testing.T) {
	filter := func(v *metric.View) { v.Filter = "category <> 'y'" }
	in := input(t, filter)
	text, err := json.Marshal(made(t, in))
	if err != nil {
		t.Fatal(err)
	}
	read := func(change func(d *plan.Document)) *plan.Document {
		var d plan.Document
		if err := json.Unmarshal(text, &d); err != nil {
			t.Fatal(err)
		}
		change(&d)
		return &d
	}
	d := read(func(*plan.Document) {})
	if err := d.Check(); err != nil {
		t.Fatal(err)
	}
	in.Days, in.Speed = nil, plan.Speed{Row: 7} // estimates may differ
	if err := d.Stale(made(t, in), in.Snap); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*plan.Document){
		"files": func(d *plan.Document) { d.Files["metrics/pins.yaml"] = "other" },
		"base":  func(d *plan.Document) { d.Base["pin"]++ },
		"only":  func(d *plan.Document) { d.Only = []string{"pins"} },
		"what":  func(d *plan.Document) { d.Changes[0].Category = plan.Metadata },
		"hash":  func(d *plan.Document) { d.Hash = "" },
	} {
		if err := read(change).Check(); fault.CodeOf(err) != "bad_plan" {
			t.Errorf("%s was changed: %v", name, err)
		}
	}
	moved := running(t)
	moved.Streams[0].Epoch++
	in.Snap = moved
	if err := d.Stale(made(t, in), moved); !fault.Is(err, fault.Stale) || fault.ExitCode(err) != fault.ExitConflict {
		t.Errorf("the base moved: %v", err)
	}
	other := input(t, nil)
	other.Snap = running(t)
	if err := d.Stale(made(t, other), other.Snap); !fault.Is(err, fault.Stale) {
		t.Errorf("it would do something else: %v", err)
	}
}

func TestSomeViews(t *testing.T) {
	in := input(t, nil)
	in.Project = project([]event.Stream{pin(nil)}, pins(func(v *metric.View) { v.Filter = "" }), pins(func(v *metric.View) { v.Name = "more" }))
	in.Only = []string{"more"}
	equal(t, "add pin/more auto=true new view, 3 measures\n", lines(made(t, in).Changes))
	in.Only = []string{"nothing"}
	if _, err := plan.Make(in); fault.CodeOf(err) != "unknown_view" {
		t.Error(err)
	}
	in.Only, in.Repair = nil, []string{"pins"}
	equal(t, "rebuild pin/pins auto=false a repair: built anew by the definition that serves\n", lines(made(t, in).Changes))
	in.Snap = running(t, as(t, ledger.Serving, nil), as(t, ledger.Building, func(v *metric.View) { v.Filter = "" }))
	equal(t, "rebuild pin/pins auto=false a repair: built anew by the definition that serves; what is being built is given up\n", lines(made(t, in).Changes))
	in.Repair = []string{"more"}
	if _, err := plan.Make(in); fault.CodeOf(err) != "unknown_view" {
		t.Error(err)
	}
}

// What differs of a stream is told as the files write it.
func TestSettingsAsInTheFiles(t *testing.T) {
	changes := compared(t, project([]event.Stream{pin(func(s *event.Stream) {
		s.Key, s.MaxAge, s.Dedup = "unique_id", 10*24*time.Hour, event.Dedup{Records: 10, Within: 90 * time.Second}
	})}, pins(nil)), running(t))
	got := lines(changes)
	for _, want := range []string{"key none → unique_id", "max_age 0s → 10d", "dedup {records: 0, within: 0s} → {records: 10, within: 90s}"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	in := input(t, nil)
	in.Project = project([]event.Stream{pin(func(s *event.Stream) { s.Key = "unique_id" })}, pins(nil))
	if d := made(t, in); d.Does() || d.Refuses() != 1 {
		t.Errorf("does %v, refuses %d", d.Does(), d.Refuses())
	}
	in.Project = project(nil) // a stream that is no longer in the project is nothing the files ask for
	if d := made(t, in); d.Refuses() != 0 {
		t.Errorf("refuses %d", d.Refuses())
	}
}

// A repair of a view without history would fill in what its definition leaves out.
func TestNoRepairWithoutHistory(t *testing.T) {
	in := input(t, nil)
	in.Snap, in.Repair = running(t, as(t, ledger.Serving, func(v *metric.View) { v.Backfill.From = "none" })), []string{"pins"}
	if _, err := plan.Make(in); fault.CodeOf(err) != "no_history" {
		t.Error(err)
	}
}
