package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

var duckBench = bench{
	name: "duckdb", title: "the kernel and DuckDB over the same rows, one thread each",
	how: "2 million rows, once as columns in the memory of each side, once as a Parquet file (zstd) written by DuckDB. From it the kernel reads the columns it needs, as a scan of the lake does, and folds them by day and one dimension (GOMAXPROCS=1); DuckDB answers the same GROUP BY with `threads = 1`. (The kernel also keeps what every view has: failures, late rows for six grains, and what rounding takes from sums.) Of 1, 5 and 20 measures (counts, filtered counts, sums, limits, averages) and of 5 with a distinct count and a percentile, for which DuckDB takes its own approx_count_distinct and approx_quantile. The best of three runs each, in one process, by processor time.",
	run: runDuck,
}

func runDuck(ctx context.Context, e *env) ([]figure, error) {
	cmd := exec.CommandContext(ctx, "go", "run", "-C", filepath.Join(e.root, "internal", "oracle"), "./peer", e.dir)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1", "GOFLAGS=-mod=mod")
	cmd.Stderr = e.out
	text, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("running DuckDB's side: %w", err)
	}
	var results []struct {
		Measures       string
		Groups         int
		Memory         bool
		Kernel, DuckDB float64
	}
	if err := json.NewDecoder(bytes.NewReader(text)).Decode(&results); err != nil {
		return nil, fmt.Errorf("reading what DuckDB's side says: %w", err)
	}
	var out []figure
	for _, r := range results {
		what := fmt.Sprintf("%s, %d groups, Parquet", r.Measures, r.Groups)
		if r.Memory {
			what = fmt.Sprintf("%s, %d groups, memory", r.Measures, r.Groups)
		}
		out = append(out, fact("kernel, "+what, r.Kernel, "rows/s"), fact("DuckDB, "+what, r.DuckDB, "rows/s"),
			least("kernel : DuckDB, "+what, r.Kernel/r.DuckDB, "times", 1))
	}
	return out, nil
}
