package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/expr"
	"github.com/pinflow/pinflow/internal/fold"
	"github.com/pinflow/pinflow/internal/history"
	"github.com/pinflow/pinflow/internal/icelake"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/metric"
	"github.com/pinflow/pinflow/internal/spark"
)

var historyBench = bench{
	name: "history", title: "back-fill by the kernel and by Apache Spark",
	how: "The lake of `backfill`, two views, one after the other on the same machine: by the kernel in this process, and by the engine `spark` (Spark 3.5.7, `local[2]`, 2 GiB) as a worker runs it: files of the day, statement, states as Parquet, read back. The first day starts Spark; the figure is the second one's, which it is warm for. `sketches` has a distinct count and two percentiles beside count and sum.",
	run: runHistory,
}

func runHistory(ctx context.Context, e *env) ([]figure, error) {
	if err := e.script(ctx, "venv", "spark"); err != nil {
		return nil, fmt.Errorf("installing Spark: %w", err)
	}
	l, err := e.newLake(ctx)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	stream, views, err := backfillViews()
	if err != nil {
		return nil, err
	}
	rows, err := fillLake(ctx, e, l, stream)
	if err != nil {
		return nil, err
	}
	half, most := 0.5, 0.95
	sketches := metric.View{
		Version: 1, Name: "sketches", Stream: "pin", Grain: "hour", Dimensions: []metric.Dimension{{Name: "category"}},
		Measures: []metric.Measure{
			{Name: "posted", Agg: "count"},
			{Name: "reach", Agg: "sum", Expr: "follower_count"},
			{Name: "posters", Agg: "count_distinct_approx", Expr: "poster_name"},
			{Name: "p50", Agg: "percentile", Percentile: &half, Expr: "follower_count"},
			{Name: "p95", Agg: "percentile", Percentile: &most, Expr: "follower_count"},
		},
	}
	engine := spark.New(spark.Config{
		Submit: filepath.Join(e.root, ".cache/venv-spark/bin/spark-submit"), Master: "local[2]", Conf: []string{"spark.driver.memory=2g"},
	}, e.log, l)
	defer engine.Close()
	var out []figure
	for i, v := range []metric.View{views[0], sketches} {
		_, kernel, err := backfillRate(ctx, l, stream, v, rows)
		if err != nil {
			return nil, err
		}
		var rates [2]float64 // first and second time
		for k := range rates {
			if rates[k], err = sparkRate(ctx, engine, l, stream, v, rows, 2*i+k); err != nil {
				return nil, err
			}
		}
		if i == 0 {
			out = append(out, fact(v.Name+", Spark with its start", rates[0], "rows/s"))
		}
		out = append(out, fact(v.Name+", kernel", kernel, "rows/s"), fact(v.Name+", Spark warm", rates[1], "rows/s"), fact(v.Name+", kernel ÷ Spark warm", kernel/rates[1], "times"))
	}
	return out, nil
}

// sparkRate folds all of the lake for a view in Spark: rows by second of wall clock.
func sparkRate(ctx context.Context, engine *spark.Engine, l *icelake.Lake, stream *event.Stream, v metric.View, rows int64, n int) (float64, error) {
	r, err := historyOf(stream, v)
	if err != nil {
		return 0, err
	}
	snapshot, err := l.Pin(ctx, "pin", "bench", 0)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	files, columns, err := l.Files(ctx, lake.Selection{Table: "pin", Snapshot: snapshot, Columns: r.Columns(), To: math.MaxInt64})
	if err != nil {
		return 0, err
	}
	statements, err := r.Statements(expr.Spark, metric.Rows{Below: []metric.Cut{{Log: 1, Offset: math.MaxInt64}}})
	if err != nil {
		return 0, err
	}
	groups := 0
	job := history.Job{Name: fmt.Sprintf("bench-%d-%d", os.Getpid(), n), About: v.Name, Files: files, Columns: columns, Statements: statements}
	got, err := engine.Fold(ctx, job, func(s *fold.States) error { groups += s.N; return nil })
	if err != nil {
		return 0, err
	}
	if got != rows || groups == 0 {
		return 0, fmt.Errorf("spark folded %d rows of %d into %d groups", got, rows, groups)
	}
	return float64(rows) / time.Since(began).Seconds(), nil
}

// historyOf is a reader of a view's first version.
func historyOf(stream *event.Stream, v metric.View) (*history.Reader, error) {
	schema, err := event.Compile(*stream, 1)
	if err != nil {
		return nil, err
	}
	c, err := compileView(v, schema)
	if err != nil {
		return nil, err
	}
	return history.New(&ledger.Snapshot{
		Streams: []ledger.Stream{{Name: "pin", Schemas: []ledger.SchemaVersion{{Version: 1, Definition: *stream}}}},
		Views: []ledger.View{{Name: v.Name, Stream: "pin", Versions: []ledger.ViewVersion{{
			ID: 1, Hash: c.Hash(), Definition: c.Definition(), Metadata: c.Metadata(), State: ledger.Building, Schema: 1,
		}}}},
	}, 1)
}
