package query

import (
	"context"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pinflow/pinflow/internal/calendar"
	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/fold"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/metric"
	"github.com/pinflow/pinflow/internal/segment"
)

// Source gives the segments of a view, of one snapshot.
type Source interface {
	Read(ctx context.Context, q ledger.Read) (*ledger.Data, error)
}

// Config bounds what a query may take. Zero values mean the defaults.
type Config struct {
	CacheBytes int64         // decoded segments kept; default 96 MiB
	MaxRows    int           // most rows or points of an answer; default 100,000
	Wait       time.Duration // longest wait for the broker + clock difference between hosts; default 35 s
}

// Engine answers queries. It is safe for concurrent use.
type Engine struct {
	cfg    Config
	source Source
	clock  func() time.Time
	codec  *segment.Codec
	cache  *cache

	mu       sync.Mutex
	compiled map[string]*compiled // by view, as it is asked for
}

// compiled is a view's definition as it was last seen, and what else of the ledger a plan depends on. It is
// immutable.
type compiled struct {
	version    int64
	schema     int32
	metadata   string
	c          *metric.Compiled
	dropped    map[string]int64 // floors of its tiers
	completeTo time.Time
}

// final is the moment before which buckets are complete.
func (v *compiled) final(wait time.Duration) int64 {
	if v.completeTo.IsZero() {
		return calendar.Beginning
	}
	return v.completeTo.UnixMicro() - v.c.Grace - wait.Microseconds()
}

// New returns an engine over the source; clock tells the time.
func New(cfg Config, source Source, clock func() time.Time) (*Engine, error) {
	if cfg.CacheBytes == 0 {
		cfg.CacheBytes = 96 << 20
	}
	if cfg.MaxRows == 0 {
		cfg.MaxRows = 100_000
	}
	if cfg.Wait == 0 {
		cfg.Wait = 35 * time.Second
	}
	codec, err := segment.NewCodec()
	if err != nil {
		return nil, err
	}
	return &Engine{
		cfg: cfg, source: source, clock: clock, codec: codec, cache: newCache(cfg.CacheBytes), compiled: map[string]*compiled{},
	}, nil
}

// Query answers a question. A mistake in it is a fault of kind Record: code unknown_view,
// bad_parameter or too_many_rows.
func (e *Engine) Query(ctx context.Context, req Request) (*Answer, error) {
	now := e.clock()
	name, which, named := strings.Cut(req.View, "@")
	if named && which == "" {
		return nil, bad("view", "%q names no version", req.View).WithAdvice("write %s, or %s@building", name, name)
	}
	v := e.known(req.View)
	if req.AsOf != "" {
		v = nil // where the range ends depends on what is complete now
	}
	// A view that is not known yet, or that may have changed since, is asked about first; what changes
	// between planning and reading is planned anew.
	for range 5 {
		p, held := &plan{}, map[int64]*fold.States{}
		read := ledger.Read{View: name, Version: which}
		var mistake error
		if v != nil {
			if p, mistake = e.plan(req, v, now); mistake == nil && len(p.reads) > 0 {
				read.Parts, read.Cached = append(p.reads[:len(p.reads):len(p.reads)], p.ranking...), e.holding(held, p.need())
			}
		}
		data, err := e.source.Read(ctx, read)
		if err != nil {
			return nil, fmt.Errorf("querying view %s: %w", req.View, err)
		}
		current, err := e.compile(req.View, data)
		if err != nil {
			return nil, fmt.Errorf("querying view %s: %w", req.View, err)
		}
		if v == nil || current.c != v.c || !maps.Equal(current.dropped, v.dropped) {
			v = current
			continue
		}
		if mistake != nil {
			return nil, mistake
		}
		blocks, err := e.blocks(data.Segments, held, p.need())
		if err != nil {
			return nil, fmt.Errorf("querying view %s: %w", req.View, err)
		}
		return p.answer(data, blocks, now, e.cfg)
	}
	return nil, fault.New(fault.Transient, "catalogue_moving", "view %s changes too often to be read", req.View)
}

// holding tells the ledger which segments are cached with what is needed of them, and takes hold of them:
// they may leave the cache before they are used.
func (e *Engine) holding(held map[int64]*fold.States, need []bool) func(id int64) bool {
	return func(id int64) bool {
		s, _ := e.cache.get(id, need)
		if s != nil {
			held[id] = s
		}
		return s != nil
	}
}

func (e *Engine) known(view string) *compiled {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.compiled[view]
}

// compile returns what was read of the view, or of a version of it; its definition is the same pointer as long as it
// is the same.
func (e *Engine) compile(asked string, d *ledger.Data) (*compiled, error) {
	if len(d.Stream.Schemas) == 0 {
		return nil, fault.New(fault.Corrupt, "no_schema", "stream %s has no schema", d.View.Stream)
	}
	newest := d.Stream.Schemas[len(d.Stream.Schemas)-1]
	e.mu.Lock()
	defer e.mu.Unlock()
	if have := e.compiled[asked]; have != nil && have.version == d.Version.ID && have.schema == newest.Version && have.metadata == string(d.View.Metadata) {
		next := *have
		next.dropped, next.completeTo = d.Floors, d.CompleteTo
		e.compiled[asked] = &next
		return &next, nil
	}
	schema, err := event.Compile(newest.Definition, newest.Version)
	if err != nil {
		return nil, fmt.Errorf("compiling schema %d of stream %s: %w", newest.Version, d.View.Stream, err)
	}
	c, err := metric.CompileStored(d.Version.Definition, d.View.Metadata, schema)
	if err != nil {
		return nil, fmt.Errorf("compiling version %d: %w", d.Version.ID, err)
	}
	next := &compiled{d.Version.ID, newest.Version, string(d.View.Metadata), c, d.Floors, d.CompleteTo}
	e.compiled[asked] = next
	return next, nil
}

// blocks returns the segments decoded, from the cache where they were held.
func (e *Engine) blocks(segs []ledger.Segment, held map[int64]*fold.States, need []bool) ([]*fold.States, error) {
	out := make([]*fold.States, len(segs))
	var work errgroup.Group
	work.SetLimit(runtime.GOMAXPROCS(0))
	for i := range segs {
		s := &segs[i]
		if out[i] = held[s.ID]; out[i] != nil {
			continue
		}
		work.Go(func() error {
			want := slices.Clone(need)
			if _, have := e.cache.get(s.ID, need); have != nil { // what others asked for stays
				for i := range want {
					want[i] = want[i] || have[i]
				}
			}
			states, err := e.codec.DecodeSome(s.Data, want)
			switch {
			case fault.Is(err, fault.Corrupt):
				return fault.New(fault.Corrupt, "bad_segment", "segment %d of the ledger, of %s to %s, is damaged: %w", s.ID, moment(s.From), moment(s.To), err).
					WithAdvice("pinflow audit VIEW --range A..B names what it held; pinflow backfill start VIEW builds the view anew")
			case err != nil:
				return fmt.Errorf("segment %d: %w", s.ID, err)
			}
			e.cache.put(s.ID, states, want)
			out[i] = states
			return nil
		})
	}
	if err := work.Wait(); err != nil {
		return nil, err
	}
	return out, nil
}

func moment(us int64) string { return time.UnixMicro(us).UTC().Format(time.RFC3339) }
