package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pinflow/pinflow/internal/app"
	"github.com/pinflow/pinflow/internal/batch"
	"github.com/pinflow/pinflow/internal/icelake"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
)

var commitBench = bench{
	name: "commits", title: "400 commits to one table",
	how: "The batch unit and the committer as in `batch-unit`, staging every 40 ms and committing every 10 ms, while a few pins arrive at a time, until the table has 400 appends; merging of small files and expiry of snapshots run as in `up`. Timed is `Lake.Commit`, from the intent to the new snapshot.",
	run: func(ctx context.Context, e *env) ([]figure, error) {
		data, err := e.prepare(ctx)
		if err != nil {
			return nil, err
		}
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		return e.inChild(ctx, self, "commits", data, e.profile)
	},
}

const (
	commits = 400
	few     = 4 // pins that arrive at a time
)

// timedLake notes how long each append to the pins' table takes.
type timedLake struct {
	*icelake.Lake
	mu    sync.Mutex
	times []time.Duration
	other map[string][]time.Duration
}

func (t *timedLake) Commit(ctx context.Context, in *ledger.Intent) (lake.Landed, error) {
	start := time.Now()
	l, err := t.Lake.Commit(ctx, in)
	if in.Table == "pin" && err == nil && len(in.Files) > 0 {
		t.mu.Lock()
		t.times = append(t.times, time.Since(start))
		t.mu.Unlock()
	}
	return l, err
}

func (t *timedLake) Replace(ctx context.Context, in *ledger.Intent, r *lake.Rewrite) (lake.Landed, error) {
	start := time.Now()
	l, err := t.Lake.Replace(ctx, in, r)
	t.note("replace", start)
	return l, err
}

func (t *timedLake) Expire(ctx context.Context, in *ledger.Intent, keep lake.Retention) (lake.Landed, error) {
	start := time.Now()
	l, err := t.Lake.Expire(ctx, in, keep)
	t.note("expire", start)
	return l, err
}

func (t *timedLake) note(what string, start time.Time) {
	t.mu.Lock()
	t.other[what] = append(t.other[what], time.Since(start))
	t.mu.Unlock()
}

func (t *timedLake) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.times)
}

func childCommits(ctx context.Context, data, profile string) (_ []figure, err error) {
	log := childLog()
	w, err := openWorkshop(ctx, data, log)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	lk, err := w.openLake(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, lk.Close()) }()
	timed := &timedLake{Lake: lk, other: map[string][]time.Duration{}}
	m := batch.NewMetrics(prometheus.NewRegistry())
	u, err := batch.New(batch.Config{Owner: "bench", StageEvery: 40 * time.Millisecond}, log, m, w.ledger, lk, app.Opener(w.wire, w.admin, "bench-batch", log))
	if err != nil {
		return nil, err
	}
	c, err := batch.NewCommitter(batch.CommitterConfig{Owner: "bench", Every: 10 * time.Millisecond}, log, m, w.ledger, timed)
	if err != nil {
		return nil, err
	}
	done, err := profiled(profile, "commits")
	if err != nil {
		return nil, err
	}
	defer done()
	f, err := w.feeder()
	if err != nil {
		return nil, err
	}
	defer f.producer.Close()
	feed := func(ctx context.Context) error {
		for n := 0; ctx.Err() == nil; n++ {
			if _, err := f.append(ctx, n*few, few); err != nil && ctx.Err() == nil {
				return err
			}
			select {
			case <-ctx.Done():
			case <-time.After(20 * time.Millisecond):
			}
		}
		return nil
	}
	if err := until(ctx, func() (bool, error) { return timed.count() >= commits, nil }, feed, u.Run, c.Run); err != nil {
		return nil, err
	}
	return timed.figures(filepath.Join(data, "lake")), nil
}

func (t *timedLake) figures(dir string) []figure {
	part := func(from, to int) []time.Duration { return slices.Sorted(slices.Values(t.times[from:to])) }
	all := part(0, commits)
	bytes, files := folderBytes(dir, ".json", ".avro")
	_, parquet := folderBytes(dir, ".parquet")
	out := []figure{
		most("commit, p50", quantile(all, 0.5), "ms", 0), fact("commit, p99", quantile(all, 0.99), "ms"),
		fact("median of the first 50", quantile(part(0, 50), 0.5), "ms"),
		fact("median of the last 50", quantile(part(commits-50, commits), 0.5), "ms"),
		fact("metadata on disk", float64(bytes)/1e6, "MB"), fact("metadata files", float64(files), ""),
		fact("data files left by merging", float64(parquet), ""),
	}
	for _, what := range []string{"replace", "expire"} {
		slices.Sort(t.other[what])
		out = append(out, fact(fmt.Sprintf("%s, median of %d", what, len(t.other[what])), quantile(t.other[what], 0.5), "ms"))
	}
	return out
}
