package collect

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/fault"
)

// Config is the collector's limits. Zero values mean the defaults named.
type Config struct {
	Event    int64            // bytes of one event; 1 MiB
	Batch    int              // events of one request; 10,000
	InFlight int64            // bytes of all requests in hand; 64 MiB
	Wait     time.Duration    // longest wait for the log; 30 s
	Refresh  time.Duration    // how often epochs are asked for; 1 s
	Now      func() time.Time // time.Now
}

func (c *Config) setDefaults() {
	if c.Event == 0 {
		c.Event = 1 << 20
	}
	if c.Batch == 0 {
		c.Batch = 10_000
	}
	if c.InFlight == 0 {
		c.InFlight = 64 << 20
	}
	if c.Wait == 0 {
		c.Wait = 30 * time.Second
	}
	if c.Refresh == 0 {
		c.Refresh = time.Second
	}
	if c.Now == nil {
		c.Now = time.Now
	}
}

// Log takes records and notes the offset of each that is durable. The answer is nil when all are durable, else one entry a record: nil is durable;
// fault.Transient was never handed over; fault.Ambiguous may be stored or not; fault.Record never can
// be. Records and what they point to belong to the log from the call on.
type Log interface {
	Append(ctx context.Context, topic string, recs []event.Record) []error
}

// Collector is the front door of all streams.
type Collector struct {
	cfg       Config
	log       *slog.Logger
	metrics   *Metrics
	to        Log
	catalogue Catalogue
	routes    atomic.Pointer[routes]

	held    atomic.Int64
	active  atomic.Int64
	closing atomic.Bool
	drained chan struct{}
	once    sync.Once
}

// New returns a collector that knows no stream before Refresh or Run.
func New(cfg Config, log *slog.Logger, m *Metrics, to Log, cat Catalogue) *Collector {
	cfg.setDefaults()
	return &Collector{cfg: cfg, log: log, metrics: m, to: to, catalogue: cat, drained: make(chan struct{})}
}

// Close takes no more requests and waits until those in hand are answered, or ctx ends.
func (c *Collector) Close(ctx context.Context) error {
	c.closing.Store(true)
	if c.active.Load() == 0 {
		c.once.Do(func() { close(c.drained) })
	}
	select {
	case <-c.drained:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// overhead is what an event is counted for beyond its bytes.
const overhead = 256

// enter takes a request in, if there is room for it. leave must follow.
func (c *Collector) enter(size int64) error {
	c.active.Add(1)
	held := c.held.Add(size)
	c.metrics.inFlight.Set(float64(held))
	switch {
	case c.closing.Load():
		c.leave(size)
		return fault.New(fault.Transient, "not_stored", "the collector is shutting down")
	case held > c.cfg.InFlight:
		c.leave(size)
		return fault.New(fault.Transient, "over_capacity", "%d bytes of events are in hand already; nothing of this request was stored", held-size)
	}
	return nil
}

func (c *Collector) leave(size int64) {
	c.metrics.inFlight.Set(float64(c.held.Add(-size)))
	if c.active.Add(-1) == 0 && c.closing.Load() {
		c.once.Do(func() { close(c.drained) })
	}
}

// Options say how a body is read and what is told of it.
type Options struct {
	Form           string // FormJSON when empty
	APIKey         string // id of the sender's key
	IdempotencyKey string
	Results        string // ResultsErrors when empty
	ValidateOnly   bool   // judge, store nothing
}

// What is told of the events of a request.
const (
	ResultsErrors = "errors" // those that were not accepted
	ResultsAll    = "all"
	ResultsNone   = "none"
)

// Fates of an event.
const (
	Accepted     = "accepted"
	DeadLettered = "dead_lettered"
	Rejected     = "rejected"
	Retry        = "retry"
)

// Result says what became of the events of a request; the counts add up to the events sent.
type Result struct {
	Accepted, DeadLettered, Rejected, Retry int
	Unknown                                 int           // those of Retry that may be stored
	Why                                     string        // the first of Retry was not stored
	Results                                 []EventResult // in order of Index
}

// EventResult is the fate of one event.
type EventResult struct {
	Index        int
	ID           string
	Status       string
	Code         string
	Path         string
	Message      string
	RetryAfterMS int

	Partition int32 // where an accepted event is, in the stream's topic
	Offset    int64
}

// Ingest judges the events of a body and stores them. The body is not kept. An error means that
// nothing was stored: fault.Record for a body that cannot be split, is empty or over a limit, and for
// an unknown stream; fault.Transient with code over_capacity or not_stored. What concerns single
// events is in the Result.
func (c *Collector) Ingest(ctx context.Context, stream string, body []byte, o Options) (*Result, error) {
	res, err := c.ingest(ctx, stream, body, o)
	if err != nil {
		c.metrics.refused.WithLabelValues(fault.CodeOf(err)).Inc()
	}
	return res, err
}

func (c *Collector) ingest(ctx context.Context, stream string, body []byte, o Options) (*Result, error) {
	r, err := c.find(stream)
	if err != nil {
		return nil, err
	}
	size := int64(len(body)) + overhead
	if err := c.enter(size); err != nil {
		return nil, err
	}
	defer func() { c.leave(size) }()
	events, err := split(append([]byte(nil), body...), o.Form, c.cfg.Batch)
	if err != nil {
		return nil, err
	}
	more := int64(len(events)) * overhead
	size += more
	if held := c.held.Add(more); held > c.cfg.InFlight && !o.ValidateOnly && held != size {
		return nil, fault.New(fault.Transient, "over_capacity", "%d bytes of events are in hand already; nothing of this request was stored", held-size)
	}
	b := newBatch(c, r, &o, events)
	if err := b.judge(); err != nil {
		return nil, err
	}
	if !o.ValidateOnly {
		b.store(ctx)
	}
	return b.result(), nil
}
