package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/apache/arrow-go/v18/parquet/file"

	"github.com/pinflow/pinflow/internal/column"
	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/pages"
)

var duckBench = bench{
	name: "duckdb", title: "the kernel and DuckDB over the same rows, one thread each",
	how: "2 million rows, once as columns in the memory of each side, once as a Parquet file (zstd) written by DuckDB, and once as the data file that the lake makes of a stage of them. From a file the kernel reads the columns it needs, as a scan of the lake does, and folds them by day and one dimension (GOMAXPROCS=1); DuckDB answers the same GROUP BY with `threads = 1`. (The kernel also keeps what every view has: failures, late rows for six grains, and what rounding takes from sums.) Of 1, 5 and 20 measures (counts, filtered counts, sums, limits, averages) and of 5 with a distinct count and a percentile, for which DuckDB takes its own approx_count_distinct and approx_quantile. The best of three runs each, in one process, by processor time.",
	run: runDuck,
}

func runDuck(ctx context.Context, e *env) ([]figure, error) {
	if _, err := e.duckPeer(ctx, "make"); err != nil {
		return nil, err
	}
	if err := e.lakeFiles(ctx); err != nil {
		return nil, err
	}
	text, err := e.duckPeer(ctx, "measure")
	if err != nil {
		return nil, err
	}
	var results []struct {
		Measures, From string
		Groups         int
		Kernel, DuckDB float64
	}
	if err := json.NewDecoder(bytes.NewReader(text)).Decode(&results); err != nil {
		return nil, fmt.Errorf("reading what DuckDB's side says: %w", err)
	}
	var out []figure
	for _, r := range results {
		what := fmt.Sprintf("%s, %d groups, %s", r.Measures, r.Groups, cmp.Or(r.From, "memory"))
		out = append(out, fact("kernel, "+what, r.Kernel, "rows/s"), fact("DuckDB, "+what, r.DuckDB, "rows/s"),
			least("kernel : DuckDB, "+what, r.Kernel/r.DuckDB, "times", 1))
	}
	return out, nil
}

// duckPeer runs the side that has DuckDB in it.
func (e *env) duckPeer(ctx context.Context, do string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", "run", "-C", filepath.Join(e.root, "internal", "oracle"), "./peer", do, e.dir)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1", "GOFLAGS=-mod=mod")
	cmd.Stderr = e.out
	text, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("running DuckDB's side: %w", err)
	}
	return text, nil
}

// lakeFiles has the lake write the rows of each of DuckDB's files, as a stage of one day.
func (e *env) lakeFiles(ctx context.Context) error {
	schema, err := event.Compile(event.Stream{Name: "pin", Topic: "pin", EventTime: "event_time", Fields: []event.Field{
		{Name: "g", Type: "string"}, {Name: "kind", Type: "string"}, {Name: "likes", Type: "long"}, {Name: "price", Type: "double"}, {Name: "age", Type: "long"},
	}}, 1)
	if err != nil {
		return err
	}
	l, err := e.newLake(ctx)
	if err != nil {
		return err
	}
	defer l.Close()
	if err := l.EnsureTable(ctx, lake.StreamTable(schema)); err != nil {
		return err
	}
	names, err := filepath.Glob(filepath.Join(e.dir, "*.parquet"))
	if err != nil {
		return err
	}
	for _, name := range names {
		blocks, err := parquetBlocks(ctx, name, schema)
		if err != nil {
			return fmt.Errorf("reading %s: %w", name, err)
		}
		files, err := l.Stage(ctx, "pin", blocks)
		if err != nil {
			return err
		}
		if len(files) != 1 {
			return fmt.Errorf("the lake wrote %s as %d files", name, len(files))
		}
		u, err := url.Parse(files[0].Path)
		if err != nil {
			return err
		}
		if err := os.Rename(u.Path, filepath.Join(e.dir, "lake", filepath.Base(name))); err != nil {
			return err
		}
	}
	return nil
}

// parquetBlocks are the rows of a file as a partition's, numbered from 0.
func parquetBlocks(ctx context.Context, name string, schema *event.Schema) ([]lake.Block, error) {
	f, err := file.OpenParquetFile(name, false)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	all := lake.Columns(schema)
	var columns []pages.Column
	var at []int
	for leaf := range f.MetaData().Schema.NumColumns() {
		i := schema.Index(f.MetaData().Schema.Column(leaf).Name())
		columns, at = append(columns, pages.Column{Leaf: leaf, Kind: all[i].Kind}), append(at, i)
	}
	var out []lake.Block
	rows := int64(0)
	for g := range f.NumRowGroups() {
		r, err := pages.New(ctx, f, g, columns)
		if err != nil {
			return nil, err
		}
		for {
			block := &pages.Block{}
			if err := r.Next(block, kernelRows); err != nil {
				return nil, err
			}
			if block.N == 0 {
				break
			}
			b := lake.Block{Columns: all, N: block.N, Cols: make([]column.Vec, len(all))}
			for i, c := range all {
				switch c.Name {
				case event.ColumnLog, event.ColumnPartition, event.ColumnSchema, event.ColumnOffset:
					b.Cols[i] = column.Vec{Kind: c.Kind, Len: block.N, Ints: make([]int64, block.N)}
					for k := range b.Cols[i].Ints {
						b.Cols[i].Ints[k] = 1
						if c.Name == event.ColumnOffset {
							b.Cols[i].Ints[k] = rows + int64(k)
						}
					}
				}
			}
			for i, v := range block.Cols {
				b.Cols[at[i]] = v
			}
			rows += int64(block.N)
			out = append(out, b)
		}
	}
	return out, nil
}
