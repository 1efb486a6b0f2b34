package httpapi

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pinflow/pinflow/internal/days"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/query"
)

func answer() *query.Answer {
	at := time.Date(2026, 11, 24, 14, 31, 0, 0, time.UTC)
	return &query.Answer{
		Columns:    []string{"time", "category", "posted", "video_share"},
		Rows:       [][]any{{"2026-11-24T14:30:00Z", "travel", int64(-5), 0.25}, {"2026-11-24T14:31:00Z", nil, json.Number("340282366920938463463"), nil}},
		Points:     query.Points{State: []string{"complete", "incomplete"}},
		Meta:       query.Meta{CompleteTo: new(at.Format(time.RFC3339)), Versions: map[string]string{"pins": "8f3c21d0"}},
		CompleteTo: at,
	}
}

func TestQueryReadsItsParameters(t *testing.T) {
	var got query.Request
	w := &world{query: func(q query.Request) (*query.Answer, error) { got = q; return answer(), nil }}
	a := newAPI(t, w, Config{})
	want := query.Request{View: "pins", Measures: []string{"posted", "video_share"}, By: []string{"category"}, Filter: "category:travel,country:!gb", From: "now-7d/d", To: "now/d", Grain: "day", TZ: "UTC", AsOf: "complete", Order: "-posted", Limit: 10}
	target := "/v1/query?view=pins&measures=posted,video_share&by=category&f=category:travel,country:!gb&from=now-7d/d&to=now/d&grain=day&tz=UTC&as_of=complete&order=-posted&limit=10"
	if res := ask(a, "GET", target, nil); res.Code != 200 {
		t.Fatalf("%d %s", res.Code, res.Body)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	body, err := json.Marshal(question(want))
	if err != nil {
		t.Fatal(err)
	}
	got = query.Request{}
	if res := ask(a, "POST", "/v1/query", strings.NewReader(string(body)), "Content-Type", "application/json"); res.Code != 200 {
		t.Fatalf("%d %s", res.Code, res.Body)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("posted (-want +got):\n%s", diff)
	}
}

func TestQueryRefusesWhatItDoesNotKnow(t *testing.T) {
	a := newAPI(t, &world{query: func(query.Request) (*query.Answer, error) { return answer(), nil }}, Config{})
	for _, target := range []string{
		"/v1/query", "/v1/query?view=pins&mesure=posted", "/v1/query?view=pins&limit=ten", "/v1/query?view=pins&limit=-1",
		"/v1/query?view=pins&view=geos", "/v1/query?view=pins&format=xml", "/v1/query?view=%zz",
	} {
		wantProblem(t, ask(a, "GET", target, nil), 400, "bad_parameter")
	}
	for _, body := range []string{"", "{", `{"view":"pins","mesures":[]}`, `{"view":"pins"}{}`, `[]`} {
		wantProblem(t, ask(a, "POST", "/v1/query", strings.NewReader(body), "Content-Type", "application/json"), 400, "malformed_body")
	}
	long := `{"view":"` + strings.Repeat("x", maxQuery) + `"}`
	wantProblem(t, ask(a, "POST", "/v1/query", strings.NewReader(long), "Content-Type", "application/json"), 413, "body_too_large")
	wantProblem(t, ask(a, "POST", "/v1/query", strings.NewReader("view=pins"), "Content-Type", "application/x-www-form-urlencoded"), 415, "unsupported_type")
}

func TestAnswerIsKeptUntilItChanges(t *testing.T) {
	ans := answer()
	w := &world{query: func(query.Request) (*query.Answer, error) { return ans, nil }}
	a := newAPI(t, w, Config{})
	first := ask(a, "GET", "/v1/query?view=pins", nil)
	tag := first.Header().Get("ETag")
	if first.Code != 200 || tag == "" || first.Header().Get("Cache-Control") != "no-cache" || first.Header().Get("Pinflow-Time") == "" {
		t.Fatalf("%d %v", first.Code, first.Header())
	}
	if got := ask(a, "GET", "/v1/query?view=pins", nil, "If-None-Match", `"x", `+tag); got.Code != 304 || got.Body.Len() != 0 || got.Header().Get("ETag") != tag {
		t.Errorf("unchanged answer: %d, %d bytes", got.Code, got.Body.Len())
	}
	ans = answer()
	ans.Meta.CompleteTo = new("2026-11-24T14:31:01Z")
	if got := ask(a, "GET", "/v1/query?view=pins", nil, "If-None-Match", tag); got.Code != 200 || got.Header().Get("ETag") == tag {
		t.Errorf("a mark moved, and the answer is still %d", got.Code)
	}
	w.query = func(query.Request) (*query.Answer, error) {
		return nil, fault.New(fault.Transient, "ledger_busy", "busy")
	}
	got := ask(a, "GET", "/v1/query?view=pins", nil, "If-None-Match", tag)
	wantProblem(t, got, 503, "ledger_busy")
	if got.Header().Get("ETag") != "" {
		t.Error("an error has an ETag")
	}
	w.query = func(query.Request) (*query.Answer, error) {
		return nil, fault.New(fault.Record, "unknown_view", "no view %q", "pin")
	}
	w.snap.Views = []ledger.View{{Name: "pins"}, {Name: "users"}}
	got = ask(a, "GET", "/v1/query?view=pin", nil)
	wantProblem(t, got, 404, "unknown_view")
	if !strings.Contains(got.Body.String(), "use one of: pins, users") {
		t.Errorf("the views there are are not named: %s", got.Body)
	}
}

func TestCSVSaysWhatEachRowIsWorth(t *testing.T) {
	ans := answer()
	ans.Rows[0][1] = "=HYPERLINK(1)"
	a := newAPI(t, &world{query: func(query.Request) (*query.Answer, error) { return ans, nil }}, Config{})
	want := "time,category,posted,video_share,_state,_complete_to\n" +
		"2026-11-24T14:30:00Z,'=HYPERLINK(1),-5,0.25,complete,2026-11-24T14:31:00Z\n" +
		"2026-11-24T14:31:00Z,,340282366920938463463,,incomplete,2026-11-24T14:31:00Z\n"
	for _, got := range []*httptest.ResponseRecorder{
		ask(a, "GET", "/v1/query?view=pins&format=csv", nil),
		ask(a, "GET", "/v1/query?view=pins", nil, "Accept", "text/csv"),
	} {
		if diff := cmp.Diff(want, got.Body.String()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if h := got.Header(); h.Get("Content-Type") != "text/csv; charset=utf-8" || h.Get("Pinflow-Complete-To") != "2026-11-24T14:31:00Z" || !strings.Contains(h.Get("Content-Disposition"), `"pins.csv"`) {
			t.Errorf("%v", h)
		}
	}
}

func TestDaysHaveAState(t *testing.T) {
	cut := time.Date(2026, 11, 23, 0, 11, 0, 0, time.UTC)
	w := &world{
		snap: ledger.Snapshot{Streams: []ledger.Stream{{Name: "pin"}}},
		days: []days.Day{
			{Stream: "pin", Zone: "UTC", Date: "2026-11-23", State: days.Open, Complete: 0.5},
			{Stream: "pin", Zone: "UTC", Date: "2026-11-22", State: days.Waiting, CutAt: &cut, Note: "pin/0 is 3 records behind in the lake"},
			{Stream: "pin", Zone: "UTC", Date: "2026-11-21", State: days.Complete, CutAt: &cut, LandedAt: &cut, Totals: []byte(`{"rows":3}`)},
		},
	}
	a := newAPI(t, w, Config{})
	var got struct{ Days []days.Day }
	if err := json.Unmarshal(ask(a, "GET", "/v1/days", nil).Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Days) != 3 || got.Days[0].State != "open" || got.Days[1].State != "waiting" || got.Days[2].State != "complete" || string(got.Days[2].Totals) != `{"rows":3}` {
		t.Errorf("%+v", got)
	}
	if err := json.Unmarshal(ask(a, "GET", "/v1/days/2026-11-22", nil).Body.Bytes(), &got); err != nil || len(got.Days) != 1 {
		t.Errorf("%v %+v", err, got)
	}
	wantProblem(t, ask(a, "GET", "/v1/days/yesterday", nil), 400, "bad_parameter")
	wantProblem(t, ask(a, "GET", "/v1/days?limit=0", nil), 400, "bad_parameter")
	wantProblem(t, ask(a, "GET", "/v1/days?stream=pim", nil), 404, "unknown_stream")
}

func TestLakeIsToldLineByLine(t *testing.T) {
	w := &world{ids: []string{"a", "b\"c"}, snap: ledger.Snapshot{Streams: []ledger.Stream{{Name: "pin"}}}}
	a := newAPI(t, w, Config{})
	got := ask(a, "GET", "/v1/lake/pin/ids?day=2026-11-22", nil)
	if got.Code != 200 || got.Body.String() != "\"a\"\n\"b\\\"c\"\n" || got.Header().Get("Content-Type") != "application/x-ndjson" {
		t.Errorf("%d %q %v", got.Code, got.Body, got.Header())
	}
	if got := ask(a, "GET", "/v1/lake/pin/digest", nil); got.Code != 200 || !strings.Contains(got.Body.String(), `"rows":3`) {
		t.Errorf("%d %s", got.Code, got.Body)
	}
	wantProblem(t, ask(a, "GET", "/v1/lake/pin/ids", nil), 400, "bad_parameter")
	wantProblem(t, ask(a, "GET", "/v1/lake/pim/ids?day=2026-11-22", nil), 404, "unknown_stream")
	wantProblem(t, ask(a, "GET", "/v1/lake/pim/digest", nil), 404, "unknown_stream")
	if got := ask(a, "GET", "/v1/lake/dead_letters/digest", nil); got.Code != 200 {
		t.Errorf("the dead letters: %d", got.Code)
	}
	w.ids = nil
	if got := ask(a, "GET", "/v1/lake/pin/ids?day=2026-11-22", nil); got.Code != 200 || got.Body.Len() != 0 || got.Header().Get("Content-Type") != "application/x-ndjson" {
		t.Errorf("a day without events: %d %v", got.Code, got.Header())
	}
	w.broken = fault.New(fault.Transient, "s3_away", "the bucket does not answer")
	wantProblem(t, ask(a, "GET", "/v1/lake/pin/ids?day=2026-11-22", nil), 503, "s3_away")
}

func TestHalfAnAnswerIsCutOff(t *testing.T) {
	w := &world{broken: fault.New(fault.Transient, "s3", "away"), snap: ledger.Snapshot{Streams: []ledger.Stream{{Name: "pin"}}}}
	for range 20_000 {
		w.ids = append(w.ids, "some-event-id")
	}
	srv := httptest.NewServer(newAPI(t, w, Config{}))
	defer srv.Close()
	res, err := http.Get(srv.URL + "/v1/lake/pin/ids?day=2026-11-22")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
	}
	if lines.Err() == nil {
		t.Error("a stream that broke off looks whole")
	}
}

// events reads server-sent events until enough says so.
func events(t *testing.T, url, lastID string, enough func([]string) bool) (got []string, last string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/v1/events-stream", nil)
	if err != nil {
		t.Fatal(err)
	}
	if lastID != "" {
		r.Header.Set("Last-Event-ID", lastID)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if kind := res.Header.Get("Content-Type"); res.StatusCode != 200 || kind != "text/event-stream" {
		t.Fatalf("%d %s", res.StatusCode, kind)
	}
	lines := bufio.NewScanner(res.Body)
	name := ""
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), ": ")
		switch key {
		case "event":
			name = value
		case "id":
			last = value
		case "data":
			got = append(got, name+" "+value)
			if enough(got) {
				return got, last
			}
		}
	}
	t.Fatalf("the stream ended after %q: %v", got, lines.Err())
	return nil, ""
}

func has(parts ...string) func([]string) bool {
	return func(got []string) bool {
		for _, part := range parts {
			found := false
			for _, g := range got {
				found = found || strings.Contains(g, part)
			}
			if !found {
				return false
			}
		}
		return true
	}
}

func TestEventStreamTellsTheNewestFirst(t *testing.T) {
	at := time.Now().Add(-time.Second)
	w := &world{pulses: []Pulse{{Stream: "pin", Views: []string{"pins"}, Seal: 7, CompleteTo: at, Events: 10}, {Stream: "geo", Views: []string{}}}}
	w.report.OK = true
	a := newAPI(t, w, Config{Pulse: time.Millisecond, Heartbeat: 20 * time.Millisecond})
	srv := httptest.NewServer(a)
	defer srv.Close()
	got, last := events(t, srv.URL, "", has(`"stream":"pin"`, `"stream":"geo"`, "status ", "heartbeat "))
	if !has(`"seal":7`, `"views":["pins"]`, `"complete_to":null`, `{"ok":true,"problems":[]}`)(got) {
		t.Errorf("%q", got)
	}
	// what was seen is not told again: only what moved since
	w.mu.Lock()
	w.pulses[0].Events = 11
	w.mu.Unlock()
	got, _ = events(t, srv.URL, last, has(`"events":11`))
	if has(`"stream":"geo"`)(got) {
		t.Errorf("told again: %q", got)
	}
	// an id of another process counts for nothing
	events(t, srv.URL, "01JD-999", has(`"stream":"pin"`, `"stream":"geo"`))
	// a problem that comes is told
	w.mu.Lock()
	w.err = fault.New(fault.Transient, "ledger_away", "gone")
	w.mu.Unlock()
	events(t, srv.URL, "", has(`status {"ok":false,"problems":["the ledger does not answer"]}`))
}

// A listener that comes when nobody listens is told how things stand, also when they stand as the last
// one was told: the loop that told it may have run on a moment after it left.
func TestEventStreamTellsAnOldProblemToANewListener(t *testing.T) {
	w := &world{err: fault.New(fault.Transient, "ledger_away", "gone")}
	a := newAPI(t, w, Config{Pulse: time.Millisecond, Heartbeat: 20 * time.Millisecond})
	srv := httptest.NewServer(a)
	defer srv.Close()
	for range 3 {
		events(t, srv.URL, "", has(`status {"ok":false,"problems":["the ledger does not answer"]}`))
		for a.hub.busy() {
			runtime.Gosched() // the server has not seen yet that the client is gone
		}
	}
}

func (h *hub) busy() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.listeners) > 0
}

func TestEventStreamIsAtMostAPulse(t *testing.T) {
	w := &world{pulses: []Pulse{{Stream: "pin"}}}
	const pulse = 40 * time.Millisecond
	a := newAPI(t, w, Config{Pulse: pulse, Heartbeat: time.Hour})
	srv := httptest.NewServer(a)
	defer srv.Close()
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		for {
			select {
			case <-stop:
				return
			default:
				w.mu.Lock()
				w.pulses[0].Events++
				w.mu.Unlock()
			}
		}
	}()
	start := time.Now()
	got, _ := events(t, srv.URL, "", func(got []string) bool { return len(got) >= 6 })
	if took := time.Since(start); took < 4*pulse {
		t.Errorf("%d events in %s", len(got), took)
	}
}

func TestEventStreamsAreBoundedAndEnd(t *testing.T) {
	a := newAPI(t, &world{pulses: []Pulse{{Stream: "pin"}}}, Config{Streams: 1, Heartbeat: time.Hour})
	srv := httptest.NewServer(a)
	defer srv.Close()
	res, err := http.Get(srv.URL + "/v1/events-stream")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	second, err := http.Get(srv.URL + "/v1/events-stream")
	if err != nil {
		t.Fatal(err)
	}
	second.Body.Close()
	if second.StatusCode != 503 || second.Header.Get("Retry-After") == "" {
		t.Errorf("a stream too many got %d", second.StatusCode)
	}
	a.Close() // ends the open one
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
	}
	third, err := http.Get(srv.URL + "/v1/events-stream")
	if err != nil {
		t.Fatal(err)
	}
	third.Body.Close()
	if third.StatusCode != 503 {
		t.Errorf("a closed API opens a stream: %d", third.StatusCode)
	}
}

func TestRateIsAMeanOfSeconds(t *testing.T) {
	h := &hub{past: map[string][]sample{}}
	at := time.Unix(1_790_000_000, 0)
	var last *float64
	for i := range 100 {
		last = h.rate(Pulse{Stream: "pin", Events: int64(i) * 125}, at.Add(time.Duration(i)*250*time.Millisecond))
		if (last == nil) != (i < 4) {
			t.Fatalf("after %d samples the rate is %v", i, last)
		}
	}
	if *last != 500 {
		t.Errorf("rate is %v, want 500", *last)
	}
	if n := len(h.past["pin"]); n > 25 {
		t.Errorf("%d samples are kept", n)
	}
	if r := h.rate(Pulse{Stream: "pin", Events: 99 * 125}, at.Add(time.Minute)); *r < 0 || *r > 500 {
		t.Errorf("rate after a pause is %v", *r)
	}
}
