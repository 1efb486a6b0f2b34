package main

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"time"

	"github.com/pinflow/pinflow/internal/config"
	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/icelake"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/metric"
	"github.com/pinflow/pinflow/internal/span"
)

var backfillBench = bench{
	name: "backfill", title: "back-fill from the lake",
	how: "In this process: real pins lie in the lake, one day, in files of half a million rows. Timed is what a worker does with a day: scan the columns that the view reads, pick the rows below the cut, fold, and encode the segments; the figure is rows by processor time, so that of one core. Five measures are those of `kernel`; the second view reads two members that no schema declares from `_extra`.",
	run: runBackfill,
}

const (
	backfillFiles = 8
	backfillTimes = 8 // the decoded pins a file
)

// newLake opens an empty lake of the bench's own.
func (e *env) newLake(ctx context.Context) (*icelake.Lake, error) {
	return icelake.Open(ctx, icelake.Config{Warehouse: filepath.Join(e.dir, "lake"), Catalog: filepath.Join(e.dir, "catalog.db"), Log: e.log})
}

func runBackfill(ctx context.Context, e *env) ([]figure, error) {
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
	done, err := profiled(e.profile, e.name)
	if err != nil {
		return nil, err
	}
	defer done()
	var out []figure
	for i, v := range views {
		rate, wall, err := backfillRate(ctx, l, stream, v, rows)
		if err != nil {
			return nil, err
		}
		target := []float64{5e6, 0.3e6}[i]
		out = append(out, least(v.Name+", a core", rate, "rows/s", target), fact(v.Name+", as it ran", wall, "rows/s"))
	}
	return out, nil
}

// backfillViews are the stream of pins and the two views.
func backfillViews() (*event.Stream, []metric.View, error) {
	p, err := config.BuiltIn()
	if err != nil {
		return nil, nil, err
	}
	var stream event.Stream
	for _, s := range p.EventStreams() {
		if s.Name == "pin" {
			stream = s
		}
	}
	five := metric.View{
		Version: 1, Name: "five_measures", Stream: "pin", Dimensions: []metric.Dimension{{Name: "category"}, {Name: "country"}},
		Measures: []metric.Measure{
			{Name: "posted", Agg: "count"},
			{Name: "video", Agg: "count", Filter: "is_image_or_video = 'video'"},
			{Name: "reach", Agg: "sum", Expr: "follower_count"},
			{Name: "reach_max", Agg: "max", Expr: "follower_count"},
			{Name: "reach_avg", Agg: "avg", Expr: "follower_count"},
		},
	}
	extra := metric.View{
		Version: 1, Name: "from_extra", Stream: "pin", Dimensions: []metric.Dimension{{Name: "mood", Expr: "cast(_extra.mood as string)"}},
		Measures: []metric.Measure{{Name: "n", Agg: "count"}, {Name: "score", Agg: "sum", Expr: "cast(_extra.score as long)"}},
	}
	return &stream, []metric.View{five, extra}, nil
}

// fillLake puts pins of one day into the lake and returns how many.
func fillLake(ctx context.Context, e *env, l *icelake.Lake, stream *event.Stream) (int64, error) {
	schema, err := event.Compile(*stream, 1)
	if err != nil {
		return 0, err
	}
	records, _, err := kernelRecords()
	if err != nil {
		return 0, err
	}
	at := time.Now().UTC().Truncate(24 * time.Hour).Add(-time.Hour)
	for i := range records {
		patch(records[i].Value, uint64(i), moment(at.Add(-time.Duration(i)*time.Second)))
		extra := fmt.Sprintf(`,"mood":"m%d","score":%d}`, i%7, i%100)
		records[i].Value = append(records[i].Value[:len(records[i].Value)-1], extra...)
		records[i].Received, records[i].Key = at.UnixMicro(), span.Key{Log: 1}
	}
	decoded, err := decodeAll(schema, records)
	if err != nil {
		return 0, err
	}
	if err := l.EnsureTable(ctx, lake.StreamTable(schema)); err != nil {
		return 0, err
	}
	block := lake.Block{Columns: lake.Columns(schema), N: decoded.N, Cols: decoded.Cols}
	blocks := make([]lake.Block, backfillTimes)
	for i := range blocks {
		blocks[i] = block
	}
	var files []ledger.LakeFile
	for range backfillFiles {
		some, err := l.Stage(ctx, "pin", blocks)
		if err != nil {
			return 0, err
		}
		files = append(files, some...)
	}
	if _, err := l.Commit(ctx, &ledger.Intent{Table: "pin", N: 1, ID: "bench", Kind: lake.Append, Open: true, Files: files}); err != nil {
		return 0, err
	}
	rows := int64(0)
	for _, f := range files {
		rows += f.Records
	}
	e.say("%d rows in %d files", rows, len(files))
	return rows, nil
}

// backfillRate folds all of the lake for a view: rows by second of processor and of wall clock.
func backfillRate(ctx context.Context, l *icelake.Lake, stream *event.Stream, v metric.View, rows int64) (core, wall float64, err error) {
	r, err := historyOf(stream, v)
	if err != nil {
		return 0, 0, err
	}
	days, err := l.Days(ctx, "pin")
	if err != nil {
		return 0, 0, err
	}
	began, used := time.Now(), cpuTime()
	for _, d := range days {
		at, err := time.Parse(time.DateOnly, d.Day)
		if err != nil {
			return 0, 0, err
		}
		all := func(span.Key) span.Range { return span.Range{To: math.MaxInt64} }
		sel := r.Select(lake.Selection{Table: "pin", From: at.UnixMicro(), To: at.Add(24 * time.Hour).UnixMicro()}, all)
		if _, err := l.Scan(ctx, sel, func(b *lake.Block) error { return r.Add(b, all) }); err != nil {
			return 0, 0, err
		}
		r.Take()
	}
	if r.Rows != rows {
		return 0, 0, fmt.Errorf("folded %d rows of %d", r.Rows, rows)
	}
	return float64(rows) / (cpuTime() - used).Seconds(), float64(rows) / time.Since(began).Seconds(), nil
}
