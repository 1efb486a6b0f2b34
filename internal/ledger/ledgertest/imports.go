package ledgertest

import (
	"fmt"
	"slices"
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

// register finds the log of a file by its content, or makes it.
func (w *world) register(content string) span.Log {
	w.Helper()
	return must(w.l.AddLog(w.ctx, ledger.Log{Kind: ledger.KindImport, Stream: stream, ClusterID: stream, TopicID: content, Topic: "f.csv", Partitions: 1}))(w)
}

// importing is imported before the rows are in the lake.
func (w *world) importing(rows int64, days ...string) ledger.Import {
	w.Helper()
	i := ledger.Import{Rows: rows, Log: w.register("x")}
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
	w.same([]ledger.Importing{{Log: i.Log, Name: "f.csv", Rows: 4}}, w.read(ledger.Read{}).Importing)
	w.ok(w.l.FinishImport(w.ctx, i))
	w.ok(w.l.FinishImport(w.ctx, i)) // again: nothing
	w.same([]ledger.Importing(nil), w.read(ledger.Read{}).Importing)
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
	w.same(&closed, must(w.l.Log(w.ctx, i.Log))(w))
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

// An import of which nothing was taken can be forgotten by its owner: its content comes as another log, and nobody who
// read it before can seal anything of it, under either number.
func importForgotten(_ *testing.T, w *world) {
	w.setup()
	first := w.register("x")
	k := span.Key{Log: first}
	sleeper := w.take(ledger.Batch, "sleeper", k)
	seal := func() error { // as one who has heard of each change
		return w.l.Seal(w.ctx, ledger.Seal{
			Write: w.write(ledger.Stage, "sleeper"), Unit: ledger.Batch, Files: []ledger.LakeFile{w.file(stream, 4)},
			Moves: []ledger.Move{move(span.Key{Log: first}, sleeper, 4)},
		})
	}
	w.ok(w.applyView(ledger.ViewChange{Hash: "h2", Definition: []byte("{}"), State: ledger.Building})) // its cuts may name the log
	held := w.take(ledger.Batch, "a", k)
	w.fails(w.l.FinishImport(w.ctx, ledger.Import{Log: first, Owner: sleeper.Owner, Void: true}), fault.Lost, "partition_lost")
	epoch := w.epoch()
	w.ok(w.l.FinishImport(w.ctx, ledger.Import{Log: first, Owner: held.Owner, Void: true}))
	w.same(epoch+1, w.epoch())
	w.fails(w.l.FinishImport(w.ctx, ledger.Import{Log: first, Owner: held.Owner, Void: true}), fault.Config, "unknown_import")
	w.same(true, must(w.l.Log(w.ctx, first))(w) == nil)
	w.same(false, slices.ContainsFunc(w.load().Logs, func(l ledger.Log) bool { return l.ID == first }))
	p := must(w.l.Progress(w.ctx))(w)
	_, started := p.Start[k]
	_, positioned := p.Batch[k]
	_, counted := p.BatchCounts[k]
	w.same([]bool{false, false, false}, []bool{started, positioned, counted})
	w.fails(seal(), fault.Lost, "partition_lost")
	_, err := w.l.TakeOver(w.ctx, ledger.Batch, "sleeper", k, 0)
	w.fails(err, fault.Stale, "unknown_partition")

	second := w.register("x")
	w.same(true, second > first)
	k = span.Key{Log: second}
	held = w.take(ledger.Batch, "a", k)
	w.fails(seal(), fault.Lost, "partition_lost")
	w.stage(k, &held, 4, 0)
	w.fails(w.l.FinishImport(w.ctx, ledger.Import{Log: second, Owner: held.Owner, Void: true}), fault.Lost, "partition_lost")
	w.commit(stream)
	w.fails(w.l.FinishImport(w.ctx, ledger.Import{
		Log: second, Owner: held.Owner, Rows: 4, Void: true, Days: []ledger.Task{{Day: "2025-01-01", Expect: 4}},
	}), fault.Corrupt, "conservation")
	w.ok(w.l.FinishImport(w.ctx, ledger.Import{Log: second, Owner: held.Owner, Rows: 4, Days: []ledger.Task{{Day: "2025-01-01", Expect: 4}}}))
	w.ok(w.l.FinishImport(w.ctx, ledger.Import{Log: second, Void: true})) // it is closed: nothing
	w.same(second, w.register("x"))
	w.same(ledger.Counts{Rows: 4}, must(w.l.Counts(w.ctx, ledger.Batch))(w)[k])
}

// One forgets an import while another takes its rows: either the rows are there and the import stays, or it is gone and
// nothing was taken.
func raceForget(_ *testing.T, w *world) {
	w.setup()
	forgotten := 0
	for i := range rounds {
		log := w.register(fmt.Sprint(i))
		k := span.Key{Log: log}
		held := w.take(ledger.Batch, "abandons", k)
		write, file := w.write(ledger.Stage, "imports"), w.file(stream, 4)
		var void, sealed error
		forget := func() error {
			void = w.l.FinishImport(w.ctx, ledger.Import{Log: log, Owner: held.Owner, Void: true})
			return nil
		}
		take := func() error {
			mine, err := w.l.TakeOver(w.ctx, ledger.Batch, "imports", k, 0)
			if err == nil {
				err = w.l.Seal(w.ctx, ledger.Seal{Write: write, Unit: ledger.Batch, Moves: []ledger.Move{move(k, mine, 4)}, Files: []ledger.LakeFile{file}})
			}
			sealed = err
			return nil
		}
		if i%2 == 0 {
			_, _ = both(forget, take)
		} else {
			_, _ = both(take, forget)
		}
		counts, counted := must(w.l.Counts(w.ctx, ledger.Batch))(w)[k]
		if void == nil {
			forgotten++
			w.fails(sealed, fault.Stale, "unknown_partition")
			w.same(false, counted)
			w.same(true, w.register(fmt.Sprint(i)) > log)
			continue
		}
		w.fails(void, fault.Lost, "partition_lost")
		w.ok(sealed)
		w.same(log, w.register(fmt.Sprint(i)))
		w.same(ledger.Counts{Rows: 4}, counts)
	}
	w.Logf("forgotten in %d of %d", forgotten, rounds)
}
