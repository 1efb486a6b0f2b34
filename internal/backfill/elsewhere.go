package backfill

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/pinflow/pinflow/internal/expr"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/fold"
	"github.com/pinflow/pinflow/internal/history"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/metric"
)

// Engine folds days elsewhere than in this process.
type Engine interface {
	// Fold shows the states of a job's rows to fn, block by block, and tells how many rows they are of. No block is
	// shown before all are made, so a Fold that failed before is one that can be repeated. It ends with ctx.
	// fault.Config: the engine cannot be had here, and the job was not begun.
	Fold(ctx context.Context, job history.Job, fn func(*fold.States) error) (rows int64, err error)
	// Rest says that there is no work now.
	Rest()
	// Close gives back what it holds.
	Close()
}

// holdEvery is how often a worker looks whether it still has the day that an engine works on.
const holdEvery = 2 * time.Second

// errNoEngine: this worker cannot have the engine; another may.
var errNoEngine = errors.New("the engine cannot be had")

// errPaused: somebody paused the back-fill. Another engine's day would go on for long.
var errPaused = errors.New("the back-fill was paused")

// engines are those that the worker has, as far as it knows.
func (w *Worker) engines() []string {
	if w.cfg.Spark == nil || time.Now().Before(w.without) {
		return []string{ledger.EngineKernel}
	}
	return []string{ledger.EngineKernel, ledger.EngineSpark}
}

// elsewhere folds the selected rows by statements in another engine; and here those rows of which it cannot read
// what the view needs: of files that are not to be read without Iceberg, and of schemas older than a field that the
// view reads, whose value only the original members hold.
func (d *day) elsewhere(ctx context.Context, sel lake.Selection) error {
	files, columns, err := d.w.lake.Files(ctx, sel)
	if err != nil {
		return err
	}
	if d.t.Log != 0 {
		files = slices.DeleteFunc(files, func(f lake.DataFile) bool { return !f.Logs.Has(int64(d.t.Log)) })
	}
	at := (d.end - 1) / (24 * time.Hour).Microseconds()
	rows := metric.Rows{Day: &at, Log: int64(d.t.Log)}
	if d.t.Log == 0 {
		rows.Below = d.cuts(files)
	}
	statements, err := d.r.Statements(expr.Spark, rows)
	if err != nil {
		return err
	}
	job := history.Job{
		Name: fmt.Sprintf("task-%d-%d", d.t.ID, d.t.Number), About: fmt.Sprintf("%s, %s", d.t.View, d.t.Day), Columns: columns, Statements: statements,
	}
	for n := max(1, d.t.Number-ledger.MaxTries); n < d.t.Number; n++ {
		job.Before = append(job.Before, fmt.Sprintf("task-%d-%d", d.t.ID, n))
	}
	oldest := int64(d.r.OlderBelow())
	var older, whole []string
	for _, f := range files {
		switch {
		case !f.Plain:
			whole = append(whole, f.At)
			continue
		case f.Schemas.Least < oldest:
			older = append(older, f.At)
		}
		if f.Schemas.Most >= oldest {
			job.Files = append(job.Files, f)
		}
	}
	if err := d.ask(ctx, job); err != nil {
		return err
	}
	if err := d.kernel(ctx, sel, whole, d.r.Add); err != nil {
		return err
	}
	return d.kernel(ctx, sel, older, d.r.AddOlder)
}

// cuts are those of the version that rows of the files can lie below.
func (d *day) cuts(files []lake.DataFile) []metric.Cut {
	out := []metric.Cut{}
	for k, to := range d.r.Version.Cut {
		if slices.ContainsFunc(files, func(f lake.DataFile) bool { return f.Logs.Has(int64(k.Log)) }) {
			out = append(out, metric.Cut{Log: int64(k.Log), Partition: k.Partition, Offset: to})
		}
	}
	slices.SortFunc(out, func(a, b metric.Cut) int {
		if a.Log != b.Log {
			return int(a.Log - b.Log)
		}
		return int(a.Partition - b.Partition)
	})
	return out
}

// kernel folds the selected rows of some files here.
func (d *day) kernel(ctx context.Context, sel lake.Selection, files []string, add func(*lake.Block, history.Bounds) error) error {
	if len(files) == 0 {
		return nil
	}
	sel.Files = files
	_, err := d.w.lake.Scan(ctx, sel, func(b *lake.Block) error { return d.block(ctx, b, add) })
	return err
}

// ask has the engine do the job, as long as the day is ours.
func (d *day) ask(ctx context.Context, job history.Job) error {
	work, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	held := make(chan struct{})
	job.Progress = func(done, all int) { // an engine finds more to do while it works
		d.about.Store(max(d.about.Load(), d.t.Expect*int64(done)/int64(max(all, 1))))
	}
	go func() {
		defer close(held)
		cancel(d.hold(work))
	}()
	rows, err := d.w.cfg.Spark.Fold(work, job, func(s *fold.States) error { return d.take(work, s) })
	cancel(nil)
	<-held
	if why := context.Cause(work); err != nil && why != nil && !errors.Is(why, context.Canceled) {
		return why
	}
	if fault.Is(err, fault.Config) {
		return fmt.Errorf("%w by worker %s: %w", errNoEngine, d.w.cfg.Owner, err)
	}
	d.w.lacks = 0
	d.away += rows
	d.w.m.Rows.Add(float64(rows))
	d.renewed, d.worked = time.Now(), time.Now()
	return err
}

// hold keeps the task's lease until ctx ends, and says why the work has to end before.
func (d *day) hold(ctx context.Context) error {
	tick := time.NewTicker(holdEvery)
	defer tick.Stop()
	renewed := time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		t := *d.t
		t.Rows = d.about.Load()
		err := d.w.store.RenewTask(ctx, t, leaseTTL)
		if err == nil {
			renewed = time.Now()
			var all []ledger.Backfill
			all, err = d.w.store.Backfills(ctx, d.t.Backfill)
			if err == nil && len(all) == 1 && all[0].State == ledger.Paused {
				return errPaused
			}
		}
		// A ledger that is away for a moment is no reason to give up the work of an hour.
		if err != nil && ctx.Err() == nil && (fault.Is(err, fault.Lost) || time.Since(renewed) > leaseTTL-2*holdEvery) {
			return err
		}
	}
}

// take keeps states that the engine made, and writes them down when they take much memory.
func (d *day) take(ctx context.Context, s *fold.States) error {
	d.states = append(d.states, s)
	if d.size += s.Bytes(); d.size <= d.w.cfg.MaxBytes {
		return nil
	}
	return d.spill(ctx)
}
