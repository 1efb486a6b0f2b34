package backfill_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/pinflow/pinflow/internal/backfill"
	"github.com/pinflow/pinflow/internal/column"
	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/fold"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/metric"
	"github.com/pinflow/pinflow/internal/prove"
	"github.com/pinflow/pinflow/internal/segment"
	"github.com/pinflow/pinflow/internal/span"
	"github.com/pinflow/pinflow/internal/sqlledger"
	"github.com/pinflow/pinflow/internal/testbed"
)

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// pond is a lake in memory: blocks of rows by day, tags, and calls that fail now and then.
type pond struct {
	mu     sync.Mutex
	days   map[string][]lake.Block
	tags   map[string]bool
	pinned int // that were pinned ever
	fails  func() bool
}

func (p *pond) trouble() error {
	if p.fails != nil && p.fails() {
		return fault.New(fault.Transient, "disk", "the disk is busy")
	}
	return nil
}

func (p *pond) Days(context.Context, string) ([]lake.DayFiles, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.trouble(); err != nil {
		return nil, err
	}
	var out []lake.DayFiles
	for day, blocks := range p.days {
		f := lake.DayFiles{Day: day, Bytes: 100}
		if day[len(day)-1]%2 == 0 {
			f.Bytes = 1 << 30 // much to read: its snapshot has to be pinned
		}
		for _, b := range blocks {
			f.Rows += int64(b.N)
		}
		out = append(out, f)
	}
	return out, nil
}

func (p *pond) Newest(context.Context, string) (int64, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return 7, p.trouble()
}

func (p *pond) Pin(_ context.Context, _, tag string, snapshot int64) (int64, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.trouble(); err != nil {
		return 0, err
	}
	p.tags[tag] = true
	p.pinned++
	return snapshot, nil
}

func (p *pond) Unpin(_ context.Context, _ string, tags ...string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, t := range tags {
		delete(p.tags, t)
	}
	return p.trouble()
}

func (p *pond) Pins(context.Context, string, string) ([]string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []string
	for t := range p.tags {
		out = append(out, t)
	}
	return out, nil
}

func (p *pond) Scan(ctx context.Context, sel lake.Selection, fn func(*lake.Block) error) (int64, error) {
	if sel.Snapshot != 7 {
		return 0, fmt.Errorf("read snapshot %d, which is not the one that is there", sel.Snapshot)
	}
	p.mu.Lock()
	blocks := p.days[time.UnixMicro(sel.From).UTC().Format(time.DateOnly)]
	err := p.trouble()
	p.mu.Unlock()
	if err != nil {
		return 0, err
	}
	for i := range blocks {
		if sel.Files != nil && !slices.Contains(sel.Files, fileName(sel, i)) {
			continue
		}
		b := only(&blocks[i], sel.Columns)
		if err := fn(b); err != nil {
			return 0, err
		}
		p.mu.Lock()
		err := p.trouble()
		p.mu.Unlock()
		if err != nil {
			return 0, err
		}
	}
	return 7, ctx.Err()
}

// only keeps the columns asked for, as the real one does.
func only(b *lake.Block, names []string) *lake.Block {
	out := &lake.Block{N: b.N}
	for i, c := range b.Columns {
		if slices.Contains(names, c.Name) {
			out.Columns, out.Cols = append(out.Columns, c), append(out.Cols, b.Cols[i])
		}
	}
	return out
}

// world is a ledger with a stream that has a past, and a lake that holds it.
type world struct {
	t        *testing.T
	rnd      *rand.Rand
	led      *sqlledger.DB
	lake     *pond
	log      span.Log
	now      time.Time
	rows     []event.Record // that the lake holds
	spark    *elsewhere     // the workers' other engine; nil: none
	pinAfter time.Duration
	owner    map[ledger.Unit]ledger.Held
}

const parts = 2

func stream(more ...event.Field) *event.Stream {
	return &event.Stream{
		Name: "pin", Topic: "pin", Partitions: parts, EventTime: "event_time", MaxAge: 10 * 365 * 24 * time.Hour,
		Fields: append([]event.Field{{Name: "category", Type: "string"}}, more...),
	}
}

func newWorld(t *testing.T, seed uint64) *world {
	t.Helper()
	w := &world{t: t, rnd: rand.New(rand.NewPCG(seed, 1)), lake: &pond{days: map[string][]lake.Block{}, tags: map[string]bool{}}, now: time.Now().UTC(), owner: map[ledger.Unit]ledger.Held{}}
	var err error
	if w.led, err = sqlledger.Open(t.Context(), filepath.Join(t.TempDir(), "ledger.db"), quiet()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.led.Close(); err != nil {
			t.Error(err)
		}
	})
	w.ok(w.led.Apply(t.Context(), ledger.Change{Stream: "pin", Schema: stream()}))
	if w.log, err = w.led.AddLog(t.Context(), ledger.Log{Kind: ledger.KindKafka, Stream: "pin", ClusterID: "c", TopicID: "t", Topic: "pin", Partitions: parts}); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) snap() *ledger.Snapshot {
	w.t.Helper()
	s, err := w.led.Load(w.t.Context())
	w.ok(err)
	return s
}

// pass makes a unit read up to an offset of the first partition.
func (w *world) pass(unit ledger.Unit, kind string, to int64) {
	w.t.Helper()
	k := span.Key{Log: w.log}
	h, known := w.owner[unit]
	if !known {
		var err error
		h, err = w.led.TakeOver(w.t.Context(), unit, "u", k, 0)
		w.ok(err)
	}
	w.ok(w.led.Seal(w.t.Context(), ledger.Seal{
		Write: ledger.Write{Kind: kind, Stream: "pin", Epoch: w.snap().Streams[0].Epoch, Owner: "u"}, Unit: unit,
		Moves: []ledger.Move{{Key: k, Owner: h.Owner, From: h.Position, To: to, Counts: ledger.Counts{Gaps: to - h.Position}}},
	}))
	h.Position = to
	w.owner[unit] = h
}

// fill puts n rows of the first partition into the lake, spread over days, judged under a schema.
func (w *world) fill(schema *event.Schema, n, days int) {
	w.t.Helper()
	byDay := map[string][]event.Record{}
	for range n {
		at := w.now.Add(-time.Duration(w.rnd.Int64N(int64(days) * int64(24*time.Hour))))
		r := event.Record{
			Key: span.Key{Log: w.log}, Offset: int64(len(w.rows)), Received: at.UnixMicro() + 1, ID: strconv.Itoa(len(w.rows)),
			Value: []byte(fmt.Sprintf(`{"event_time":%q,"category":%q,"score":%d}`, at.Format(time.RFC3339Nano), []string{"a", "b", "c"}[w.rnd.IntN(3)], w.rnd.IntN(100))),
		}
		w.rows = append(w.rows, r)
		byDay[at.Format(time.DateOnly)] = append(byDay[at.Format(time.DateOnly)], r)
	}
	columns := lake.Columns(schema)
	for day, records := range byDay {
		d := schema.NewDecoder(nil)
		for i := range records {
			if v := d.Append(&records[i]); v.Dead() {
				w.t.Fatalf("%s: %+v", records[i].Value, v)
			}
		}
		rows := d.Rows()
		w.lake.days[day] = append(w.lake.days[day], lake.Block{Columns: columns, N: rows.N, Cols: append([]column.Vec(nil), rows.Cols...)})
	}
}

func (w *world) schema(version int32, s *event.Stream) *event.Schema {
	c, err := event.CompileAfter(*s, version, *stream())
	w.ok(err)
	return c
}

// view applies a view and returns its version.
func (w *world) view(expr, from string) ledger.ViewVersion {
	w.t.Helper()
	s := w.snap().Streams[0]
	newest := s.Schemas[len(s.Schemas)-1]
	v := metric.View{
		Version: 1, Name: "scores", Stream: "pin", TimeZone: "Europe/London", Keep: map[string]string{"minute": "2d", "hour": "3d"}, Backfill: metric.Backfill{From: from},
		Dimensions: []metric.Dimension{{Name: "category"}},
		Measures:   []metric.Measure{{Name: "n", Agg: "count"}, {Name: "score", Agg: "sum", Expr: expr}, {Name: "kinds", Agg: "count_distinct_approx", Expr: expr}},
	}
	c, problems := metric.Compile(v, w.schema(newest.Version, &newest.Definition))
	if c == nil {
		w.t.Fatal(problems)
	}
	w.ok(w.led.Apply(w.t.Context(), ledger.Change{Stream: "pin", Epoch: s.Epoch, Views: []ledger.ViewChange{{
		Name: "scores", Metadata: c.Metadata(), Hash: c.Hash(), Definition: c.Definition(), State: ledger.Building, Engine: w.engine(),
	}}}))
	views := w.snap().Views[0].Versions
	return views[len(views)-1]
}

// run runs a manager and workers until the back-fill has ended.
func (w *world) run(workers int) ledger.Backfill {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	start := func(run func(context.Context) error) {
		wg.Go(func() {
			if err := run(ctx); err != nil {
				w.t.Error(err)
			}
		})
	}
	cfg := backfill.Config{Owner: "m", Every: time.Millisecond, PinAfter: w.pinAfter}
	m, err := backfill.NewManager(cfg, quiet(), w.led, w.lake)
	w.ok(err)
	start(m.Run)
	metrics := backfill.NewMetrics(prometheus.NewRegistry())
	for n := range workers {
		cfg.Owner, cfg.MaxBytes = fmt.Sprintf("w%d", n), 1
		if w.spark != nil {
			cfg.Spark = w.spark
		}
		worker, err := backfill.NewWorker(cfg, quiet(), metrics, w.led, w.lake)
		w.ok(err)
		start(worker.Run)
	}
	var b ledger.Backfill
	for tick := time.NewTicker(5 * time.Millisecond); ctx.Err() == nil; <-tick.C {
		all, err := w.led.Backfills(w.t.Context(), 0)
		w.ok(err)
		if b = all[0]; b.State == ledger.Failed || b.State == ledger.Running && b.Waiting > 0 { // it met trouble
			w.ok(w.led.Steer(w.t.Context(), b.ID, ledger.Retry))
		}
		if b.State == ledger.Done {
			break
		}
	}
	cancel()
	wg.Wait()
	if b.State != ledger.Done {
		tasks, err := w.led.BackfillTasks(w.t.Context(), b.ID)
		w.t.Fatalf("%+v: %+v %v", b, tasks, err)
	}
	return b
}

type total struct{ N, Score int64 }

// stored sums up the segments of the view by category.
func (w *world) stored() (map[string]total, map[string]bool) {
	w.t.Helper()
	codec, err := segment.NewCodec()
	w.ok(err)
	sums, tiers := map[string]total{}, map[string]bool{}
	data, err := w.led.Read(w.t.Context(), ledger.Read{View: "scores", Tier: "day", From: -1 << 62, To: 1 << 62})
	w.ok(err)
	s := data.Stream.Schemas[len(data.Stream.Schemas)-1]
	c, err := metric.CompileStored(data.Version.Definition, data.Version.Metadata, w.schema(s.Version, &s.Definition))
	w.ok(err)
	for _, x := range data.Segments {
		if x.Source != ledger.SourceBackfill || len(x.Data) > ledger.MaxTx {
			w.t.Errorf("a segment of %d bytes from %s", len(x.Data), x.Source)
		}
		tiers[x.Tier] = true
		for _, finer := range segment.Tiers(c) { // else a longer keep reads what was never written as zero
			if finer.String() == x.Tier {
				break
			}
			if data.Floors[finer.String()] <= x.To {
				w.t.Errorf("%ss are whole from %s, but up to %s only %ss are there",
					finer, time.UnixMicro(data.Floors[finer.String()]), time.UnixMicro(x.To), x.Tier)
			}
		}
		st, err := codec.Decode(x.Data)
		w.ok(err)
		w.ok(fold.Fits(c, st))
		at := make([]int, len(c.States))
		for i := range at {
			at[i] = i
		}
		for i := range st.N {
			name := string(st.Dims[0].Text(st.Dims[0].Codes[i]))
			t := sums[name]
			t.N += int64(fold.Value(c.Measure("n"), st, at, i).Low)
			t.Score += int64(fold.Value(c.Measure("score"), st, at, i).Low)
			sums[name] = t
		}
	}
	return sums, tiers
}

// below sums up the rows below an offset, from a moment on.
func (w *world) below(cut int64, from time.Time) map[string]total {
	sums := map[string]total{}
	for _, r := range w.rows {
		var e struct {
			Time     time.Time `json:"event_time"`
			Category string
			Score    int64
		}
		w.ok(json.Unmarshal(r.Value, &e))
		if r.Offset < cut && !e.Time.Before(from) {
			t := sums[e.Category]
			sums[e.Category] = total{t.N + 1, t.Score + e.Score}
		}
	}
	return sums
}

// M4: whatever fails, and however many work, the history is the lake's rows below the cut, each once. A
// member that no schema declares and a field that is declared later give the same.
func TestHistoryIsTheRowsBelowTheCut(t *testing.T) {
	prove.Invariant(t, "M4", prove.SQLite)
	seed := testbed.Seed(t)
	for name, tc := range map[string]struct {
		declared bool
		workers  int
		oneIn    int // calls to the lake that fail
		from     string
	}{
		"undeclared":     {workers: 1},
		"declared later": {workers: 1, declared: true},
		"trouble":        {workers: 3, oneIn: 6},
		"from a date":    {workers: 2, oneIn: 9, declared: true, from: time.Now().UTC().AddDate(0, 0, -2).Format(time.DateOnly)},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, seed)
			first := w.schema(1, stream())
			w.fill(first, 3000, 6)
			w.pass(ledger.Batch, ledger.Stage, 2000)
			w.pass(ledger.Live, ledger.Flush, 2500)
			expr := "cast(_extra.score as long)"
			if tc.declared {
				expr = "points"
				grown := stream(event.Field{Name: "points", Type: "long", From: "score"})
				w.ok(w.led.Apply(t.Context(), ledger.Change{Stream: "pin", Epoch: w.snap().Streams[0].Epoch, Schema: grown}))
				w.fill(w.schema(2, grown), 500, 6)
			}
			v := w.view(expr, tc.from)
			if cut := v.Cut[span.Key{Log: w.log}]; cut != 2500 || v.State != ledger.Building {
				t.Fatalf("the cut is %d and the version %s", cut, v.State)
			}
			w.pass(ledger.Batch, ledger.Stage, 2499)
			w.notYet() // the lake is one row short of the cut
			w.pass(ledger.Batch, ledger.Stage, 2800)
			if tc.oneIn > 0 {
				rnd := rand.New(rand.NewPCG(seed, 2))
				w.lake.fails = func() bool { return rnd.IntN(tc.oneIn) == 0 }
			}
			b := w.run(tc.workers)
			var from time.Time
			if tc.from != "" {
				at, err := time.ParseInLocation(time.DateOnly, tc.from, time.UTC)
				w.ok(err)
				loc, err := time.LoadLocation("Europe/London")
				w.ok(err)
				from = time.Date(at.Year(), at.Month(), at.Day(), 0, 0, 0, 0, loc)
			}
			got, tiers := w.stored()
			if diff := cmp.Diff(w.below(2500, from), got); diff != "" {
				t.Errorf("-rows below the cut +segments:\n%s", diff)
			}
			if tc.from == "" && (!tiers["minute"] || !tiers["hour"] || !tiers["day"]) {
				t.Errorf("only tiers %v were written, keep asks for three", tiers)
			}
			if w.snap().Views[0].Versions[0].State != ledger.Serving || b.Tasks[ledger.Done] == 0 {
				t.Errorf("%+v", b)
			}
			if w.lake.pinned == 0 {
				t.Error("nothing was pinned")
			}
		})
	}
}

// notYet lets a manager look for a while: the days are not listed before the lake is past the cut.
func (w *world) notYet() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 30*time.Millisecond)
	defer cancel()
	m, err := backfill.NewManager(backfill.Config{Owner: "m", Every: time.Millisecond}, quiet(), w.led, w.lake)
	w.ok(err)
	w.ok(m.Run(ctx))
	all, err := w.led.Backfills(w.t.Context(), 0)
	w.ok(err)
	if all[0].State != ledger.Queued {
		w.t.Fatalf("the back-fill is %s, the lake is not past its cut", all[0].State)
	}
}

// A tag is a commit of the table, for which the committer has to wait: days that are read in a moment make none,
// those with much to read or that take long have their snapshot pinned.
func TestPinsWhatTakesLong(t *testing.T) {
	for name, tc := range map[string]struct {
		after time.Duration
		all   bool
	}{"by size": {time.Hour, false}, "by time": {time.Nanosecond, true}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 11)
			w.pinAfter = tc.after
			w.fill(w.schema(1, stream()), 1000, 6)
			w.pass(ledger.Live, ledger.Flush, 1000)
			w.pass(ledger.Batch, ledger.Stage, 1000)
			w.view("cast(_extra.score as long)", "")
			b := w.run(2)
			tasks, err := w.led.BackfillTasks(t.Context(), b.ID)
			w.ok(err)
			want := 0
			for _, x := range tasks {
				if tc.all || x.Bytes > 100 {
					want++
				}
			}
			if w.lake.pinned != want || want == 0 || !tc.all && want == len(tasks) {
				t.Errorf("%d snapshots were pinned for %d days, want %d", w.lake.pinned, len(tasks), want)
			}
			if len(w.lake.tags) > 0 {
				t.Errorf("tags left: %v", w.lake.tags)
			}
		})
	}
}

// Tags of tasks that nobody works on are removed, and a worker that is told to stop gives its day back.
func TestLeavesNothingBehind(t *testing.T) {
	w := newWorld(t, 5)
	w.fill(w.schema(1, stream()), 100, 1)
	w.pass(ledger.Live, ledger.Flush, 100)
	w.pass(ledger.Batch, ledger.Stage, 100)
	w.view("cast(_extra.score as long)", "")
	w.lake.tags["pinflow-backfill-999"] = true
	w.run(1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got, err := w.lake.Pins(ctx, "pin", ""); err != nil || len(got) != 0 {
		t.Errorf("tags left: %v %v", got, err)
	}
}

// While a day is near its deadline no day of a history is begun, and the one in hand goes on.
func TestGivesWay(t *testing.T) {
	w := newWorld(t, 6)
	w.fill(w.schema(1, stream()), 100, 3)
	w.pass(ledger.Live, ledger.Flush, 100)
	w.pass(ledger.Batch, ledger.Stage, 100)
	w.view("cast(_extra.score as long)", "")
	asked := make(chan struct{})
	var near atomic.Bool
	near.Store(true)
	cfg := backfill.Config{Owner: "w", Every: time.Millisecond, GiveWay: func(context.Context) string {
		select {
		case asked <- struct{}{}:
		default:
		}
		if near.Load() {
			return "yesterday is due"
		}
		return ""
	}}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	m, err := backfill.NewManager(backfill.Config{Owner: "m", Every: time.Millisecond}, quiet(), w.led, w.lake)
	w.ok(err)
	wg.Go(func() { w.ok(m.Run(ctx)) })
	worker, err := backfill.NewWorker(cfg, quiet(), backfill.NewMetrics(prometheus.NewRegistry()), w.led, w.lake)
	w.ok(err)
	state := func() ledger.Backfill {
		all, err := w.led.Backfills(t.Context(), 0)
		w.ok(err)
		return all[0]
	}
	for state().State != ledger.Running { // its days are listed
		<-time.After(time.Millisecond)
	}
	wg.Go(func() { w.ok(worker.Run(ctx)) })
	for range 20 {
		<-asked
	}
	if b := state(); b.Tasks[ledger.Queued] == 0 || b.Tasks[ledger.Running]+b.Tasks[ledger.Done] != 0 {
		t.Errorf("it did not wait: %v", b.Tasks)
	}
	near.Store(false)
	for state().State != ledger.Done {
		<-time.After(time.Millisecond)
	}
	cancel()
	wg.Wait()
}
