package ledgertest

import (
	"flag"
	"testing"
	"time"

	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/span"
	"pgregory.net/rapid"
)

// model is what must be true of the ledger after any interleaving.
type model struct {
	w      *world
	held   []holding
	open   []openWrite
	counts map[ledger.Unit]map[span.Key]int64 // sums of sealed moves
	seen   map[int64]bool                     // buckets of sealed segments; each piece has one of its own
	bucket int64
	lease  ledger.Lease
	commit ledger.Lease
	inLake int64 // records of closed intents
	staged int64 // records of sealed stages
}

// holding is what some worker believes; it may be a zombie's.
type holding struct {
	unit ledger.Unit
	key  span.Key
	held ledger.Held
}

type openWrite struct {
	id     int64
	write  ledger.Write
	pieces []int64
}

// interleavings draws take-overs, flushes and stages with and without pieces ahead of their seal,
// sweeps, applies and commits, by workers of which most are zombies, and checks after each step:
// positions are the sums of the sealed moves, and no piece of an unsealed write is visible.
func interleavings(t *testing.T, open Open) {
	checks := flag.Lookup("rapid.checks")
	if checks != nil && raceDetector && checks.Value.String() == checks.DefValue {
		defer flag.Set("rapid.checks", checks.DefValue) //nolint:errcheck // it was its value before
		if err := flag.Set("rapid.checks", "10"); err != nil {
			t.Fatal(err)
		}
	}
	rapid.Check(t, func(rt *rapid.T) {
		w := &world{tb: rt, ctx: t.Context(), l: open(t)}
		w.setup()
		m := &model{
			w: w, counts: map[ledger.Unit]map[span.Key]int64{ledger.Live: {}, ledger.Batch: {}}, seen: map[int64]bool{},
			lease: w.lease("sweep"), commit: w.lease("lake:pin"),
		}
		rt.Repeat(map[string]func(*rapid.T){
			"take":   m.take,
			"open":   m.openWrite,
			"seal":   m.seal,
			"sweep":  m.sweep,
			"apply":  func(*rapid.T) { w.ok(w.applyView(ledger.ViewChange{Metadata: []byte("{}")})) },
			"commit": m.commitFiles,
			"":       m.check,
		})
		w.ok(w.l.Close())
	})
}

func (m *model) take(t *rapid.T) {
	unit := rapid.SampledFrom([]ledger.Unit{ledger.Live, ledger.Batch}).Draw(t, "unit")
	key := m.w.key(rapid.Int32Range(0, 1).Draw(t, "partition"))
	h := m.w.take(unit, "a", key)
	m.w.same(m.counts[unit][key], h.Position)
	m.held = append(m.held, holding{unit, key, h})
}

func (m *model) openWrite(t *rapid.T) {
	w := m.w.write(ledger.Flush, "a")
	id := must(m.w.l.Open(m.w.ctx, w))(m.w)
	o := openWrite{id: id, write: w}
	for range rapid.IntRange(0, 2).Draw(t, "pieces") {
		m.bucket++
		o.pieces = append(o.pieces, m.bucket)
		m.w.ok(m.w.l.AddSegments(m.w.ctx, id, []ledger.Segment{segment(m.w.version, m.bucket, m.bucket)}))
	}
	m.open = append(m.open, o)
}

func (m *model) seal(t *rapid.T) {
	if len(m.held) == 0 {
		t.Skip("nobody holds anything")
	}
	i := rapid.IntRange(0, len(m.held)-1).Draw(t, "holding")
	h := m.held[i]
	n := rapid.Int64Range(0, 4).Draw(t, "offsets")
	s := ledger.Seal{Unit: h.unit, Moves: []ledger.Move{move(h.key, h.held, n)}}
	var pieces []int64
	var files int64
	if h.unit == ledger.Batch {
		s.Write = m.w.write(ledger.Stage, "b")
		if n > 0 {
			s.Files, files = []ledger.LakeFile{m.w.file(stream, n)}, n
		}
	} else if j := rapid.IntRange(-1, len(m.open)-1).Draw(t, "write"); j >= 0 {
		s.ID, s.Write, pieces = m.open[j].id, m.open[j].write, m.open[j].pieces
	} else {
		s.Write = m.w.write(ledger.Flush, "a")
		m.bucket++
		pieces = []int64{m.bucket}
		s.Segments = []ledger.Segment{segment(m.w.version, m.bucket, m.bucket)}
	}
	err := m.w.l.Seal(m.w.ctx, s)
	if err != nil {
		if !fault.Is(err, fault.Lost) && !fault.Is(err, fault.Stale) {
			t.Fatalf("sealing: %v", err)
		}
		return
	}
	m.w.same(m.counts[h.unit][h.key], h.held.Position) // nobody seals from elsewhere
	m.counts[h.unit][h.key] += n
	m.held[i].held.Position += n
	m.staged += files
	for _, b := range pieces {
		m.w.same(false, m.seen[b]) // sealed once
		m.seen[b] = true
	}
}

func (m *model) sweep(t *rapid.T) {
	at := time.Now().Add(time.Hour)
	if rapid.Bool().Draw(t, "young") {
		at = time.Now().Add(-time.Hour)
	}
	must(m.w.l.Sweep(m.w.ctx, m.lease, at))(m.w)
}

func (m *model) commitFiles(t *rapid.T) {
	in := must(m.w.l.Intent(m.w.ctx, m.commit, stream, "append", rapid.IntRange(1, 3).Draw(t, "limit")))(m.w)
	if in == nil {
		m.w.same(m.staged, m.inLake)
		return
	}
	var records int64
	for _, f := range in.Files {
		records += f.Records
	}
	m.w.same(records, must(m.w.l.StageCounts(m.w.ctx, in))(m.w).Rows)
	if rapid.Bool().Draw(t, "lands") {
		m.w.ok(m.w.l.CloseIntent(m.w.ctx, m.commit, in, 1))
		m.inLake += records
		lake := must(m.w.l.LakeVector(m.w.ctx))(m.w)
		for k, at := range in.Offsets {
			if lake[k] < at {
				t.Fatalf("the table says it reached %v, the ledger %v", in.Offsets, lake)
			}
		}
	}
}

func (m *model) check(t *rapid.T) {
	p := must(m.w.l.Progress(m.w.ctx))(m.w)
	for k, at := range p.Live {
		if at != m.counts[ledger.Live][k] || p.LiveCounts[k].Sum() != at {
			t.Fatalf("live %s at %d, sealed moves sum to %d, counts %+v", k, at, m.counts[ledger.Live][k], p.LiveCounts[k])
		}
	}
	var lake, batch int64
	for k, at := range p.Batch {
		if at != m.counts[ledger.Batch][k] || p.BatchCounts[k].Sum() != at || p.Lake[k] > at {
			t.Fatalf("batch %s at %d, sealed moves sum to %d, lake %d", k, at, m.counts[ledger.Batch][k], p.Lake[k])
		}
		lake, batch = lake+p.Lake[k], batch+at
	}
	if batch != m.staged || lake > m.inLake {
		t.Fatalf("lake vector says %d, lake holds %d of %d", lake, m.inLake, m.staged)
	}
	got := m.w.buckets("")
	if len(got) != len(m.seen) {
		t.Fatalf("visible %v, sealed %v", got, m.seen)
	}
	for _, b := range got {
		if !m.seen[b] {
			t.Fatalf("bucket %d is visible, but its write is not sealed", b)
		}
	}
}
