package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

var restartBench = bench{
	name: "restart", title: "start on existing data",
	how: "A data folder that took 600,000 real pins (lake, segments, and a log as long as the dedup windows need) is started by the real binary after a clean stop, then killed with -9 in the middle of 20,000 events/s and started again. Timed from the start of the process until an event is answered 202 and a query is answered, and until both units have all that the log holds, windows read back.",
	run: runRestart,
}

const existing = 600_000

func runRestart(ctx context.Context, e *env) ([]figure, error) {
	data := filepath.Join(e.dir, "data")
	first, err := e.up(ctx, data)
	if err != nil {
		return nil, err
	}
	l := load{addr: first.addr, path: "/v1/streams/pin/events", conns: 4, batch: 500, rate: 60_000, events: existing, duration: 2 * time.Minute, run: 1}
	if _, err := l.post(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("filling: %w\n%s", err, first.tail()), first.kill())
	}
	if _, _, err := first.caughtUp(ctx); err != nil {
		return nil, errors.Join(err, first.kill())
	}
	if err := first.stop(); err != nil {
		return nil, err
	}
	second, figures, err := e.again(ctx, data, "after a clean stop")
	if err != nil {
		return nil, err
	}
	if err := killUnderLoad(ctx, second); err != nil {
		return nil, err
	}
	third, more, err := e.again(ctx, data, "after kill -9 under load")
	if err != nil {
		return nil, err
	}
	log, _ := folderBytes(filepath.Join(data, "log"), "")
	return append(append(figures, more...), fact("the log's size then", float64(log)/(1<<20), "MiB")), third.stop()
}

// again starts the binary on the folder and times it.
func (e *env) again(ctx context.Context, data, what string) (*server, []figure, error) {
	begin := time.Now()
	s, err := e.up(ctx, data)
	if err != nil {
		return nil, nil, err
	}
	if err := s.postProbe(ctx); err != nil {
		return nil, nil, errors.Join(err, s.kill())
	}
	if _, err := s.count(ctx, "from=now-1h"); err != nil {
		return nil, nil, errors.Join(err, s.kill())
	}
	serving := time.Since(begin)
	live, lake, err := s.caughtUp(ctx)
	if err != nil {
		return nil, nil, errors.Join(err, s.kill())
	}
	return s, []figure{
		most(what+": collecting and serving", serving.Seconds(), "s", 2),
		most(what+": live caught up", live.Sub(begin).Seconds(), "s", 10),
		most(what+": lake caught up", lake.Sub(begin).Seconds(), "s", 10),
	}, nil
}

// killUnderLoad kills the server with -9 while events come.
func killUnderLoad(ctx context.Context, s *server) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	l := load{addr: s.addr, path: "/v1/streams/pin/events", conns: 8, batch: 100, rate: 20_000, duration: time.Minute, run: 2}
	ended := make(chan error, 1)
	go func() {
		_, err := l.post(ctx)
		ended <- err
	}()
	select {
	case err := <-ended:
		return errors.Join(fmt.Errorf("the load ended before the kill: %w\n%s", err, s.tail()), s.kill())
	case <-time.After(3 * time.Second):
	}
	err := s.kill()
	<-ended // with the error of a connection that broke
	return err
}
