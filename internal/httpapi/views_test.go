package httpapi

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/metric"
	"github.com/pinflow/pinflow/internal/span"
	"github.com/pinflow/pinflow/internal/status"
)

// pins is a catalogue with a stream, and a view of it in the states given, oldest first.
func pins(t *testing.T, states ...string) ledger.Snapshot {
	t.Helper()
	stream := event.Stream{Name: "pin", Fields: []event.Field{{Name: "category", Type: "string"}, {Name: "kind", Type: "string"}}}
	stream.SetDefaults()
	schema, err := event.Compile(stream, 1)
	if err != nil {
		t.Fatal(err)
	}
	c, problems := metric.Compile(metric.View{
		Version: 1, Name: "pins", DisplayName: "Pins", Description: "Pins posted.", Owner: "growth", Stream: "pin",
		Dimensions: []metric.Dimension{{Name: "category"}},
		Measures: []metric.Measure{
			{Name: "posted", Agg: "count", Format: "humanize", Unit: "pins"},
			{Name: "video", Agg: "count", Filter: "kind = 'video'"},
			{Name: "video_share", Type: "ratio", Numerator: "video", Denominator: "posted", Format: "percent"},
		},
	}, schema)
	if c == nil {
		t.Fatal(problems)
	}
	v := ledger.View{Name: "pins", Stream: "pin", Metadata: c.Metadata()}
	for i, state := range states {
		v.Versions = append(v.Versions, ledger.ViewVersion{ID: int64(i + 1), Hash: c.Hash(), Definition: c.Definition(), Metadata: c.Metadata(), State: state, Schema: 1})
	}
	return ledger.Snapshot{
		Streams: []ledger.Stream{{Name: "pin", Schemas: []ledger.SchemaVersion{{Version: 1, Definition: stream}}}},
		Logs:    []ledger.Log{{ID: 1, Stream: "pin"}, {ID: 2, Stream: "pin", Dead: true}},
		Views:   []ledger.View{v},
	}
}

func TestViewsAreToldAsPeopleKnowThem(t *testing.T) {
	w := &world{snap: pins(t, ledger.Standby, ledger.Serving, ledger.Building)}
	a := newAPI(t, w, Config{})
	var got struct{ Views []viewBody }
	for range 2 { // the second is remembered
		if err := json.Unmarshal(ask(a, "GET", "/v1/views", nil).Body.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
	}
	want := []viewBody{{
		Name: "pins", DisplayName: "Pins", Description: "Pins posted.", Owner: "growth", Stream: "pin",
		TimeZone: "UTC", Grain: "minute", Version: w.snap.Views[0].Versions[1].Hash, State: ledger.Serving,
		Dimensions: []dimensionBody{{Name: "category", Type: "string"}},
		Measures: []measureBody{
			{Name: "posted", Agg: "count", Type: "long", Format: "humanize", Unit: "pins"},
			{Name: "video", Agg: "count", Type: "long"},
			{Name: "video_share", Agg: "ratio", Type: "double", Format: "percent", Numerator: "video", Denominator: "posted"},
		},
	}}
	if diff := cmp.Diff(want, got.Views); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	var one viewBody
	if err := json.Unmarshal(ask(a, "GET", "/v1/views/pins", nil).Body.Bytes(), &one); err != nil || len(one.Definition) == 0 {
		t.Errorf("%v: no definition in %+v", err, one)
	}
	var versions struct{ Versions []versionBody }
	if err := json.Unmarshal(ask(a, "GET", "/v1/views/pins/versions", nil).Body.Bytes(), &versions); err != nil || len(versions.Versions) != 3 || versions.Versions[0].State != ledger.Building {
		t.Errorf("%v %+v", err, versions)
	}
	wantProblem(t, ask(a, "GET", "/v1/views/pin", nil), 404, "unknown_view")
	wantProblem(t, ask(a, "GET", "/v1/views/pin/versions", nil), 404, "unknown_view")
}

// A view says what the background audit found of the version that serves, and nothing of others.
func TestAViewSaysWhatTheAuditFound(t *testing.T) {
	at := time.Unix(1_790_000_000, 0).UTC()
	w := &world{snap: pins(t, ledger.Standby, ledger.Serving, ledger.Building), audits: map[int64]ledger.AuditSum{
		1: {Days: 9, WrongDays: 9},
		2: {
			At: at, From: "2026-11-20", To: "2026-11-21", Days: 2, Rows: 70, Differences: 1, WrongDays: 1,
			Wrong: []ledger.DayAudit{{Day: "2026-11-21", At: at, Result: ledger.AuditDifferent, Differences: 1, First: "posted"}},
		},
	}}
	told := func() *status.Audit {
		t.Helper()
		var one viewBody
		if err := json.Unmarshal(ask(newAPI(t, w, Config{}), "GET", "/v1/views/pins", nil).Body.Bytes(), &one); err != nil {
			t.Fatal(err)
		}
		return one.Audit
	}
	want := &status.Audit{
		At: at, From: "2026-11-20", To: "2026-11-21", Days: 2, Rows: 70, Differences: 1, WrongDays: 1,
		Wrong: []status.WrongDay{{Day: "2026-11-21", At: at, Result: "different", Differences: 1, First: "posted"}},
	}
	if diff := cmp.Diff(want, told()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	delete(w.audits, 2)
	if got := told(); got != nil {
		t.Errorf("nothing was looked at, and it says %+v", got)
	}
}

func TestDroppedViewIsNotListed(t *testing.T) {
	a := newAPI(t, &world{snap: pins(t, ledger.Dropped)}, Config{})
	if got := ask(a, "GET", "/v1/views", nil).Body.String(); got != "{\"views\":[]}\n" {
		t.Errorf("%s", got)
	}
	wantProblem(t, ask(a, "GET", "/v1/views/pins", nil), 404, "unknown_view")
}

// feedLedger counts how often the catalogue is loaded.
type feedLedger struct {
	snap  ledger.Snapshot
	epoch int64
	loads int
	at    time.Time
}

func (f *feedLedger) Epochs(context.Context) (map[string]int64, error) {
	return map[string]int64{"pin": f.epoch}, nil
}

func (f *feedLedger) Load(context.Context) (*ledger.Snapshot, error) { f.loads++; return &f.snap, nil }

func (f *feedLedger) Progress(context.Context) (*ledger.Progress, error) {
	return &ledger.Progress{
		Start:        span.Vector{{Log: 1}: 100, {Log: 1, Partition: 1}: 0},
		Live:         span.Vector{{Log: 1}: 130, {Log: 1, Partition: 1}: 12},
		Batch:        span.Vector{{Log: 2}: 7},
		NewestSealed: 9,
	}, nil
}

func (f *feedLedger) CompleteTo(context.Context, string, ledger.Unit) (time.Time, error) {
	return f.at, nil
}

func TestLedgerFeedFollowsTheLiveUnit(t *testing.T) {
	l := &feedLedger{snap: pins(t, ledger.Serving), at: time.Unix(1_790_000_000, 0)}
	f := NewLedgerFeed(l)
	want := []Pulse{{Stream: "pin", Views: []string{"pins"}, Seal: 9, CompleteTo: l.at, Events: 42}}
	for range 3 {
		got, err := f.Pulse(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	l.epoch++
	if _, err := f.Pulse(t.Context()); err != nil || l.loads != 2 {
		t.Errorf("the catalogue was loaded %d times, want once an epoch (%v)", l.loads, err)
	}
}
