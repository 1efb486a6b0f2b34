package ledgertest

import (
	"testing"
	"time"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/span"
)

func morePartitions(_ *testing.T, w *world) {
	w.setup()
	b := w.take(ledger.Batch, "b", w.key(0))
	w.stage(w.key(0), &b, 5, 0)
	before := w.epoch()
	w.same(w.log, must(w.l.AddLog(w.ctx, kafka("pin", "t1", 4, false)))(w))
	w.same(before+1, w.epoch())
	w.same(int32(4), w.load().Logs[0].Partitions)
	w.same(ledger.Held{Owner: 1, Position: 7, Horizon: 7}, must(w.l.TakeOver(w.ctx, ledger.Live, "a", w.key(3), 7))(w))
	w.same(w.log, must(w.l.AddLog(w.ctx, kafka("pin", "t1", 2, false)))(w)) // a log never has fewer
	w.same(int32(4), w.load().Logs[0].Partitions)
	w.same(before+1, w.epoch())
}

// anew is the reset of log pin to another incarnation.
func (w *world) anew(id string) ledger.Reset {
	w.Helper()
	l := kafka("pin", id, 3, false)
	return ledger.Reset{Stream: stream, Epoch: w.epoch(), Log: w.log, New: &l}
}

// mark stores where the logs ended.
func (w *world) mark(end span.Vector) {
	w.Helper()
	w.ok(w.l.AddMark(w.ctx, w.lease("marks:"+stream), ledger.Mark{Stream: stream, At: time.Now().UTC(), End: end}))
}

// conserved wants every offset between the first one and a unit's position to be accounted for.
func (w *world) conserved() *ledger.Progress {
	w.Helper()
	p := must(w.l.Progress(w.ctx))(w)
	for k := range p.Batch {
		if !p.Conserved(k) {
			w.Fatalf("partition %s is not accounted for: %+v", k, p)
		}
	}
	return p
}

// The old log is closed where the units stood, what it held beyond is lost, and the whole new log is live for
// the versions that there are.
func resetAnew(_ *testing.T, w *world) {
	w.setup()
	b, v := w.take(ledger.Batch, "b", w.key(0)), w.take(ledger.Live, "a", w.key(0))
	w.flush(w.key(0), &v, 30)
	w.stage(w.key(0), &b, 10, 0)
	w.mark(span.Vector{w.key(0): 35, w.key(1): 4, {Log: w.dead}: 0})
	before := w.epoch()
	stale := w.anew("t9")
	stale.Epoch--
	_, err := w.l.AcceptReset(w.ctx, stale)
	w.fails(err, fault.Stale, "plan_stale")
	_, err = w.l.AcceptReset(w.ctx, w.anew("t1"))
	w.fails(err, fault.Config, "nothing_lost")
	w.same(before, w.epoch())

	a := must(w.l.AcceptReset(w.ctx, w.anew("t9")))(w)
	w.same([]ledger.ResetPart{
		{Key: w.key(0), Live: ledger.ResetMove{From: 30, To: 35}, Batch: ledger.ResetMove{From: 10, To: 35}},
		{Key: w.key(1), Live: ledger.ResetMove{To: 4}, Batch: ledger.ResetMove{To: 4}},
	}, a.Parts)
	w.same(int64(5), a.Parts[0].Lost())
	w.same([]string{view}, a.Rebuilt)
	if w.epoch() <= before {
		w.Fatalf("the epoch did not move: whoever reads would not hear of it")
	}
	p := w.conserved()
	w.same(int64(25), p.BatchCounts[w.key(0)].Lost)
	w.same(int64(5), p.LiveCounts[w.key(0)].Lost)
	w.same(int64(4), p.LiveCounts[w.key(1)].Lost)

	logs := w.load().Logs
	w.same(3, len(logs))
	if logs[0].ClosedAt.IsZero() || !logs[1].ClosedAt.IsZero() || !logs[2].ClosedAt.IsZero() || logs[2].ID != a.Log || logs[2].Partitions != 3 {
		w.Fatalf("logs %+v", logs)
	}
	w.same(span.Vector{w.key(0): 30, w.key(1): 0}, logs[0].Closing)
	_, err = w.l.TakeOver(w.ctx, ledger.Live, "a", w.key(0), 0)
	w.fails(err, fault.Stale, "unknown_partition")
	k := span.Key{Log: a.Log, Partition: 2}
	w.same(ledger.Held{Owner: 1, Position: 2, Horizon: 2}, must(w.l.TakeOver(w.ctx, ledger.Live, "a", k, 2))(w))

	versions := w.load().Views[0].Versions
	w.same(span.Vector{}, versions[0].Cut) // it keeps the cut that it has
	w.same(ledger.Serving, versions[0].State)
	last := versions[len(versions)-1]
	w.same(ledger.Building, last.State)
	w.same(versions[0].Hash, last.Hash)
	w.same(span.Vector{w.key(0): 35, w.key(1): 4}, last.Cut) // the closed log is wholly history
	_, err = w.l.AcceptReset(w.ctx, w.anew("t10"))           // of a log that is closed already
	w.fails(err, fault.Stale, "plan_stale")
}

// A log that was shortened goes on where it begins now; ids before the horizon are unknown to both units.
func resetShortened(_ *testing.T, w *world) {
	w.setup()
	w.ok(w.l.Apply(w.ctx, ledger.Change{Stream: stream, Epoch: w.epoch(), Schema: windowed(10)}))
	b, v := w.take(ledger.Batch, "b", w.key(0)), w.take(ledger.Live, "a", w.key(0))
	w.flush(w.key(0), &v, 100)
	w.stage(w.key(0), &b, 60, 0)
	at := func(start int64) ledger.Reset {
		return ledger.Reset{Stream: stream, Epoch: w.epoch(), Log: w.log, Starts: map[int32]int64{0: start, 1: start}}
	}
	for _, start := range []int64{0, 50} { // both windows are still there
		_, err := w.l.AcceptReset(w.ctx, at(start))
		w.fails(err, fault.Config, "nothing_lost")
	}
	a := must(w.l.AcceptReset(w.ctx, at(55)))(w) // batch's window is cut into
	w.same([]ledger.ResetPart{{Key: w.key(0), Live: ledger.ResetMove{From: 100, To: 100}, Batch: ledger.ResetMove{From: 60, To: 60}, Horizon: 100}}, a.Parts)
	w.same([]string{view}, a.Rebuilt)
	w.same(w.log, a.Log)
	w.same(ledger.Held{Owner: 3, Position: 60, Horizon: 100}, w.take(ledger.Batch, "b", w.key(0)))
	_, err := w.l.AcceptReset(w.ctx, at(58)) // within the horizon: known already
	w.fails(err, fault.Config, "nothing_lost")

	a = must(w.l.AcceptReset(w.ctx, at(120)))(w)
	w.same([]ledger.ResetPart{{Key: w.key(0), Live: ledger.ResetMove{From: 100, To: 120}, Batch: ledger.ResetMove{From: 60, To: 120}, Horizon: 120}}, a.Parts)
	w.same(int64(20), a.Parts[0].Lost())
	p := w.conserved()
	w.same(int64(60), p.BatchCounts[w.key(0)].Lost)
	w.same(span.Vector{w.key(0): 120}, p.Horizon)
	w.same(ledger.Held{Owner: 4, Position: 120, Horizon: 120}, w.take(ledger.Live, "a", w.key(0)))
}

func windowed(records int) *event.Stream {
	s := schema("category")
	s.Dedup = event.Dedup{Records: records, Within: time.Hour}
	return s
}

// Dead letters are read by the batch unit alone, and no view is of them.
func resetDead(_ *testing.T, w *world) {
	w.setup()
	k := span.Key{Log: w.dead}
	d := w.take(ledger.Batch, "b", k)
	w.stage(k, &d, 0, 3)
	l := kafka("pin.dead", "t8", 1, true)
	a := must(w.l.AcceptReset(w.ctx, ledger.Reset{Stream: stream, Epoch: w.epoch(), Log: w.dead, New: &l}))(w)
	w.same([]ledger.ResetPart{{Key: k, Batch: ledger.ResetMove{From: 3, To: 3}}}, a.Parts)
	w.same(0, len(a.Rebuilt))
	w.same(span.Vector{}, must(w.l.PositionsOf(w.ctx, ledger.Live))(w))
	w.conserved()
}

func resetFences(_ *testing.T, w *world) {
	w.setup()
	b := w.take(ledger.Batch, "b", w.key(0))
	w.stage(w.key(0), &b, 5, 0)
	held := w.write(ledger.Stage, "b")
	file := w.file(stream, 1)
	must(w.l.AcceptReset(w.ctx, w.anew("t9")))(w)
	seal := ledger.Seal{Write: held, Unit: ledger.Batch, Moves: []ledger.Move{move(w.key(0), b, 1)}, Files: []ledger.LakeFile{file}}
	w.fails(w.l.Seal(w.ctx, seal), fault.Stale, "epoch_moved")
	seal.Write.Epoch = w.epoch() // even one who has heard of it
	w.fails(w.l.Seal(w.ctx, seal), fault.Lost, "partition_lost")
	w.conserved()
}
