package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

var overloadBench = bench{
	name: "overload", title: "many times more than the front door may hold",
	how: "The real binary with `limits.body` and `limits.in_flight` of 1 MiB. First 8 connections post batches of 100 real pins (about 0.1 MB each), which fits; then 256 connections, each coming back 20 ms after it was refused: 25 times as many bytes as may be in hand. Memory and goroutines are looked at every 100 ms; `afterwards` is 3 s after the load ended.",
	run: runOverload,
}

const (
	overloadFor   = 8 * time.Second
	overloadConns = 256
	overloadBatch = 100
)

func runOverload(ctx context.Context, e *env) (_ []figure, err error) {
	s, err := e.up(ctx, filepath.Join(e.dir, "data"), "PINFLOW_LIMITS_BODY=1MiB", "PINFLOW_LIMITS_IN_FLIGHT=1MiB", "PINFLOW_LOG_CAP=8GiB")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	l := load{addr: s.addr, path: "/v1/streams/pin/events", conns: 8, batch: overloadBatch, duration: overloadFor, run: 1}
	fits, before, err := s.watched(ctx, &l)
	if err != nil {
		return nil, err
	}
	l.conns, l.run = overloadConns, 2
	over, during, err := s.watched(ctx, &l)
	if err != nil {
		return nil, err
	}
	if _, _, err := s.caughtUp(ctx); err != nil {
		return nil, err
	}
	time.Sleep(3 * time.Second)
	after, err := s.look(ctx)
	if err != nil {
		return nil, err
	}
	return []figure{
		fact("within capacity", fits.perSecond(), "events/s"), fact("within capacity, memory at most", before.memory, "MiB"),
		fact("within capacity, goroutines at most", before.goroutines, ""),
		fact("overloaded, accepted", over.perSecond(), "events/s"),
		fact("overloaded, requests refused with 429", float64(over.refused)/float64(over.requests)*100, "%"),
		fact("overloaded, p99 of the accepted", quantile(over.latency, 0.99), "ms"),
		fact("overloaded, memory at most", during.memory, "MiB"), fact("overloaded, goroutines at most", during.goroutines, ""),
		fact("afterwards, memory", after.memory, "MiB"), fact("afterwards, goroutines", after.goroutines, ""),
	}, nil
}

// sight is what a server looks like from outside.
type sight struct{ memory, goroutines float64 }

func (s *server) look(ctx context.Context) (sight, error) {
	now, _ := memory(s.pid())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.addr+"/metrics", nil)
	if err != nil {
		return sight{}, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return sight{}, err
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if text, ok := strings.CutPrefix(lines.Text(), "go_goroutines "); ok {
			n, err := strconv.ParseFloat(text, 64)
			return sight{now, n}, err
		}
	}
	return sight{}, errors.New("/metrics says nothing of goroutines")
}

// watched runs a load and says the most that was seen meanwhile. Refusals other than 429 are failures.
func (s *server) watched(ctx context.Context, l *load) (*posted, sight, error) {
	var most sight
	over, watched := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-over:
				return
			case <-tick.C:
			}
			if now, err := s.look(ctx); err == nil {
				most = sight{max(most.memory, now.memory), max(most.goroutines, now.goroutines)}
			}
		}
	}()
	p, err := l.post(ctx)
	close(over)
	<-watched
	switch {
	case err != nil:
		return nil, most, fmt.Errorf("%w\n%s", err, s.tail())
	case p.refused > 0 && !strings.HasPrefix(p.firstRefusal, "429 "):
		return nil, most, fmt.Errorf("refused with %s", p.firstRefusal)
	case most.goroutines == 0:
		return nil, most, errors.New("the server's metrics did not answer")
	}
	return p, most, nil
}
