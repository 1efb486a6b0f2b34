// Command peer measures the kernel and DuckDB over the same Parquet files, one thread each: peer make DIR has
// DuckDB write the files NAME.parquet, peer measure DIR reads these and the lake's, LAKE/NAME.parquet, and
// prints JSON for bench.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/apache/arrow-go/v18/parquet/file"

	"github.com/pinflow/pinflow/internal/column"
	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/fold"
	"github.com/pinflow/pinflow/internal/metric"
	"github.com/pinflow/pinflow/internal/oracle"
	"github.com/pinflow/pinflow/internal/pages"
)

const (
	rowsOfFile = 2_000_000
	repeats    = 3
)

type result struct {
	Measures       string
	Groups         int
	From           string  // "": both hold the columns in memory; else whose Parquet they read
	Kernel, DuckDB float64 // rows a second of processor time
}

// Who wrote the Parquet that is read.
const (
	byDuckDB = "DuckDB's Parquet"
	byLake   = "the lake's Parquet"
)

var groupCounts = []int{10, 1000, 100_000}

func nameOf(groups int) string { return fmt.Sprintf("rows-%d.parquet", groups) }

func main() {
	do := map[string]func(context.Context, *oracle.Duck, string) error{"make": makeFiles, "measure": measure}[os.Args[1]]
	if err := run(context.Background(), do, os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "peer:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, do func(context.Context, *oracle.Duck, string) error, dir string) error {
	runtime.GOMAXPROCS(1)
	duck, err := oracle.Open(ctx, 1)
	if err != nil {
		return err
	}
	defer duck.Close()
	return do(ctx, duck, dir)
}

// makeFiles has DuckDB write the rows.
func makeFiles(ctx context.Context, duck *oracle.Duck, dir string) error {
	for _, groups := range groupCounts {
		if err := duck.Exec(ctx, fmt.Sprintf(`COPY (SELECT 'group ' || (hash(i) %% %d) AS g, CASE WHEN i %% 3 = 0 THEN 'video' ELSE 'image' END AS kind,
			CAST(hash(i + 1) %% 100000 AS BIGINT) AS likes, (hash(i + 2) %% 1000000) / 100.0e0 AS price, CAST(hash(i + 3) %% 50 AS BIGINT) AS age,
			make_timestamptz(1795000000000000 + i %% 1000000) AS _event_time, make_timestamptz(1795000001000000 + i %% 1000000) AS _received_at
			FROM range(%d) t(i)) TO '%s' (FORMAT parquet, COMPRESSION zstd)`, groups, rowsOfFile, filepath.Join(dir, nameOf(groups)))); err != nil {
			return err
		}
	}
	return nil
}

func measure(ctx context.Context, duck *oracle.Duck, dir string) error {
	s, err := schema()
	if err != nil {
		return err
	}
	var results []result
	for _, groups := range groupCounts {
		files := map[string]string{byDuckDB: filepath.Join(dir, nameOf(groups)), byLake: filepath.Join(dir, "lake", nameOf(groups))}
		if err := duck.Exec(ctx, "CREATE OR REPLACE TABLE memory_rows AS SELECT * FROM read_parquet('"+files[byDuckDB]+"')"); err != nil {
			return err
		}
		var held []*event.Rows
		if err := read(ctx, files[byDuckDB], s, nil, func(rows *event.Rows) error { held = append(held, rows); return nil }); err != nil {
			return err
		}
		for _, c := range cases() {
			for _, from := range []string{"", byDuckDB, byLake} {
				r := result{Measures: c.name, Groups: groups, From: from}
				table := "read_parquet('" + files[from] + "')"
				if from == "" {
					table = "memory_rows"
				}
				if r.Kernel, err = best(func() error { return c.kernel(ctx, s, files[from], held, r) }); err != nil {
					return err
				}
				sql := "SELECT epoch_us(_event_time) // 86400000000 AS day, g, " + strings.Join(c.sql, ", ") + " FROM " + table + " GROUP BY ALL"
				if r.DuckDB, err = best(func() error {
					return duck.Exec(ctx, "CREATE OR REPLACE TEMP TABLE answer AS "+sql)
				}); err != nil {
					return err
				}
				fmt.Fprintf(os.Stderr, "    %s, %d groups, %s: kernel %.1f, DuckDB %.1f M rows/s\n", r.Measures, groups, cmp.Or(from, "memory"), r.Kernel/1e6, r.DuckDB/1e6)
				results = append(results, r)
			}
		}
	}
	return json.NewEncoder(os.Stdout).Encode(results)
}

// best is the rate of the fastest of some runs, by the processor time that the process took: what else
// runs on the machine hardly changes it.
func best(fn func() error) (float64, error) {
	least := time.Hour
	for range repeats {
		runtime.GC()
		start := processorTime()
		if err := fn(); err != nil {
			return 0, err
		}
		least = min(least, processorTime()-start)
	}
	return rowsOfFile / least.Seconds(), nil
}

func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// bench is a view's measures and the same in DuckDB's words.
type bench struct {
	name     string
	measures []metric.Measure
	sql      []string
}

func (b *bench) add(m metric.Measure, sql string) {
	m.Name = fmt.Sprintf("m%d", len(b.measures))
	b.measures, b.sql = append(b.measures, m), append(b.sql, fmt.Sprintf("%s AS %s", sql, m.Name))
}

func cases() []bench {
	one, five, twenty, sketches := bench{name: "1 measure"}, bench{name: "5 measures"}, bench{name: "20 measures"}, bench{name: "5 measures, 2 approximate"}
	count := metric.Measure{Agg: "count"}
	video := metric.Measure{Agg: "count", Filter: "kind = 'video'"}
	one.add(count, "count(*)")
	for _, b := range []*bench{&five, &twenty, &sketches} {
		b.add(count, "count(*)")
		b.add(video, "count(*) FILTER (WHERE kind = 'video')")
		b.add(metric.Measure{Agg: "sum", Expr: "likes"}, "sum(likes)")
	}
	five.add(metric.Measure{Agg: "max", Expr: "likes"}, "max(likes)")
	five.add(metric.Measure{Agg: "avg", Expr: "price"}, "avg(price)")
	half := 0.5
	sketches.add(metric.Measure{Agg: "count_distinct_approx", Expr: "likes"}, "approx_count_distinct(likes)")
	sketches.add(metric.Measure{Agg: "percentile", Expr: "price", Percentile: &half}, "approx_quantile(price, 0.5)")
	for i, expr := range []string{"likes", "price", "age", "likes + age"} {
		for _, agg := range []string{"min", "max", "avg", "sum"} {
			if agg != "sum" || expr != "likes" {
				twenty.add(metric.Measure{Agg: agg, Expr: expr}, fmt.Sprintf("%s(%s)", agg, expr))
			}
		}
		if i < 2 {
			twenty.add(metric.Measure{Agg: "sum", Expr: expr, Filter: "kind = 'video'"}, fmt.Sprintf("sum(%s) FILTER (WHERE kind = 'video')", expr))
		}
	}
	return []bench{one, five, twenty, sketches}
}

func schema() (*event.Schema, error) {
	return event.Compile(event.Stream{Name: "pin", Topic: "pin", EventTime: "event_time", Fields: []event.Field{
		{Name: "g", Type: "string"}, {Name: "kind", Type: "string"}, {Name: "likes", Type: "long"}, {Name: "price", Type: "double"}, {Name: "age", Type: "long"},
	}}, 1)
}

// kernel folds the rows held, or reads the columns that the view needs and folds them.
func (b *bench) kernel(ctx context.Context, s *event.Schema, name string, held []*event.Rows, r result) error {
	c, problems := metric.Compile(metric.View{
		Version: 1, Name: "pins", Stream: "pin", Grain: "day", Dimensions: []metric.Dimension{{Name: "g"}}, Measures: b.measures,
	}, s)
	if c == nil {
		return fmt.Errorf("compiling the view: %v", problems)
	}
	f, n := fold.New(c), 0
	add := func(rows *event.Rows) error {
		n += rows.N
		return f.Add(rows)
	}
	if r.From == "" {
		for _, rows := range held {
			if err := add(rows); err != nil {
				return err
			}
		}
	} else if err := read(ctx, name, s, c.Columns(s), add); err != nil {
		return err
	}
	if n != rowsOfFile || f.Groups() != r.Groups {
		return fmt.Errorf("%d rows in %d groups", n, f.Groups())
	}
	return nil
}

// blockRows is how many rows a scan of the lake has in a block.
const blockRows = 32 << 10

// read reads the columns needed (nil: all, to be kept) in blocks, as a scan of the lake does.
func read(ctx context.Context, name string, s *event.Schema, needs []bool, fn func(*event.Rows) error) error {
	f, err := file.OpenParquetFile(name, false)
	if err != nil {
		return err
	}
	defer f.Close()
	var columns []pages.Column
	var at []int
	for leaf := range f.MetaData().Schema.NumColumns() {
		if i := s.Index(f.MetaData().Schema.Column(leaf).Name()); i >= 0 && (needs == nil || needs[i]) {
			columns, at = append(columns, pages.Column{Leaf: leaf, Kind: s.Columns()[i].Kind}), append(at, i)
		}
	}
	block := &pages.Block{}
	for g := range f.NumRowGroups() {
		r, err := pages.New(ctx, f, g, columns)
		if err != nil {
			return err
		}
		for {
			if needs == nil {
				block = &pages.Block{}
			}
			if err := r.Next(block, blockRows); err != nil {
				return err
			}
			if block.N == 0 {
				break
			}
			rows := &event.Rows{Schema: s, N: block.N, Cols: make([]column.Vec, len(s.Columns()))}
			for i, v := range block.Cols {
				rows.Cols[at[i]] = v
			}
			if err := fn(rows); err != nil {
				return err
			}
		}
	}
	return nil
}
