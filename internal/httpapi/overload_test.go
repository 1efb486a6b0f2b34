package httpapi_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pinflow/pinflow/internal/collect"
	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/httpapi"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/prove"
)

// slowLog takes one record at a time: its capacity is what the test says.
type slowLog struct {
	each   time.Duration
	mu     sync.Mutex
	stored int
}

func (l *slowLog) Append(_ context.Context, _ string, recs []event.Record) []error {
	l.mu.Lock()
	defer l.mu.Unlock()
	time.Sleep(l.each * time.Duration(len(recs))) // the disk's time, not a wait for something
	l.stored += len(recs)
	return nil
}

// onePin is a catalogue of one stream.
type onePin struct{}

func (onePin) Epochs(context.Context) (map[string]int64, error) {
	return map[string]int64{"pin": 1}, nil
}

func (onePin) Load(context.Context) (*ledger.Snapshot, error) {
	return &ledger.Snapshot{
		Streams: []ledger.Stream{{Name: "pin", Epoch: 1, Schemas: []ledger.SchemaVersion{{Version: 1, Definition: event.Stream{Name: "pin", Topic: "pin", Partitions: 1}}}}},
		Logs: []ledger.Log{
			{ID: 1, Kind: ledger.KindKafka, Stream: "pin", Topic: "pin", Partitions: 1},
			{ID: 2, Kind: ledger.KindKafka, Stream: "pin", Topic: "pin.dead", Partitions: 1, Dead: true},
		},
	}, nil
}

// Invariant C3: ten times as many clients as the log can serve cost what the limits say, no more; each is
// told the truth, and nothing of it is left when they go.
func TestOverloadIsBoundedAndToldTruthfully(t *testing.T) {
	prove.Invariant(t, "C3")
	const (
		clients  = 200
		requests = 10 // of each
		size     = 32 << 10
		inFlight = 20 * size * 3 / 2 // room for a tenth of the clients
	)
	log := &slowLog{each: 2 * time.Millisecond}
	reg := prometheus.NewRegistry()
	quiet := slog.New(slog.DiscardHandler)
	c := collect.New(collect.Config{InFlight: inFlight}, quiet, collect.NewMetrics(reg), log, onePin{})
	if err := c.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	api, err := httpapi.New(httpapi.Config{InFlight: inFlight, Conns: 2 * clients}, quiet, httpapi.Deps{Collector: c, Registry: reg})
	if err != nil {
		t.Fatal(err)
	}
	defer api.Close()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := api.Server("")
	go func() { _ = srv.Serve(ln) }()
	defer srv.Close()
	before := runtime.NumGoroutine()
	var peak peaks
	watching, watched := make(chan struct{}), make(chan struct{})
	go func() { defer close(watched); peak.watch(reg, watching) }()

	url := "http://" + ln.Addr().String() + "/v1/streams/pin/events"
	body := []byte(`{"a":"` + strings.Repeat("x", size-8) + `"}`)
	var accepted, refused atomic.Int64
	transport := &http.Transport{MaxIdleConnsPerHost: clients}
	client := &http.Client{Transport: transport}
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			for range requests {
				resp, err := client.Post(url, "application/json", bytes.NewReader(body)) //nolint:noctx // a test's
				if err != nil {
					t.Errorf("a client within the limit of connections was cut off: %v", err)
					return
				}
				text, _ := io.ReadAll(resp.Body)
				resp.Body.Close()
				switch {
				case resp.StatusCode == 202:
					accepted.Add(1)
				case resp.StatusCode == 429 && resp.Header.Get("Retry-After") != "" && bytes.Contains(text, []byte(`"over_capacity"`)):
					refused.Add(1)
				default:
					t.Errorf("%d %s", resp.StatusCode, text)
				}
			}
		})
	}
	all.Wait()
	close(watching)
	<-watched
	if log.stored != int(accepted.Load()) || accepted.Load()+refused.Load() != clients*requests || accepted.Load() == 0 || refused.Load() == 0 {
		t.Errorf("%d accepted, %d refused, %d stored of %d", accepted.Load(), refused.Load(), log.stored, clients*requests)
	}
	t.Logf("%d clients: %d accepted, %d refused; at most %d goroutines beside the clients' (%d before), %.0f bytes of bodies, %.0f of events",
		clients, accepted.Load(), refused.Load(), peak.goroutines-3*clients, before, peak.bodies, peak.events)
	if peak.bodies > inFlight || peak.events > inFlight+size {
		t.Errorf("%.0f bytes of bodies and %.0f of events are more than the limit of %d", peak.bodies, peak.events, inFlight)
	}
	if most := before + 6*clients; peak.goroutines > most { // two of a connection and one of a client at this end, at that end two
		t.Errorf("%d goroutines, want at most %d", peak.goroutines, most)
	}
	transport.CloseIdleConnections()
	for runtime.NumGoroutine() > before+10 { // with the test's time limit if they stay
		runtime.Gosched()
	}
	if peak.read(reg); peak.nowBodies != 0 || peak.nowEvents != 0 {
		t.Errorf("%v bytes of bodies and %v of events are still booked", peak.nowBodies, peak.nowEvents)
	}
}

// peaks are the highest figures seen.
type peaks struct {
	goroutines           int
	bodies, events       float64
	nowBodies, nowEvents float64
}

func (p *peaks) watch(reg *prometheus.Registry, until <-chan struct{}) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		p.goroutines = max(p.goroutines, runtime.NumGoroutine())
		p.read(reg)
		p.bodies, p.events = max(p.bodies, p.nowBodies), max(p.events, p.nowEvents)
		select {
		case <-until:
			return
		case <-tick.C:
		}
	}
}

func (p *peaks) read(reg *prometheus.Registry) {
	families, err := reg.Gather()
	if err != nil {
		panic(fmt.Sprint(err)) // a test's
	}
	for _, f := range families {
		switch f.GetName() {
		case "pinflow_http_body_bytes":
			p.nowBodies = f.GetMetric()[0].GetGauge().GetValue()
		case "pinflow_collect_in_flight_bytes":
			p.nowEvents = f.GetMetric()[0].GetGauge().GetValue()
		}
	}
}
