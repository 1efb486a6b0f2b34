package ledgertest

import (
	"bytes"
	"testing"
	"time"

	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/span"
)

// The first take-over by either unit sets both positions; each take-over raises the number.
func firstTakeOver(_ *testing.T, w *world) {
	w.setup()
	k := w.key(1)
	w.same(ledger.Held{Owner: 1, Position: 40, Horizon: 40}, must(w.l.TakeOver(w.ctx, ledger.Live, "a", k, 40))(w))
	w.same(ledger.Held{Owner: 1, Position: 40, Horizon: 40}, must(w.l.TakeOver(w.ctx, ledger.Batch, "b", k, 55))(w))
	w.same(ledger.Held{Owner: 2, Position: 40, Horizon: 40}, must(w.l.TakeOver(w.ctx, ledger.Live, "a", k, 0))(w))
	w.same(span.Vector{k: 40}, must(w.l.PositionsOf(w.ctx, ledger.Batch))(w))
	w.same(map[span.Key]ledger.Counts{k: {}}, must(w.l.Counts(w.ctx, ledger.Live))(w))
	for _, unknown := range []span.Key{{Log: w.log, Partition: 2}, {Log: 99}} {
		_, err := w.l.TakeOver(w.ctx, ledger.Live, "a", unknown, 0)
		w.fails(err, fault.Stale, "unknown_partition")
	}
	dead := span.Key{Log: w.dead}
	w.take(ledger.Batch, "b", dead)
	_, err := w.l.TakeOver(w.ctx, ledger.Live, "a", dead, 0)
	w.fails(err, fault.Config, "dead_log")
	p := must(w.l.Progress(w.ctx))(w)
	w.same(span.Vector{k: 40, dead: 0}, p.Start)
	w.same(span.Vector{k: 40, dead: 0}, p.Horizon)
	w.same(span.Vector{k: 40, dead: 0}, p.Batch)
	w.same(span.Vector{k: 40}, p.Live)
	w.same(span.Vector{k: 40, dead: 0}, p.Lake)
}

func sealMovesAndCounts(_ *testing.T, w *world) {
	w.setup()
	k := w.key(0)
	v := w.take(ledger.Live, "a", k)
	c := ledger.Counts{Rows: 5, Dead: 1, Duplicates: 2, Gaps: 1, Lost: 1}
	seal := ledger.Seal{
		Write: w.write(ledger.Flush, "a"), Unit: ledger.Live,
		Moves: []ledger.Move{{Key: k, Owner: v.Owner, From: 0, To: 10, Counts: c}}, Segments: []ledger.Segment{segment(w.version, 60, 60)},
	}
	w.ok(w.l.Seal(w.ctx, seal))
	w.same(span.Vector{k: 10}, must(w.l.PositionsOf(w.ctx, ledger.Live))(w))
	w.same(span.Vector{k: 0}, must(w.l.PositionsOf(w.ctx, ledger.Batch))(w))
	w.same(c, must(w.l.Counts(w.ctx, ledger.Live))(w)[k])
	w.same([]int64{60}, w.buckets(""))
	w.fails(w.l.Seal(w.ctx, seal), fault.Lost, "partition_lost") // the same again: it is not there any more
	w.same([]int64{60}, w.buckets(""))
	seal.Moves[0].From, seal.Moves[0].To = 10, 20
	w.ok(w.l.Seal(w.ctx, seal))
	w.same(c.Add(c), must(w.l.Counts(w.ctx, ledger.Live))(w)[k])
	seal.Moves = []ledger.Move{{Key: k, Owner: v.Owner, From: 20, To: 20}} // nothing read is allowed
	w.ok(w.l.Seal(w.ctx, seal))
	p := must(w.l.Progress(w.ctx))(w)
	w.same(int64(20), p.Live[k])
	w.same(c.Add(c), p.LiveCounts[k])
	w.same(ledger.Counts{}, p.BatchCounts[k])
}

func sealRefusesWrongCounts(_ *testing.T, w *world) {
	w.setup()
	k := w.key(0)
	b := w.take(ledger.Batch, "b", k)
	seal := ledger.Seal{Write: w.write(ledger.Stage, "b"), Unit: ledger.Batch, Moves: []ledger.Move{move(k, b, 10)}}
	seal.Moves[0].Counts.Rows = 9
	seal.Files = []ledger.LakeFile{w.file(stream, 9)}
	w.fails(w.l.Seal(w.ctx, seal), fault.Corrupt, "counts_differ")
	seal.Moves[0].Counts.Dead = 1 // adds up, but no file holds the letter
	w.fails(w.l.Seal(w.ctx, seal), fault.Corrupt, "counts_differ")
	seal.Moves[0].Counts = ledger.Counts{Rows: 11, Gaps: -1}
	w.fails(w.l.Seal(w.ctx, seal), fault.Corrupt, "bad_move")
	seal.Moves = []ledger.Move{move(k, b, 5), move(k, b, 5)}
	w.fails(w.l.Seal(w.ctx, seal), fault.Corrupt, "bad_move")
	w.same(span.Vector{k: 0}, must(w.l.PositionsOf(w.ctx, ledger.Batch))(w))
	seal.Moves = []ledger.Move{{Key: k, Owner: b.Owner, To: 10, Counts: ledger.Counts{Rows: 9, Dead: 1}}}
	seal.Files = append(seal.Files, w.file(ledger.DeadLetters, 1))
	w.ok(w.l.Seal(w.ctx, seal))
	w.same(ledger.Counts{Rows: 9, Dead: 1}, must(w.l.Counts(w.ctx, ledger.Batch))(w)[k])
}

// The zombie was paused, another took over, the zombie wakes: with or without an open write, nothing
// of it becomes true, and the fault names what it lost.
func zombieSeal(_ *testing.T, w *world) {
	w.setup()
	k0, k1 := w.key(0), w.key(1)
	z0, z1 := w.take(ledger.Live, "zombie", k0), w.take(ledger.Live, "zombie", k1)
	id := must(w.l.Open(w.ctx, w.write(ledger.Flush, "zombie")))(w)
	w.ok(w.l.AddSegments(w.ctx, id, []ledger.Segment{segment(w.version, 1, 1)}))
	w.take(ledger.Live, "new", k1)
	for _, write := range []int64{0, id} {
		err := w.l.Seal(w.ctx, ledger.Seal{
			ID: write, Write: w.write(ledger.Flush, "zombie"), Unit: ledger.Live,
			Moves: []ledger.Move{move(k0, z0, 3), move(k1, z1, 4)}, Segments: []ledger.Segment{segment(w.version, 2, 2)},
		})
		w.fails(err, fault.Lost, "partition_lost")
		w.same([]span.Key{k1}, ledger.LostKeys(err))
	}
	w.same(span.Vector{k0: 0, k1: 0}, must(w.l.PositionsOf(w.ctx, ledger.Live))(w))
	w.same([]int64{}, w.buckets(""))
	w.flush(k0, &z0, 3, 5) // what it still holds goes on
	w.same([]int64{5}, w.buckets(""))
	// Nobody seals a write that somebody else opened.
	err := w.l.Seal(w.ctx, ledger.Seal{ID: id, Write: w.write(ledger.Flush, "new"), Unit: ledger.Live, Moves: []ledger.Move{move(k0, z0, 1)}})
	w.fails(err, fault.Lost, "write_not_open")
	w.same([]span.Key{k0}, ledger.LostKeys(err))
}

func staleEpoch(_ *testing.T, w *world) {
	w.setup()
	k := w.key(0)
	v := w.take(ledger.Live, "a", k)
	old := w.write(ledger.Flush, "a")
	id := must(w.l.Open(w.ctx, old))(w)
	w.ok(w.applyView(ledger.ViewChange{Metadata: []byte("{}")}))
	seal := ledger.Seal{Write: old, Unit: ledger.Live, Moves: []ledger.Move{move(k, v, 3)}}
	w.fails(w.l.Seal(w.ctx, seal), fault.Stale, "epoch_moved")
	seal.Write.Epoch = w.epoch() // what was opened before is stale all the same
	seal.ID = id
	w.fails(w.l.Seal(w.ctx, seal), fault.Stale, "epoch_moved")
	seal.ID = 0 // it goes on as the same owner
	w.ok(w.l.Seal(w.ctx, seal))
	seal.Write.Stream = "geo"
	w.fails(w.l.Seal(w.ctx, seal), fault.Stale, "epoch_moved")
}

func positionMoved(_ *testing.T, w *world) {
	w.setup()
	k := w.key(0)
	v := w.take(ledger.Live, "a", k)
	m := move(k, v, 5)
	m.From, m.To = 1, 6
	err := w.l.Seal(w.ctx, ledger.Seal{Write: w.write(ledger.Flush, "a"), Unit: ledger.Live, Moves: []ledger.Move{m}})
	w.fails(err, fault.Lost, "partition_lost")
	// Batch's owner number is not live's.
	b := w.take(ledger.Batch, "b", k)
	w.take(ledger.Batch, "b", k)
	err = w.l.Seal(w.ctx, ledger.Seal{Write: w.write(ledger.Flush, "a"), Unit: ledger.Batch, Moves: []ledger.Move{move(k, b, 5)}})
	w.fails(err, fault.Lost, "partition_lost")
	// A partition of another stream's log is fenced by another epoch: it cannot be moved here.
	w.ok(w.l.Apply(w.ctx, ledger.Change{Stream: "geo", Schema: schema()}))
	other := ledger.Write{Kind: ledger.Flush, Stream: "geo", Epoch: 1, Owner: "a"}
	err = w.l.Seal(w.ctx, ledger.Seal{Write: other, Unit: ledger.Live, Moves: []ledger.Move{move(k, v, 5)}})
	w.fails(err, fault.Lost, "partition_lost")
}

func unsealedIsInvisible(_ *testing.T, w *world) {
	w.setup()
	k := w.key(0)
	v := w.take(ledger.Live, "a", k)
	before := w.read(ledger.Read{}).NewestSeal
	id := must(w.l.Open(w.ctx, w.write(ledger.Flush, "a")))(w)
	w.ok(w.l.AddSegments(w.ctx, id, []ledger.Segment{segment(w.version, 1, 1), segment(w.version, 2, 2)}))
	w.same([]int64{}, w.buckets(""))
	w.same(int64(0), w.read(ledger.Read{}).Earliest)
	w.same(before, w.read(ledger.Read{}).NewestSeal)
	w.same(0, len(must(w.l.Segments(w.ctx, w.version, "minute", false))(w)))
	w.ok(w.l.Seal(w.ctx, ledger.Seal{
		ID: id, Write: w.write(ledger.Flush, "a"), Unit: ledger.Live, Moves: []ledger.Move{move(k, v, 3)},
		Segments: []ledger.Segment{segment(w.version, 3, 3)},
	}))
	w.same([]int64{1, 2, 3}, w.buckets(""))
	data := w.read(ledger.Read{})
	w.same(int64(1), data.Earliest)
	w.same(span.Vector{k: 3}, data.Positions)
	// A coarser bucket that begins before, and holds the same events, tells less; an earlier one tells more.
	coarse := func(tier string, from int64) {
		s := segment(w.version, from, from)
		s.Tier = tier
		id := must(w.l.Open(w.ctx, w.write(ledger.Flush, "a")))(w)
		w.ok(w.l.AddSegments(w.ctx, id, []ledger.Segment{s}))
		w.ok(w.l.Seal(w.ctx, ledger.Seal{ID: id, Write: w.write(ledger.Flush, "a"), Unit: ledger.Live, Moves: []ledger.Move{}}))
	}
	coarse("hour", -1_000_000)
	w.same(int64(1), w.read(ledger.Read{}).Earliest)
	coarse("day", -90_000_000_000)
	w.same(int64(-90_000_000_000), w.read(ledger.Read{}).Earliest)
	w.same([]byte{0, 1, 1}, data.Segments[0].Data)
	w.same(int64(3), data.Segments[0].Bytes)
	if data.NewestSeal <= before {
		w.Fatalf("newest seal %d, before %d", data.NewestSeal, before)
	}
	w.fails(w.l.AddSegments(w.ctx, id, []ledger.Segment{segment(w.version, 4, 4)}), fault.Lost, "write_not_open")

	b := w.take(ledger.Batch, "b", k)
	sid := must(w.l.Open(w.ctx, w.write(ledger.Stage, "b")))(w)
	w.ok(w.l.AddFiles(w.ctx, sid, []ledger.LakeFile{w.file(stream, 3)}))
	if in := w.commit(stream); in != nil {
		w.Fatalf("an unsealed file is in a commit: %+v", in)
	}
	w.ok(w.l.Seal(w.ctx, ledger.Seal{ID: sid, Write: w.write(ledger.Stage, "b"), Unit: ledger.Batch, Moves: []ledger.Move{move(k, b, 3)}}))
	w.same(1, len(w.commit(stream).Files))
}

// The sweeper cancels first and deletes afterwards; from the cancelling on no seal can succeed.
func sweptWrite(_ *testing.T, w *world) {
	w.setup()
	k := w.key(0)
	b := w.take(ledger.Batch, "b", k)
	id := must(w.l.Open(w.ctx, w.write(ledger.Stage, "b")))(w)
	file := w.file(stream, 3)
	w.ok(w.l.AddFiles(w.ctx, id, []ledger.LakeFile{file}))
	w.ok(w.l.AddSegments(w.ctx, id, []ledger.Segment{segment(w.version, 1, 1)}))
	lease := w.lease("sweep")
	far := time.Now().Add(time.Hour)
	for range 2 { // until Forget they are returned again: the sweeper may have died before deleting them
		files := must(w.l.Sweep(w.ctx, lease, far))(w)
		w.same(1, len(files))
		w.same(file.Path, files[0].Path)
	}
	err := w.l.Seal(w.ctx, ledger.Seal{ID: id, Write: w.write(ledger.Stage, "b"), Unit: ledger.Batch, Moves: []ledger.Move{move(k, b, 3)}})
	w.fails(err, fault.Lost, "write_not_open")
	w.same([]span.Key{k}, ledger.LostKeys(err))
	w.fails(w.l.AddFiles(w.ctx, id, []ledger.LakeFile{w.file(stream, 1)}), fault.Lost, "write_not_open")
	w.same(int64(0), must(w.l.Status(w.ctx))(w).SegmentBytes)
	files := must(w.l.Sweep(w.ctx, lease, far))(w)
	w.ok(w.l.Forget(w.ctx, lease, files))
	w.same(0, len(must(w.l.Sweep(w.ctx, lease, far))(w)))
	_, err = w.l.Sweep(w.ctx, ledger.Lease{Name: "sweep", Number: lease.Number + 1, Holder: "job"}, far)
	w.fails(err, fault.Lost, "lease_lost")
}

func sweepSparesLiving(_ *testing.T, w *world) {
	w.setup()
	k := w.key(0)
	b := w.take(ledger.Batch, "b", k)
	w.stage(k, &b, 4, 0)
	id := must(w.l.Open(w.ctx, w.write(ledger.Stage, "b")))(w)
	w.ok(w.l.AddFiles(w.ctx, id, []ledger.LakeFile{w.file(stream, 3)}))
	lease := w.lease("sweep")
	w.same(0, len(must(w.l.Sweep(w.ctx, lease, time.Now().Add(-time.Hour)))(w))) // younger than the moment
	w.ok(w.l.Seal(w.ctx, ledger.Seal{ID: id, Write: w.write(ledger.Stage, "b"), Unit: ledger.Batch, Moves: []ledger.Move{move(k, b, 3)}}))
	w.same(0, len(must(w.l.Sweep(w.ctx, lease, time.Now().Add(time.Hour)))(w))) // sealed
	w.ok(w.l.Forget(w.ctx, lease, []ledger.LakeFile{{ID: 1}, {ID: 2}}))         // never of a sealed write
	w.same(2, len(w.commit(stream).Files))
}

func pieceLimit(_ *testing.T, w *world) {
	w.setup()
	k := w.key(0)
	v := w.take(ledger.Live, "a", k)
	big := segment(w.version, 1, 1)
	big.Data = bytes.Repeat([]byte{7}, 1<<20)
	many := []ledger.Segment{big, big, big, big, big}
	seal := ledger.Seal{Write: w.write(ledger.Flush, "a"), Unit: ledger.Live, Moves: []ledger.Move{move(k, v, 5)}, Segments: many}
	w.fails(w.l.Seal(w.ctx, seal), fault.Unknown, "piece_too_big")
	seal.ID = must(w.l.Open(w.ctx, seal.Write))(w)
	w.ok(w.l.AddSegments(w.ctx, seal.ID, many)) // as many transactions as it takes
	seal.Segments = nil
	w.ok(w.l.Seal(w.ctx, seal))
	w.same(5, len(w.buckets("")))
	// One that is too big by itself goes alone, before the seal or with it.
	big.Data = bytes.Repeat([]byte{7}, ledger.MaxTx+1)
	seal.ID, seal.Moves = must(w.l.Open(w.ctx, seal.Write))(w), []ledger.Move{{Key: k, Owner: v.Owner, From: 5, To: 6, Counts: ledger.Counts{Rows: 1}}}
	w.ok(w.l.AddSegments(w.ctx, seal.ID, []ledger.Segment{big, big}))
	seal.Segments = []ledger.Segment{big}
	w.ok(w.l.Seal(w.ctx, seal))
	w.same(8, len(w.buckets("")))
}
