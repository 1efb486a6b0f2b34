package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pinflow/pinflow/internal/emulate"
)

// load posts events in batches, at a rate that holds in the mean however often the server is away.
type load struct {
	t     *testing.T
	e     *emulate.Emulator
	stop  context.CancelFunc
	ended chan error
}

func startLoad(t *testing.T, to string, rate int, seed uint64) *load {
	t.Helper()
	e, err := emulate.New(emulate.Config{
		URL: to, Users: 500, Rate: float64(rate), MakeUp: true, Seed: seed,
		Shares: emulate.Shares{Late: 0.01, Bad: 0.001, Duplicate: 0.005},
	}, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	l := &load{t: t, e: e, stop: stop, ended: make(chan error, 1)}
	go func() {
		_, err := e.Run(ctx)
		l.ended <- err
	}()
	t.Cleanup(stop)
	return l
}

// stored is how many events were answered as durable so far.
func (l *load) stored() int64 {
	c := l.e.Counts()
	return c.Accepted + c.DeadLettered + c.Duplicates
}

// end stops it and wants that nothing was refused that is right.
func (l *load) end() {
	l.t.Helper()
	l.stop()
	if err := <-l.ended; err != nil {
		l.t.Errorf("the load ended with %v", err)
	}
	if c := l.e.Counts(); c.Unexpected > 0 {
		l.t.Errorf("%d events got another answer than they should have: %+v", c.Unexpected, c)
	}
}

// watcher asks views all the time, as a dashboard would, and holds every answer to what is promised of it: while
// a back-fill runs the version before answers, whole; then the new one does, and never the old one again; a number
// of one version never falls; nothing is missing.
type watcher struct {
	d    *definer
	away atomic.Int64 // odd while the server is being killed and started again

	mu     sync.Mutex
	views  map[string]*promise
	probes int
	missed int // that met a server that was being killed
	wrong  string
}

// promise is what a view is to answer.
type promise struct {
	version string // "": there is none yet
	changes bool   // another is to take its place
	filling bool   // its first version is being filled in
	sum     float64
}

// measureOf names a count of each view of the test.
func measureOf(view string) string {
	if view == "pins" {
		return "posted"
	}
	return "n"
}

func (d *definer) watch() *watcher {
	ctx, stop := context.WithCancel(context.Background())
	w := &watcher{d: d, views: map[string]*promise{}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for tick := time.NewTicker(50 * time.Millisecond); ctx.Err() == nil; <-tick.C {
			w.mu.Lock()
			views := slices.Sorted(maps.Keys(w.views))
			w.mu.Unlock()
			for _, view := range views {
				w.probe(ctx, view)
			}
		}
	}()
	d.t.Cleanup(func() {
		stop()
		<-done
	})
	return w
}

// on watches a view whose definition is about to change, beside the one that was there from the first.
func (w *watcher) on(view, version string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	maps.DeleteFunc(w.views, func(name string, _ *promise) bool { return name != "pins" })
	x := w.views[view]
	if x == nil {
		x = &promise{version: version}
		w.views[view] = x
	}
	x.changes, w.probes, w.missed = true, 0, 0
}

// off says which version answers from now on, and tells how often the views were asked since.
func (w *watcher) off(view, version string) (probes, missed int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	x := w.views[view]
	if x.version != version {
		x.version, x.sum = version, 0 // the last probe was before it changed
	}
	x.changes, x.filling = false, false
	return w.probes, w.missed
}

// fine fails the test if an answer was not as it has to be.
func (w *watcher) fine() {
	w.d.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.wrong != "" {
		w.d.t.Fatal(w.wrong)
	}
}

func (w *watcher) probe(ctx context.Context, view string) {
	before := w.away.Load()
	a, err := w.d.ask(ctx, view)
	state := ""
	if err == nil {
		state, err = w.d.newest(ctx) // after the answer: it was not further then
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	x := w.views[view]
	switch {
	case ctx.Err() != nil || x == nil || w.wrong != "":
	case err != nil && (before%2 == 1 || before != w.away.Load()):
		w.missed++
	case err != nil:
		w.wrong = fmt.Sprintf("view %s was not served: %v", view, err)
	default:
		w.probes++
		if w.wrong = x.judge(a, state); w.wrong != "" {
			w.wrong = fmt.Sprintf("view %s, while the newest back-fill is %s: %s", view, state, w.wrong)
		}
	}
}

// judge says what is wrong with an answer, given the state of the newest back-fill a moment later.
func (x *promise) judge(a probed, state string) string {
	switch {
	case a.hole != "":
		return "it has a hole: " + a.hole
	case a.version == x.version && a.sum < x.sum:
		return fmt.Sprintf("version %s counted %.0f and now %.0f", a.version, x.sum, a.sum)
	case a.version != x.version && (a.version == "" || !x.changes || x.version != "" && state != "done"):
		return fmt.Sprintf("version %s was to answer and %q did", x.version, a.version)
	}
	if a.version != x.version {
		x.changes, x.filling = false, x.version == ""
		x.version = a.version
	}
	if x.sum = a.sum; a.filling && !x.filling {
		return fmt.Sprintf("version %s answers and is not whole", a.version)
	}
	return ""
}

// probed is an answer, in short.
type probed struct {
	worth
	sum float64
}

func (d *definer) ask(ctx context.Context, view string) (probed, error) {
	q := url.Values{"view": {view}, "measures": {measureOf(view)}, "grain": {"day"}, "from": {d.from}}
	body, code, err := d.get(ctx, "/v1/query?"+q.Encode())
	switch {
	case err != nil:
		return probed{}, err
	case code == http.StatusNotFound:
		return probed{}, nil
	case code != http.StatusOK:
		return probed{}, fmt.Errorf("status %d: %s", code, body)
	}
	var a struct {
		answered
		Rows [][]any
	}
	if err := json.Unmarshal(body, &a); err != nil {
		return probed{}, err
	}
	out := probed{worth: a.worth(view)}
	for _, row := range a.Rows {
		n, _ := row[len(row)-1].(float64)
		out.sum += n
	}
	return out, nil
}

func (d *definer) newest(ctx context.Context) (string, error) {
	body, code, err := d.get(ctx, "/v1/backfills")
	if err == nil && code != http.StatusOK {
		err = fmt.Errorf("status %d: %s", code, body)
	}
	if err != nil {
		return "", err
	}
	return newestBackfill(body)
}

func (d *definer) get(ctx context.Context, path string) ([]byte, int, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.s.url()+path, nil)
	if err != nil {
		return nil, 0, err
	}
	resp, err := anyone.Do(req)
	if err != nil {
		return nil, 0, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return body, resp.StatusCode, err
}
