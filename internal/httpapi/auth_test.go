package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pinflow/pinflow/internal/access"
	"github.com/pinflow/pinflow/internal/apikey"
	"github.com/pinflow/pinflow/internal/collect"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/prove"
	"github.com/pinflow/pinflow/internal/query"
)

// memKeys is a ledger's keys in memory.
type memKeys struct {
	mu       sync.Mutex
	keys     []apikey.Key
	sessions []apikey.Session
}

func (m *memKeys) Keys(context.Context) ([]apikey.Key, []apikey.Session, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.keys), slices.Clone(m.sessions), nil
}

func (m *memKeys) AddKey(_ context.Context, k apikey.Key) (apikey.Key, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	k.CreatedAt = time.Now()
	m.keys = append(m.keys, k)
	return k, nil
}

func (m *memKeys) RevokeKey(_ context.Context, id string) (apikey.Key, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.keys {
		if m.keys[i].ID == id {
			m.keys[i].RevokedAt = time.Now()
			return m.keys[i], nil
		}
	}
	return apikey.Key{}, fault.New(fault.Record, "unknown_key", "there is no such key")
}

func (m *memKeys) AddSession(_ context.Context, s apikey.Session) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sessions = append(m.sessions, s)
	return nil
}

func (m *memKeys) EndSession(_ context.Context, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sessions = slices.DeleteFunc(m.sessions, func(s apikey.Session) bool { return s.ID == id })
	return nil
}

// guarded is an API that asks for keys, with one key of each sort.
type guarded struct {
	*API
	w    *world
	tail memTail
	log  bytes.Buffer
	keys map[string]string // texts by what the key may
	ids  map[string]string
}

func newGuarded(t *testing.T, cfg Config) *guarded {
	t.Helper()
	g := &guarded{w: &world{}, keys: map[string]string{}, ids: map[string]string{}}
	g.w.query = func(query.Request) (*query.Answer, error) { return &query.Answer{}, nil }
	g.w.snap = ledger.Snapshot{Streams: []ledger.Stream{{Name: "geo"}, {Name: "pin"}}, Views: []ledger.View{{Name: "places", Stream: "geo"}, {Name: "pins", Stream: "pin"}}}
	log := slog.New(slog.NewTextHandler(&g.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	keeper, err := access.New(access.Config{Required: access.Always}, log, &memKeys{})
	if err != nil {
		t.Fatal(err)
	}
	for name, k := range map[string][2][]string{
		"write": {{"write"}}, "read": {{"read"}}, "admin": {{"admin"}}, "revoked": {{"admin"}},
		"write geo": {{"write"}, {"geo"}}, "read geo": {{"read"}, {"geo"}},
	} {
		key, text, err := keeper.Make(t.Context(), name, k[0], k[1])
		if err != nil {
			t.Fatal(err)
		}
		g.keys[name], g.ids[name] = text, key.ID
	}
	if _, err := keeper.Revoke(t.Context(), g.ids["revoked"]); err != nil {
		t.Fatal(err)
	}
	if cfg.Page == nil {
		cfg.Page = built
	}
	g.API, err = New(cfg, log, Deps{
		Collector: g.w, Querier: g.w, Catalogue: g.w, Status: g.w, Days: g.w, Lake: g.w, Feed: g.w,
		Planner: &changes{}, Applier: &changes{}, Backfills: &changes{}, Auditor: &changes{}, Tracer: follower{}, DeadLetters: &morgue{},
		Access: keeper, Keys: keeper, Tail: &g.tail, Registry: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	return g
}

// example is a path that a route takes.
func example(rt *route) string {
	return strings.NewReplacer("{stream}", "pin", "{topic}", "pin", "{view}", "pins", "{date}", "2026-11-22", "{id}", "nobody", "{partition}", "0", "{offset}", "7", "{group}", "a1", "{$}", "").Replace(rt.path)
}

// every is the routes that end by themselves.
func (g *guarded) every() (out []*route) {
	for i := range g.routes {
		if rt := &g.routes[i]; rt.path != "/v1/events-stream" && rt.path != "/v1/streams/{stream}/tail" {
			out = append(out, rt)
		}
	}
	return out
}

// Invariant S1: without a key in force nothing is answered and nothing is taken, on any path.
func TestNoKeyNoData(t *testing.T) {
	prove.Invariant(t, "S1")
	g := newGuarded(t, Config{})
	paths := []struct{ method, path string }{{"GET", "/"}, {"GET", "/explore/pins"}, {"GET", "/assets/index-abc.js"}, {"GET", "/v1/nothing"}, {"PUT", "/v1/query"}, {"HEAD", "/v1/status"}}
	for i := range g.routes {
		if rt := &g.routes[i]; !rt.public {
			paths = append(paths, struct{ method, path string }{rt.method, example(rt)})
		}
	}
	if len(paths) < 25 {
		t.Fatalf("only %d paths", len(paths))
	}
	for _, p := range paths {
		for name, headers := range map[string][]string{
			"none":        nil,
			"revoked":     {"Authorization", "Bearer " + g.keys["revoked"]},
			"mistyped":    {"Authorization", "Bearer " + g.keys["admin"] + "a"},
			"only the id": {"Authorization", "Bearer " + g.ids["admin"]},
			"basic":       {"Authorization", "Basic " + g.keys["admin"]},
			"empty":       {"Authorization", ""},
			"in a cookie": {"Cookie", "pinflow_session=" + g.keys["admin"]},
			"in the path": {"X-Api-Key", g.keys["admin"]},
		} {
			target := p.path
			if name == "in the path" {
				target += "?key=" + g.keys["admin"] + "&access_token=" + g.keys["admin"]
			}
			got := ask(g, p.method, target, strings.NewReader(`{}`), headers...)
			if got.Code != http.StatusUnauthorized || !strings.HasPrefix(got.Header().Get("WWW-Authenticate"), "Bearer") {
				t.Errorf("%s %s with %s: %d", p.method, p.path, name, got.Code)
			}
			if p.method != "HEAD" {
				var problem map[string]any
				if err := json.Unmarshal(got.Body.Bytes(), &problem); err != nil || len(problem) != 5 {
					t.Errorf("%s %s with %s tells more than it should: %s", p.method, p.path, name, got.Body)
				}
			}
			if strings.Contains(got.Body.String(), g.keys["admin"]) {
				t.Errorf("%s %s: the answer repeats the key", p.method, p.path)
			}
		}
	}
	if len(g.w.bodies) > 0 {
		t.Errorf("the collector was handed %q", g.w.bodies)
	}
	for _, probe := range []string{"/healthz", "/readyz"} {
		if got := ask(g, "GET", probe, nil); got.Code != 200 {
			t.Errorf("%s: %d", probe, got.Code)
		}
	}
	for name, text := range g.keys {
		if strings.Contains(g.log.String(), text) {
			t.Errorf("the log tells the key %q", name)
		}
	}
}

// A key may what its scopes say and nothing else.
func TestScopesOpenTheirRoutesAlone(t *testing.T) {
	prove.Invariant(t, "S1")
	g := newGuarded(t, Config{})
	for _, rt := range g.every() {
		for _, name := range []string{"write", "read", "admin"} {
			if rt.public {
				continue
			}
			want := rt.scope() == anyKey || rt.scope() == name || name == "admin"
			got := ask(g, rt.method, example(rt), strings.NewReader(`{"view":"pins"}`), "Authorization", "Bearer "+g.keys[name])
			if denied := got.Code == 401 || got.Code == 403; denied == want {
				t.Errorf("%s with %s: %d %s", rt.name(), name, got.Code, got.Body)
			}
			if !want {
				wantProblem(t, got, 403, "scope_missing")
			}
		}
	}
	if got := ask(g, "POST", "/pin/", strings.NewReader("{}"), "Authorization", "bearer  "+g.keys["write"]+" "); got.Code != 202 {
		t.Errorf("%d %s", got.Code, got.Body)
	}
	if last := g.w.calls[len(g.w.calls)-1]; last.APIKey != g.ids["write"] {
		t.Errorf("the collector is told of the key %q, want its id", last.APIKey)
	}
}

// A key for some streams reaches those, and no answer that is about others.
func TestStreamLimits(t *testing.T) {
	prove.Invariant(t, "S1")
	g := newGuarded(t, Config{})
	for _, c := range []struct {
		key, method, path string
		ok                bool
	}{
		{"write geo", "POST", "/v1/streams/geo/events", true},
		{"write geo", "POST", "/v1/streams/pin/events", false},
		{"write geo", "POST", "/v1/streams/nothing/events", false},
		{"write geo", "POST", "/geo/", true},
		{"write geo", "POST", "/pin", false},
		{"write geo", "POST", "/topics/geo", true},
		{"write geo", "POST", "/topics/x.geo", true},
		{"write geo", "POST", "/topics/geo.pin", false},
		{"read geo", "GET", "/v1/query?view=places", true},
		{"read geo", "GET", "/v1/query?view=pins", false},
		{"read geo", "GET", "/v1/views/pins", false},
		{"read geo", "GET", "/v1/views/pins/versions", false},
		{"read geo", "GET", "/v1/lake/geo/digest", true},
		{"read geo", "GET", "/v1/lake/pin/digest", false},
		{"read geo", "GET", "/v1/lake/dead_letters/digest", false},
		{"read geo", "GET", "/v1/days?stream=geo", true},
		{"read geo", "GET", "/v1/days?stream=pin", false},
		{"read geo", "GET", "/v1/streams/pin/tail", false},
		{"read geo", "GET", "/v1/dlq?stream=geo", true},
		{"read geo", "GET", "/v1/dlq?stream=pin", false},
		{"read geo", "GET", "/v1/status", false},
		{"read geo", "GET", "/metrics", false},
		{"read geo", "GET", "/version", true},
	} {
		got := ask(g, c.method, c.path, strings.NewReader(`{"records":[{"value":{}}]}`), "Authorization", "Bearer "+g.keys[c.key])
		if c.ok != (got.Code < 300) {
			t.Errorf("%s %s with %s: %d %s", c.method, c.path, c.key, got.Code, got.Body)
		}
		if !c.ok {
			wantProblem(t, got, 403, "stream_not_allowed")
		}
	}
	got := ask(g, "GET", "/v1/query?view=nothing", nil, "Authorization", "Bearer "+g.keys["read geo"])
	if p := wantProblem(t, got, 404, "unknown_view"); strings.Contains(fmt.Sprint(p), "pins") {
		t.Errorf("a name that is not for this key: %s", got.Body)
	}
	if body := ask(g, "GET", "/v1/views", nil, "Authorization", "Bearer "+g.keys["read geo"]).Body.String(); strings.Contains(body, "pins") {
		t.Errorf("the list has views that are not for this key: %s", body)
	}
	for _, call := range g.w.bodies {
		if !strings.HasPrefix(call, "geo ") {
			t.Errorf("the collector was handed %q", call)
		}
	}
}

func cookieOf(t *testing.T, got *httptest.ResponseRecorder) *http.Cookie {
	t.Helper()
	for _, c := range got.Result().Cookies() { //nolint:bodyclose // a recorder's
		if c.Name == sessionCookie {
			return c
		}
	}
	t.Fatalf("%d without a cookie: %s", got.Code, got.Body)
	return nil
}

func TestThePageLogsInOnce(t *testing.T) {
	prove.Invariant(t, "S1")
	g := newGuarded(t, Config{})
	got := ask(g, "GET", "/explore/pins?m=posted&to=now", nil, "Accept", "text/html,*/*")
	if got.Code != 303 || got.Header().Get("Location") != "/login?to=%2Fexplore%2Fpins%3Fm%3Dposted%26to%3Dnow" {
		t.Fatalf("%d %v", got.Code, got.Header())
	}
	got = ask(g, "GET", got.Header().Get("Location"), nil)
	if body := got.Body.String(); got.Code != 200 || !strings.Contains(body, `value="/explore/pins?m=posted&amp;to=now"`) || !strings.Contains(body, `type="password"`) {
		t.Fatalf("%d %s", got.Code, got.Body)
	}
	if h := got.Header(); h.Get("Cache-Control") != "no-store" || !strings.Contains(h.Get("Content-Security-Policy"), "style-src 'sha256-") || h.Get("Referrer-Policy") != "same-origin" {
		t.Errorf("%v", h)
	}
	form := func(body string) *httptest.ResponseRecorder {
		return ask(g, "POST", "/v1/session", strings.NewReader(body), "Content-Type", "application/x-www-form-urlencoded", "Origin", "http://127.0.0.1:8080")
	}
	wrong := form("key=pf_wrong&to=/days")
	if wrong.Code != 401 || !strings.Contains(wrong.Body.String(), "no such key") || len(wrong.Result().Cookies()) > 0 { //nolint:bodyclose // a recorder's
		t.Errorf("%d %s", wrong.Code, wrong.Body)
	}
	got = form("to=/days&key=" + g.keys["read"])
	c := cookieOf(t, got)
	if got.Code != 303 || got.Header().Get("Location") != "/days" || !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/" || c.Secure || time.Until(c.Expires) < time.Hour {
		t.Errorf("%d %v %+v", got.Code, got.Header(), c)
	}
	in := []string{"Cookie", sessionCookie + "=" + c.Value}
	for path, want := range map[string]int{"/": 200, "/assets/index-abc.js": 200, "/v1/views": 200, "/v1/keys": 403, "/login": 200} {
		if got := ask(g, "GET", path, nil, in...); got.Code != want {
			t.Errorf("%s: %d %s", path, got.Code, got.Body)
		}
	}
	wantProblem(t, ask(g, "POST", "/v1/query", strings.NewReader(`{"view":"pins"}`), append(in, "Origin", "https://evil.example")...), 403, "foreign_origin")
	wantProblem(t, ask(g, "GET", "/v1/views", nil, append(in, "Authorization", "Bearer wrong")...), 401, "bad_key")
	if got := ask(g, "GET", "/v1/session", nil, in...); got.Code != 200 || !strings.Contains(got.Body.String(), `"scopes":["read"]`) || strings.Contains(got.Body.String(), g.keys["read"]) {
		t.Errorf("who: %d %s", got.Code, got.Body)
	}
	out := ask(g, "DELETE", "/v1/session", nil, in...)
	if c := cookieOf(t, out); out.Code != 204 || c.Value != "" || c.Expires.After(time.Now()) {
		t.Errorf("%d %+v", out.Code, c)
	}
	wantProblem(t, ask(g, "GET", "/v1/views", nil, in...), 401, "key_required")
}

func TestLogInByJSON(t *testing.T) {
	g := newGuarded(t, Config{})
	post := func(body string, headers ...string) *httptest.ResponseRecorder {
		return ask(g, "POST", "/v1/session", strings.NewReader(body), append(headers, "Content-Type", "application/json")...)
	}
	got := post(`{"key":"`+g.keys["read"]+`"}`, "X-Forwarded-Proto", "https")
	if c := cookieOf(t, got); got.Code != 204 || !c.Secure {
		t.Errorf("%d %+v", got.Code, c)
	}
	wantProblem(t, post(`{"key":"`+g.keys["revoked"]+`"}`), 401, "bad_key")
	wantProblem(t, post(`{"key":"`+g.keys["read"]), 400, "malformed_body")
	wantProblem(t, post(`{"key":"`+strings.Repeat("x", 1<<20)+`"}`), 400, "malformed_body")
	wantProblem(t, ask(g, "POST", "/v1/session", strings.NewReader("{}"), "Content-Type", "text/plain"), 415, "unsupported_type")
	wantProblem(t, post(`{"key":"`+g.keys["read"]+`"}`, "Origin", "https://evil.example"), 403, "foreign_origin")
}

func TestRedirectsStayHere(t *testing.T) {
	for to, want := range map[string]string{
		"/days?x=1": "/days?x=1", "": "/", "https://evil.example": "/", "//evil.example": "/", `/\evil.example`: "/", "javascript:alert(1)": "/",
		"/login?to=/": "/", "/a\r\nSet-Cookie: x=1": "/", "evil.example": "/", "/\t/evil.example": "/",
	} {
		if got := localPath(to); got != want {
			t.Errorf("%q: %q, want %q", to, got, want)
		}
	}
}

// An event stream ends when its session does, not when the browser goes away.
func TestARevokedKeyEndsItsEventStream(t *testing.T) {
	prove.Invariant(t, "S1")
	g := newGuarded(t, Config{Heartbeat: time.Millisecond, Pulse: time.Millisecond})
	srv := httptest.NewServer(g)
	defer srv.Close()
	req, err := http.NewRequestWithContext(t.Context(), "GET", srv.URL+"/v1/events-stream", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+g.keys["read"])
	resp, err := http.DefaultClient.Do(req)
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("%v %v", resp, err)
	}
	defer resp.Body.Close()
	if got := ask(g, "POST", "/v1/keys/"+g.ids["read"]+"/revoke", nil, "Authorization", "Bearer "+g.keys["admin"]); got.Code != 200 {
		t.Fatalf("%d %s", got.Code, got.Body)
	}
	var all bytes.Buffer
	if _, err := all.ReadFrom(resp.Body); err != nil { // it ends; with the test's time limit if it does not
		t.Errorf("the stream was cut: %v", err)
	}
}

func TestAdministratorsMakeAndRevokeKeys(t *testing.T) {
	g := newGuarded(t, Config{})
	admin := []string{"Authorization", "Bearer " + g.keys["admin"]}
	got := ask(g, "POST", "/v1/keys", strings.NewReader(`{"name":"shop","scopes":["write"],"streams":["pin"]}`), admin...)
	var made keyBody
	if err := json.Unmarshal(got.Body.Bytes(), &made); err != nil || got.Code != 201 || made.Key == "" || made.Name != "shop" || got.Header().Get("Cache-Control") != "no-store" {
		t.Fatalf("%d %s %v", got.Code, got.Body, err)
	}
	list := ask(g, "GET", "/v1/keys", nil, admin...)
	if s := list.Body.String(); strings.Contains(s, made.Key) || strings.Contains(s, "hash") || !strings.Contains(s, made.ID) {
		t.Errorf("%s", s)
	}
	in := []string{"Authorization", "Bearer " + made.Key}
	if got := ask(g, "POST", "/pin/", strings.NewReader("{}"), in...); got.Code != 202 {
		t.Errorf("%d %s", got.Code, got.Body)
	}
	for range 2 {
		if got := ask(g, "POST", "/v1/keys/"+made.ID+"/revoke", nil, admin...); got.Code != 200 || !strings.Contains(got.Body.String(), `"revoked_at":"2`) {
			t.Errorf("%d %s", got.Code, got.Body)
		}
	}
	wantProblem(t, ask(g, "POST", "/pin/", strings.NewReader("{}"), in...), 401, "bad_key")
	wantProblem(t, ask(g, "POST", "/v1/keys/nobody/revoke", nil, admin...), 404, "unknown_key")
	wantProblem(t, ask(g, "POST", "/v1/keys", strings.NewReader(`{"scopes":["root"]}`), admin...), 400, "bad_key_request")
	wantProblem(t, ask(g, "POST", "/v1/keys", strings.NewReader(`{"scope":"read"}`), admin...), 400, "malformed_body")
}

func TestTooManyRequestsAreTurnedAway(t *testing.T) {
	prove.Invariant(t, "C3")
	hold, entered := make(chan struct{}), make(chan struct{})
	slow := collectorFunc(func(context.Context) (*collect.Result, error) {
		entered <- struct{}{}
		<-hold
		return &collect.Result{Accepted: 1}, nil
	})
	a, err := New(Config{Requests: 1}, quiet(), Deps{Collector: slow, Registry: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	done := make(chan int)
	go func() { done <- ask(a, "POST", "/v1/streams/pin/events", strings.NewReader("{}")).Code }()
	<-entered
	got := ask(a, "POST", "/v1/streams/pin/events", strings.NewReader("{}"))
	wantProblem(t, got, 429, "over_capacity")
	if got.Header().Get("Retry-After") == "" {
		t.Error("429 without Retry-After")
	}
	if got := ask(a, "GET", "/healthz", nil); got.Code != 200 {
		t.Errorf("the probe is turned away: %d", got.Code)
	}
	close(hold)
	if code := <-done; code != 202 {
		t.Errorf("the request in hand got %d", code)
	}
}
