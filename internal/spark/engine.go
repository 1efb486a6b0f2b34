package spark

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/parquet"

	"github.com/pinflow/pinflow/internal/column"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/fold"
	"github.com/pinflow/pinflow/internal/history"
)

// idleAfter is how long a driver without work is kept: its start takes seconds, its executors are others' meanwhile.
const idleAfter = 30 * time.Second

// progressEvery is how often progress is told.
const progressEvery = 10 * time.Second

// Staging is the place in the lake where Spark leaves states.
type Staging interface {
	Staged(job string) string
	OpenStaged(at string) (parquet.ReaderAtSeeker, error)
	RemoveStaged(job string) error
}

// Engine folds jobs, one at a time, in a driver that it starts when there is one. It is not safe for concurrent use.
type Engine struct {
	cfg     Config
	log     *slog.Logger
	staging Staging
	session *session
	last    time.Time // when it had work
}

// New returns an engine that has started nothing.
func New(cfg Config, log *slog.Logger, staging Staging) *Engine {
	return &Engine{cfg: cfg, log: log, staging: staging}
}

// Fold has Spark do a job, shows the states to fn, block by block, and tells how many rows they are of. When ctx ends
// Spark is ended, too. fault.Transient spark_failed has Spark's reason; fault.Config no_spark: it did not start.
func (e *Engine) Fold(ctx context.Context, job history.Job, fn func(*fold.States) error) (rows int64, err error) {
	if len(job.Files) == 0 || len(job.Statements) == 0 {
		return 0, nil
	}
	defer func() {
		if cleanErr := e.staging.RemoveStaged(job.Name); cleanErr != nil && err == nil {
			e.log.Info("states that were read are left in the lake's folder", "job", job.Name, "error", cleanErr)
		}
		e.last = time.Now()
	}()
	for _, name := range job.Before {
		if err := e.staging.RemoveStaged(name); err != nil {
			return 0, fmt.Errorf("removing what an earlier try left: %w", err)
		}
	}
	a, err := e.askOf(job)
	if err != nil {
		return 0, err
	}
	m, err := e.run(ctx, a, job.Progress)
	if err != nil {
		return 0, err
	}
	if len(m.Rows) != len(job.Statements) || len(m.Wrote) != len(job.Statements) {
		return 0, fault.New(fault.Transient, "spark_failed", "Spark answered %d of %d statements", len(m.Wrote), len(job.Statements))
	}
	for i, s := range job.Statements {
		rows += m.Rows[i]
		for _, at := range m.Wrote[i] {
			if err := e.read(ctx, s.Compiled, ours(at), fn); err != nil {
				return 0, fmt.Errorf("reading states of Spark, %s: %w", at, err)
			}
		}
	}
	return rows, nil
}

// run has the driver answer, which is started if there is none.
func (e *Engine) run(ctx context.Context, a ask, progress func(done, all int)) (m message, err error) {
	if e.session != nil && e.session.dead() {
		e.Close()
	}
	if e.session == nil {
		e.session, err = start(ctx, e.cfg, e.log)
		switch {
		case err == nil:
		case ctx.Err() != nil || fault.CodeOf(err) == "no_spark":
			return m, err
		default: // a master that is away, a Java that is missing: that is no fault of the job
			return m, fault.New(fault.Config, "no_spark", "starting Spark by %s, master %s: %w", e.cfg.Submit, e.cfg.Master, err)
		}
	}
	told := time.Now()
	m, err = e.session.do(ctx, a, func(done, all int) {
		if progress != nil {
			progress(done, all)
		}
		if time.Since(told) > progressEvery {
			told = time.Now()
			e.log.Info("Spark is at work", "on", a.About, "application", e.session.greeting.Application, "tasks", all, "done", done)
		}
	})
	if err != nil {
		e.session.stop(true)
		e.session = nil
		return m, err
	}
	if m.Error != "" {
		return m, fault.New(fault.Transient, "spark_failed", "Spark (%s): %s", e.session.greeting.Application, m.Error).
			WithAdvice("set right what Spark says; the day is tried again")
	}
	return m, nil
}

// Rest says that there is no work now: a driver that had none for a while is ended.
func (e *Engine) Rest() {
	if e.session != nil && time.Since(e.last) > idleAfter {
		e.Close()
	}
}

// Close ends the driver.
func (e *Engine) Close() {
	if e.session != nil {
		e.log.Info("Spark is let go", "application", e.session.greeting.Application)
		e.session.stop(false)
		e.session = nil
	}
}

// askOf is the job as the driver takes it.
func (e *Engine) askOf(job history.Job) (ask, error) {
	a := ask{About: job.About, Files: make([]string, len(job.Files))}
	for i, f := range job.Files {
		a.Files[i] = theirs(f.At)
	}
	fields := make([]any, len(job.Columns))
	for i, c := range job.Columns {
		t, err := typeOf(c.Kind)
		if err != nil {
			return a, fmt.Errorf("column %s: %w", c.Name, err)
		}
		f := map[string]any{"name": c.Name, "type": t, "nullable": true, "metadata": map[string]any{}}
		if c.ID != 0 {
			f["metadata"] = map[string]any{"parquet.field.id": c.ID}
		}
		fields[i] = f
	}
	a.Schema = map[string]any{"type": "struct", "fields": fields}
	for i, s := range job.Statements {
		a.Counts, a.Statements = append(a.Counts, s.Count), append(a.Statements, s.SQL)
		a.To = append(a.To, fmt.Sprintf("%s/%d", theirs(e.staging.Staged(job.Name)), i))
	}
	return a, nil
}

// typeOf is the type of a column in the words of Spark's schemas.
func typeOf(kind column.Kind) (any, error) {
	switch kind {
	case column.Long:
		return "long", nil
	case column.Double:
		return "double", nil
	case column.Boolean:
		return "boolean", nil
	case column.Timestamptz:
		return "timestamp", nil
	case column.Date:
		return "date", nil
	case column.String, column.JSON:
		return "string", nil
	case column.List:
		return map[string]any{"type": "array", "elementType": "string", "containsNull": true}, nil
	case column.Invalid:
	}
	return nil, fmt.Errorf("no type of Spark's for %s", kind)
}

// theirs is a location as Spark takes it: its client of S3 is that of s3a, and a path is not escaped.
func theirs(at string) string {
	if rest, ok := strings.CutPrefix(at, "s3://"); ok {
		return "s3a://" + rest
	}
	if u, err := url.Parse(at); err == nil && u.Scheme == "file" {
		return "file://" + u.Path
	}
	return at
}

// ours is a location as Spark tells it, escaped in its way, as the lake has it.
func ours(at string) string {
	if rest, ok := strings.CutPrefix(at, "s3a://"); ok {
		if plain, err := url.PathUnescape(rest); err == nil {
			rest = plain
		}
		return "s3://" + rest
	}
	if u, err := url.Parse(at); err == nil && u.Scheme == "file" {
		return (&url.URL{Scheme: "file", Path: u.Path}).String()
	}
	return at
}
