package ledgertest

import (
	"testing"
	"time"

	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/span"
)

// imported registers a file whose rows are all in the lake, and returns what finishes it.
func (w *world) imported(rows int64, days ...string) ledger.Import {
	w.Helper()
	i := w.importing(rows, days...)
	w.commit(stream)
	return i
}

// importing is imported before the rows are in the lake.
func (w *world) importing(rows int64, days ...string) ledger.Import {
	w.Helper()
	i := ledger.Import{Rows: rows}
	i.Log = must(w.l.AddLog(w.ctx, ledger.Log{Kind: ledger.KindImport, Stream: stream, ClusterID: stream, TopicID: "x", Topic: "f.csv", Partitions: 1}))(w)
	held := w.take(ledger.Batch, "i", span.Key{Log: i.Log})
	w.stage(span.Key{Log: i.Log}, &held, rows, 0)
	i.Owner = held.Owner
	for _, d := range days {
		i.Days = append(i.Days, ledger.Task{Day: d, Expect: rows / int64(len(days)), Bytes: 20})
	}
	return i
}

// Every version that is not dropped gets the file's days; a version that is made later has them below its
// cut. The live unit never reads the file.
func finishImport(_ *testing.T, w *world) {
	b := w.history("h2") // so that there is a serving version and one that is built
	w.listDays(b.ID)
	w.same(true, must(w.l.Finish(w.ctx, b.ID))(w)) // h1 stands by, h2 serves
	i := w.importing(4, "2025-01-01", "2025-01-02")
	k := span.Key{Log: i.Log}
	_, err := w.l.TakeOver(w.ctx, ledger.Live, "a", k, 0)
	w.fails(err, fault.Config, "import_log")
	w.fails(w.l.FinishImport(w.ctx, i), fault.Transient, "lake_behind")
	w.commit(stream)
	epoch, seal := w.epoch(), w.read(ledger.Read{}).NewestSeal
	early := i // listed before the rows came, or when only some of them had
	early.Days = i.Days[:1]
	w.fails(w.l.FinishImport(w.ctx, early), fault.Corrupt, "conservation")
	early.Days = nil
	w.fails(w.l.FinishImport(w.ctx, early), fault.Corrupt, "conservation")
	w.ok(w.l.FinishImport(w.ctx, i))
	w.ok(w.l.FinishImport(w.ctx, i)) // again: nothing
	w.same(epoch+1, w.epoch())
	all := must(w.l.Backfills(w.ctx, 0))(w)
	w.same(3, len(all))
	for _, of := range all[:2] {
		w.same([]any{i.Log, "f.csv", ledger.Running, map[string]int64{ledger.Queued: 2}, int64(4)}, []any{of.Log, of.File, of.State, of.Tasks, of.Expect})
		w.fails(w.l.Steer(w.ctx, of.ID, ledger.Cancel), fault.Record, "backfill_state")
		w.fails(w.l.Steer(w.ctx, of.ID, ledger.Rollback), fault.Record, "backfill_state")
	}
	data := w.read(ledger.Read{})
	w.same([]any{"2025-01-01", b.ID, []span.Log{i.Log}}, []any{data.Filling.First, data.Filling.Backfill, data.Filling.Imports})
	w.same([]ledger.TaskDay{{Day: "2025-01-01", State: ledger.Queued, Log: i.Log}, {Day: "2025-01-02", State: ledger.Queued, Log: i.Log}}, data.Filling.Missing)
	if data.NewestSeal == seal {
		w.Fatalf("what is known of the coverage changed unnoticed")
	}
	closed := w.load().Logs[len(w.load().Logs)-1]
	w.same([]any{span.Vector{k: 4}, false, int32(1)}, []any{closed.Closing, closed.ClosedAt.IsZero(), closed.Schema})
	_, live := must(w.l.Progress(w.ctx))(w).Live[k]
	w.same(false, live)
	for range 4 { // two days of two versions
		t := w.task("w", time.Hour)
		w.same(i.Log, t.Log)
		w.ok(w.sealTask(t, 1))
		must(w.l.Finish(w.ctx, t.Backfill))(w)
	}
	w.same(map[string]string{"h1": ledger.Standby, "h2": ledger.Serving}, w.states())
	data = w.read(ledger.Read{})
	w.same([]any{0, []span.Log{i.Log}}, []any{len(data.Filling.Missing), data.Filling.Imports})
	w.ok(w.applyView(ledger.ViewChange{Hash: "h3", Definition: []byte("{}"), State: ledger.Building}))
	versions := w.load().Views[0].Versions
	w.same(int64(4), versions[len(versions)-1].Cut[k])
}

// A version that is being built serves when both its own history and the file's are there.
func importWhileBuilding(_ *testing.T, w *world) {
	b := w.history("h2")
	w.listDays(b.ID, "2026-01-01")
	w.ok(w.l.FinishImport(w.ctx, w.imported(4, "2025-01-01")))
	newest := w.task("w", time.Hour)
	w.same(b.ID, newest.Backfill)
	w.ok(w.sealTask(newest, 7))
	w.same(true, must(w.l.Finish(w.ctx, b.ID))(w))
	w.same(map[string]string{"h1": ledger.Serving, "h2": ledger.Building}, w.states())
	for range 2 {
		t := w.task("w", time.Hour)
		w.ok(w.sealTask(t, 8))
		w.same(true, must(w.l.Finish(w.ctx, t.Backfill))(w))
	}
	w.same(map[string]string{"h1": ledger.Standby, "h2": ledger.Serving}, w.states())
}

// Who lost the file to another import cannot finish it; a log that is no import is none.
func importByOwner(_ *testing.T, w *world) {
	w.setup()
	i := w.imported(4, "2025-01-01")
	held := w.take(ledger.Batch, "other", span.Key{Log: i.Log})
	w.fails(w.l.FinishImport(w.ctx, i), fault.Lost, "partition_lost")
	i.Owner, i.Rows = held.Owner, 3
	w.fails(w.l.FinishImport(w.ctx, i), fault.Lost, "partition_lost")
	w.fails(w.l.FinishImport(w.ctx, ledger.Import{Log: w.log}), fault.Config, "unknown_import")
	i.Rows = 4
	w.ok(w.l.FinishImport(w.ctx, i))
	_, err := w.l.TakeOver(w.ctx, ledger.Batch, "late", span.Key{Log: i.Log}, 0)
	w.fails(err, fault.Stale, "unknown_partition")
}
