package ledgertest

import (
	"testing"

	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/span"
)

func paths(in *ledger.Intent) []string {
	out := []string{}
	for _, f := range in.Files {
		out = append(out, f.Path)
	}
	return out
}

// An open intent comes back with the same number, id and files until it is closed, whoever asks.
func intentIsRepeated(_ *testing.T, w *world) {
	w.setup()
	k := w.key(0)
	b := w.take(ledger.Batch, "b", k)
	lease := w.lease("lake:pin")
	if in := must(w.l.Intent(w.ctx, lease, stream, "append", 10))(w); in != nil {
		w.Fatalf("nothing to commit, got %+v", in)
	}
	w.stage(k, &b, 10, 0)
	first := must(w.l.Intent(w.ctx, lease, stream, "append", 10))(w)
	w.same([]any{int64(1), "append", true, span.Vector{k: 10}}, []any{first.N, first.Kind, first.Open, first.Offsets})
	w.same([]string{"pin/1.parquet"}, paths(first))
	w.same([]byte{0, 1}, first.Files[0].Entry)
	w.stage(k, &b, 5, 0)
	lease = w.lease("lake:pin")                                             // another holder comes
	w.same(first, must(w.l.Intent(w.ctx, lease, stream, "compact", 10))(w)) // and has to finish it first
	w.same(first, must(w.l.LastIntent(w.ctx, stream))(w))
	w.same(ledger.Counts{Rows: 10}, must(w.l.StageCounts(w.ctx, first))(w))
	w.same(span.Vector{k: 0}, must(w.l.LakeVector(w.ctx))(w))
	w.ok(w.l.CloseIntent(w.ctx, lease, first, 77))
	w.ok(w.l.CloseIntent(w.ctx, lease, first, 77)) // the answer was lost
	last := must(w.l.LastIntent(w.ctx, stream))(w)
	w.same([]any{false, int64(77), first.ID}, []any{last.Open, last.Snapshot, last.ID})
	w.same(span.Vector{k: 10}, must(w.l.LakeVector(w.ctx))(w))
	second := must(w.l.Intent(w.ctx, lease, stream, "append", 10))(w)
	w.same([]any{int64(2), span.Vector{k: 15}}, []any{second.N, second.Offsets})
	w.same([]string{"pin/2.parquet"}, paths(second))
	wrong := *second
	wrong.ID = "other"
	w.fails(w.l.CloseIntent(w.ctx, lease, &wrong, 1), fault.Corrupt, "intent_unknown")
	w.ok(w.l.CloseIntent(w.ctx, lease, second, 78))
	third := must(w.l.Intent(w.ctx, lease, stream, "compact", 10))(w)
	w.same([]any{int64(3), "compact", 0, span.Vector{k: 15}}, []any{third.N, third.Kind, len(third.Files), third.Offsets})
}

func commitsNeedLease(_ *testing.T, w *world) {
	w.setup()
	k := w.key(0)
	b := w.take(ledger.Batch, "b", k)
	w.stage(k, &b, 10, 0)
	old := w.lease("lake:pin")
	in := must(w.l.Intent(w.ctx, old, stream, "append", 10))(w)
	now := w.lease("lake:pin")
	_, err := w.l.Intent(w.ctx, old, stream, "append", 10)
	w.fails(err, fault.Lost, "lease_lost")
	w.fails(w.l.CloseIntent(w.ctx, old, in, 1), fault.Lost, "lease_lost")
	w.ok(w.l.CloseIntent(w.ctx, now, in, 1))
}

// Rows wait until the dead letters of their stage, and of all stages before it, are in the lake.
func deadLettersFirst(_ *testing.T, w *world) {
	w.setup()
	k, d := w.key(0), span.Key{Log: w.dead}
	b, bd := w.take(ledger.Batch, "b", k), w.take(ledger.Batch, "b", d)
	w.stage(k, &b, 10, 0)
	w.stage(k, &b, 0, 3)
	w.stage(k, &b, 5, 2)
	w.stage(d, &bd, 0, 4)
	booked := func(rows, dead int64) {
		w.Helper()
		for table, n := range map[string]int64{stream: rows, ledger.DeadLetters: dead} {
			sum := int64(0)
			for _, b := range must(w.l.BookedOffsets(w.ctx, table))(w) {
				sum += b.Rows
			}
			w.same(n, sum)
		}
		w.same([]int64{rows, dead}, []int64{must(w.l.Booked(w.ctx, stream))(w), must(w.l.Booked(w.ctx, ledger.DeadLetters))(w)})
	}
	booked(0, 0)
	w.same([]string{"pin/1.parquet"}, paths(w.commit(stream)))
	booked(10, 0)
	w.same(ledger.BookedOffsets{Rows: 10, To: 20}, must(w.l.BookedOffsets(w.ctx, stream))(w)[k])
	w.same(map[span.Key]ledger.BookedOffsets{k: {To: 20}, d: {To: 4}}, must(w.l.BookedOffsets(w.ctx, ledger.DeadLetters))(w))
	w.same(span.Vector{k: 10, d: 0}, must(w.l.LakeVector(w.ctx))(w))
	if in := w.commit(stream); in != nil {
		w.Fatalf("rows before their dead letters: %+v", in)
	}
	lease := w.lease("lake:dead_letters")
	in := must(w.l.Intent(w.ctx, lease, ledger.DeadLetters, "append", 10))(w)
	w.same(3, len(in.Files))
	w.same(ledger.Counts{Rows: 5, Dead: 9}, must(w.l.StageCounts(w.ctx, in))(w))
	w.same(span.Vector{k: 13, d: 4}, in.Offsets) // the last stage of k still lacks its rows
	if in := w.commit(stream); in != nil {
		w.Fatalf("rows while their dead letters are on the way: %+v", in)
	}
	w.ok(w.l.CloseIntent(w.ctx, lease, in, 1))
	booked(10, 9)
	w.same(span.Vector{k: 13, d: 4}, must(w.l.LakeVector(w.ctx))(w))
	rows := w.commit(stream)
	w.same(1, len(rows.Files))
	booked(15, 9)
	w.same(span.Vector{k: 20, d: 4}, rows.Offsets)
	w.same(span.Vector{k: 20, d: 4}, must(w.l.LakeVector(w.ctx))(w))
}

func stageOrderAndLimit(_ *testing.T, w *world) {
	w.setup()
	k0, k1 := w.key(0), w.key(1)
	b0, b1 := w.take(ledger.Batch, "b", k0), w.take(ledger.Batch, "b", k1)
	early := must(w.l.Open(w.ctx, w.write(ledger.Stage, "b")))(w) // opened first, sealed last
	w.ok(w.l.AddFiles(w.ctx, early, []ledger.LakeFile{w.file(stream, 2), w.file(stream, 3)}))
	w.stage(k1, &b1, 7, 0)
	w.stage(k0, &b0, 4, 0)
	w.ok(w.l.Seal(w.ctx, ledger.Seal{
		ID: early, Write: w.write(ledger.Stage, "b"), Unit: ledger.Batch, Moves: []ledger.Move{move(k0, b0, 5)},
		Files: nil,
	}))
	lease := w.lease("lake:pin")
	want := [][]string{{"pin/3.parquet"}, {"pin/4.parquet"}, {"pin/1.parquet", "pin/2.parquet"}}
	offsets := []span.Vector{{k0: 0, k1: 7}, {k0: 4, k1: 7}, {k0: 9, k1: 7}}
	for i := range want { // a limit of one file, but a stage is never split
		in := must(w.l.Intent(w.ctx, lease, stream, "append", 1))(w)
		w.same(want[i], paths(in))
		w.same(offsets[i], in.Offsets)
		w.ok(w.l.CloseIntent(w.ctx, lease, in, int64(i)))
	}
	b0.Position = 9
	for range 5 {
		w.stage(k0, &b0, 1, 0)
	}
	w.same(3, len(must(w.l.Intent(w.ctx, lease, stream, "append", 3))(w).Files))
}

func lastIntent(_ *testing.T, w *world) {
	w.setup()
	lease := w.lease("lake:pin")
	for n, kind := range []string{"schema", "expire", "skip"} {
		in := must(w.l.Intent(w.ctx, lease, stream, kind, 0))(w)
		w.same([]any{int64(n + 1), kind}, []any{in.N, in.Kind})
		w.same(in, must(w.l.LastIntent(w.ctx, stream))(w))
		w.ok(w.l.CloseIntent(w.ctx, lease, in, 5))
		last := must(w.l.LastIntent(w.ctx, stream))(w)
		in.Open, in.Snapshot = false, 5
		w.same(in, last)
	}
	if in := must(w.l.LastIntent(w.ctx, "geo"))(w); in != nil {
		w.Fatalf("table geo has %+v", in)
	}
}

// Everything below the vector is in the lake or counted, whatever table it went to.
func lakeVector(_ *testing.T, w *world) {
	w.setup()
	k := w.key(0)
	b := w.take(ledger.Batch, "b", k)
	w.ok(w.l.Seal(w.ctx, ledger.Seal{Write: w.write(ledger.Stage, "b"), Unit: ledger.Batch, Moves: []ledger.Move{{
		Key: k, Owner: b.Owner, To: 6, Counts: ledger.Counts{Duplicates: 4, Gaps: 2},
	}}}))
	b.Position = 6
	w.same(span.Vector{k: 6}, must(w.l.LakeVector(w.ctx))(w)) // nothing to write: counted at once
	w.stage(k, &b, 2, 2)
	w.same(span.Vector{k: 6}, must(w.l.LakeVector(w.ctx))(w))
	w.commit(ledger.DeadLetters)
	w.same(span.Vector{k: 6}, must(w.l.LakeVector(w.ctx))(w))
	w.commit(stream)
	w.same(span.Vector{k: 10}, must(w.l.LakeVector(w.ctx))(w))
	w.same(int64(0), must(w.l.Status(w.ctx))(w).UncommittedFiles)
}
