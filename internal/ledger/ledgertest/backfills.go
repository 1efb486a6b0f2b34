package ledgertest

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/ledger"
)

// history gives the stream a past and the view a version that is built from it.
func (w *world) history(hash string) ledger.Backfill { return w.historyBy(hash, "") }

func (w *world) historyBy(hash, engine string) ledger.Backfill {
	w.Helper()
	if len(w.load().Streams) == 0 {
		w.setup()
		v := w.take(ledger.Live, "a", w.key(0))
		w.flush(w.key(0), &v, 30, 7)
	}
	w.ok(w.applyView(ledger.ViewChange{
		Hash: hash, Definition: []byte("{}"), Metadata: []byte(`{"of":"` + hash + `"}`), Shown: []byte(`{"shown":1}`),
		State: ledger.Building, Plan: []byte(`{"p":1}`), Engine: engine,
	}))
	return must(w.l.Backfills(w.ctx, 0))(w)[0]
}

func (w *world) backfill(id int64) ledger.Backfill {
	w.Helper()
	all := must(w.l.Backfills(w.ctx, id))(w)
	if len(all) != 1 || all[0].ID != id {
		w.Fatalf("asked for back-fill %d, got %+v", id, all)
	}
	return all[0]
}

func (w *world) listDays(id int64, days ...string) {
	w.Helper()
	tasks := make([]ledger.Task, len(days))
	for i, d := range days {
		tasks[i] = ledger.Task{Day: d, Expect: 10, Bytes: 100}
	}
	w.ok(w.l.ListDays(w.ctx, w.lease("backfill"), id, tasks))
}

func (w *world) task(holder string, ttl time.Duration) ledger.TaskLease {
	w.Helper()
	t := must(w.l.LeaseTask(w.ctx, holder, ttl))(w)
	if t == nil {
		w.Fatalf("there is no task for %s", holder)
	}
	return *t
}

func (w *world) sealTask(t ledger.TaskLease, buckets ...int64) error {
	s := ledger.TaskSeal{Lease: t, Rows: int64(len(buckets))}
	for _, b := range buckets {
		seg := segment(t.Version, b, b)
		seg.Source = ledger.SourceBackfill
		s.Segments = append(s.Segments, seg)
	}
	return w.l.SealTask(w.ctx, s)
}

func (w *world) bucketsOf(version int64) []int64 {
	w.Helper()
	out := []int64{}
	for _, s := range must(w.l.Segments(w.ctx, version, "minute", false))(w) {
		out = append(out, s.From)
	}
	return out
}

// A version with nothing below its cut serves at once, and none is filled in.
func noHistoryServes(_ *testing.T, w *world) {
	w.setup()
	w.take(ledger.Live, "a", w.key(0))
	w.ok(w.applyView(ledger.ViewChange{Hash: "h2", Definition: []byte("{}"), Metadata: []byte(`{"m":2}`), Shown: []byte(`{"s":1}`), State: ledger.Building}))
	w.same(map[string]string{"h1": ledger.Standby, "h2": ledger.Serving}, w.states())
	w.same([]byte(`{"m":2}`), w.load().Views[0].Metadata)
	all := must(w.l.Backfills(w.ctx, 0))(w)
	w.same([]any{1, ledger.Done, 0}, []any{len(all), all[0].State, len(all[0].Tasks)}) // what a rollback names
	w.same((*ledger.Filling)(nil), w.read(ledger.Read{}).Filling)
}

// A task is leased by those that name its engine, or none.
func backfillEngines(_ *testing.T, w *world) {
	b := w.historyBy("h2", ledger.EngineSpark)
	w.same(ledger.EngineSpark, b.Engine)
	w.listDays(b.ID, "2026-01-01", "2026-01-02", "2026-01-03")
	if t := must(w.l.LeaseTask(w.ctx, "w", time.Hour, ledger.EngineKernel))(w); t != nil {
		w.Fatalf("the kernel was given a task of Spark: %+v", t)
	}
	t := must(w.l.LeaseTask(w.ctx, "w", -time.Second, ledger.EngineKernel, ledger.EngineSpark))(w)
	w.same([]any{"2026-01-03", ledger.EngineSpark}, []any{t.Day, t.Engine})
	if again := must(w.l.LeaseTask(w.ctx, "w", time.Hour, ledger.EngineKernel))(w); again != nil {
		w.Fatalf("a lease that ran out made it one of the kernel's: %+v", again)
	}
	w.same("2026-01-03", w.task("other", time.Hour).Day)
}

// The old version serves until the last task is sealed; then the new one does, all of it.
func backfillSwitches(_ *testing.T, w *world) {
	b := w.history("h2")
	w.same([]any{view, stream, "h2", ledger.Building, ledger.EngineKernel, ledger.Queued}, []any{b.View, b.Stream, b.Hash, b.VersionIs, b.Engine, b.State})
	w.same([]byte(`{"p":1}`), b.Plan)
	w.same([]byte(`{"shown":1}`), w.load().Views[0].Metadata)
	if t := must(w.l.LeaseTask(w.ctx, "w", time.Hour))(w); t != nil {
		w.Fatalf("a task before the days are listed: %+v", t)
	}
	w.same(false, must(w.l.Finish(w.ctx, b.ID))(w))
	seal := w.read(ledger.Read{}).NewestSeal
	w.listDays(b.ID, "2026-01-01", "2026-01-03", "2026-01-02")
	w.listDays(b.ID, "2026-02-02") // too late: the days are listed once
	if w.read(ledger.Read{}).NewestSeal == seal {
		w.Fatalf("what is known of the coverage changed unnoticed")
	}
	var days []string
	for _, buckets := range [][]int64{{3, 4}, nil, {1}} {
		w.same(false, must(w.l.Finish(w.ctx, b.ID))(w))
		w.same("h1", w.read(ledger.Read{}).Version.Hash)
		w.same([]int64{7}, w.buckets("minute"))
		t := w.task("w", time.Hour)
		days = append(days, t.Day)
		w.ok(w.sealTask(t, buckets...))
	}
	w.same([]string{"2026-01-03", "2026-01-02", "2026-01-01"}, days)
	epoch := w.epoch()
	w.same(true, must(w.l.Finish(w.ctx, b.ID))(w))
	w.same(true, must(w.l.Finish(w.ctx, b.ID))(w))
	w.same(epoch+1, w.epoch())
	w.same(map[string]string{"h1": ledger.Standby, "h2": ledger.Serving}, w.states())
	w.same([]byte(`{"of":"h2"}`), w.load().Views[0].Metadata)
	data := w.read(ledger.Read{})
	w.same([]int64{3, 4, 1}, w.buckets("minute"))
	w.same(ledger.Done, data.Filling.State)
	w.same("2026-01-01", data.Filling.First)
	w.same(0, len(data.Filling.Missing))
	b = w.backfill(b.ID)
	w.same([]any{ledger.Done, int64(3), int64(30), int64(30), map[string]int64{ledger.Done: 3}}, []any{b.State, b.Rows, b.Expect, b.Read, b.Tasks})
}

// A worker whose lease ran out seals nothing, whoever is faster; nobody seals twice.
func leasedTwice(_ *testing.T, w *world) {
	b := w.history("h2")
	w.listDays(b.ID, "2026-01-01")
	slow := w.task("slow", -time.Second)
	again := w.task("slow", -time.Second) // even under the same name
	fast := w.task("fast", time.Hour)
	if t := must(w.l.LeaseTask(w.ctx, "third", time.Hour))(w); t != nil {
		w.Fatalf("a task that is held was leased: %+v", t)
	}
	w.fails(w.sealTask(slow, 1), fault.Lost, "task_lost")
	w.fails(w.l.RenewTask(w.ctx, again, time.Hour), fault.Lost, "task_lost")
	fast.Rows = 17
	w.ok(w.l.RenewTask(w.ctx, fast, time.Hour))
	w.same([]int64{17, 0}, []int64{w.backfill(fast.Backfill).Working, w.backfill(fast.Backfill).Rows})
	write := must(w.l.OpenTask(w.ctx, fast))(w)
	w.ok(w.l.AddSegments(w.ctx, write, []ledger.Segment{segment(b.Version, 5, 5)}))
	w.same([]int64{}, w.bucketsOf(b.Version))
	w.ok(w.l.SealTask(w.ctx, ledger.TaskSeal{
		Lease: fast, Write: write, Segments: []ledger.Segment{segment(b.Version, 6, 6)}, Rows: 2, Floors: map[string]int64{"minute": 7},
	}))
	w.same([]int64{5, 6}, w.bucketsOf(b.Version))
	w.fails(w.sealTask(fast, 1), fault.Lost, "task_lost")
	w.fails(w.sealTask(again, 1), fault.Lost, "task_lost")
	w.fails(w.l.ReturnTask(w.ctx, slow, ledger.TaskReturn{Cause: "late"}), fault.Lost, "task_lost")
	_, err := w.l.OpenTask(w.ctx, slow)
	w.fails(err, fault.Lost, "task_lost")
	w.same([]int64{5, 6}, w.bucketsOf(b.Version))
	w.same(true, must(w.l.Finish(w.ctx, b.ID))(w))
	w.same(map[string]int64{"minute": 7}, w.read(ledger.Read{}).Floors)
}

// Many workers at once: each day is sealed by one of them.
func raceTasks(_ *testing.T, w *world) {
	b := w.history("h2")
	const days, workers = 20, 4
	var names []string
	for d := range days {
		names = append(names, fmt.Sprintf("2026-01-%02d", d+1))
	}
	w.listDays(b.ID, names...)
	var wg sync.WaitGroup
	errs := make([]error, workers)
	for n := range workers {
		wg.Go(func() {
			for errs[n] == nil {
				ttl := time.Hour
				if n == 0 {
					ttl = -time.Second // this one is always too slow
				}
				t, err := w.l.LeaseTask(w.ctx, fmt.Sprintf("w%d", n), ttl)
				if err != nil || t == nil {
					errs[n] = err
					return
				}
				var at int64
				if _, err := fmt.Sscanf(t.Day, "2026-01-%02d", &at); err != nil {
					errs[n] = err
					return
				}
				if err := w.sealTask(*t, at); err != nil && !fault.Is(err, fault.Lost) && !fault.Is(err, fault.Transient) {
					errs[n] = err
				}
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		w.ok(err)
	}
	for { // what the slow one left behind
		t := must(w.l.LeaseTask(w.ctx, "last", time.Hour))(w)
		if t == nil {
			break
		}
		var at int64
		if _, err := fmt.Sscanf(t.Day, "2026-01-%02d", &at); err != nil {
			w.Fatalf("day %q", t.Day)
		}
		w.ok(w.sealTask(*t, at))
	}
	seen := map[int64]int{}
	for _, at := range w.bucketsOf(b.Version) {
		seen[at]++
	}
	failed := w.backfill(b.ID).Tasks[ledger.Failed] // leased by the slow one too often
	if len(seen)+int(failed) != days {
		w.Fatalf("%d days were sealed and %d failed of %d", len(seen), failed, days)
	}
	for at, n := range seen {
		if n != 1 {
			w.Fatalf("day %d was sealed %d times", at, n)
		}
	}
}

// The write of a task whose worker renews is not given up, however old; that of a dead one is.
func sweepSparesTask(_ *testing.T, w *world) {
	b := w.history("h2")
	w.listDays(b.ID, "2026-01-01", "2026-01-02")
	alive, dead := w.task("a", time.Hour), w.task("b", -time.Second)
	var writes []int64
	for _, t := range []ledger.TaskLease{alive, dead} {
		id := must(w.l.OpenTask(w.ctx, t))(w)
		w.ok(w.l.AddSegments(w.ctx, id, []ledger.Segment{segment(b.Version, id, id)}))
		writes = append(writes, id)
	}
	_, err := w.l.Sweep(w.ctx, w.lease("sweep"), time.Now().Add(time.Hour))
	w.ok(err)
	w.ok(w.l.SealTask(w.ctx, ledger.TaskSeal{Lease: alive, Write: writes[0]}))
	w.fails(w.l.SealTask(w.ctx, ledger.TaskSeal{Lease: dead, Write: writes[1]}), fault.Lost, "write_not_open")
	w.same([]int64{writes[0]}, w.bucketsOf(b.Version))
}

func failedTasks(_ *testing.T, w *world) {
	b := w.history("h2")
	w.listDays(b.ID, "2026-01-01", "2026-01-02")
	t := w.task("a", time.Hour)
	w.ok(w.l.ReturnTask(w.ctx, t, ledger.TaskReturn{Wait: time.Hour})) // it was told to stop
	for range ledger.MaxTries {
		t = w.task("a", time.Hour)
		w.same("2026-01-02", t.Day)
		w.ok(w.l.ReturnTask(w.ctx, t, ledger.TaskReturn{Cause: "no disk"}))
	}
	t = w.task("a", time.Hour)
	w.same("2026-01-01", t.Day)
	w.ok(w.sealTask(t, 1))
	w.same(false, must(w.l.Finish(w.ctx, b.ID))(w))
	w.same(ledger.Failed, w.backfill(b.ID).State)
	w.same(ledger.Building, w.states()["h2"])
	tasks := must(w.l.BackfillTasks(w.ctx, b.ID))(w)
	w.same([]any{ledger.Failed, "no disk", ledger.Done, ""}, []any{tasks[0].State, tasks[0].Error, tasks[1].State, tasks[1].Error})
	w.ok(w.l.Steer(w.ctx, b.ID, ledger.Retry))
	for range ledger.MaxTries { // its workers die
		w.task("a", -time.Second)
	}
	if t := must(w.l.LeaseTask(w.ctx, "a", time.Hour))(w); t != nil {
		w.Fatalf("leased a sixth time: %+v", t)
	}
	w.same(false, must(w.l.Finish(w.ctx, b.ID))(w))
	w.ok(w.l.Steer(w.ctx, b.ID, ledger.Retry))
	w.ok(w.sealTask(w.task("a", time.Hour), 2))
	w.same(true, must(w.l.Finish(w.ctx, b.ID))(w))
}

// What the worker lacks is no try of the task, and others have it at once; what no try can do better fails at once.
func returnedTasks(_ *testing.T, w *world) {
	b := w.historyBy("h2", ledger.EngineSpark)
	w.listDays(b.ID, "2026-01-01", "2026-01-02")
	for range ledger.MaxTries + 1 {
		t := w.task("a", time.Hour)
		w.same([]any{"2026-01-02", 1}, []any{t.Day, t.Tries})
		w.ok(w.l.ReturnTask(w.ctx, t, ledger.TaskReturn{Cause: "a has no engine", Wait: time.Hour, Untried: true}))
	}
	b = w.backfill(b.ID)
	w.same([]any{"2026-01-02: a has no engine", int64(2), int64(0)}, []any{b.Trouble, b.Tasks[ledger.Queued], b.Waiting})
	w.ok(w.sealTask(w.task("b", time.Hour), 1))
	w.same("", w.backfill(b.ID).Trouble)
	t := w.task("b", time.Hour)
	w.ok(w.l.ReturnTask(w.ctx, t, ledger.TaskReturn{Cause: "never", Wait: time.Hour, Final: true}))
	w.fails(w.l.ReturnTask(w.ctx, t, ledger.TaskReturn{Cause: "again", Untried: true}), fault.Lost, "task_lost")
	w.same(false, must(w.l.Finish(w.ctx, b.ID))(w))
	b = w.backfill(b.ID)
	w.same([]any{ledger.Failed, "2026-01-01: never", int64(1), int64(1)}, []any{b.State, b.Trouble, b.Tasks[ledger.Failed], b.Tasks[ledger.Done]})
	w.ok(w.l.Steer(w.ctx, b.ID, ledger.Retry))
	w.same(1, w.task("b", time.Hour).Tries)
}

// Those that gave up are listed as all are, and no longer when somebody has acted: said retry, or replaced their version.
func failedBackfills(_ *testing.T, w *world) {
	failed := func() []ledger.Backfill { return must(w.l.FailedBackfills(w.ctx))(w) }
	giveUp := func(id int64, why string) {
		w.Helper()
		for range ledger.MaxTries {
			t := w.task("a", time.Hour)
			w.same(id, t.Backfill)
			w.ok(w.l.ReturnTask(w.ctx, t, ledger.TaskReturn{Cause: why}))
		}
		w.same(false, must(w.l.Finish(w.ctx, id))(w))
	}
	w.same(0, len(failed()))
	first := w.history("h2")
	w.listDays(first.ID, "2026-01-01")
	w.ok(w.sealTask(w.task("a", time.Hour), 1))
	w.same(true, must(w.l.Finish(w.ctx, first.ID))(w))
	second := w.history("h3")
	w.listDays(second.ID, "2026-01-01", "2026-01-02")
	w.same(0, len(failed())) // one is done, one runs
	t := w.task("a", time.Hour)
	w.ok(w.sealTask(t, 1))
	giveUp(second.ID, "no disk")
	w.same([]ledger.Backfill{w.backfill(second.ID)}, failed())
	b := failed()[0]
	w.same([]any{ledger.Failed, "2026-01-01: no disk", int64(1), int64(1), int64(20), int64(10)},
		[]any{b.State, b.Trouble, b.Tasks[ledger.Failed], b.Tasks[ledger.Done], b.Expect, b.Read})
	w.ok(w.l.Steer(w.ctx, second.ID, ledger.Retry))
	w.same(0, len(failed()))
	giveUp(second.ID, "still no disk")
	w.same([]string{"2026-01-01: still no disk"}, []string{failed()[0].Trouble})
	w.history("h4") // takes the place of the one that gave up
	w.same(0, len(failed()))
	w.same(ledger.Cancelled, w.backfill(second.ID).State)
}

// A task that failed is left alone for a while, and others go on; it can be tried at once, and what is done to its
// back-fill meanwhile holds for it, too.
func waitingTasks(_ *testing.T, w *world) {
	b := w.history("h2")
	w.listDays(b.ID, "2026-01-01", "2026-01-02")
	none := func(about string) {
		w.Helper()
		if t := must(w.l.LeaseTask(w.ctx, "a", time.Hour))(w); t != nil {
			w.Fatalf("%s: leased %+v", about, t)
		}
	}
	fail := func(cause string) ledger.TaskLease {
		w.Helper()
		t := w.task("a", time.Hour)
		w.ok(w.l.ReturnTask(w.ctx, t, ledger.TaskReturn{Cause: cause, Wait: time.Hour}))
		return t
	}
	w.same([]any{"2026-01-02", 1}, func() []any { t := fail("no disk"); return []any{t.Day, t.Tries} }())
	w.same("2026-01-01", fail("no lake").Day)
	none("both wait")
	b = w.backfill(b.ID)
	w.same([]any{ledger.Running, int64(2), "2026-01-01: no lake"}, []any{b.State, b.Waiting, b.Trouble})
	for i, task := range must(w.l.BackfillTasks(w.ctx, b.ID))(w) {
		w.same([]any{ledger.Queued, []string{"no disk", "no lake"}[i], false}, []any{task.State, task.Error, task.After.IsZero()})
		if b.NextTry.After(task.After) {
			w.Fatalf("the next try is said to be at %s, that of %s at %s", b.NextTry, task.Day, task.After)
		}
	}
	w.same(false, must(w.l.Finish(w.ctx, b.ID))(w)) // it has not ended
	w.same(ledger.Running, w.backfill(b.ID).State)

	w.ok(w.l.Steer(w.ctx, b.ID, ledger.Retry))
	b = w.backfill(b.ID)
	w.same([]any{ledger.Running, int64(0), true, "2026-01-01: no lake"}, []any{b.State, b.Waiting, b.NextTry.IsZero(), b.Trouble})
	w.same(1, fail("again").Tries) // as often as a new one
	w.ok(w.sealTask(w.task("a", time.Hour), 1))
	w.same("2026-01-02: again", w.backfill(b.ID).Trouble)

	w.ok(w.l.Steer(w.ctx, b.ID, ledger.Pause))
	w.ok(w.l.Steer(w.ctx, b.ID, ledger.Retry)) // of one that is paused: it stays so
	w.same([]any{ledger.Paused, int64(0)}, []any{w.backfill(b.ID).State, w.backfill(b.ID).Waiting})
	none("it is paused")
	w.ok(w.l.Steer(w.ctx, b.ID, ledger.Resume))
	fail("and again")
	w.ok(w.l.Steer(w.ctx, b.ID, ledger.Pause))
	w.ok(w.l.Steer(w.ctx, b.ID, ledger.Resume))
	none("a pause is no retry")
	w.ok(w.l.Steer(w.ctx, b.ID, ledger.Cancel))
	b = w.backfill(b.ID)
	w.same([]any{ledger.Cancelled, int64(0), ""}, []any{b.State, b.Waiting, b.Trouble})
	none("it is cancelled")

	b = w.history("h3")
	w.listDays(b.ID, "2026-01-01")
	w.ok(w.l.ReturnTask(w.ctx, w.task("a", time.Hour), ledger.TaskReturn{Cause: "slow", Wait: -time.Second}))
	t := w.task("a", time.Hour) // the wait is over
	w.same(2, t.Tries)
	w.ok(w.l.ReturnTask(w.ctx, t, ledger.TaskReturn{Wait: time.Hour}))
	w.same(2, w.task("a", time.Hour).Tries) // told to stop: that was no failure
}

func steerBackfills(_ *testing.T, w *world) {
	b := w.history("h2")
	w.fails(w.l.Steer(w.ctx, 99, ledger.Pause), fault.Record, "unknown_backfill")
	for _, action := range []string{ledger.Resume, ledger.Retry, ledger.Rollback, "dance"} {
		w.fails(w.l.Steer(w.ctx, b.ID, action), fault.Record, "backfill_state")
	}
	w.ok(w.l.Steer(w.ctx, b.ID, ledger.Pause))
	w.listDays(b.ID, "2026-01-01") // not while it is paused
	w.same(0, len(w.backfill(b.ID).Tasks))
	w.ok(w.l.Steer(w.ctx, b.ID, ledger.Resume))
	w.listDays(b.ID, "2026-01-01", "2026-01-02")
	t := w.task("a", time.Hour)
	w.ok(w.l.Steer(w.ctx, b.ID, ledger.Pause))
	if next := must(w.l.LeaseTask(w.ctx, "b", time.Hour))(w); next != nil {
		w.Fatalf("a task of a paused back-fill: %+v", next)
	}
	w.ok(w.sealTask(t, 5)) // what runs may end
	w.ok(w.l.Steer(w.ctx, b.ID, ledger.Resume))
	t = w.task("a", time.Hour)
	w.ok(w.l.Steer(w.ctx, b.ID, ledger.Cancel))
	w.fails(w.sealTask(t, 6), fault.Lost, "task_lost")
	w.same(map[string]string{"h1": ledger.Serving, "h2": ledger.Dropped}, w.states())
	w.same([]byte(`{"a":1}`), w.load().Views[0].Metadata)
	w.fails(w.l.Steer(w.ctx, b.ID, ledger.Cancel), fault.Record, "backfill_state")
	lease := w.lease("backfill")
	w.same(int64(1), must(w.l.DropSegments(w.ctx, lease))(w))
	w.same(int64(0), must(w.l.DropSegments(w.ctx, lease))(w))
	w.same([]int64{}, w.bucketsOf(b.Version))
	second := w.history("h3")
	third := w.history("h4") // takes the place of the one that is built
	w.same(ledger.Cancelled, w.backfill(second.ID).State)
	w.same(ledger.Queued, w.backfill(third.ID).State)
	w.ok(w.applyView(ledger.ViewChange{Metadata: []byte(`{"a":1}`), Keep: true})) // the file is as it was
	w.same(ledger.Cancelled, w.backfill(third.ID).State)
	w.same("h1", w.read(ledger.Read{}).Version.Hash)
}

func rollbackStandby(_ *testing.T, w *world) {
	b := w.history("h2")
	w.listDays(b.ID)
	w.same(true, must(w.l.Finish(w.ctx, b.ID))(w))
	w.ok(w.l.Steer(w.ctx, b.ID, ledger.Rollback))
	w.same(map[string]string{"h1": ledger.Serving, "h2": ledger.Standby}, w.states())
	w.same([]byte(`{"a":1}`), w.load().Views[0].Metadata)
	w.fails(w.l.Steer(w.ctx, b.ID, ledger.Rollback), fault.Record, "backfill_state")
	// the definition of the standby version switches back, and its names come with it
	w.ok(w.applyView(ledger.ViewChange{Hash: "h2", Definition: []byte("{}"), Metadata: []byte(`{"of":"h2"}`), State: ledger.Building}))
	w.same("h2", w.read(ledger.Read{}).Version.Hash)
	w.same([]byte(`{"of":"h2"}`), w.load().Views[0].Metadata)
	b = w.switchedBack("h2", "h1")
	lease, epoch := w.lease("backfill"), w.epoch()
	w.same(int64(0), must(w.l.ExpireStandby(w.ctx, lease, time.Now().Add(-time.Hour)))(w))
	w.same(epoch, w.epoch())
	w.same(int64(1), must(w.l.ExpireStandby(w.ctx, lease, time.Now().Add(time.Hour)))(w))
	w.same(epoch+1, w.epoch())
	w.same(map[string]string{"h1": ledger.Dropped, "h2": ledger.Serving}, w.states())
	w.fails(w.l.Steer(w.ctx, b.ID, ledger.Rollback), fault.Record, "backfill_state")
}

// switchedBack has the definition of the version that serves take turns with the one that stands by: each time it is
// applied there is something to roll back, once, and no history is listed. It ends as it began.
func (w *world) switchedBack(serves, stands string) ledger.Backfill {
	w.Helper()
	apply := func(hash string) ledger.Backfill {
		w.Helper()
		filling, before := w.read(ledger.Read{Version: ledger.Standby}).Filling, must(w.l.Backfills(w.ctx, 0))(w)
		w.ok(w.applyView(ledger.ViewChange{Hash: hash, Definition: []byte("{}"), Metadata: []byte(`{"of":"` + hash + `"}`), State: ledger.Building, Plan: []byte(`{"p":2}`), Engine: "other"}))
		all := must(w.l.Backfills(w.ctx, 0))(w)
		w.same(len(before)+1, len(all))
		b := all[0]
		w.same([]any{hash, ledger.Serving, ledger.Done, ledger.EngineKernel, `{"p":2}`, 0}, []any{b.Hash, b.VersionIs, b.State, b.Engine, string(b.Plan), len(b.Tasks)})
		w.same(filling, w.read(ledger.Read{}).Filling)
		return b
	}
	back := apply(stands)
	w.same(map[string]string{stands: ledger.Serving, serves: ledger.Standby}, w.states())
	w.ok(w.l.Steer(w.ctx, back.ID, ledger.Rollback))
	w.same(map[string]string{stands: ledger.Standby, serves: ledger.Serving}, w.states())
	w.fails(w.l.Steer(w.ctx, back.ID, ledger.Rollback), fault.Record, "backfill_state")
	// Those before it are of the version that serves, too: to undo one of them would be to do the last one again.
	for _, b := range must(w.l.Backfills(w.ctx, 0))(w) {
		w.fails(w.l.Steer(w.ctx, b.ID, ledger.Rollback), fault.Record, "backfill_state")
	}
	w.same(map[string]string{stands: ledger.Standby, serves: ledger.Serving}, w.states())
	apply(stands)
	return apply(serves)
}

// A version without history can be rolled back as any other, and has no history to speak of.
func rollbackForward(_ *testing.T, w *world) {
	w.history("h2")
	w.ok(w.applyView(ledger.ViewChange{Hash: "h3", Definition: []byte("{}"), Metadata: []byte(`{"of":"h3"}`), State: ledger.Serving, Plan: []byte(`{"category":"forward"}`)}))
	w.same(map[string]string{"h1": ledger.Standby, "h2": ledger.Dropped, "h3": ledger.Serving}, w.states())
	b := must(w.l.Backfills(w.ctx, 0))(w)[0]
	w.same([]any{"h3", ledger.Done, 0, `{"category":"forward"}`}, []any{b.Hash, b.State, len(b.Tasks), string(b.Plan)})
	if data := w.read(ledger.Read{}); data.Filling != nil || data.Version.Hash != "h3" {
		w.Fatalf("%+v of %s", data.Filling, data.Version.Hash)
	}
	w.ok(w.l.Steer(w.ctx, b.ID, ledger.Rollback))
	w.same(map[string]string{"h1": ledger.Serving, "h2": ledger.Dropped, "h3": ledger.Standby}, w.states())
	w.fails(w.l.Steer(w.ctx, b.ID, ledger.Rollback), fault.Record, "backfill_state")
}

func applyAll(_ *testing.T, w *world) {
	w.setup()
	geo := schema()
	geo.Name = "geo"
	err := w.l.Apply(w.ctx, ledger.Change{Stream: "geo", Schema: geo}, ledger.Change{Stream: stream, Epoch: 1, Schema: schema("x")})
	w.fails(err, fault.Stale, "plan_stale")
	w.same(1, len(w.load().Streams))
	w.ok(w.l.Apply(w.ctx, ledger.Change{Stream: "geo", Schema: geo}, ledger.Change{Stream: stream, Epoch: w.epoch(), Schema: schema("category", "x")}))
	w.same([]int{1, 2}, []int{len(w.load().Streams[0].Schemas), len(w.load().Streams[1].Schemas)})
}
