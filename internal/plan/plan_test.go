package plan_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/ledger"
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

func running() *ledger.Snapshot {
	return &ledger.Snapshot{
		Streams: []ledger.Stream{{Name: "pin", Epoch: 7, Schemas: []ledger.SchemaVersion{{Version: 1, Definition: pin(nil)}}}},
		Views: []ledger.View{{Name: "pins", Stream: "pin", Metadata: []byte(`{"format":"integer"}`), Versions: []ledger.ViewVersion{
			{ID: 1, Hash: "old", State: ledger.Standby}, {ID: 2, Hash: "now", State: ledger.Serving},
		}}},
	}
}

func lines(changes []plan.Change) string {
	var b strings.Builder
	for _, c := range changes {
		fmt.Fprintf(&b, "%s %s auto=%v %s\n", c.Category, strings.TrimPrefix(c.Stream+"/"+c.View, "/"), c.Auto, c.Detail)
	}
	return b.String()
}

func TestStreams(t *testing.T) {
	for name, tc := range map[string]struct {
		stream event.Stream
		want   string
	}{
		"same":        {pin(nil), ""},
		"from spelt":  {pin(func(s *event.Stream) { s.Fields[0].From = "category" }), ""},
		"order":       {pin(func(s *event.Stream) { s.Fields[0], s.Fields[1] = s.Fields[1], s.Fields[0] }), ""},
		"new field":   {pin(func(s *event.Stream) { s.Fields = append(s.Fields, event.Field{Name: "mood", Type: "string"}) }), "schema pin/ auto=true 1 new fields\n"},
		"type":        {pin(func(s *event.Stream) { s.Fields[1].Type = "double" }), "refused pin/ auto=false field followers: a declared field never changes its type or cleaning: declare a new field, {name: followers_2, from: follower_count, …}, and leave this one\n"},
		"null_if":     {pin(func(s *event.Stream) { s.Fields[1].NullIf = nil }), "refused pin/ auto=false field followers: a declared field never changes its type or cleaning: declare a new field, {name: followers_2, from: follower_count, …}, and leave this one\n"},
		"field gone":  {pin(func(s *event.Stream) { s.Fields = s.Fields[:1] }), "refused pin/ auto=false field followers: a declared field stays: put it back\n"},
		"partitions":  {pin(func(s *event.Stream) { s.Partitions = 4 }), "schema pin/ auto=false partitions 2 → 4: not applied by itself; the running value stays\n"},
		"new and bad": {pin(func(s *event.Stream) { s.Fields = append(s.Fields, event.Field{Name: "x", Type: "long"}); s.Key = "a" }), "schema pin/ auto=false key  → a: not applied by itself; the running value stays\n"},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, lines(plan.Streams([]event.Stream{tc.stream}, running()))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestNewStreamIsComposedOnEpochZero(t *testing.T) {
	def := pin(func(s *event.Stream) { s.Name = "geo" })
	changes := plan.Compose(plan.Streams([]event.Stream{pin(nil), def}, running()), running())
	if diff := cmp.Diff([]ledger.Change{{Stream: "geo", Schema: &def}}, changes); diff != "" {
		t.Error(diff)
	}
}

func TestViews(t *testing.T) {
	view := func(name, hash, meta string) plan.View {
		return plan.View{Name: name, Stream: "pin", Hash: hash, Definition: []byte(hash), Metadata: []byte(meta)}
	}
	snap := running()
	changes := plan.Views([]plan.View{view("pins", "now", `{"format":"percent"}`), view("new", "n", "{}")}, snap)
	want := "metadata pin/pins auto=true names, formats or ratios changed\nadd pin/new auto=true new view\n"
	if diff := cmp.Diff(want, lines(changes)); diff != "" {
		t.Error(diff)
	}
	composed := []ledger.Change{{Stream: "pin", Epoch: 7, Views: []ledger.ViewChange{
		{Name: "pins", Metadata: []byte(`{"format":"percent"}`)},
		{Name: "new", Hash: "n", Definition: []byte("n"), Metadata: []byte("{}"), State: ledger.Serving},
	}}}
	if diff := cmp.Diff(composed, plan.Compose(changes, snap)); diff != "" {
		t.Error(diff)
	}
	rebuild := plan.Views([]plan.View{view("pins", "other", `{"format":"integer"}`)}, snap)
	if got := plan.Compose(rebuild, snap); len(rebuild) != 1 || rebuild[0].Category != plan.Rebuild || got != nil {
		t.Errorf("a changed definition is %s and composes to %v", lines(rebuild), got)
	}
	if got := lines(plan.Views(nil, snap)); got != "remove pin/pins auto=false is no longer in the project; it goes on running\n" {
		t.Errorf("a view left out: %s", got)
	}
}
