package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/pinflow/pinflow/internal/ledger"
)

var besideBench = bench{
	name: "beside", title: "POST → number in a query answer, while history is filled in",
	how: "The real binary, its log allowed 4 GiB. An imported log of `-rows` real pins, up to yesterday, lies in its lake and is not yet in the built-in view `pins`. Probes as in `fresh` under a steady load of `-rate` events/s in batches of 100: first while that back-fill is paused, then while it runs, with the settings that the binary has by itself (one worker in `up`, `backfill.share` 0.5). The figure is the second p99 by the first. Last, for a third of that time, a rebuild of the view begins (`pinflow backfill start`) and is cancelled a little later: each of the two changes the catalogue.",
	run: runBeside,
}

func runBeside(ctx context.Context, e *env) ([]figure, error) {
	// Near its deadline a day that is not complete would stop what is to be measured.
	setting, err := e.project(ctx, "project", edit{"metrics/pins.yaml", `deadline: {by: "06:00", time_zone: Europe/London, warn: 45m}`, "# no deadline"})
	if err != nil {
		return nil, err
	}
	data := filepath.Join(e.dir, "data")
	s, err := e.up(ctx, data, setting)
	if err == nil {
		err = s.stop()
	}
	if err != nil {
		return nil, err
	}
	if err := e.seed(ctx, data, "", e.rows, time.Now().AddDate(0, 0, -1)); err != nil {
		return nil, err
	}
	if s, err = e.up(ctx, data, setting, "PINFLOW_LOG_CAP=4GiB"); err != nil {
		return nil, err
	}
	figures, err := besideBackfill(ctx, e, s)
	if err != nil {
		return nil, errors.Join(err, s.kill())
	}
	return figures, s.stop()
}

func besideBackfill(ctx context.Context, e *env, s *server) ([]figure, error) {
	l := load{addr: s.addr, path: "/v1/streams/pin/events", conns: 16, batch: 100, rate: e.rate, duration: e.seconds + 2*time.Second}
	what := fmt.Sprintf("at %s events/s, ", number(e.rate))
	delays := func(when string, during time.Duration) ([]figure, error) {
		l.run, l.duration = l.run+1, during+2*time.Second
		return underLoad(ctx, s, l, during, what+when, 0)
	}
	alone, err := delays("no back-fill", e.seconds)
	if err != nil {
		return nil, err
	}
	if err := e.backfill(ctx, s, "resume", "1"); err != nil {
		return nil, err
	}
	const rowsMetric, timeMetric = "pinflow_backfill_rows_total", "pinflow_backfill_task_seconds_sum"
	start, rows, worked := time.Now(), s.metric(ctx, rowsMetric), s.metric(ctx, timeMetric)
	beside, err := delays("beside a back-fill", e.seconds)
	if err != nil {
		return nil, err
	}
	took := time.Since(start).Seconds()
	rows, worked = s.metric(ctx, rowsMetric)-rows, s.metric(ctx, timeMetric)-worked
	if rows <= 0 {
		return nil, errors.New("no row was folded by the back-fill meanwhile")
	}
	var b struct{ State string }
	if err := s.ask(ctx, "/v1/backfills/1", &b); err != nil {
		return nil, err
	}
	if b.State != ledger.Running {
		return nil, fmt.Errorf("the back-fill is %s before the load ended: measure with more -rows", b.State)
	}
	if err := e.backfill(ctx, s, "pause", "1"); err != nil {
		return nil, err
	}
	changed := make(chan error, 1)
	go func() { changed <- e.beginAndCancel(ctx, s) }()
	begun, err := delays("a rebuild begun and cancelled", e.seconds/3)
	if err := errors.Join(err, <-changed); err != nil {
		return nil, err
	}
	out := append(append(alone, beside...), begun...)
	return append(out,
		fact("rows of history meanwhile", rows/took, "rows/s"), fact("part of the time that a day was in work", 100*worked/took, "%"),
		most("p99 beside a back-fill ÷ without", beside[1].value/alone[1].value, "times", 2)), nil
}

// beginAndCancel begins a rebuild and cancels it a little later.
func (e *env) beginAndCancel(ctx context.Context, s *server) error {
	for _, args := range [][]string{{"start", "pins", "--yes"}, {"cancel", "pins"}} {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(e.seconds / 8):
		}
		if err := e.backfill(ctx, s, args...); err != nil {
			return err
		}
	}
	return nil
}

// backfill runs a command about back-fills to its end.
func (e *env) backfill(ctx context.Context, s *server, args ...string) error {
	cmd := exec.CommandContext(ctx, filepath.Join(e.root, "bin", "pinflow"), append(append([]string{"backfill"}, args...), "--url", "http://"+s.addr)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args[1:], " "), err, out)
	}
	return nil
}
