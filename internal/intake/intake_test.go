package intake_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/intake"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/prove"
	"github.com/pinflow/pinflow/internal/span"
	"github.com/pinflow/pinflow/internal/testbed"
)

// world is a log of two partitions, a ledger of positions and a sink, all honest, that misbehave on
// the dice's word. Its invariant: what was sealed is what the positions say, once.
type world struct {
	t      *testing.T
	rnd    *rand.Rand
	logs   [2][]event.Record // offset = index; a record with nil Value is a gap
	epoch  int64
	held   map[span.Key]ledger.Held
	sealed map[string]int // id → times
	counts map[span.Key]ledger.Counts
	faults int // left
	done   context.CancelFunc

	handler  intake.Handler
	assigned map[intake.TP]int64 // next offset the group member fetches
	sessions int
	member   context.Context // of the group membership: callbacks run under it, as in franz-go

	pending []string // sink: ids held
	since   time.Time
	cat     *intake.Catalogue
}

func (w *world) chance(p float64) bool {
	if w.faults == 0 || w.rnd.Float64() >= p {
		return false
	}
	w.faults--
	return true
}

// the ledger

func (w *world) Epochs(context.Context) (map[string]int64, error) {
	if w.chance(0.05) {
		return nil, fault.New(fault.Transient, "busy", "the ledger is busy")
	}
	if w.chance(0.05) {
		w.epoch++
	}
	return map[string]int64{"pin": w.epoch}, nil
}

func (w *world) Load(context.Context) (*ledger.Snapshot, error) {
	def := event.Stream{Name: "pin", Topic: "pin", Partitions: 2, Dedup: event.Dedup{Records: 5, Within: time.Hour}}
	def.SetDefaults()
	return &ledger.Snapshot{
		Streams: []ledger.Stream{{Name: "pin", Epoch: w.epoch, Schemas: []ledger.SchemaVersion{{Version: 1, Definition: def}}}},
		Logs:    []ledger.Log{{ID: 7, Kind: ledger.KindKafka, Stream: "pin", Topic: "pin", Partitions: 2}},
	}, nil
}

func (w *world) TakeOver(_ context.Context, _ ledger.Unit, _ string, key span.Key, _ int64) (ledger.Held, error) {
	h := w.held[key]
	h.Owner++
	w.held[key] = h
	return h, nil
}

func (w *world) PositionsOf(context.Context, ledger.Unit) (span.Vector, error) {
	v := span.Vector{}
	for k, h := range w.held {
		v[k] = h.Position
	}
	return v, nil
}

// the group

func (w *world) open(ctx context.Context, _ []string, h intake.Handler) (intake.Source, error) {
	w.sessions++
	w.member = ctx
	w.handler, w.assigned = h, map[intake.TP]int64{}
	return w, nil
}

func (w *world) Poll(ctx context.Context, most int) ([]intake.Fetch, error) {
	if len(w.assigned) < 2 {
		var missing []intake.TP
		for p := range int32(2) {
			if _, ok := w.assigned[intake.TP{Topic: "pin", Partition: p}]; !ok {
				missing = append(missing, intake.TP{Topic: "pin", Partition: p})
			}
		}
		at, err := w.handler.Assigned(w.member, missing)
		if err != nil {
			return nil, err
		}
		for tp, o := range at {
			w.assigned[tp] = o
		}
	}
	for p := range int32(2) {
		tp := intake.TP{Topic: "pin", Partition: p}
		switch {
		case w.chance(0.03):
			w.handler.Revoked(w.member, []intake.TP{tp})
			delete(w.assigned, tp)
		case w.chance(0.03):
			w.handler.Lost(w.member, []intake.TP{tp})
			delete(w.assigned, tp)
		}
	}
	var out []intake.Fetch
	for tp, from := range w.assigned {
		to := min(int64(len(w.logs[tp.Partition])), from+1+w.rnd.Int64N(4))
		if to <= from || w.rnd.IntN(3) == 0 {
			continue
		}
		f := intake.Fetch{TP: tp, From: from, To: to}
		for _, r := range w.logs[tp.Partition][from:to] {
			if r.Value != nil {
				f.Records = append(f.Records, r)
			}
		}
		out = append(out, f)
		w.assigned[tp] = to
	}
	if len(out) == 0 {
		w.finish()
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return out, nil
}

// finish ends the run when the ledger stands at the end of both partitions.
func (w *world) finish() {
	for p, l := range w.logs {
		if w.held[span.Key{Log: 7, Partition: int32(p)}].Position < int64(len(l)) {
			return
		}
	}
	w.done()
}

func (w *world) Seek(tp intake.TP, offset int64) { w.assigned[tp] = offset }

func (w *world) ReadBack(_ context.Context, tp intake.TP, from, to int64, fn func(*event.Record) error) error {
	for _, r := range w.logs[tp.Partition][from:to] {
		if r.Value == nil {
			continue
		}
		if err := fn(&r); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) Start(context.Context, intake.TP) (int64, error) { return 0, nil }
func (w *world) Close(context.Context) error                     { return nil }

// the sink

func (w *world) Catalogue(c *intake.Catalogue) error {
	if len(w.pending) > 0 {
		w.t.Error("the catalogue came while something was held")
	}
	w.cat = c
	return nil
}

func (w *world) Add(_ context.Context, s *intake.Slice) error {
	if w.since.IsZero() {
		w.since = time.Now()
	}
	for i, dup := range s.Duplicate {
		if !dup {
			w.pending = append(w.pending, string(s.Records[i].Value))
			s.P.Counts.Rows++
		}
	}
	return nil
}

func (w *world) FlushBy() time.Time {
	if w.since.IsZero() {
		return time.Time{}
	}
	return w.since.Add(250 * time.Millisecond)
}

func (w *world) Drop() { w.pending, w.since = nil, time.Time{} }

func (w *world) Flush(_ context.Context, parts []*intake.Partition) error {
	var moves []ledger.Move
	for _, p := range parts {
		if m, ok := p.Move(); ok {
			moves = append(moves, m)
		}
	}
	if len(moves) == 0 {
		return nil
	}
	if w.chance(0.1) {
		return fault.New(fault.Transient, "busy", "the ledger is busy")
	}
	if w.chance(0.05) {
		return fault.New(fault.Ambiguous, "unclear", "the connection broke before the commit")
	}
	if w.chance(0.05) { // somebody else takes a partition over
		h := w.held[moves[0].Key]
		h.Owner++
		w.held[moves[0].Key] = h
	}
	if err := w.seal(moves); err != nil {
		return err
	}
	for _, p := range parts {
		p.Settle()
	}
	w.pending, w.since = nil, time.Time{}
	if w.chance(0.05) {
		return fault.New(fault.Ambiguous, "unclear", "the connection broke after the commit")
	}
	return nil
}

func (w *world) seal(moves []ledger.Move) error {
	if w.cat.Stream("pin").Epoch != w.epoch {
		return fault.New(fault.Stale, "stale", "the catalogue moved")
	}
	for _, m := range moves {
		h := w.held[m.Key]
		if h.Owner != m.Owner || h.Position != m.From {
			return fault.New(fault.Lost, "lost", "%v is at %+v", m.Key, h)
		}
		if m.To-m.From != m.Counts.Sum() {
			w.t.Errorf("%v: %d offsets, counts %+v", m.Key, m.To-m.From, m.Counts)
		}
	}
	for _, m := range moves {
		w.held[m.Key] = ledger.Held{Owner: m.Owner, Position: m.To}
		w.counts[m.Key] = w.counts[m.Key].Add(m.Counts)
	}
	for _, id := range w.pending {
		w.sealed[id]++
	}
	return nil
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{
		t: t, rnd: rand.New(rand.NewPCG(seed, 1)), epoch: 1, faults: 12,
		held: map[span.Key]ledger.Held{}, sealed: map[string]int{}, counts: map[span.Key]ledger.Counts{},
	}
	for p := range w.logs {
		for o := range int64(60) {
			r := event.Record{Offset: o, Value: fmt.Appendf(nil, "%d-%d", p, o), ID: fmt.Sprintf("%d-%d", p, o), Received: o}
			switch {
			case o > 0 && w.rnd.IntN(6) == 0: // a repeat of one of the five before, if that is a record
				back := w.logs[p][o-1-w.rnd.Int64N(min(o, 4))]
				r.ID, r.Value = back.ID, back.Value
			case w.rnd.IntN(10) == 0:
				r.Value = nil
			}
			w.logs[p] = append(w.logs[p], r)
		}
	}
	return w
}

// L1: whatever fails, every record is sealed exactly once, or booked as duplicate or gap.
func TestExactlyOnce(t *testing.T) {
	prove.Invariant(t, "L1")
	for seed := range uint64(300) {
		testbed.Bubble(t, func(t *testing.T) {
			w := newWorld(t, seed)
			ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour)
			defer cancel()
			w.done = cancel
			in := intake.New(intake.Config{Unit: ledger.Live, Owner: "test"}, slog.New(slog.NewTextHandler(io.Discard, nil)), w, w.open, w)
			if err := in.Run(ctx); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				t.Fatalf("seed %d: a virtual day later still not at the end: %+v", seed, w.held)
			}
			w.check(seed)
		})
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func (w *world) check(seed uint64) {
	want := map[string]bool{}
	for p, l := range w.logs {
		var c ledger.Counts
		window := span.NewWindow(5, time.Hour)
		for _, r := range l {
			switch {
			case r.Value == nil:
				c.Gaps++
			case window.Seen(span.IDOf(r.ID), r.Offset, r.Received):
				c.Duplicates++
			default:
				c.Rows++
				want[string(r.Value)] = true
			}
		}
		if got := w.counts[span.Key{Log: 7, Partition: int32(p)}]; got != c {
			w.t.Errorf("seed %d: partition %d: booked %+v, want %+v", seed, p, got, c)
		}
	}
	for id := range want {
		if w.sealed[id] == 0 {
			w.t.Errorf("seed %d: %s was never sealed", seed, id)
		}
	}
	total := 0
	for _, n := range w.sealed {
		total += n
	}
	var rows int64
	for _, c := range w.counts {
		rows += c.Rows
	}
	if int64(total) != rows {
		w.t.Errorf("seed %d: %d sealed, %d booked as rows", seed, total, rows)
	}
}

// A schema is in force from its cut on, per partition.
func TestSchemaAt(t *testing.T) {
	def := event.Stream{Name: "pin", Topic: "pin"}
	def.SetDefaults()
	key := span.Key{Log: 1}
	cat, err := intake.NewCatalogue(&ledger.Snapshot{Streams: []ledger.Stream{{Name: "pin", Schemas: []ledger.SchemaVersion{
		{Version: 1, Definition: def}, {Version: 2, Definition: def, Cut: span.Vector{key: 10}}, {Version: 3, Definition: def, Cut: span.Vector{key: 20}},
	}}}})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, o := range []int64{0, 9, 10, 19, 20, 99} {
		s, until := cat.Stream("pin").SchemaAt(key, o)
		got = append(got, fmt.Sprintf("%d:v%d<%d", o, s.Version, min(until, 1000)))
	}
	want := []string{"0:v1<10", "9:v1<10", "10:v2<20", "19:v2<20", "20:v3<1000", "99:v3<1000"}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
