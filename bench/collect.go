package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

var collectBench = bench{
	name: "collect", title: "POST over HTTP to a running `pinflow up`",
	how: "A child process runs the real binary with both units reading along; real pins (about 1 KB of JSON) are posted to `/v1/streams/pin/events` for 6 s at each size after 1 s of warm-up, over 64 connections (4 for batches of 100 and more), each waiting for its 202, which comes after fsync; then for 4 s at half that rate, and as JSON arrays. `log.cap` is raised so that the reading units do not hold back the door. CPU is the server's, units included.",
	run: runCollect,
}

var doorBench = bench{
	name: "door", title: "the front door alone",
	how: "The same load on the same HTTP server, collector and embedded log in a child process, but no unit reads along: what collecting costs by itself, as when units run elsewhere.",
	run: runDoor,
}

// sizes are the batches that are posted, with the targets in events a second.
var sizes = []struct {
	batch, conns int
	target       float64
}{{1, 64, 15_000}, {10, 64, 0}, {100, 4, 0}, {500, 4, 200_000}}

const (
	collectFor = 6 * time.Second
	halfFor    = 4 * time.Second
)

func runCollect(ctx context.Context, e *env) ([]figure, error) {
	var out []figure
	for i, size := range sizes {
		data := filepath.Join(e.dir, fmt.Sprint("data", size.batch))
		s, err := e.up(ctx, data, "PINFLOW_LOG_CAP=16GiB")
		if err != nil {
			return nil, err
		}
		figures, err := postSizes(ctx, s, i)
		if err != nil {
			return nil, errors.Join(err, s.kill())
		}
		if _, _, err := s.caughtUp(ctx); err != nil {
			return nil, errors.Join(err, s.kill())
		}
		if err := errors.Join(s.stop(), os.RemoveAll(data)); err != nil {
			return nil, err
		}
		out = append(out, figures...)
	}
	return out, nil
}

func runDoor(ctx context.Context, e *env) ([]figure, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	var out []figure
	for i := range sizes {
		data, err := e.prepare(ctx)
		if err != nil {
			return nil, err
		}
		s := &server{addr: freePort(), out: filepath.Join(e.dir, "door.log")}
		s.cmd = exec.Command(self, "-child", "door", data, s.addr, e.profile, fmt.Sprint(e.name, sizes[i].batch))
		if err := s.start(ctx, e.dir, "/healthz"); err != nil {
			return nil, err
		}
		figures, err := postSizes(ctx, s, i)
		if err != nil {
			return nil, errors.Join(err, s.kill())
		}
		if err := errors.Join(s.stop(), os.RemoveAll(data)); err != nil {
			return nil, err
		}
		out = append(out, figures...)
	}
	return out, nil
}

// postSizes posts batches of the i-th size, as fast as it goes, as a JSON array, and at half that load.
func postSizes(ctx context.Context, s *server, i int) ([]figure, error) {
	size := sizes[i]
	l := load{addr: s.addr, path: "/v1/streams/pin/events", conns: size.conns, batch: size.batch, duration: time.Second, run: uint64(4*i + 1)}
	if _, err := l.post(ctx); err != nil {
		return nil, fmt.Errorf("warming up: %w\n%s", err, s.tail())
	}
	before := cpuOf(s.pid())
	l.duration, l.run = collectFor, l.run+1
	p, err := l.whole(ctx, s)
	if err != nil {
		return nil, err
	}
	used := cpuOf(s.pid()) - before
	_, peak := memory(s.pid())
	l.duration, l.run, l.rate = halfFor, l.run+1, p.perSecond()/2
	half, err := l.whole(ctx, s)
	if err != nil {
		return nil, err
	}
	what := fmt.Sprintf("batches of %d", size.batch)
	if size.batch == 1 {
		what = "single events"
	}
	out := []figure{
		least(what, p.perSecond(), "events/s", size.target),
		fact(what+", p50", quantile(p.latency, 0.5), "ms"),
		fact(what+", p99", quantile(p.latency, 0.99), "ms"),
		fact(what+", at half load, p50", quantile(half.latency, 0.5), "ms"),
		fact(what+", at half load, p99", quantile(half.latency, 0.99), "ms"),
		fact(what+", at half load, p99.9", quantile(half.latency, 0.999), "ms"),
		fact(what+", server CPU", used.Seconds()/float64(p.events)*1e6, "µs/event"),
		fact(what+", server memory at most", peak, "MiB"),
	}
	if size.batch == 1 {
		return out, nil
	}
	l.run, l.rate, l.array = l.run+1, 0, true
	array, err := l.whole(ctx, s)
	if err != nil {
		return nil, err
	}
	return append(out, fact(what+", a JSON array instead of lines", array.perSecond(), "events/s")), nil
}

// whole posts a load of which nothing may be refused.
func (l *load) whole(ctx context.Context, s *server) (*posted, error) {
	p, err := l.post(ctx)
	switch {
	case err != nil:
		return nil, fmt.Errorf("posting batches of %d: %w\n%s", l.batch, err, s.tail())
	case p.refused > 0:
		return nil, fmt.Errorf("%d of %d requests were refused: %s", p.refused, p.requests, p.firstRefusal)
	}
	return p, nil
}
