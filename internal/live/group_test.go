package live_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/fold"
	"github.com/pinflow/pinflow/internal/intake"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/live"
	"github.com/pinflow/pinflow/internal/metric"
	"github.com/pinflow/pinflow/internal/prove"
	"github.com/pinflow/pinflow/internal/segment"
	"github.com/pinflow/pinflow/internal/span"
	"github.com/pinflow/pinflow/internal/sqlledger"
	"github.com/pinflow/pinflow/internal/testbed"
)

const (
	groupParts   = 4
	groupRecords = 400
)

// group is a log of some partitions, several live units that share them on one ledger, and somebody who
// moves partitions, kills and pauses units and applies changes meanwhile.
type group struct {
	t   *testing.T
	rnd *rand.Rand
	db  *sqlledger.DB
	log span.Log

	logs map[intake.TP][]event.Record // never change

	mu      sync.Mutex
	owner   map[intake.TP]*worker // whom the group gave it to; nil: nobody
	workers []*worker
	born    int
	moved   int
	killed  int
	paused  int
	applied int
}

// worker is a process with a live unit.
type worker struct {
	g    *group
	name string
	rnd  *rand.Rand
	end  context.CancelFunc
	over chan error

	dead  bool          // killed: nothing it does reaches the ledger any more
	pause chan struct{} // not nil: a seal waits for its end

	h      intake.Handler
	ctx    context.Context     //nolint:containedctx // of the membership: callbacks run under it, as in franz-go
	held   map[intake.TP]int64 // as the member knows it: next offset
	struck map[intake.TP]bool  // taken away without asking
}

// TestUnitsShareTheLog: M1, M4 (the live half), L2: several live units with rebalances, kill -9, members
// that are thrown out while paused and then go on, and views and fields that are applied amid all this:
// every version's segments are the fold of the records at or after its cut, each once, under the schema in
// force at their offset.
func TestUnitsShareTheLog(t *testing.T) {
	prove.Invariant(t, "M1 L2", prove.SQLite)
	seeds := 5
	if os.Getenv("PINFLOW_SOAK") != "" {
		seeds = 150
	}
	var all group
	for seed := range seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			testbed.Bubble(t, func(t *testing.T) {
				g := newGroup(t, uint64(seed))
				g.run()
				all.moved, all.killed, all.paused, all.applied = all.moved+g.moved, all.killed+g.killed, all.paused+g.paused, all.applied+g.applied
			})
		})
	}
	if least := min(all.moved/10, all.killed, all.paused, all.applied); least < 2*seeds {
		t.Errorf("too little happened: %d moves, %d kills, %d pauses, %d applies", all.moved, all.killed, all.paused, all.applied)
	}
}

func newGroup(t *testing.T, seed uint64) *group {
	g := &group{t: t, rnd: rand.New(rand.NewPCG(seed, 7)), logs: map[intake.TP][]event.Record{}, owner: map[intake.TP]*worker{}}
	var err error
	if g.db, err = sqlledger.Open(t.Context(), filepath.Join(scratch(t), "ledger.db"), quiet()); err != nil {
		t.Fatal(err)
	}
	def := groupStream("category")
	g.ok(g.db.Apply(t.Context(), ledger.Change{Stream: "pin", Schema: &def, Views: []ledger.ViewChange{g.view("first", def, "count", "")}}))
	if g.log, err = g.db.AddLog(t.Context(), ledger.Log{Kind: ledger.KindKafka, Stream: "pin", Topic: "pin", ClusterID: "c", TopicID: "t", Partitions: groupParts}); err != nil {
		t.Fatal(err)
	}
	for p := range int32(groupParts) {
		g.logs[intake.TP{Topic: "pin", Partition: p}] = g.records(p)
	}
	return g
}

func groupStream(fields ...string) event.Stream {
	def := event.Stream{Name: "pin", Topic: "pin", Partitions: groupParts, EventTime: "at", Dedup: event.Dedup{Records: 20, Within: time.Hour}}
	for _, f := range fields {
		kind := "string"
		if f == "likes" {
			kind = "long"
		}
		def.Fields = append(def.Fields, event.Field{Name: f, Type: kind})
	}
	def.SetDefaults()
	return def
}

func (g *group) view(name string, def event.Stream, agg, expr string) ledger.ViewChange {
	schema, err := event.Compile(def, int32(len(def.Fields)))
	g.ok(err)
	c, problems := metric.Compile(metric.View{
		Version: 1, Name: name, Stream: "pin", Dimensions: []metric.Dimension{{Name: "category"}},
		Measures: []metric.Measure{{Name: "value", Agg: agg, Expr: expr}},
	}, schema)
	if c == nil {
		g.t.Fatal(problems)
	}
	return ledger.ViewChange{Name: name, Metadata: c.Metadata(), Hash: c.Hash(), Definition: c.Definition(), State: ledger.Serving}
}

// records are late, early, out of order, repeated and, under a schema that knows likes, dead.
func (g *group) records(p int32) []event.Record {
	var out []event.Record
	now := time.Now().UnixMicro()
	for o := range int64(groupRecords) {
		now += g.rnd.Int64N(int64(2 * time.Second / time.Microsecond))
		if g.rnd.IntN(300) == 0 {
			now -= int64(5 * time.Minute / time.Microsecond) // the clock was put back
		}
		if o > 0 && g.rnd.IntN(10) == 0 {
			r := out[o-1-g.rnd.Int64N(min(o, 10))]
			r.Offset, r.Received = o, now
			out = append(out, r)
			continue
		}
		at := now - g.rnd.Int64N(int64(time.Minute/time.Microsecond))
		switch g.rnd.IntN(20) {
		case 0:
			at -= g.rnd.Int64N(int64(48 * time.Hour / time.Microsecond))
		case 1:
			at = now + g.rnd.Int64N(int64(20*time.Minute/time.Microsecond)) // some are too far ahead
		}
		likes := fmt.Sprint(g.rnd.IntN(50))
		if g.rnd.IntN(15) == 0 {
			likes = `"many"`
		}
		value := fmt.Sprintf(`{"category":%q,"likes":%s,"at":%q}`, []string{"art", "food", "travel"}[g.rnd.IntN(3)], likes,
			time.UnixMicro(at).UTC().Format(time.RFC3339Nano))
		out = append(out, event.Record{Offset: o, Value: []byte(value), ID: fmt.Sprintf("%d-%d", p, o), Received: now, Key: span.Key{Partition: p}})
	}
	return out
}

func (g *group) ok(err error) {
	g.t.Helper()
	if err != nil {
		g.t.Fatal(err)
	}
}

// run lets the world turn until every partition is at its end, then looks at what was made of it.
func (g *group) run() {
	for range 3 {
		g.start()
	}
	for deadline := time.Now().Add(24 * time.Hour); !g.done(); time.Sleep(time.Duration(g.rnd.Int64N(int64(200 * time.Millisecond)))) {
		if time.Now().After(deadline) {
			g.t.Fatal("a virtual day later still not at the end")
		}
		switch g.rnd.IntN(9) {
		case 0, 1, 2:
			g.rebalance()
		case 3:
			g.kill()
			g.start()
		case 4:
			g.pauseOne()
		case 5:
			g.apply()
		}
	}
	for _, w := range g.workers {
		g.resume(w)
		w.end()
		if err := <-w.over; err != nil && !w.dead {
			g.t.Errorf("%s ended with %v", w.name, err)
		}
	}
	g.check()
	g.t.Logf("%d moves, %d kills, %d pauses, %d applies", g.moved, g.killed, g.paused, g.applied)
	g.ok(g.db.Close())
}

func (g *group) done() bool {
	at, err := g.db.PositionsOf(g.t.Context(), ledger.Live)
	g.ok(err)
	for p := range int32(groupParts) {
		if at[span.Key{Log: g.log, Partition: p}] < groupRecords {
			return false
		}
	}
	return true
}

func (g *group) start() {
	g.born++
	w := &worker{g: g, name: fmt.Sprint("worker ", g.born), rnd: rand.New(rand.NewPCG(g.rnd.Uint64(), 1)), over: make(chan error, 1)}
	u, err := live.New(live.Config{Owner: w.name, FlushEvery: 100 * time.Millisecond, WatchEvery: time.Second, PieceBytes: 1500},
		quiet(), live.NewMetrics(prometheus.NewRegistry()), &workersLedger{g.db, w}, w.open)
	g.ok(err)
	ctx, cancel := context.WithCancel(g.t.Context())
	w.end = cancel
	g.mu.Lock()
	g.workers = append(g.workers, w)
	g.mu.Unlock()
	go func() { w.over <- u.Run(ctx) }()
	g.rebalance()
}

// alive are the workers that the group counts on.
func (g *group) alive() []*worker {
	return slices.DeleteFunc(slices.Clone(g.workers), func(w *worker) bool { return w.dead || w.pause != nil || w.h == nil })
}

// rebalance gives some partition to some worker. The one that has it is asked for it first.
func (g *group) rebalance() {
	g.mu.Lock()
	defer g.mu.Unlock()
	alive := g.alive()
	if len(alive) == 0 {
		return
	}
	for range 1 + g.rnd.IntN(groupParts) {
		tp := intake.TP{Topic: "pin", Partition: g.rnd.Int32N(groupParts)}
		g.owner[tp] = alive[g.rnd.IntN(len(alive))]
		g.moved++
	}
}

// kill ends a worker as kill -9 does: what it had not sealed never happened.
func (g *group) kill() {
	g.mu.Lock()
	defer g.mu.Unlock()
	alive := g.alive()
	if len(alive) < 2 {
		return
	}
	w := alive[g.rnd.IntN(len(alive))]
	w.dead = true
	w.end()
	g.killed++
	g.expel(w)
}

// pauseOne stops a worker in its next seal; the group throws it out, and later it goes on.
func (g *group) pauseOne() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, w := range g.workers {
		if w.pause != nil && !w.dead {
			close(w.pause)
			w.pause = nil
			return
		}
	}
	alive := g.alive()
	if len(alive) < 2 {
		return
	}
	w := alive[g.rnd.IntN(len(alive))]
	w.pause = make(chan struct{})
	g.paused++
	g.expel(w)
}

func (g *group) resume(w *worker) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if w.pause != nil {
		close(w.pause)
		w.pause = nil
	}
}

// expel gives a worker's partitions to others without asking it.
func (g *group) expel(w *worker) {
	alive := g.alive()
	for p := range int32(groupParts) {
		tp := intake.TP{Topic: "pin", Partition: p}
		if _, has := w.held[tp]; has || g.owner[tp] == w {
			if w.struck == nil {
				w.struck = map[intake.TP]bool{}
			}
			w.struck[tp] = has
			delete(w.held, tp)
			g.owner[tp] = nil
			if len(alive) > 0 {
				g.owner[tp] = alive[g.rnd.IntN(len(alive))]
			}
		}
	}
}

// batch moves the batch unit ahead of or behind the live one in some partition, so that cuts lie where
// the live unit is not.
func (g *group) batch(epoch int64) {
	key := span.Key{Log: g.log, Partition: g.rnd.Int32N(groupParts)}
	h, err := g.db.TakeOver(g.t.Context(), ledger.Batch, "batch", key, 0)
	g.ok(err)
	n := min(g.rnd.Int64N(groupRecords/3), groupRecords-1-h.Position)
	g.ok(g.db.Seal(g.t.Context(), ledger.Seal{
		Write: ledger.Write{Kind: ledger.Stage, Stream: "pin", Epoch: epoch, Owner: "batch"}, Unit: ledger.Batch,
		Moves: []ledger.Move{{Key: key, Owner: h.Owner, From: h.Position, To: h.Position + n, Counts: ledger.Counts{Gaps: n}}},
	}))
}

// apply adds a view, changes one, or declares a field, while the units run.
func (g *group) apply() {
	snap, err := g.db.Load(g.t.Context())
	g.ok(err)
	s := snap.Streams[0]
	g.batch(s.Epoch)
	now := s.Schemas[len(s.Schemas)-1].Definition
	c := ledger.Change{Stream: "pin", Epoch: s.Epoch}
	switch {
	case g.applied == 0:
		c.Views = append(c.Views, g.view("second", now, "max", "extract(hour from _event_time)"))
	case g.applied == 1:
		def := groupStream("category", "likes")
		c.Schema = &def
		c.Views = append(c.Views, g.view("third", def, "sum", "likes"))
	case g.applied == 2 && len(now.Fields) == 2:
		c.Views = append(c.Views, g.view("first", now, "min", "likes")) // the version before stays on standby, still folded
	default:
		c.Views = append(c.Views, ledger.ViewChange{Name: "second", Metadata: g.view("second", now, "max", "extract(hour from _event_time)").Metadata})
	}
	g.ok(g.db.Apply(g.t.Context(), c))
	g.applied++
}

// check folds the log by hand for every version and compares it with the version's segments.
func (g *group) check() {
	snap, err := g.db.Load(g.t.Context())
	g.ok(err)
	cat, err := intake.NewCatalogue(snap)
	g.ok(err)
	p, err := g.db.Progress(g.t.Context())
	g.ok(err)
	for part := range int32(groupParts) {
		if k := (span.Key{Log: g.log, Partition: part}); !p.Conserved(k) {
			g.t.Errorf("partition %v is not conserved: %+v", k, p.LiveCounts[k])
		}
	}
	for _, v := range snap.Views {
		for _, version := range v.Versions {
			if d := cmp.Diff(g.byHand(cat, v, version), g.stored(v, version, cat)); d != "" {
				g.t.Errorf("version %d of view %s (%s, cut %v) differs from the log:\n%.2000s", version.ID, v.Name, version.State, version.Cut, d)
			}
		}
	}
}

type groupCell struct {
	Bucket   int64
	Category string
}

// byHand folds one record at a time, with the definition of a repeat and of the schema in force.
func (g *group) byHand(cat *intake.Catalogue, v ledger.View, version ledger.ViewVersion) map[groupCell]string {
	stream := cat.Stream("pin")
	c, err := metric.CompileStored(version.Definition, v.Metadata, stream.Newest())
	g.ok(err)
	var blocks []*fold.States
	for p := range int32(groupParts) {
		key := span.Key{Log: g.log, Partition: p}
		window := span.NewWindow(20, time.Hour)
		for _, r := range g.logs[intake.TP{Topic: "pin", Partition: p}] {
			r.Key = key
			repeat := window.Seen(span.IDOf(r.DedupKey()), r.Offset, r.Received)
			schema, _ := stream.SchemaAt(key, r.Offset)
			d := schema.NewDecoder(nil)
			if repeat || d.Append(&r).Dead() || r.Offset < version.Cut[key] {
				continue
			}
			own, err := metric.CompileStored(version.Definition, v.Metadata, schema)
			g.ok(err)
			f := fold.New(own)
			g.ok(f.Add(d.Rows()))
			blocks = append(blocks, f.Take()...)
		}
	}
	return g.cells(c, blocks)
}

func (g *group) stored(v ledger.View, version ledger.ViewVersion, cat *intake.Catalogue) map[groupCell]string {
	c, err := metric.CompileStored(version.Definition, v.Metadata, cat.Stream("pin").Newest())
	g.ok(err)
	segs, err := g.db.Segments(g.t.Context(), version.ID, "minute", false)
	g.ok(err)
	var blocks []*fold.States
	codec, err := segment.NewCodec()
	g.ok(err)
	for _, s := range segs {
		data, err := g.db.SegmentData(g.t.Context(), []int64{s.ID})
		g.ok(err)
		b, err := codec.Decode(data[0].Data)
		g.ok(err)
		blocks = append(blocks, b)
	}
	return g.cells(c, blocks)
}

func (g *group) cells(c *metric.Compiled, blocks []*fold.States) map[groupCell]string {
	merged, err := fold.Merge(c, blocks...)
	g.ok(err)
	out := map[groupCell]string{}
	for i := range merged.N {
		text := ""
		for s := range merged.Cols {
			text += fmt.Sprint(merged.Cols[s].Type, " ", at(merged.Cols[s].Ints, i), " ")
		}
		out[groupCell{merged.Buckets[i], string(merged.Dims[0].Text(merged.Dims[0].Codes[i]))}] = text
	}
	return out
}

func at(ints []int64, i int) int64 {
	if len(ints) == 0 {
		return 0
	}
	return ints[i]
}
