package backfill_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/pinflow/pinflow/internal/backfill"
	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/fold"
	"github.com/pinflow/pinflow/internal/history"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/prove"
	"github.com/pinflow/pinflow/internal/span"
	"github.com/pinflow/pinflow/internal/testbed"
)

// fileName is the data file that holds a block of a day.
func fileName(sel lake.Selection, block int) string {
	return fmt.Sprintf("%s/%d", time.UnixMicro(sel.From).UTC().Format(time.DateOnly), block)
}

// Files tells of each block as a file; every fourth is one of which another engine has deleted rows.
func (p *pond) Files(_ context.Context, sel lake.Selection) ([]lake.DataFile, []lake.FileColumn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.trouble(); err != nil {
		return nil, nil, err
	}
	var files []lake.DataFile
	for i, b := range p.days[time.UnixMicro(sel.From).UTC().Format(time.DateOnly)] {
		ints := func(name string) []int64 { return b.Cols[b.Index(name)].Ints }
		f := lake.DataFile{At: fileName(sel, i), Rows: int64(b.N), Plain: i%4 != 3}
		f.Logs = lake.Within{Least: slices.Min(ints(event.ColumnLog)), Most: slices.Max(ints(event.ColumnLog))}
		f.Schemas = lake.Within{Least: slices.Min(ints(event.ColumnSchema)), Most: slices.Max(ints(event.ColumnSchema))}
		files = append(files, f)
	}
	return files, nil, nil
}

// elsewhere stands in for an engine that is asked statements: it folds the rows that they are about.
type elsewhere struct {
	w     *world
	cut   int64
	jobs  atomic.Int64
	rests atomic.Int64
	ended atomic.Int64
	does  func(ctx context.Context) error // instead, if it says anything
	tells func(func(done, all int))       // of its progress
}

func (e *elsewhere) Fold(ctx context.Context, job history.Job, fn func(*fold.States) error) (int64, error) {
	e.jobs.Add(1)
	if e.tells != nil {
		e.tells(job.Progress)
	}
	if e.does != nil {
		if err := e.does(ctx); err != nil {
			return 0, err
		}
	}
	rows := int64(0)
	for _, s := range job.Statements {
		if !strings.Contains(s.SQL, fmt.Sprintf("`_offset` < %d", e.cut)) || !strings.Contains(s.SQL, "`_schema` IN (") {
			return 0, fmt.Errorf("it is asked about other rows: %s", s.SQL)
		}
		f := fold.New(s.Compiled)
		for _, file := range job.Files {
			day, at, _ := strings.Cut(file.At, "/")
			var block int
			if _, err := fmt.Sscan(at, &block); err != nil {
				return 0, err
			}
			e.w.lake.mu.Lock()
			b := e.w.lake.days[day][block]
			e.w.lake.mu.Unlock()
			var below []int32
			for i, offset := range b.Cols[b.Index(event.ColumnOffset)].Ints {
				if offset < e.cut {
					below = append(below, int32(i))
				}
			}
			rows += int64(len(below))
			if err := f.Add(lake.Rows(b.Pick(below), s.Compiled.Schema)); err != nil {
				return 0, err
			}
		}
		for _, st := range f.Take() {
			if err := fn(st); err != nil {
				return 0, err
			}
		}
	}
	return rows, nil
}

func (e *elsewhere) Rest()  { e.rests.Add(1) }
func (e *elsewhere) Close() { e.ended.Add(1) }

func (w *world) engine() string {
	if w.spark == nil {
		return ""
	}
	return ledger.EngineSpark
}

// jobs are a manager and workers of a configuration each.
func (w *world) jobs(manager backfill.Config, workers ...backfill.Config) []func(context.Context) error {
	w.t.Helper()
	m, err := backfill.NewManager(manager, quiet(), w.led, w.lake)
	w.ok(err)
	all, metrics := []func(context.Context) error{m.Run}, backfill.NewMetrics(prometheus.NewRegistry())
	for _, cfg := range workers {
		worker, err := backfill.NewWorker(cfg, quiet(), metrics, w.led, w.lake)
		w.ok(err)
		all = append(all, worker.Run)
	}
	return all
}

// older and newer rows, a view that reads a field that the older ones lack, and an engine for the rest.
func newSparkWorld(t *testing.T) (*world, ledger.ViewVersion) {
	t.Helper()
	w := newWorld(t, testbed.Seed(t))
	w.fill(w.schema(1, stream()), 1000, 4)
	grown := stream(event.Field{Name: "points", Type: "long", From: "score"})
	w.ok(w.led.Apply(t.Context(), ledger.Change{Stream: "pin", Epoch: w.snap().Streams[0].Epoch, Schema: grown}))
	for range 4 {
		w.fill(w.schema(2, grown), 400, 4)
	}
	w.pass(ledger.Batch, ledger.Stage, 2600)
	w.pass(ledger.Live, ledger.Flush, 2500)
	w.spark = &elsewhere{w: w, cut: 2600}
	v := w.view("points", "")
	if v.Cut[span.Key{Log: w.log}] != 2600 {
		t.Fatalf("the cut is %v", v.Cut)
	}
	return w, v
}

// M4: what another engine folds and what it cannot read are together the history, each row once, whatever fails.
func TestHistoryOfAnotherEngine(t *testing.T) {
	prove.Invariant(t, "M4", prove.SQLite)
	for name, oneIn := range map[string]int64{"smooth": 0, "trouble": 3} {
		t.Run(name, func(t *testing.T) {
			w, _ := newSparkWorld(t)
			if oneIn > 0 {
				w.spark.does = func(context.Context) error {
					if w.spark.jobs.Load()%oneIn == 1 {
						return fault.New(fault.Transient, "spark_failed", "an executor is gone")
					}
					return nil
				}
			}
			b := w.run(2)
			got, _ := w.stored()
			if diff := cmp.Diff(w.below(2600, time.Time{}), got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			if b.Rows != 2600 || b.Engine != ledger.EngineSpark || len(w.lake.tags) > 0 {
				t.Errorf("%+v, pinned %v", b, w.lake.tags)
			}
			if s := w.spark; s.jobs.Load() < 4 || s.ended.Load() != 2 || s.rests.Load() == 0 {
				t.Errorf("%d jobs, told %d times that there is nothing to do, closed %d times", s.jobs.Load(), s.rests.Load(), s.ended.Load())
			}
		})
	}
}

// A back-fill that is paused takes its engine's work back, untried; one that is cancelled ends it; a reason why it
// failed is kept.
func TestAnotherEngineIsStopped(t *testing.T) {
	t.Parallel()
	w, _ := newSparkWorld(t)
	begun, ends := make(chan struct{}), make(chan error, 1)
	w.spark.tells = func(tell func(done, all int)) { tell(3, 4); tell(5, 8) }
	w.spark.does = func(ctx context.Context) error {
		begun <- struct{}{}
		<-ctx.Done()
		ends <- context.Cause(ctx)
		return context.Cause(ctx)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cfg := backfill.Config{Owner: "m", Every: time.Millisecond, Spark: w.spark}
	done := make(chan error, 2)
	for _, run := range w.jobs(cfg, cfg) {
		go func() { done <- run(ctx) }()
	}
	<-begun
	id := int64(1)
	w.ok(w.led.Steer(t.Context(), id, ledger.Pause))
	if why := <-ends; why == nil || !strings.Contains(why.Error(), "paused") {
		t.Errorf("it was stopped by %v", why)
	}
	w.ok(w.led.Steer(t.Context(), id, ledger.Resume))
	<-begun
	tasks, err := w.led.BackfillTasks(t.Context(), id)
	w.ok(err)
	for tasks[0].Rows != tasks[0].Expect*3/4 {
		tasks, err = w.led.BackfillTasks(t.Context(), id)
		w.ok(err)
	}
	if tasks[0].Tries != 1 || tasks[0].Number != 2 || tasks[0].Error != "" {
		t.Errorf("a pause counts as a try: %+v", tasks[0])
	}
	w.ok(w.led.Steer(t.Context(), id, ledger.Cancel))
	if why := <-ends; !fault.Is(why, fault.Lost) {
		t.Errorf("it was stopped by %v", why)
	}
	cancel()
	w.ok(errors.Join(<-done, <-done))
}

// A worker that cannot have the engine leaves its days to one that can, and says what it lacks; no day loses a try.
func TestAnotherEngineIsMissing(t *testing.T) {
	w, _ := newSparkWorld(t)
	here := &elsewhere{w: w, cut: 2600, does: func(context.Context) error {
		return fault.New(fault.Config, "no_spark", "there is no spark-submit").WithAdvice("install it")
	}}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 3)
	bare := backfill.Config{Owner: "bare", Every: time.Millisecond, Spark: here}
	fit := bare
	fit.Owner, fit.Spark = "fit", w.spark
	jobs := w.jobs(bare, bare, fit)
	get := func() ledger.Backfill {
		t.Helper()
		all, err := w.led.Backfills(ctx, 1)
		w.ok(err)
		return all[0]
	}
	for _, run := range jobs[:2] {
		go func() { done <- run(ctx) }()
	}
	b := get()
	for b.Trouble == "" || b.Tasks[ledger.Running] > 0 {
		b = get()
	}
	if !strings.Contains(b.Trouble, "by worker bare: there is no spark-submit: install it") || b.Waiting != 0 || b.Tasks[ledger.Failed] != 0 {
		t.Errorf("%+v", b)
	}
	go func() { done <- jobs[2](ctx) }()
	for b = get(); b.State != ledger.Done; b = get() {
		if b.State == ledger.Failed {
			t.Fatalf("%+v", b)
		}
	}
	tasks, err := w.led.BackfillTasks(ctx, 1)
	w.ok(err)
	for _, x := range tasks {
		if x.Holder != "fit" || x.Tries != 1 {
			t.Errorf("%+v", x)
		}
	}
	cancel()
	w.ok(errors.Join(<-done, <-done, <-done))
	got, _ := w.stored()
	if diff := cmp.Diff(w.below(2600, time.Time{}), got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

// What only the kernel can do fails with the reason, once, and a worker without the engine leaves its days alone.
func TestAnotherEngineRefuses(t *testing.T) {
	w := newWorld(t, testbed.Seed(t))
	w.fill(w.schema(1, stream()), 100, 1)
	w.pass(ledger.Batch, ledger.Stage, 100)
	w.spark = &elsewhere{w: w}
	w.view("cast(_extra.score as long)", "")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 3)
	without := backfill.Config{Owner: "m", Every: time.Millisecond}
	with := without
	with.Owner, with.Spark = "w", w.spark
	for _, run := range w.jobs(without, without, with) {
		go func() { done <- run(ctx) }()
	}
	for b := (ledger.Backfill{}); b.State != ledger.Failed; {
		all, err := w.led.Backfills(ctx, 1)
		w.ok(err)
		b = all[0]
	}
	tasks, err := w.led.BackfillTasks(ctx, 1)
	w.ok(err)
	for _, x := range tasks {
		if x.Holder != "w" || x.State != ledger.Failed || x.Tries != 1 || !strings.Contains(x.Error, "only the kernel has") || !strings.Contains(x.Error, "scores") {
			t.Errorf("%+v", x)
		}
	}
	cancel()
	w.ok(errors.Join(<-done, <-done, <-done))
	if w.spark.jobs.Load() != 0 {
		t.Error("it was asked all the same")
	}
}
