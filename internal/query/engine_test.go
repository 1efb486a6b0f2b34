package query_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/pinflow/pinflow/internal/calendar"
	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/fold"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/metric"
	"github.com/pinflow/pinflow/internal/prove"
	"github.com/pinflow/pinflow/internal/query"
)

func pinSchema(t testing.TB) *event.Schema {
	t.Helper()
	s, err := event.Compile(event.Stream{Name: "pin", Topic: "pin", EventTime: "event_time", Fields: []event.Field{
		{Name: "category", Type: "string"}, {Name: "country", Type: "string"}, {Name: "likes", Type: "long"},
	}}, 1)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func pinView(t testing.TB, s *event.Schema, change func(*metric.View)) *metric.Compiled {
	t.Helper()
	v := metric.View{
		Version: 1, Name: "pins", Stream: "pin",
		Dimensions: []metric.Dimension{{Name: "country"}, {Name: "category"}},
		Measures: []metric.Measure{
			{Name: "posted", Agg: "count"},
			{Name: "likes", Agg: "sum", Expr: "likes"},
			{Name: "liked", Agg: "count", Filter: "likes > 0"},
			{Name: "liked_share", Type: "ratio", Numerator: "liked", Denominator: "posted"},
		},
	}
	if change != nil {
		change(&v)
	}
	c, problems := metric.Compile(v, s)
	if c == nil {
		t.Fatalf("%+v", problems)
	}
	return c
}

type pin struct {
	at                int64
	category, country string // "" is NULL
	likes             int64
}

func fill(t testing.TB, m *memory, c *metric.Compiled, pins []pin) {
	t.Helper()
	d := c.Schema.NewDecoder(nil)
	for i, p := range pins {
		e := map[string]any{"event_time": time.UnixMicro(p.at).UTC().Format(time.RFC3339Nano), "likes": p.likes}
		if p.category != "" {
			e["category"] = p.category
		}
		if p.country != "" {
			e["country"] = p.country
		}
		value, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		if v := d.Append(&event.Record{Offset: int64(i), Value: value, Received: p.at}); v.Dead() {
			t.Fatalf("%+v", v)
		}
	}
	f := fold.New(c)
	if err := f.Add(d.Rows()); err != nil {
		t.Fatal(err)
	}
	m.add(t, c, f.Take()...)
}

var start = time.Date(2026, 10, 24, 20, 0, 0, 0, time.UTC)

// A query at any grain, by any dimensions, under any filter, is the fold of the events by hand. (M1)
func TestQueryIsNaiveFold(t *testing.T) {
	prove.Invariant(t, "M1 M2")
	s := pinSchema(t)
	rapid.Check(t, func(rt *rapid.T) {
		zone := rapid.SampledFrom([]string{"UTC", "Europe/London", "America/New_York"}).Draw(rt, "zone")
		c := pinView(t, s, func(v *metric.View) { v.TimeZone = zone })
		m := newMemory(c, start.Add(-time.Hour))
		var every []pin
		for range rapid.IntRange(0, 5).Draw(rt, "segments") {
			pins := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) pin {
				return pin{
					at:       start.UnixMicro() + rapid.Int64Range(0, 40*3600).Draw(rt, "at")*calendar.Second,
					category: rapid.SampledFrom([]string{"", "art", "food", "travel"}).Draw(rt, "category"),
					country:  rapid.SampledFrom([]string{"", "gb", "de"}).Draw(rt, "country"),
					likes:    rapid.Int64Range(-2, 3).Draw(rt, "likes"),
				}
			}), 1, 15).Draw(rt, "pins")
			every = append(every, pins...)
			fill(t, m, c, pins)
		}
		by := rapid.SampledFrom([][]string{nil, {"category"}, {"country", "category"}}).Draw(rt, "by")
		only := rapid.SampledFrom([]string{"", "art", "food"}).Draw(rt, "only")
		req := query.Request{
			View: "pins", By: by, From: start.Add(-time.Hour).Format(time.RFC3339), To: start.Add(48 * time.Hour).Format(time.RFC3339),
			Grain: rapid.SampledFrom([]string{"", "hour", "day"}).Draw(rt, "grain"),
		}
		if only != "" {
			req.Filter = "category:" + only
		}
		a, err := engine(t, m, start.Add(50*time.Hour)).Query(context.Background(), req)
		if err != nil {
			rt.Fatal(err)
		}
		got := map[string]string{}
		for _, row := range a.Rows {
			n := len(row) - 4
			if fmt.Sprint(row[n]) != "0" { // zeros of buckets without events
				got[fmt.Sprint(row[:n]...)] = fmt.Sprint(row[n:]...)
			}
		}
		if d := cmp.Diff(byHand(every, c.Zone.Location(), req, only), got); d != "" {
			rt.Fatalf("%+v: %s", req, d)
		}
	})
}

func byHand(pins []pin, zone *time.Location, req query.Request, only string) map[string]string {
	type sums struct{ posted, likes, liked int64 }
	groups := map[string]*sums{}
	for _, p := range pins {
		if only != "" && p.category != only {
			continue
		}
		var key []any
		at := time.UnixMicro(p.at).In(zone)
		switch req.Grain {
		case "hour": // by subtraction, so that a repeated hour stays two
			at = at.Add(-time.Duration(at.Minute())*time.Minute - time.Duration(at.Second())*time.Second)
			key = append(key, at.Format(time.RFC3339))
		case "day":
			key = append(key, time.Date(at.Year(), at.Month(), at.Day(), 0, 0, 0, 0, zone).Format(time.RFC3339))
		}
		for _, d := range req.By {
			v := map[string]string{"category": p.category, "country": p.country}[d]
			if v == "" {
				key = append(key, nil)
			} else {
				key = append(key, v)
			}
		}
		k := fmt.Sprint(key...)
		if groups[k] == nil {
			groups[k] = &sums{}
		}
		g := groups[k]
		g.posted++
		g.likes += p.likes
		if p.likes > 0 {
			g.liked++
		}
	}
	out := map[string]string{}
	for k, g := range groups {
		out[k] = fmt.Sprint(g.posted, g.likes, g.liked, float64(g.liked)/float64(g.posted))
	}
	return out
}

func somePins(n int) []pin {
	var out []pin
	for i := range n {
		out = append(out, pin{at: start.UnixMicro() + int64(i)*60*calendar.Second, category: fmt.Sprintf("c%02d", i%20), country: "gb", likes: int64(i % 20)})
	}
	return out
}

// Sealed segments never change: each is read and decoded once.
func TestSegmentsAreCached(t *testing.T) {
	c := pinView(t, pinSchema(t), nil)
	m := newMemory(c, start)
	for range 4 {
		fill(t, m, c, somePins(30))
	}
	e := engine(t, m, start.Add(time.Hour))
	for range 3 {
		if _, err := e.Query(context.Background(), query.Request{View: "pins"}); err != nil {
			t.Fatal(err)
		}
	}
	if m.loaded != 4 {
		t.Errorf("segments were read %d times, want 4", m.loaded)
	}
}

// A version that changes between planning and reading is planned anew: an answer is of one version.
func TestVersionMovesDuringQuery(t *testing.T) {
	prove.Invariant(t, "M5")
	s := pinSchema(t)
	c := pinView(t, s, nil)
	m := newMemory(c, start)
	fill(t, m, c, somePins(30))
	other := pinView(t, s, func(v *metric.View) {
		v.Dimensions = nil
		v.Measures = []metric.Measure{{Name: "posted", Agg: "count"}}
	})
	m.onRead = func(n int) {
		if n == 2 { // the first one only asked for the definition
			next := newMemory(other, start)
			next.data.Version.ID = 2
			fill(t, next, other, somePins(7))
			m.data, m.segments = next.data, next.segments
			for i := range m.segments {
				m.segments[i].ID += 100
			}
		}
	}
	a, err := engine(t, m, start.Add(time.Hour)).Query(context.Background(), query.Request{View: "pins", Measures: []string{"posted"}})
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(a.Rows) != "[[7]]" || a.Meta.Versions["pins"] != other.Hash()[:8] {
		t.Errorf("%v %v", a.Rows, a.Meta.Versions)
	}
}

// A measure that was added since the last question is found at the first one that names it.
func TestNewMeasureIsFoundAtOnce(t *testing.T) {
	s := pinSchema(t)
	c := pinView(t, s, nil)
	m := newMemory(c, start)
	fill(t, m, c, somePins(3))
	e := engine(t, m, start.Add(time.Hour))
	ask := func() error {
		_, err := e.Query(context.Background(), query.Request{View: "pins", Measures: []string{"likes_avg"}})
		return err
	}
	if err := ask(); fault.CodeOf(err) != "bad_parameter" {
		t.Fatalf("got %v", err)
	}
	m.data.View.Metadata = pinView(t, s, func(v *metric.View) {
		v.Measures = append(v.Measures, metric.Measure{Name: "likes_avg", Agg: "avg", Expr: "likes"})
	}).Metadata()
	if err := ask(); err != nil {
		t.Error(err)
	}
}

// A version that is asked for by name answers to its own names, whatever was asked before.
func TestNamedVersions(t *testing.T) {
	s := pinSchema(t)
	c, next := pinView(t, s, nil), pinView(t, s, func(v *metric.View) {
		v.Measures = append(v.Measures, metric.Measure{Name: "likes_most", Agg: "max", Expr: "likes"})
	})
	m := newMemory(c, start)
	m.versions = map[string]ledger.ViewVersion{ledger.Building: {
		ID: 2, Hash: next.Hash(), Definition: next.Definition(), Metadata: next.Metadata(), State: ledger.Building, Schema: 1, CreatedAt: start,
	}}
	e := engine(t, m, start)
	for range 2 {
		a, err := e.Query(t.Context(), query.Request{View: c.Name + "@building", Measures: []string{"likes_most"}})
		if err != nil || !strings.HasPrefix(next.Hash(), a.Meta.Versions[c.Name]) {
			t.Errorf("%+v, %v", a, err)
		}
		if _, err = e.Query(t.Context(), query.Request{View: c.Name, Measures: []string{"likes_most"}}); fault.CodeOf(err) != "bad_parameter" {
			t.Errorf("the version that answers has a measure of the next: %v", err)
		}
	}
	if _, err := e.Query(t.Context(), query.Request{View: c.Name + "@"}); fault.CodeOf(err) != "bad_parameter" {
		t.Errorf("got %v", err)
	}
}

func TestUnknownView(t *testing.T) {
	m := newMemory(pinView(t, pinSchema(t), nil), start)
	_, err := engine(t, m, start).Query(context.Background(), query.Request{View: "pin"})
	if fault.CodeOf(err) != "unknown_view" || fault.KindOf(err) != fault.Record {
		t.Errorf("got %v", err)
	}
}

func TestDamagedSegmentIsCorrupt(t *testing.T) {
	c := pinView(t, pinSchema(t), nil)
	m := newMemory(c, start)
	fill(t, m, c, somePins(3))
	m.segments[0].Data = slices.Clone(m.segments[0].Data)
	m.segments[0].Data[40] ^= 1
	_, err := engine(t, m, start.Add(time.Hour)).Query(context.Background(), query.Request{View: "pins"})
	if fault.KindOf(err) != fault.Corrupt || !strings.Contains(fmt.Sprint(err), "segment 1") {
		t.Errorf("got %v", err)
	}
}

func TestTooManyRows(t *testing.T) {
	c := pinView(t, pinSchema(t), nil)
	m := newMemory(c, start)
	fill(t, m, c, somePins(200))
	e, err := query.New(query.Config{MaxRows: 100}, m, func() time.Time { return start.Add(4 * time.Hour) })
	if err != nil {
		t.Fatal(err)
	}
	req := query.Request{View: "pins", By: []string{"category"}, Grain: "minute", From: "now-90m"}
	if a, err := e.Query(context.Background(), req); err != nil || len(a.Rows) != 50 {
		t.Errorf("%v %v", a, err)
	}
	req.From = "now-4h"
	if _, err := e.Query(context.Background(), req); fault.CodeOf(err) != "bad_parameter" {
		t.Errorf("got %v", err)
	}
}

// What a version does not have yet is NULL and named, never zero.
func TestPendingMeasure(t *testing.T) {
	s := pinSchema(t)
	c := pinView(t, s, nil)
	m := newMemory(c, start)
	fill(t, m, c, somePins(3))
	more := pinView(t, s, func(v *metric.View) {
		v.Measures = append(v.Measures, metric.Measure{Name: "most", Agg: "max", Expr: "likes"}, metric.Measure{Name: "odd", Agg: "count", Filter: "likes = 1"})
	})
	m.data.View.Metadata = more.Metadata()
	a, err := engine(t, m, start.Add(time.Hour)).Query(context.Background(), query.Request{View: "pins", Measures: []string{"posted", "most", "odd"}})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"measure most is being filled in", "measure odd is being filled in"}
	if d := cmp.Diff(want, a.Meta.Warnings); d != "" || fmt.Sprint(a.Rows) != "[[3 <nil> <nil>]]" {
		t.Errorf("%v %s", a.Rows, d)
	}
}

// The body changes only when the answer does: the same snapshot asked later gives the same bytes.
func TestAnswerHoldsNoClock(t *testing.T) {
	c := pinView(t, pinSchema(t), nil)
	m := newMemory(c, start)
	m.data.CompleteTo = start.Add(time.Hour)
	fill(t, m, c, somePins(90))
	var first []byte
	for i := range 3 {
		e := engine(t, m, start.Add(90*time.Minute+time.Duration(i+1)*10*time.Second))
		a, err := e.Query(context.Background(), query.Request{View: "pins", Grain: "minute", From: "now-1h"})
		if err != nil {
			t.Fatal(err)
		}
		body, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = body
		} else if string(body) != string(first) {
			t.Error(cmp.Diff(string(first), string(body)))
		}
	}
}

func TestRunTest(t *testing.T) {
	s := pinSchema(t)
	for _, x := range []struct {
		name, test string
		want       []string
	}{
		{"totals", "events: [{event_time: 2026-11-22T10:00:01Z, likes: 2}, {likes: 0}]\nexpect: {rows: [{posted: 2, liked_share: 0.5}]}", nil},
		{"by day", "events: [{event_time: 2026-11-22T10:00:01Z}]\nexpect: {grain: day, rows: [{time: 2026-11-22, posted: 1, likes: null}]}", nil},
		{"no events", "events: []\nexpect: {rows: [{posted: 0, likes: null}]}", nil},
		{"by dimension", "events: [{category: art}, {category: food}, {}]\nexpect: {by: [category], rows: [{category: food, posted: 1}, {category: null, posted: 1}, {category: art}]}", nil},
		{"wrong number", "events: [{likes: 2}]\nexpect: {rows: [{posted: 2, likes: 2}]}", []string{`expect.rows[0]: posted: expected 2, got 1`}},
		{"missing row", "events: [{category: art}]\nexpect: {by: [category], rows: [{category: food, posted: 1}]}", []string{
			`expect.rows[0]: the answer has no row {category: "food", posted: 1}`, `the answer has a row that is not expected: {category: "art", posted: 1, likes: null, liked: 0, liked_share: 0}`,
		}},
		{"bad column", "events: [{likes: 2}]\nexpect: {rows: [{psted: 2}]}", []string{`expect.rows[0]: the answer has no column "psted"`}},
		{"dead event", "events: [{likes: x}]\nexpect: {rows: []}", []string{`events[0] would be a dead letter: type_mismatch`}},
	} {
		var test metric.Test
		if err := yaml.UnmarshalWithOptions([]byte(x.test), &test, yaml.Strict()); err != nil {
			t.Fatal(err)
		}
		got := query.RunTest(pinView(t, s, nil), test)
		ok := len(got) == len(x.want)
		for i := range x.want {
			ok = ok && strings.HasPrefix(got[i], x.want[i])
		}
		if !ok {
			t.Errorf("%s: got %q, want %q", x.name, got, x.want)
		}
	}
}

var _ query.Source = ledger.Reader(nil)

// BenchmarkQuery is top 10 + other by hour over 90 days of 1,000 values, and totals of 1,000 values.
// AppendJSON writes what json.Marshal would.
func TestAppendJSON(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		text := "now"
		a := query.Answer{
			Columns: []string{"time", "a\"b"}, Points: query.Points{State: []string{"complete"}},
			Meta: query.Meta{CompleteTo: &text, Versions: map[string]string{"pins": "1"}, Warnings: []string{"ü"}},
		}
		for range rapid.IntRange(0, 4).Draw(rt, "rows") {
			a.Rows = append(a.Rows, []any{
				rapid.String().Draw(rt, "text"), rapid.Int64().Draw(rt, "long"), rapid.Float64().Draw(rt, "double"),
				json.Number("123456789012345678901234567890"), rapid.Bool().Draw(rt, "boolean"), nil,
			})
		}
		got, err := a.AppendJSON(nil)
		if err != nil {
			rt.Fatal(err)
		}
		want, err := json.Marshal(a)
		if err != nil {
			rt.Fatal(err)
		}
		var x, y any
		if err := errors.Join(json.Unmarshal(got, &x), json.Unmarshal(want, &y)); err != nil {
			rt.Fatal(err)
		}
		if len(a.Rows) == 0 {
			y.(map[string]any)["rows"] = []any{} // an answer without rows has an empty list
		}
		if d := cmp.Diff(y, x); d != "" {
			rt.Fatal(d)
		}
	})
}

func BenchmarkQuery(b *testing.B) {
	c := pinView(b, pinSchema(b), func(v *metric.View) { v.Grain = "hour" })
	m := newMemory(c, start)
	var pins []pin
	for h := range 90 * 24 {
		for k := range 1000 {
			pins = append(pins, pin{at: start.UnixMicro() + int64(h)*3600*calendar.Second, category: fmt.Sprintf("c%03d", k), likes: int64(k)})
		}
		if h%24 == 23 {
			fill(b, m, c, pins)
			pins = pins[:0]
		}
	}
	e, err := query.New(query.Config{}, m, func() time.Time { return start.Add(90 * 24 * time.Hour) })
	if err != nil {
		b.Fatal(err)
	}
	for _, q := range []query.Request{
		{View: "pins", Measures: []string{"posted"}, By: []string{"category"}, Grain: "hour", From: "now-90d", Limit: 10},
		{View: "pins", Measures: []string{"posted"}, By: []string{"category"}, From: "now-90d", Order: "-posted", Limit: 1000},
	} {
		b.Run("grain="+q.Grain, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				a, err := e.Query(context.Background(), q)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := a.AppendJSON(nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
