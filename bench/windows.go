package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/pinflow/pinflow/internal/ledger"
)

var windowBench = bench{
	name: "live", title: "Apache Kafka → numbers by minute, beside Spark",
	how: "The same topic as in `batch`. The backlog: pinflow's live unit alone, once with a view that counts by category and minute, once with the built-in view `pins` (nine aggregates, two of them sketches), sealing segments in the ledger every 250 ms; Spark 3.5.7 Structured Streaming (local[2], 2 GB, two shuffle partitions, availableNow) with a count by category and minute (`withWatermark` of ten minutes) whose rows the driver only collects. Rates without a JVM's start-up. Then 5,000 pins/s come in for 10 s of warm-up and `-for`, and beside them a probe every 25 ms: its delay is from before it is handed to the producer until it is counted: with pinflow (`live` and `serve`, the built-in view) in an answer of `/v1/query`, asked every 10 ms, with Spark (update mode, no pause between batches) when the driver has collected the batch.",
	run: runWindows,
}

// countView counts what Spark is asked to count.
const countView = "version: 1\nname: pins\nstream: pin\nkeep: {minute: 7d, hour: 90d, day: forever}\ndimensions: [{name: category}]\nmeasures: [{name: posted, agg: count}]\n"

func runWindows(ctx context.Context, e *env) (_ []figure, err error) {
	if err := errors.Join(e.script(ctx, "venv", "spark"), e.script(ctx, "jars", "peer-spark")); err != nil {
		return nil, err
	}
	k, err := e.kafka(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, k.stop()) }()
	count, _, err := e.onKafka(ctx, k, "count", edit{"metrics/pins.yaml", "", countView}, edit{file: "metrics/geos.yaml"}, edit{file: "metrics/users.yaml"}, edit{file: "dashboards/growth.yaml"})
	if err != nil {
		return nil, err
	}
	data, settings, err := e.onKafka(ctx, k, "built-in")
	if err != nil {
		return nil, err
	}
	if err := k.backlog(ctx, e.events, 1); err != nil {
		return nil, err
	}
	e.say("%d events in the topic", e.events)
	out, err := e.windowBacklog(ctx, k, count, data)
	if err != nil {
		return nil, err
	}
	ours, err := e.oursAsTheyCome(ctx, k, data, settings)
	if err != nil {
		return nil, fmt.Errorf("as they come, pinflow: %w", err)
	}
	theirs, err := e.sparkAsTheyCome(ctx, k)
	if err != nil {
		return nil, fmt.Errorf("as they come, Spark: %w", err)
	}
	return slices.Concat(out, delayFigures("pinflow", ours), delayFigures("Spark", theirs)), nil
}

// steadyRate is what comes in while delays are measured, events a second.
const steadyRate = 5000

func delayFigures(who string, delays []time.Duration) []figure {
	slices.Sort(delays)
	what := who + ", produced → counted at " + number(steadyRate) + "/s"
	return []figure{fact(what+", p50", quantile(delays, 0.5), "ms"), fact(what+", p99", quantile(delays, 0.99), "ms"), fact(what+", the most", quantile(delays, 1), "ms")}
}

// windowBacklog lets all read what lies in the topic.
func (e *env) windowBacklog(ctx context.Context, k *kafka, count, builtIn string) ([]figure, error) {
	var out []figure
	var rates []float64
	for _, u := range []struct{ what, data string }{{"pinflow, a count", count}, {"pinflow, the built-in view", builtIn}} {
		d, err := e.drain(ctx, ledger.Live, u.data, k)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", u.what, err)
		}
		e.say("%s: %.0f events/s, %.2f µs, %.0f MiB", u.what, float64(e.events)/d.Seconds, d.cpu.Seconds()/float64(e.events)*1e6, d.peak)
		rates = append(rates, float64(e.events)/d.Seconds)
		out = append(append(out, fact(u.what, float64(e.events)/d.Seconds, "events/s")), e.took(u.what, d.spent)...)
	}
	dir := filepath.Join(e.dir, "spark-backlog")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	cmd, err := e.peerCommand(e.spark(), "spark.py", map[string]any{"job": "backlog", "dir": dir, "jars": e.jars("spark"), "brokers": k.addr, "topic": "pin"})
	if err != nil {
		return nil, err
	}
	s, text, err := measure(ctx, cmd)
	if err != nil {
		return nil, err
	}
	var told struct {
		Rows, Counted int
		Seconds       float64
	}
	if err := json.Unmarshal(text, &told); err != nil {
		return nil, fmt.Errorf("script of Spark said %q: %w", text, err)
	}
	if told.Counted != e.events {
		return nil, fmt.Errorf("script of Spark counted %d events of %d", told.Counted, e.events)
	}
	peer := float64(e.events) / told.Seconds
	out = append(append(out, fact("Spark, a count", peer, "events/s")), e.took("Spark, a count", s)...)
	return append(out, fact("Spark, a count, start-up and end", s.wall.Seconds()-told.Seconds, "s"),
		fact("pinflow ÷ Spark, a count", rates[0]/peer, "times"), fact("pinflow, the built-in view ÷ Spark, a count", rates[1]/peer, "times")), nil
}

// oursAsTheyCome measures delays to answers of `serve` while `live` reads.
func (e *env) oursAsTheyCome(ctx context.Context, k *kafka, data string, settings []string) (_ []time.Duration, err error) {
	serve, err := e.unit(ctx, "serve", data, settings)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, serve.stop()) }()
	live, err := e.unit(ctx, "live", data, settings)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, live.stop()) }()
	w := &waiting{}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil && !w.over() {
			asked := time.Now()
			n, err := serve.count(ctx, probes)
			if err != nil {
				cancel(err)
				return
			}
			w.seen(int(n), time.Now())
			time.Sleep(time.Until(asked.Add(10 * time.Millisecond)))
		}
	})
	err = e.produce(ctx, k, w)
	wg.Wait()
	return w.delays, errors.Join(err, context.Cause(ctx))
}

// unit starts one unit of the binary as a process of its own.
func (e *env) unit(ctx context.Context, verb, data string, settings []string) (*server, error) {
	s := &server{addr: freePort(), out: filepath.Join(e.dir, verb+".log")}
	s.cmd = exec.Command(filepath.Join(e.root, "bin", "pinflow"), verb, "--data", data, "--listen", s.addr)
	s.cmd.Env = append(os.Environ(), settings...)
	return s, s.start(ctx, e.dir, "/readyz")
}

// sparkAsTheyCome measures delays until the driver has collected a batch.
func (e *env) sparkAsTheyCome(ctx context.Context, k *kafka) (_ []time.Duration, err error) {
	dir := filepath.Join(e.dir, "spark-latency")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	cmd, err := e.peerCommand(e.spark(), "spark.py", map[string]any{"job": "latency", "dir": dir, "jars": e.jars("spark"), "brokers": k.addr, "topic": "pin"})
	if err != nil {
		return nil, err
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })()
	w, started, ended := &waiting{}, make(chan struct{}), make(chan error, 1)
	go func() { ended <- w.listen(out, started) }()
	select {
	case <-started:
		err = e.produce(ctx, k, w)
	case err = <-ended:
		ended <- err
	}
	_, writeErr := io.WriteString(in, "\n")
	if err := errors.Join(err, writeErr, <-ended, cmd.Wait()); err != nil {
		text := stderr.String()
		return nil, fmt.Errorf("%w\n%s", err, text[max(0, len(text)-4000):])
	}
	return w.delays, nil
}

// waiting are probes that were sent and not seen yet, in their order: they share a partition.
type waiting struct {
	mu     sync.Mutex
	sent   []time.Time
	all    bool
	delays []time.Duration
}

func (w *waiting) send(at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sent = append(w.sent, at)
}

// seen notes that the first n probes are counted.
func (w *waiting) seen(n int, at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.delays) < min(n, len(w.sent)) {
		w.delays = append(w.delays, at.Sub(w.sent[len(w.delays)]))
	}
}

// finish says that no more probes are sent.
func (w *waiting) finish() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all = true
}

// over tells whether all were seen.
func (w *waiting) over() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.all && len(w.delays) == len(w.sent)
}

// listen reads what Spark tells, to its end.
func (w *waiting) listen(out io.Reader, started chan struct{}) error {
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var told struct {
			Started float64
			Seen    int
			At      int64
		}
		if err := json.Unmarshal(lines.Bytes(), &told); err != nil {
			return fmt.Errorf("script of Spark said %q: %w", lines.Text(), err)
		}
		if told.Started > 0 {
			close(started)
			continue
		}
		w.seen(told.Seen, time.Unix(0, told.At))
	}
	return lines.Err()
}

// produce sends the steady load and, after a warm-up, the probes; it returns when all probes are seen.
func (e *env) produce(ctx context.Context, k *kafka, w *waiting) error {
	f, err := (&workshop{wire: k.wire()}).feeder()
	if err != nil {
		return err
	}
	defer f.producer.Close()
	f.partitions = kafkaPartitions
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	loading, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		const part = steadyRate / 50
		tick := time.NewTicker(time.Second / 50)
		defer tick.Stop()
		for at := int(time.Now().UnixNano()); loading.Err() == nil; at += part { // ids of their own
			if _, err := f.append(ctx, at, part); err != nil {
				cancel(err)
			}
			<-tick.C
		}
	})
	err = f.probes(ctx, 10*time.Second, e.seconds, w)
	stop()
	wg.Wait()
	return errors.Join(err, context.Cause(ctx))
}

// probes sends a probe every 25 ms, and waits until all are seen.
func (f *feeder) probes(ctx context.Context, after, during time.Duration, w *waiting) error {
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	sent, n := time.Now().Add(after), 0
	for ; time.Since(sent) < during; <-tick.C {
		if time.Now().Before(sent) {
			continue
		}
		at := time.Now()
		w.send(at)
		if err := f.probe(ctx, n, at); err != nil {
			return err
		}
		n++
	}
	w.finish()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for !w.over() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d of %d probes are not counted: %w", len(w.sent)-len(w.delays), n, context.Cause(ctx))
		case <-tick.C:
		}
	}
	return nil
}
