package collect

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/ledger"
)

// Catalogue is what the collector asks of the ledger.
type Catalogue interface {
	Epochs(ctx context.Context) (map[string]int64, error)
	Load(ctx context.Context) (*ledger.Snapshot, error)
}

// routes is the catalogue as the collector uses it, immutable.
type routes struct {
	epochs  map[string]int64
	streams map[string]*route
	topics  map[string]*route // by topic
}

// route is where the events of a stream go.
type route struct {
	name       string
	version    int32
	live, dead target
	inspectors sync.Pool
	counters   counters
}

type target struct {
	topic      string
	partitions int32 // those that the ledger names
}

type counters struct {
	accepted, dead, rejected, retry, bytes prometheus.Counter
}

// Run keeps the catalogue fresh until ctx ends. While the ledger is away the last one known is used:
// a verdict under an older schema only decides between the stream's log and its dead log.
func (c *Collector) Run(ctx context.Context) error {
	t := time.NewTicker(c.cfg.Refresh)
	defer t.Stop()
	away := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		err := c.Refresh(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if (err != nil) != away {
			away = err != nil
			if away {
				c.log.Warn("the catalogue cannot be read; the last one known is used", "err", err)
				c.metrics.stale.Set(1)
			} else {
				c.log.Info("the catalogue can be read again")
				c.metrics.stale.Set(0)
			}
		}
	}
}

// Refresh reads the catalogue if its epochs moved.
func (c *Collector) Refresh(ctx context.Context) error {
	epochs, err := c.catalogue.Epochs(ctx)
	if err != nil {
		return fmt.Errorf("asking for epochs: %w", err)
	}
	if have := c.routes.Load(); have != nil && maps.Equal(have.epochs, epochs) {
		return nil
	}
	snap, err := c.catalogue.Load(ctx)
	if err != nil {
		return fmt.Errorf("loading the catalogue: %w", err)
	}
	// The epochs asked for came before the snapshot: a change between them is read once more.
	next := &routes{epochs: epochs, streams: make(map[string]*route, len(snap.Streams)), topics: make(map[string]*route, len(snap.Streams))}
	for i := range snap.Streams {
		r, err := c.newRoute(&snap.Streams[i], snap.Logs)
		if err != nil {
			return err
		}
		next.streams[r.name] = r
		if r.live.topic != "" {
			next.topics[r.live.topic] = r
		}
	}
	c.routes.Store(next)
	return nil
}

func (c *Collector) newRoute(s *ledger.Stream, logs []ledger.Log) (*route, error) {
	r := &route{name: s.Name, counters: c.metrics.of(s.Name)}
	for i := range logs {
		l := &logs[i]
		if l.Stream != s.Name || l.Kind != ledger.KindKafka || !l.ClosedAt.IsZero() {
			continue
		}
		to := &r.live
		if l.Dead {
			to = &r.dead
		}
		*to = target{topic: l.Topic, partitions: l.Partitions}
	}
	if len(s.Schemas) == 0 {
		return r, nil
	}
	newest := &s.Schemas[len(s.Schemas)-1]
	schema, err := event.Compile(newest.Definition, newest.Version)
	if err != nil {
		return nil, fmt.Errorf("compiling stream %s: %w", s.Name, err)
	}
	r.version = newest.Version
	r.inspectors.New = func() any { return schema.NewInspector() }
	return r, nil
}

func (m *Metrics) of(stream string) counters {
	of := func(result string) prometheus.Counter { return m.events.WithLabelValues(stream, result) }
	return counters{
		accepted: of(Accepted), dead: of(DeadLettered), rejected: of(Rejected), retry: of(Retry),
		bytes: m.bytes.WithLabelValues(stream),
	}
}

// count notes what became of a request's events.
func (c *counters) count(res *Result, size int) {
	add := func(to prometheus.Counter, n int) {
		if n > 0 {
			to.Add(float64(n))
		}
	}
	add(c.accepted, res.Accepted)
	add(c.dead, res.DeadLettered)
	add(c.rejected, res.Rejected)
	add(c.retry, res.Retry)
	add(c.bytes, size)
}

// StreamOf returns the stream that a topic's name means: the one whose topic it is, else the one of
// that name, else what follows the last dot, as in the names that some hand out to their users.
func (c *Collector) StreamOf(topic string) string {
	all := c.routes.Load()
	if all == nil {
		return topic
	}
	tail := topic[strings.LastIndexByte(topic, '.')+1:]
	for _, name := range []string{topic, tail} {
		if r, ok := all.topics[name]; ok {
			return r.name
		}
		if _, ok := all.streams[name]; ok {
			return name
		}
	}
	return topic
}

// shortName is a name that a client made up, as far as it helps to repeat it.
func shortName(name string) string {
	const most = 64
	if len(name) <= most {
		return name
	}
	return strings.ToValidUTF8(name[:most], "") + "…"
}

// find returns the route of a stream, or an error that names the nearest.
func (c *Collector) find(stream string) (*route, error) {
	all := c.routes.Load()
	if all == nil {
		return nil, fault.New(fault.Transient, "not_stored", "the catalogue has not been read yet")
	}
	r, ok := all.streams[stream]
	if !ok {
		err := fault.New(fault.Record, "unknown_stream", "there is no stream %q", shortName(stream))
		names := slices.Sorted(maps.Keys(all.streams))
		if near := nearest(stream, names); near != "" {
			err = err.WithAdvice("Did you mean %q?", near)
		} else if len(names) > 0 {
			err = err.WithAdvice("Use one of: %s", strings.Join(names, ", "))
		}
		return nil, err
	}
	if r.version == 0 || r.live.partitions == 0 || r.dead.partitions == 0 {
		return nil, fault.New(fault.Transient, "not_stored", "stream %s has no log yet", stream)
	}
	return r, nil
}

// nearest returns the name with the fewest edits, "" when none is near.
func nearest(name string, among []string) string {
	best, at := "", 1+max(2, len(name)/3)
	for _, a := range among {
		if d := edits(name, a); d < at {
			best, at = a, d
		}
	}
	return best
}

// edits is the Levenshtein distance in bytes.
func edits(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
