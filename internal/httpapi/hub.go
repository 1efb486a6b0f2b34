package httpapi

import (
	"context"
	"log/slog"
	"math"
	"slices"
	"sync"
	"time"
)

// tick is what is pushed when a stream moved.
type tick struct {
	Stream     string     `json:"stream"`
	Views      []string   `json:"views"`
	Seal       int64      `json:"seal"`
	CompleteTo *time.Time `json:"complete_to"`
	LagMS      *int64     `json:"lag_ms"`
	Rate       *float64   `json:"rate"` // events a second over the last seconds
	Events     int64      `json:"events"`

	seq int64
}

// pushed is the newest status event.
type pushed struct {
	OK       bool     `json:"ok"`
	Problems []string `json:"problems"`

	seq int64
}

// hub asks the feed while somebody listens, and keeps the newest tick of each stream. A listener that
// is slow or comes back gets the newest ones, never a backlog.
type hub struct {
	every   time.Duration
	max     int
	feed    Feed
	report  Status
	log     *slog.Logger
	metrics *metrics
	boot    string        // names this process in event ids
	done    chan struct{} // closed by close
	loop    sync.WaitGroup

	mu        sync.Mutex
	closed    bool
	listeners map[chan struct{}]struct{} // each is told, at most once ahead, that something is new
	stop      context.CancelFunc         // of the loop; nil: it does not run
	seq       int64
	ticks     map[string]tick
	status    pushed
	past      map[string][]sample
}

// sample is how many events a stream had at a time.
type sample struct {
	at     time.Time
	events int64
}

// rateOver is how far back a rate looks; statusEvery is how often problems are looked for.
const (
	rateOver    = 5 * time.Second
	statusEvery = 2 * time.Second
)

func newHub(cfg Config, log *slog.Logger, feed Feed, report Status, m *metrics) *hub {
	return &hub{
		every: cfg.Pulse, max: cfg.Streams, feed: feed, report: report, log: log, metrics: m,
		boot: newRequestID(time.Now()), done: make(chan struct{}), listeners: map[chan struct{}]struct{}{},
		ticks: map[string]tick{}, past: map[string][]sample{},
	}
}

// listen registers a listener; false when there are too many, or the hub is closed.
func (h *hub) listen() (chan struct{}, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || len(h.listeners) >= h.max {
		return nil, false
	}
	news := make(chan struct{}, 1) // one note is enough: the listener reads what is newest
	h.listeners[news] = struct{}{}
	h.metrics.listeners.Set(float64(len(h.listeners)))
	if h.stop == nil {
		ctx, stop := context.WithCancel(context.Background())
		h.stop = stop
		clear(h.ticks)
		clear(h.past)
		h.status = pushed{} // what the last listeners were told this one was not
		h.loop.Go(func() { h.run(ctx) })
	} else {
		news <- struct{}{}
	}
	return news, true
}

func (h *hub) leave(news chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.listeners, news)
	h.metrics.listeners.Set(float64(len(h.listeners)))
	if len(h.listeners) == 0 && h.stop != nil {
		h.stop()
		h.stop = nil
	}
}

func (h *hub) close() {
	h.mu.Lock()
	if !h.closed {
		h.closed = true
		close(h.done)
		if h.stop != nil {
			h.stop()
		}
	}
	h.mu.Unlock()
	h.loop.Wait()
}

// run asks the feed until nobody listens any more.
func (h *hub) run(ctx context.Context) {
	next := time.NewTicker(h.every)
	defer next.Stop()
	var looked time.Time
	for {
		pulses, err := h.feed.Pulse(ctx)
		now := time.Now()
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			h.say(ctx, false, []string{"the ledger does not answer"}, err)
		default:
			h.take(ctx, now, pulses)
			if now.Sub(looked) >= statusEvery {
				looked = now
				h.look(ctx)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-next.C:
		}
	}
}

// look asks for the status and pushes it when it changed.
func (h *hub) look(ctx context.Context) {
	if h.report == nil {
		return
	}
	rep, err := h.report.Report(ctx)
	if err != nil {
		h.say(ctx, false, []string{"the status cannot be read"}, err)
		return
	}
	h.say(ctx, rep.OK, rep.Problems, nil)
}

func (h *hub) say(ctx context.Context, ok bool, problems []string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if ctx.Err() != nil || (h.status.seq > 0 && h.status.OK == ok && slices.Equal(h.status.Problems, problems)) {
		return
	}
	if err != nil {
		h.log.Warn("event streams have nothing to tell", "err", err)
	}
	h.seq++
	h.status = pushed{ok, append([]string{}, problems...), h.seq}
	h.tell()
}

// take makes ticks of the streams that moved.
func (h *hub) take(ctx context.Context, now time.Time, pulses []Pulse) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if ctx.Err() != nil { // a loop that was stopped while it asked
		return
	}
	moved := false
	for _, p := range pulses {
		t := tick{Stream: p.Stream, Views: p.Views, Seal: p.Seal, Events: p.Events, Rate: h.rate(p, now)}
		if !p.CompleteTo.IsZero() {
			at, lag := p.CompleteTo.UTC(), max(0, now.Sub(p.CompleteTo).Milliseconds())
			t.CompleteTo, t.LagMS = &at, &lag
		}
		if old, ok := h.ticks[p.Stream]; ok && same(old, t) {
			continue
		}
		h.seq++
		t.seq = h.seq
		h.ticks[p.Stream] = t
		moved = true
	}
	if moved {
		h.tell()
	}
}

// same compares what people see; the seal is another stream's, too.
func same(a, b tick) bool {
	eq := func(x, y *float64) bool { return (x == nil) == (y == nil) && (x == nil || *x == *y) }
	at := func(x, y *time.Time) bool { return (x == nil) == (y == nil) && (x == nil || x.Equal(*y)) }
	return a.Events == b.Events && eq(a.Rate, b.Rate) && at(a.CompleteTo, b.CompleteTo) && slices.Equal(a.Views, b.Views)
}

// rate is the mean over the last seconds, to three digits; nil until a second has passed.
func (h *hub) rate(p Pulse, now time.Time) *float64 {
	past := append(h.past[p.Stream], sample{now, p.Events})
	for len(past) > 2 && now.Sub(past[1].at) >= rateOver {
		past = past[1:]
	}
	h.past[p.Stream] = past
	took := now.Sub(past[0].at)
	if took < time.Second {
		return nil
	}
	r := float64(p.Events-past[0].events) / took.Seconds()
	if r > 0 {
		unit := math.Pow(10, math.Floor(math.Log10(r))-2)
		r = math.Round(r/unit) * unit
		if unit >= 1 {
			r = math.Round(r)
		}
	}
	return &r
}

func (h *hub) tell() {
	for news := range h.listeners {
		select {
		case news <- struct{}{}:
		default:
		}
	}
}

// since returns what is newer than seq, oldest first.
func (h *hub) since(seq int64) ([]tick, *pushed) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []tick
	for _, t := range h.ticks {
		if t.seq > seq {
			out = append(out, t)
		}
	}
	slices.SortFunc(out, func(a, b tick) int { return int(a.seq - b.seq) })
	if h.status.seq > seq {
		s := h.status
		return out, &s
	}
	return out, nil
}
