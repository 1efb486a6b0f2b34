package live_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/fold"
	"github.com/pinflow/pinflow/internal/intake"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/live"
	"github.com/pinflow/pinflow/internal/metric"
	"github.com/pinflow/pinflow/internal/prove"
	"github.com/pinflow/pinflow/internal/segment"
	"github.com/pinflow/pinflow/internal/span"
	"github.com/pinflow/pinflow/internal/sqlledger"
)

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// shaky is a ledger whose seals fail now and then, before or after they landed.
type shaky struct {
	*sqlledger.DB
	rnd *rand.Rand
}

func (s *shaky) Seal(ctx context.Context, seal ledger.Seal) error {
	switch s.rnd.IntN(12) {
	case 0:
		return fault.New(fault.Transient, "busy", "the ledger is busy")
	case 1:
		return fault.New(fault.Ambiguous, "unclear", "the connection broke before the commit")
	case 2:
		return errors.Join(s.DB.Seal(ctx, seal), fault.New(fault.Ambiguous, "unclear", "the connection broke after the commit"))
	}
	return s.DB.Seal(ctx, seal)
}

// memory is a log in memory and a group with one member, which is given partitions and loses them.
type memory struct {
	rnd  *rand.Rand
	logs map[intake.TP][]event.Record
	at   map[intake.TP]int64
	h    intake.Handler
	ctx  context.Context //nolint:containedctx // of the membership: callbacks run under it, as in franz-go
	done func() bool
	end  context.CancelFunc
}

func (m *memory) open(ctx context.Context, _ []string, h intake.Handler) (intake.Source, error) {
	m.h, m.ctx, m.at = h, ctx, map[intake.TP]int64{}
	return m, nil
}

func (m *memory) Poll(ctx context.Context, _ int) ([]intake.Fetch, error) {
	for tp := range m.logs {
		if _, held := m.at[tp]; held {
			if m.rnd.IntN(40) == 0 {
				m.h.Revoked(m.ctx, []intake.TP{tp})
				delete(m.at, tp)
			}
			continue
		}
		at, err := m.h.Assigned(m.ctx, []intake.TP{tp})
		if err != nil {
			return nil, err
		}
		m.at[tp] = at[tp]
	}
	var out []intake.Fetch
	for tp, from := range m.at {
		if to := min(int64(len(m.logs[tp])), from+1+m.rnd.Int64N(40)); to > from {
			out = append(out, intake.Fetch{TP: tp, From: from, To: to, Records: slices.Clone(m.logs[tp][from:to])})
			m.at[tp] = to
		}
	}
	if len(out) == 0 {
		if m.done() {
			m.end()
		}
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return out, nil
}

func (m *memory) Seek(tp intake.TP, offset int64) { m.at[tp] = offset }
func (m *memory) ReadBack(_ context.Context, tp intake.TP, from, to int64, fn func(*event.Record) error) error {
	for i := from; i < to; i++ {
		r := m.logs[tp][i]
		if err := fn(&r); err != nil {
			return err
		}
	}
	return nil
}
func (m *memory) Start(context.Context, intake.TP) (int64, error) { return 0, nil }
func (m *memory) Close(context.Context) error                     { return nil }

type cell struct {
	Minute   int64
	Category string
}

type totals struct{ Posted, Followers int64 }

// M1, L1: after seals that failed or were unclear and partitions that came and went, the segments hold
// each row of the log once, compacted or not.
func TestSegmentsAreTheFoldOfTheLog(t *testing.T) {
	prove.Invariant(t, "M1", prove.SQLite)
	for seed := range uint64(6) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { run(t, seed) })
	}
}

func run(t *testing.T, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 2))
	db, key := openLedger(t)
	want := map[cell]totals{}
	m := &memory{rnd: rnd, logs: map[intake.TP][]event.Record{}}
	for p := range int32(2) {
		m.logs[intake.TP{Topic: "pin", Partition: p}] = records(rnd, p, want)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	m.end = cancel
	m.done = func() bool {
		at, err := db.PositionsOf(ctx, ledger.Live)
		return err == nil && at[key] == 600 && at[span.Key{Log: key.Log, Partition: 1}] == 600
	}
	u, err := live.New(live.Config{Owner: "test", FlushEvery: time.Millisecond}, quiet(), live.NewMetrics(prometheus.NewRegistry()), &shaky{db, rnd}, m.open)
	if err != nil {
		t.Fatal(err)
	}
	if err := u.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		t.Fatal("a minute later still not at the end of the log")
	}
	compare(t, db, want)
	compacted(t, db, want)
}

func openLedger(t *testing.T) (*sqlledger.DB, span.Key) {
	t.Helper()
	db, err := sqlledger.Open(t.Context(), filepath.Join(t.TempDir(), "ledger.db"), quiet())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	def := event.Stream{Name: "pin", Topic: "pin", Partitions: 2, Fields: []event.Field{{Name: "category", Type: "string"}, {Name: "followers", Type: "long"}}}
	def.SetDefaults()
	def.Dedup.Records = 20
	schema, err := event.Compile(def, 1)
	if err != nil {
		t.Fatal(err)
	}
	c, problems := metric.Compile(metric.View{
		Version: 1, Name: "pins", Stream: "pin", Grain: "minute", TimeZone: "UTC", Filter: "category <> 'spam'",
		Keep:       map[string]string{"minute": "forever", "hour": "forever"}, // the records are of a date that grows old
		Dimensions: []metric.Dimension{{Name: "category"}},
		Measures:   []metric.Measure{{Name: "posted", Agg: "count"}, {Name: "followers", Agg: "sum", Expr: "followers"}},
	}, schema)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	err = db.Apply(t.Context(), ledger.Change{Stream: "pin", Schema: &def, Views: []ledger.ViewChange{
		{Name: "pins", Metadata: c.Metadata(), Hash: c.Hash(), Definition: c.Definition(), State: ledger.Serving},
	}})
	if err != nil {
		t.Fatal(err)
	}
	id, err := db.AddLog(t.Context(), ledger.Log{Kind: ledger.KindKafka, Stream: "pin", Topic: "pin", ClusterID: "c", TopicID: "t", Partitions: 2})
	if err != nil {
		t.Fatal(err)
	}
	return db, span.Key{Log: id}
}

// records makes 600 records, some of which repeat one of the twenty before, some of which are dead.
func records(rnd *rand.Rand, p int32, want map[cell]totals) []event.Record {
	base := time.Date(2026, 11, 22, 23, 50, 0, 0, time.UTC).UnixMicro()
	var out []event.Record
	for o := range int64(600) {
		if o > 0 && rnd.IntN(10) == 0 {
			r := out[o-1-rnd.Int64N(min(o, 10))]
			r.Offset = o
			out = append(out, r)
			continue
		}
		minute, category, followers := rnd.Int64N(30), []string{"travel", "art", "spam"}[rnd.IntN(3)], rnd.Int64N(1000)
		at := base + minute*60e6
		value := fmt.Sprintf(`{"category":%q,"followers":%d,"event_time":%q}`, category, followers, time.UnixMicro(at).UTC().Format(time.RFC3339))
		switch {
		case rnd.IntN(20) == 0:
			value = `{"followers":"many"}`
		case category != "spam":
			c := want[cell{at, category}]
			want[cell{at, category}] = totals{c.Posted + 1, c.Followers + followers}
		}
		out = append(out, event.Record{Offset: o, Value: []byte(value), ID: fmt.Sprintf("%d-%d", p, o), Received: at + 1e6})
	}
	return out
}

// held merges the segments that the ledger has of a view, and counts them.
func held(t *testing.T, db *sqlledger.DB, view string) (c *metric.Compiled, merged *fold.States, segments int) {
	t.Helper()
	d, err := db.Read(t.Context(), ledger.Read{View: view, From: 0, To: 1 << 60})
	if err != nil {
		t.Fatal(err)
	}
	codec, err := segment.NewCodec()
	if err != nil {
		t.Fatal(err)
	}
	schema, err := event.Compile(d.Stream.Schemas[0].Definition, 1)
	if err != nil {
		t.Fatal(err)
	}
	c, err = metric.CompileStored(d.Version.Definition, d.View.Metadata, schema)
	if err != nil {
		t.Fatal(err)
	}
	var blocks []*fold.States
	for _, s := range d.Segments {
		b, err := codec.Decode(s.Data)
		if err != nil {
			t.Fatal(err)
		}
		blocks = append(blocks, b)
	}
	merged, err = fold.Merge(c, blocks...)
	if err != nil {
		t.Fatal(err)
	}
	return c, merged, len(d.Segments)
}

// compare reads what the ledger holds and wants the same.
func compare(t *testing.T, db *sqlledger.DB, want map[cell]totals) {
	t.Helper()
	c, merged, segments := held(t, db, "pins")
	got := map[cell]totals{}
	for i := range merged.N {
		got[cell{merged.Buckets[i], string(merged.Dims[0].Text(merged.Dims[0].Codes[i]))}] = totals{
			value(c, merged, "posted", i), value(c, merged, "followers", i),
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%d segments differ from the log:\n%s", segments, diff)
	}
}

func value(c *metric.Compiled, s *fold.States, measure string, i int) int64 {
	m := c.Measure(measure)
	var at []int
	for n := range s.Cols {
		at = append(at, n)
	}
	return int64(fold.Value(m, s, at, i).Float64())
}

// compacted lets a compactor settle and compares again: fewer segments, the same numbers.
func compacted(t *testing.T, db *sqlledger.DB, want map[cell]totals) {
	t.Helper()
	before := count(t, db)
	c, err := live.NewCompactor("test", time.Millisecond, quiet(), db)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for count(t, db) > 3 { // one or two days, and what a settling pass may leave alone
		select {
		case err := <-ended:
			t.Fatalf("the compactor ended: %v, %d segments left", err, count(t, db))
		case <-tick.C:
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	t.Logf("%d segments compacted to %d", before, count(t, db))
	compare(t, db, want)
}

func count(t *testing.T, db *sqlledger.DB) int64 {
	t.Helper()
	s, err := db.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s.Segments["minute"]
}
