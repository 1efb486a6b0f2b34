package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

var pipelineBench = bench{
	name: "pipeline", title: "POST → lake + live + query, the whole `up` at once",
	how: "The real binary, its log allowed 4 GiB; real pins in batches of 500 over 4 connections for 20 s, as fast as the door takes them. The clock stops when every accepted event is committed to the lake, sealed by the live unit and counted in a query answer, so what the units were behind at the end counts against the figure. A 429 or 503 is back-pressure: nothing of that request is stored or counted.",
	run: runPipeline,
}

const pipelineFor = 20 * time.Second

func runPipeline(ctx context.Context, e *env) ([]figure, error) {
	s, err := e.up(ctx, filepath.Join(e.dir, "data"), "PINFLOW_LOG_CAP=4GiB")
	if err != nil {
		return nil, err
	}
	figures, err := throughPipeline(ctx, s)
	if err != nil {
		return nil, errors.Join(err, s.kill())
	}
	return figures, s.stop()
}

func throughPipeline(ctx context.Context, s *server) ([]figure, error) {
	l := load{addr: s.addr, path: "/v1/streams/pin/events", conns: 4, batch: 500, duration: time.Second, run: 1}
	warm, err := l.post(ctx)
	if err != nil {
		return nil, fmt.Errorf("warming up: %w\n%s", err, s.tail())
	}
	if _, _, err := s.caughtUp(ctx); err != nil {
		return nil, err
	}
	before, start := cpuOf(s.pid()), time.Now()
	l.duration, l.run = pipelineFor, 2
	p, err := l.post(ctx)
	if err != nil {
		return nil, fmt.Errorf("posting: %w\n%s", err, s.tail())
	}
	live, lake, err := s.caughtUp(ctx)
	if err != nil {
		return nil, err
	}
	seen, err := s.counted(ctx, "from=now-1h", warm.events+p.events)
	if err != nil {
		return nil, err
	}
	used := cpuOf(s.pid()) - before
	_, peak := memory(s.pid())
	rate := func(until time.Time) float64 { return float64(p.events) / until.Sub(start).Seconds() }
	all := lake
	for _, t := range []time.Time{live, seen} {
		if t.After(all) {
			all = t
		}
	}
	return []figure{
		least("events in lake, live and query", rate(all), "events/s", 60_000),
		fact("accepted, while posting", p.perSecond(), "events/s"),
		fact("requests put off by 429 or 503", 100*float64(p.refused)/float64(p.requests), "%"),
		fact("live was behind at the end by", max(0, live.Sub(start)-p.elapsed).Seconds(), "s"),
		fact("the lake was behind at the end by", max(0, lake.Sub(start)-p.elapsed).Seconds(), "s"),
		fact("server CPU", used.Seconds()/float64(p.events)*1e6, "µs/event"),
		most("memory at most", peak, "MiB", 1024),
	}, nil
}

// counted waits until a query over the pins has counted n events, and not one more.
func (s *server) counted(ctx context.Context, parameters string, n int64) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		got, err := s.count(ctx, parameters)
		if err != nil {
			return time.Time{}, fmt.Errorf("waiting for %d events in a query answer: %w", n, err)
		}
		if got > n {
			return time.Time{}, fmt.Errorf("a query counts %d events where %d were accepted", got, n)
		}
		if got == n {
			return time.Now(), nil
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// count asks for the number of pins.
func (s *server) count(ctx context.Context, parameters string) (int64, error) {
	var a struct {
		Rows [][]json.Number `json:"rows"`
	}
	if err := s.ask(ctx, "/v1/query?view=pins&measures=posted&"+parameters, &a); err != nil {
		return 0, err
	}
	if len(a.Rows) == 0 {
		return 0, nil
	}
	if len(a.Rows) != 1 || len(a.Rows[0]) != 1 {
		return 0, fmt.Errorf("a total of %d rows", len(a.Rows))
	}
	return a.Rows[0][0].Int64()
}
