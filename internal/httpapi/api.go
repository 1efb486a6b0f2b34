package httpapi

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/ledger"
)

// Config says what is served, to whom, and within which limits. Zero limits take their defaults.
type Config struct {
	Version string
	Hosts   []string // names beside localhost and loopback addresses that the Host header may have, without port; "*" allows any
	Page    fs.FS    // the built page; nil: none

	Dashboards  func() []Dashboard // as they are now; nil: none
	Certificate *Certificate       // nil: no TLS

	Body     int64 // most bytes of a request's body, as sent and unpacked; default 10 MiB
	InFlight int64 // most bytes of all bodies in memory; default 64 MiB
	Streams  int   // most open event streams; default 256
	Conns    int   // most open connections; one too many is closed at once; default 4096
	Requests int   // most requests in hand, event streams not among them; default as many as connections

	Timeout   time.Duration // to read a body and to write an answer; default 30 s
	Heartbeat time.Duration // of an event stream; default 5 s
	Pulse     time.Duration // least time between two ticks of an event stream; default 250 ms
}

// Deps are the parts of pinflow that answer. A nil one's routes answer 404: a unit that runs alone
// serves what it has.
type Deps struct {
	Collector Collector
	Querier   Querier
	Catalogue Catalogue
	Status    Status
	Days      Days
	Lake      Lake
	Planner   Planner
	Applier   Applier
	Backfills Backfills
	Auditor   Auditor
	Audits    Audits // nil: views say nothing of them
	Tracer    Tracer

	DeadLetters DeadLetters

	Feed     Feed
	Tail     Tail
	Access   Access
	Keys     Keys
	Checks   []Check
	Registry *prometheus.Registry
}

// Catalogue is what streams and views there are.
type Catalogue interface {
	Load(ctx context.Context) (*ledger.Snapshot, error)
}

// Check is one thing that must hold for the process to be ready.
type Check struct {
	Name  string
	Check func(ctx context.Context) error
}

// API is the handler of everything. Close ends its event streams.
type API struct {
	cfg     Config
	deps    Deps
	log     *slog.Logger
	metrics *metrics
	hub     *hub
	views   *viewCache
	bodies  *budget
	cross   *http.CrossOriginProtection
	hosts   map[string]bool
	page    *page
	mux     *http.ServeMux
	routes  []route
	closing context.Context // ends with Close
	close   context.CancelFunc

	failures fault.Repeats
	draining atomic.Bool
	active   atomic.Int64 // requests in hand
	tails    atomic.Int64
}

var _ http.Handler = (*API)(nil)

// route is one entry of the API's table; openapi.json has each of them.
type route struct {
	method, path string
	handle       func(w http.ResponseWriter, r *http.Request) error
	anyHost      bool // asked by address, by probes
	public       bool // needs no key
}

// name is how the tables of scopes call the route.
func (rt *route) name() string { return rt.method + " " + rt.path }

// New builds the handler and starts nothing.
func New(cfg Config, log *slog.Logger, deps Deps) (*API, error) {
	cfg.setDefaults()
	if deps.Registry == nil {
		return nil, errors.New("httpapi: a registry is required")
	}
	m, err := newMetrics(deps.Registry)
	if err != nil {
		return nil, err
	}
	a := &API{
		cfg: cfg, deps: deps, log: log, metrics: m, failures: fault.Repeats{Every: time.Second},
		views:  &viewCache{},
		bodies: newBudget(cfg.InFlight, m.bodyBytes),
		cross:  http.NewCrossOriginProtection(),
		hosts:  map[string]bool{},
		mux:    http.NewServeMux(),
	}
	for _, h := range append([]string{"localhost", "127.0.0.1", "::1"}, cfg.Hosts...) {
		a.hosts[strings.ToLower(h)] = true
	}
	a.closing, a.close = context.WithCancel(context.Background())
	a.hub = newHub(cfg, log, deps.Feed, deps.Status, m)
	if cfg.Page != nil {
		if a.page, err = newPage(cfg.Page); err != nil {
			return nil, err
		}
	}
	a.routes = a.table()
	for i := range a.routes {
		a.mux.Handle(a.routes[i].name(), a.endpoint(&a.routes[i]))
	}
	a.mux.Handle("/", a.endpoint(&route{method: "", path: "/", handle: a.fallback}))
	return a, nil
}

func (c *Config) setDefaults() {
	set := func(v *int64, d int64) {
		if *v == 0 {
			*v = d
		}
	}
	set(&c.Body, 10<<20)
	set(&c.InFlight, 64<<20)
	for v, d := range map[*int]int{&c.Streams: 256, &c.Conns: 4096} {
		if *v == 0 {
			*v = d
		}
	}
	if c.Requests == 0 {
		c.Requests = c.Conns
	}
	for v, d := range map[*time.Duration]time.Duration{&c.Timeout: 30 * time.Second, &c.Heartbeat: 5 * time.Second, &c.Pulse: 250 * time.Millisecond} {
		if *v == 0 {
			*v = d
		}
	}
}

// table is every route of the API. What is not there is the page's.
func (a *API) table() []route {
	t := []route{
		{method: "GET", path: "/healthz", handle: a.healthz, anyHost: true, public: true},
		{method: "GET", path: "/readyz", handle: a.readyz, anyHost: true, public: true},
		{method: "GET", path: "/metrics", handle: a.metricsPage, anyHost: true},
		{method: "GET", path: "/version", handle: a.version},
		{method: "GET", path: "/openapi.json", handle: a.openAPI},
	}
	add := func(have bool, method, path string, h func(http.ResponseWriter, *http.Request) error) {
		if have {
			t = append(t, route{method: method, path: path, handle: h})
		}
	}
	d := a.deps
	add(d.Collector != nil, "POST", "/v1/streams/{stream}/events", a.ingest)
	for _, s := range []string{"pin", "geo", "user"} {
		add(d.Collector != nil, "POST", "/"+s+"/{$}", a.emulation(s))
		add(d.Collector != nil, "POST", "/"+s, a.emulation(s))
	}
	add(d.Collector != nil, "POST", "/topics/{topic}", a.topics)
	add(d.Catalogue != nil, "GET", "/v1/views", a.listViews)
	add(d.Catalogue != nil, "GET", "/v1/views/{view}", a.showView)
	add(d.Catalogue != nil, "GET", "/v1/views/{view}/versions", a.viewVersions)
	add(d.Querier != nil, "GET", "/v1/dashboards", a.listDashboards)
	add(d.Querier != nil, "GET", "/v1/dashboards/{dashboard}", a.showDashboard)
	add(d.Querier != nil, "GET", "/v1/query", a.query)
	add(d.Querier != nil, "POST", "/v1/query", a.query)
	add(d.Feed != nil, "GET", "/v1/events-stream", a.eventsStream)
	add(d.Tail != nil && d.Catalogue != nil, "GET", "/v1/streams/{stream}/tail", a.tail)
	add(d.Status != nil, "GET", "/v1/status", a.status)
	add(d.Days != nil && d.Catalogue != nil, "GET", "/v1/days", a.days)
	add(d.Days != nil && d.Catalogue != nil, "GET", "/v1/days/{date}", a.days)
	add(d.Lake != nil && d.Catalogue != nil, "GET", "/v1/lake/{stream}/digest", a.lakeDigest)
	add(d.Lake != nil && d.Catalogue != nil, "GET", "/v1/lake/{stream}/ids", a.lakeIDs)
	add(d.Planner != nil, "POST", "/v1/plan", a.plan)
	add(d.Applier != nil, "POST", "/v1/apply", a.apply)
	add(d.Auditor != nil, "GET", "/v1/audit", a.audit)
	add(d.Tracer != nil, "GET", "/v1/events/{id}/trace", a.traceEvent)
	add(d.Tracer != nil, "GET", "/v1/records/{topic}/{partition}/{offset}/trace", a.traceRecord)
	add(d.DeadLetters != nil && d.Catalogue != nil, "GET", "/v1/dlq", a.listDeadLetters)
	add(d.DeadLetters != nil && d.Catalogue != nil, "GET", "/v1/dlq/{group}", a.showDeadLetters)
	add(d.Backfills != nil, "GET", "/v1/backfills", a.listBackfills)
	add(d.Backfills != nil, "GET", "/v1/backfills/{id}", a.showBackfill)
	for _, action := range []string{ledger.Pause, ledger.Resume, ledger.Retry, ledger.Cancel, ledger.Rollback} {
		add(d.Backfills != nil, "POST", "/v1/backfills/{id}/"+action, a.steer(action))
	}
	add(d.Keys != nil, "GET", "/v1/keys", a.listKeys)
	add(d.Keys != nil, "POST", "/v1/keys", a.makeKey)
	add(d.Keys != nil, "POST", "/v1/keys/{id}/revoke", a.revokeKey)
	if d.Access != nil {
		t = append(t, route{method: "GET", path: "/login", handle: a.login, public: true},
			route{method: "POST", path: "/v1/session", handle: a.logIn, public: true})
	}
	add(d.Access != nil, "GET", "/v1/session", a.session)
	add(d.Access != nil, "DELETE", "/v1/session", a.logOut)
	return t
}

// ServeHTTP answers a request.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.mux.ServeHTTP(w, r) }

// Drain has /readyz say that the process is about to stop, while requests are taken as before: a load
// balancer sees it and sends its clients elsewhere.
func (a *API) Drain() { a.draining.Store(true) }

// Close ends the event streams and hurries the bodies that are still coming, so that a server can shut
// down, and waits for what feeds the streams.
func (a *API) Close() {
	a.close()
	a.hub.close()
}

func (a *API) metricsPage(w http.ResponseWriter, r *http.Request) error {
	promhttp.HandlerFor(a.deps.Registry, promhttp.HandlerOpts{}).ServeHTTP(w, r)
	return nil
}

// fallback answers what no route takes: the page, or a problem for what looks like the API.
func (a *API) fallback(w http.ResponseWriter, r *http.Request) error {
	if allowed := a.allowed(r.URL.Path); len(allowed) > 0 {
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		return problemf(http.StatusMethodNotAllowed, "method_not_allowed", "%s does not take %s, only %s", r.URL.Path, r.Method, strings.Join(allowed, ", "))
	}
	if a.page == nil || isAPI(r.URL.Path) || (r.Method != http.MethodGet && r.Method != http.MethodHead) {
		return problemf(http.StatusNotFound, "no_such_path", "there is nothing at %s; the paths are listed at /openapi.json", r.URL.Path)
	}
	return a.page.serve(w, r)
}

// isAPI tells whether a path looks like the API's rather than the page's.
func isAPI(path string) bool {
	return strings.HasPrefix(path, "/v1/") || strings.HasPrefix(path, "/topics/")
}

// allowed lists the methods that a path takes.
func (a *API) allowed(path string) []string {
	var out []string
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
		probe := &http.Request{Method: method, URL: &url.URL{Path: path}, Host: "localhost"}
		if _, pattern := a.mux.Handler(probe); pattern != "/" && pattern != "" {
			out = append(out, method)
		}
	}
	return out
}
