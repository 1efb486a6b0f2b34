package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

var freshBench = bench{
	name: "fresh", title: "POST → number in a query answer",
	how: "The real binary under a steady load of real pins (batches of 10 at 1,000/s, of 100 above). Beside it a probe posts one pin of a category of its own every 25 ms, and a reader asks `/v1/query` for that category's count every 10 ms. An event's delay is from the first byte of its POST to the last byte of the first answer that counts it; probes share a partition, so the k-th is there when the count is k. 15 s at each rate.",
	run: runFresh,
}

// rates of the load, with the target for p99 in milliseconds.
var rates = []struct {
	perSecond    float64
	batch, conns int
	target       float64
}{{1000, 10, 4, 0}, {20_000, 100, 16, 500}, {50_000, 100, 32, 0}}

const freshFor = 15 * time.Second

func runFresh(ctx context.Context, e *env) ([]figure, error) {
	var out []figure
	for i, r := range rates {
		data := filepath.Join(e.dir, fmt.Sprint("data", i))
		s, err := e.up(ctx, data)
		if err != nil {
			return nil, err
		}
		l := load{addr: s.addr, path: "/v1/streams/pin/events", conns: r.conns, batch: r.batch, rate: r.perSecond, duration: freshFor + 2*time.Second, run: 1}
		figures, err := underLoad(ctx, s, l, freshFor, fmt.Sprintf("at %s events/s", number(l.rate)), r.target)
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

// underLoad probes for that long while the load runs.
func underLoad(ctx context.Context, s *server, l load, during time.Duration, what string, target float64) ([]figure, error) {
	var (
		p       *posted
		delays  []time.Duration
		loadErr error
		wg      sync.WaitGroup
	)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	wg.Go(func() {
		if p, loadErr = l.post(ctx); loadErr != nil {
			cancel()
		}
	})
	delays, err := probe(ctx, s, during)
	if err != nil {
		cancel()
	}
	wg.Wait()
	if err := errors.Join(loadErr, err); err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", what, err, s.tail())
	}
	slices.Sort(delays)
	return []figure{
		fact(what+", p50", quantile(delays, 0.5), "ms"),
		most(what+", p99", quantile(delays, 0.99), "ms", target),
		fact(what+", the most", quantile(delays, 1), "ms"),
		fact(what+", really accepted", p.perSecond(), "events/s"),
		fact(what+", requests refused", float64(p.refused), ""),
	}, nil
}

// probes asks for the probes alone.
const probes = "f=category:probe&from=now-1h"

// probe posts probes and reads when each is counted.
func probe(ctx context.Context, s *server, during time.Duration) ([]time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, during+time.Minute)
	defer cancel()
	before, err := s.count(ctx, probes) // of an earlier load
	if err != nil {
		return nil, err
	}
	var (
		mu   sync.Mutex
		sent []time.Time // of the probes that were accepted, in their order
		over bool
		post error
	)
	go func() {
		tick := time.NewTicker(25 * time.Millisecond)
		defer tick.Stop()
		for begin := time.Now(); time.Since(begin) < during; <-tick.C {
			from := time.Now()
			err := s.postProbe(ctx)
			mu.Lock()
			if post = err; err == nil {
				sent = append(sent, from)
			}
			mu.Unlock()
			if err != nil {
				break
			}
		}
		mu.Lock()
		over = true
		mu.Unlock()
	}()
	var delays []time.Duration
	for {
		asked := time.Now()
		n, err := s.count(ctx, probes)
		now := time.Now()
		mu.Lock()
		for ; err == nil && len(delays) < min(int(n-before), len(sent)); delays = append(delays, now.Sub(sent[len(delays)])) {
		}
		done := over && len(delays) == len(sent)
		err = errors.Join(err, post)
		mu.Unlock()
		if err != nil || done {
			return delays, err
		}
		time.Sleep(time.Until(asked.Add(10 * time.Millisecond)))
	}
}

// postProbe posts one pin that only the reader of probes counts.
func (s *server) postProbe(ctx context.Context) error {
	body := `{"unique_id":"probe","category":"probe","title":"how fresh","event_time":"` + moment(time.Now()) + `"}`
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.addr+"/v1/streams/pin/events", bytes.NewReader([]byte(body)))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("posting a probe: %w", err)
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusAccepted {
		return fmt.Errorf("a probe was answered %s: %s", resp.Status, text)
	}
	return nil
}
