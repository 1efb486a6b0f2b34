package httpapi

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/pinflow/pinflow/internal/collect"
	"github.com/pinflow/pinflow/internal/days"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/query"
	"github.com/pinflow/pinflow/internal/status"
)

// world is everything behind the API, faked.
type world struct {
	mu     sync.Mutex
	bodies []string // what the collector was handed
	calls  []collect.Options
	ingest func(stream string, body []byte, o collect.Options) (*collect.Result, error)
	query  func(q query.Request) (*query.Answer, error)
	pulses []Pulse
	report status.Report
	snap   ledger.Snapshot
	audits map[int64]ledger.AuditSum
	days   []days.Day
	ids    []string
	err    error
	broken error // of the lake
}

func (w *world) Ingest(_ context.Context, stream string, body []byte, o collect.Options) (*collect.Result, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.bodies = append(w.bodies, stream+" "+string(body))
	w.calls = append(w.calls, o)
	if w.ingest == nil {
		return &collect.Result{Accepted: 1}, nil
	}
	return w.ingest(stream, body, o)
}

func (w *world) StreamOf(topic string) string { return topic[strings.LastIndexByte(topic, '.')+1:] }

// Query fills in what a true answer always has.
func (w *world) Query(_ context.Context, q query.Request) (*query.Answer, error) {
	a, err := w.query(q)
	if a == nil || err != nil {
		return a, err
	}
	b := *a
	empty(&b.Columns)
	empty(&b.Rows)
	empty(&b.Points.State)
	empty(&b.Meta.Coverage)
	empty(&b.Meta.Revised)
	empty(&b.Meta.Partial)
	empty(&b.Meta.Warnings)
	if b.Meta.Versions == nil {
		b.Meta.Versions = map[string]string{}
	}
	if b.Meta.Approx == nil {
		b.Meta.Approx = map[string]float64{}
	}
	return &b, nil
}

func empty[T any](s *[]T) {
	if *s == nil {
		*s = []T{}
	}
}

func (w *world) Pulse(context.Context) ([]Pulse, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]Pulse{}, w.pulses...), w.err
}

func (w *world) Report(context.Context) (*status.Report, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.report
	empty(&r.Problems)
	empty(&r.Streams)
	return &r, w.err
}

func (w *world) Load(context.Context) (*ledger.Snapshot, error) { return &w.snap, w.err }

func (w *world) AuditSums(context.Context) (map[int64]ledger.AuditSum, error) {
	return w.audits, w.err
}

func (w *world) DaysOf(context.Context, *ledger.Snapshot, string, int) ([]days.Day, error) {
	return w.days, w.err
}

func (w *world) Digest(context.Context, string) ([]lake.DayDigest, error) {
	return []lake.DayDigest{{Day: "2026-11-22", Rows: 3, IDs: "ab"}}, w.err
}

func (w *world) EventIDs(_ context.Context, _, _ string, fn func([]byte) error) error {
	for _, id := range w.ids {
		if err := fn([]byte(id)); err != nil {
			return err
		}
	}
	return w.broken
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

var built = fstest.MapFS{
	"index.html":           {Data: []byte("<!doctype html><title>pinflow</title>")},
	"assets/index-abc.js":  {Data: []byte("export {}")},
	"assets/index-abc.css": {Data: []byte("body{}")},
}

func newAPI(t testing.TB, w *world, cfg Config) *API {
	t.Helper()
	if cfg.Page == nil {
		cfg.Page = built
	}
	a, err := New(cfg, quiet(), Deps{
		Collector: w, Querier: w, Catalogue: w, Status: w, Days: w, Lake: w, Feed: w, Audits: w,
		Registry: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a
}

// ask sends a request; headers come in pairs.
func ask(a http.Handler, method, target string, body io.Reader, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, body)
	r.Host = "127.0.0.1:8080"
	for i := 0; i+1 < len(headers); i += 2 {
		if headers[i] == "Host" {
			r.Host = headers[i+1]
		} else {
			r.Header.Set(headers[i], headers[i+1])
		}
	}
	w := httptest.NewRecorder()
	a.ServeHTTP(w, r)
	compare(a, r, w)
	return w
}

// wantProblem checks that an answer is a problem with that status and code, and returns it.
func wantProblem(t *testing.T, w *httptest.ResponseRecorder, status int, code string) Problem {
	t.Helper()
	var p Problem
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
		t.Fatalf("answer %d is not a problem: %v\n%s", w.Code, err, w.Body)
	}
	if w.Code != status || p.Code != code || p.Status != status {
		t.Errorf("answer is %d %q (%s), want %d %q", w.Code, p.Code, p.Detail, status, code)
	}
	if got := w.Header().Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("content type is %q", got)
	}
	if got := w.Header().Get("Cache-Control"); got != "no-store" {
		t.Errorf("a problem may be cached: %q", got)
	}
	if p.RequestID == "" || p.RequestID != w.Header().Get("Pinflow-Request-Id") || p.Detail == "" {
		t.Errorf("a problem without request id or detail: %+v", p)
	}
	return p
}

func TestFaultsHaveOneStatusEach(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		code   string
	}{
		{fault.New(fault.Record, "unknown_stream", "no stream %q", "pim").WithAdvice(`did you mean "pin"?`), 404, "unknown_stream"},
		{fault.New(fault.Record, "malformed_body", "not JSON"), 400, "malformed_body"},
		{fault.New(fault.Record, "empty_body", "no events"), 400, "empty_body"},
		{fault.New(fault.Record, "batch_too_large", "10,001 events, the limit is 10,000 (limits.batch)"), 413, "batch_too_large"},
		{fault.New(fault.Transient, "over_capacity", "full"), 429, "over_capacity"},
		{fault.New(fault.Transient, "log_full", "the log is at its cap"), 503, "log_full"},
		{fault.New(fault.Transient, "", "broker away"), 503, "not_stored"},
		{fault.New(fault.Ambiguous, "", "no answer"), 503, "unknown"},
		{fault.New(fault.Stale, "", "moved"), 409, "conflict"},
		{fault.New(fault.Corrupt, "bad_page", "page 7 of /secret/path"), 500, "bad_page"},
		{errors.New("dial tcp 10.0.0.7: password=hunter2"), 500, "internal"},
		{context.DeadlineExceeded, 503, "unknown"},
	} {
		w := &world{ingest: func(string, []byte, collect.Options) (*collect.Result, error) { return nil, c.err }}
		got := ask(newAPI(t, w, Config{}), "POST", "/v1/streams/pin/events", strings.NewReader("{}"))
		p := wantProblem(t, got, c.status, c.code)
		if c.status >= 500 && (strings.Contains(got.Body.String(), "secret") || strings.Contains(got.Body.String(), "hunter2")) {
			t.Errorf("the answer tells of the inside: %s", got.Body)
		}
		if wait := got.Header().Get("Retry-After"); (wait != "") != (c.status == 429 || c.status == 503) {
			t.Errorf("%d has Retry-After %q", c.status, wait)
		}
		if c.code == "unknown_stream" && (len(p.Errors) != 1 || !strings.Contains(p.Errors[0].Suggestion, "pin")) {
			t.Errorf("the nearest stream is not named: %+v", p)
		}
	}
}

func TestPanicIsAProblemWithoutTrace(t *testing.T) {
	w := &world{ingest: func(string, []byte, collect.Options) (*collect.Result, error) { panic("very private") }}
	got := ask(newAPI(t, w, Config{}), "POST", "/v1/streams/pin/events", strings.NewReader("{}"))
	wantProblem(t, got, 500, "internal")
	if s := got.Body.String(); strings.Contains(s, "private") || strings.Contains(s, ".go") {
		t.Errorf("the answer tells of the inside: %s", s)
	}
}

func TestForeignHostsAndOriginsAreRefused(t *testing.T) {
	a := newAPI(t, &world{}, Config{Hosts: []string{"metrics.example.com"}})
	for _, c := range []struct {
		name, method, path string
		headers            []string
		status             int
		code               string
	}{
		{"loopback", "GET", "/version", nil, 200, ""},
		{"configured", "GET", "/version", []string{"Host", "metrics.example.com"}, 200, ""},
		{"any case and port", "GET", "/version", []string{"Host", "Metrics.Example.com:443"}, 200, ""},
		{"IPv6", "GET", "/version", []string{"Host", "[::1]:8080"}, 200, ""},
		{"rebound name", "GET", "/v1/views", []string{"Host", "evil.example"}, 403, "host_not_allowed"},
		{"rebound name on the page", "GET", "/", []string{"Host", "evil.example:8080"}, 403, "host_not_allowed"},
		{"no host", "GET", "/version", []string{"Host", ""}, 403, "host_not_allowed"},
		{"a probe by address", "GET", "/healthz", []string{"Host", "10.1.2.3:8080"}, 200, ""},
		{"foreign origin", "POST", "/v1/streams/pin/events", []string{"Origin", "https://evil.example"}, 403, "foreign_origin"},
		{"null origin", "POST", "/pin/", []string{"Origin", "null"}, 403, "foreign_origin"},
		{"cross-site fetch", "POST", "/v1/query", []string{"Sec-Fetch-Site", "cross-site"}, 403, "foreign_origin"},
		{"own origin", "POST", "/v1/streams/pin/events", []string{"Origin", "http://127.0.0.1:8080"}, 202, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := ask(a, c.method, c.path, strings.NewReader("{}"), c.headers...)
			if c.code != "" {
				wantProblem(t, got, c.status, c.code)
			} else if got.Code != c.status {
				t.Errorf("status is %d, want %d: %s", got.Code, c.status, got.Body)
			}
		})
	}
}

func TestEveryAnswerIsGuarded(t *testing.T) {
	a := newAPI(t, &world{}, Config{})
	for _, path := range []string{"/", "/healthz", "/version", "/v1/nothing", "/assets/index-abc.js", "/assets/gone.js"} {
		h := ask(a, "GET", path, nil).Header()
		for name, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer",
			"Cross-Origin-Resource-Policy": "same-origin",
		} {
			if h.Get(name) != want {
				t.Errorf("%s: %s is %q", path, name, h.Get(name))
			}
		}
		policy := h.Get("Content-Security-Policy")
		if !strings.HasPrefix(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") || strings.Contains(policy, "http") {
			t.Errorf("%s: policy %q", path, policy)
		}
	}
}

func TestPageIsServedForEveryPathOfItsOwn(t *testing.T) {
	a := newAPI(t, &world{}, Config{})
	for path, want := range map[string]struct{ kind, cache, body string }{
		"/":                    {"text/html; charset=utf-8", "no-cache", "<title>pinflow"},
		"/index.html":          {"text/html; charset=utf-8", "no-cache", "<title>pinflow"},
		"/explore/pins":        {"text/html; charset=utf-8", "no-cache", "<title>pinflow"},
		"/some/../where":       {"text/html; charset=utf-8", "no-cache", "<title>pinflow"},
		"/assets/index-abc.js": {"text/javascript; charset=utf-8", "public, max-age=31536000, immutable", "export {}"},
	} {
		got := ask(a, "GET", path, nil)
		if got.Code == http.StatusTemporaryRedirect || got.Code == http.StatusMovedPermanently || got.Code == http.StatusPermanentRedirect {
			got = ask(a, "GET", got.Header().Get("Location"), nil) // the mux cleans paths
		}
		if got.Code != 200 || got.Header().Get("Content-Type") != want.kind || got.Header().Get("Cache-Control") != want.cache || !strings.Contains(got.Body.String(), want.body) {
			t.Errorf("%s: %d %v %s", path, got.Code, got.Header(), got.Body)
		}
		if again := ask(a, "GET", path, nil, "If-None-Match", got.Header().Get("ETag")); again.Code != 304 && again.Code/100 != 3 {
			t.Errorf("%s is sent again although it did not change: %d", path, again.Code)
		}
	}
	wantProblem(t, ask(a, "GET", "/assets/gone.js", nil), 404, "no_such_path")
	wantProblem(t, ask(a, "GET", "/v1/nothing", nil), 404, "no_such_path")
	wantProblem(t, ask(a, "DELETE", "/explore/pins", nil), 404, "no_such_path")
	got := ask(a, "PUT", "/v1/streams/pin/events", nil)
	wantProblem(t, got, 405, "method_not_allowed")
	if got.Header().Get("Allow") != "POST" {
		t.Errorf("Allow is %q", got.Header().Get("Allow"))
	}
	bare := newAPI(t, &world{}, Config{Page: fstest.MapFS{}})
	wantProblem(t, ask(bare, "GET", "/", nil), 404, "no_such_path")
}

func TestPageIsPackedForThoseWhoUnpack(t *testing.T) {
	long := strings.Repeat("export const a = 1;\n", 200)
	a := newAPI(t, &world{}, Config{Page: fstest.MapFS{"index.html": {Data: []byte("<p>")}, "assets/a.js": {Data: []byte(long)}}})
	plain := ask(a, "GET", "/assets/a.js", nil)
	packed := ask(a, "GET", "/assets/a.js", nil, "Accept-Encoding", "br, gzip")
	z, err := gzip.NewReader(packed.Body)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(z)
	if err != nil || string(got) != long || plain.Body.String() != long {
		t.Errorf("%v: %d and %d bytes, want %d", err, len(got), plain.Body.Len(), len(long))
	}
	if h := packed.Header(); h.Get("Content-Encoding") != "gzip" || h.Get("Vary") != "Accept-Encoding" || h.Get("ETag") == plain.Header().Get("ETag") || h.Get("Content-Type") != "text/javascript; charset=utf-8" {
		t.Errorf("%v", h)
	}
	if got := ask(a, "GET", "/", nil, "Accept-Encoding", "gzip"); got.Header().Get("Content-Encoding") != "" {
		t.Error("what does not get smaller is packed")
	}
}

func TestReadyzSaysALineOfEachCheck(t *testing.T) {
	check := func(err error) func(context.Context) error { return func(context.Context) error { return err } }
	a, err := New(Config{}, quiet(), Deps{Registry: prometheus.NewRegistry(), Checks: []Check{
		{"ledger", check(nil)}, {"log", check(errors.New("broker at 127.0.0.1:9092\nis away"))},
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	got := ask(a, "GET", "/readyz", nil)
	if diff := cmp.Diff("ok   ledger\nfail log: broker at 127.0.0.1:9092 is away\n", got.Body.String()); diff != "" || got.Code != 503 {
		t.Errorf("%d (-want +got):\n%s", got.Code, diff)
	}
	if got := ask(a, "GET", "/healthz", nil); got.Code != 200 {
		t.Errorf("healthz asks a dependency: %d", got.Code)
	}
	wantProblem(t, ask(a, "POST", "/v1/streams/pin/events", strings.NewReader("{}")), 404, "no_such_path")
}

func TestReadyzDoesNotWaitForEver(t *testing.T) {
	hang := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	a, err := New(Config{}, quiet(), Deps{Registry: prometheus.NewRegistry(), Checks: []Check{{"log", hang}}})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if got := ask(a, "GET", "/readyz", nil); got.Code != 503 {
		t.Errorf("status is %d", got.Code)
	}
}

func TestMetricsCountRequests(t *testing.T) {
	a := newAPI(t, &world{}, Config{})
	ask(a, "POST", "/v1/streams/pin/events", strings.NewReader("{}"))
	ask(a, "GET", "/v1/nothing", nil)
	got := ask(a, "GET", "/metrics", nil).Body.String()
	for _, want := range []string{
		`pinflow_http_requests_total{code="202",route="/v1/streams/{stream}/events"} 1`,
		`pinflow_http_requests_total{code="404",route="page"} 1`,
		`pinflow_http_body_bytes 0`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	a := newAPI(t, &world{}, Config{Conns: 2})
	srv := httptest.NewUnstartedServer(a)
	srv.Config.ConnState = a.Server("").ConnState
	srv.Start()
	defer srv.Close()
	open := func() net.Conn {
		c, err := net.Dial("tcp", srv.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	answered := func(c net.Conn) bool {
		_, _ = c.Write([]byte("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"))
		n, _ := c.Read(make([]byte, 1))
		return n == 1
	}
	first, second := open(), open()
	defer second.Close()
	if !answered(first) || !answered(second) {
		t.Fatal("a connection within the limit is not answered")
	}
	third := open()
	defer third.Close()
	if answered(third) {
		t.Error("a connection too many is answered")
	}
	first.Close()
	for { // the server notices in its own time
		c := open()
		ok := answered(c)
		c.Close()
		if ok {
			return
		}
	}
}

func TestRequestIDsAreOrderedAndDistinct(t *testing.T) {
	seen := map[string]bool{}
	at := time.UnixMilli(1_790_000_000_000)
	before := ""
	for i := range 1000 {
		id := newRequestID(at.Add(time.Duration(i) * time.Millisecond))
		if len(id) != 26 || seen[id] || id <= before {
			t.Fatalf("id %q after %q", id, before)
		}
		seen[id], before = true, id
	}
}
