package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pinflow/pinflow/internal/app"
	"github.com/pinflow/pinflow/internal/batch"
	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/icelake"
	"github.com/pinflow/pinflow/internal/kafkalog"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/live"
	"github.com/pinflow/pinflow/internal/span"
)

var batchBench = bench{
	name: "batch-unit", title: "log → committed Parquet, the batch unit alone",
	how: "A million real pins (about 1 KB each) are put into the embedded log of a data folder that `up` made; then the batch unit and the committer alone, with the settings of `up`, read them until the lake's vector has reached the log's end. The log's broker runs in the same process and its CPU counts: events a core-second is over all CPU time of the process.",
	run: func(ctx context.Context, e *env) ([]figure, error) { return runUnit(ctx, e, ledger.Batch) },
}

var liveBench = bench{
	name: "live-unit", title: "log → sealed segments, the live unit alone",
	how: "The same backlog; the live unit alone folds the built-in view `pins` (three dimensions; count, filtered count, a distinct count, a percentile, two sums, min, max, avg) until its position in the ledger has reached the log's end, flushing every 250 ms. The broker's CPU counts here, too.",
	run: func(ctx context.Context, e *env) ([]figure, error) { return runUnit(ctx, e, ledger.Live) },
}

const backlog = 1_000_000

func runUnit(ctx context.Context, e *env, unit ledger.Unit) ([]figure, error) {
	data, err := e.prepare(ctx)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return e.inChild(ctx, self, "unit", string(unit), data, e.profile)
}

// childUnit fills the log and lets a unit drain it.
func childUnit(ctx context.Context, unit ledger.Unit, data, profile string) (_ []figure, err error) {
	defer app.FewerCollections()() // as app.Run does
	w, err := openWorkshop(ctx, data, childLog())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	bytes, err := w.fill(ctx, backlog)
	if err != nil {
		return nil, err
	}
	end, err := w.ends(ctx)
	if err != nil {
		return nil, err
	}
	done, err := profiled(profile, string(unit)+"-unit")
	if err != nil {
		return nil, err
	}
	defer done()
	cpu, start := cpuTime(), time.Now()
	var more []figure
	if unit == ledger.Batch {
		more, err = w.drainBatch(ctx, end)
	} else {
		err = w.drainLive(ctx, end)
	}
	if err != nil {
		return nil, err
	}
	wall, used := time.Since(start), cpuTime()-cpu
	_, peak := memory(os.Getpid())
	target := 300_000.0
	if unit == ledger.Batch {
		target = 150_000
	}
	return append([]figure{
		least("events a core-second", backlog/used.Seconds(), "events/s", target),
		fact("events a second on both cores", backlog/wall.Seconds(), "events/s"),
		fact("JSON a second", float64(bytes)/wall.Seconds()/1e6, "MB/s"),
		fact("memory at most, log and broker included", peak, "MiB"),
	}, more...), nil
}

// fill appends n real pins to the log, as the collector does.
func (w *workshop) fill(ctx context.Context, n int) (bytes int64, err error) {
	f, err := w.feeder()
	if err != nil {
		return 0, err
	}
	defer f.producer.Close()
	const chunk = 5000
	for at := 0; at < n; at += chunk {
		more, err := f.append(ctx, at, chunk)
		if err != nil {
			return 0, fmt.Errorf("filling the log: %w", err)
		}
		bytes += more
	}
	return bytes, nil
}

// feeder appends real pins to the log, as the collector does.
type feeder struct {
	producer   *kafkalog.Producer
	pins       []template
	partitions int // 0: 2
	days       int // over which event times are spread, back from now; 0: 1
}

func (w *workshop) feeder() (*feeder, error) {
	pins, err := pins()
	if err != nil {
		return nil, err
	}
	wire := w.wire
	wire.MaxInFlight = 256 << 20
	producer, err := kafkalog.NewProducer(wire, childLog())
	if err != nil {
		return nil, err
	}
	return &feeder{producer: producer, pins: pins}, nil
}

// append sends the pins numbered [from, from+n), as many to each partition.
func (f *feeder) append(ctx context.Context, from, n int) (bytes int64, err error) {
	recs := make([]event.Record, n)
	now := time.Now()
	stamps := make([]string, max(f.days, 1))
	for i := range stamps {
		stamps[i] = moment(now.AddDate(0, 0, -i))
	}
	for i := range recs {
		id := uint64(from + i)
		value := append([]byte(nil), f.pins[id%uint64(len(f.pins))]...)
		patch(value, id, stamps[id%uint64(len(stamps))])
		bytes += int64(len(value))
		name := string(value[idAt-len("bench-") : idAt+idDigits])
		recs[i] = event.Record{Key: f.keyOf(id), Partition: []byte(name), Value: value, ID: name, Received: now.UnixMicro(), Schema: 1}
	}
	for _, err := range f.producer.Append(ctx, "pin", recs) {
		if err != nil {
			return 0, err
		}
	}
	return bytes, nil
}

// ends are the ends of the pins' partitions.
func (w *workshop) ends(ctx context.Context) (span.Vector, error) {
	snap, err := w.ledger.Load(ctx)
	if err != nil {
		return nil, err
	}
	out := span.Vector{}
	for _, l := range snap.Logs {
		if l.Topic != "pin" {
			continue
		}
		marks, err := w.admin.HighWatermarks(ctx, l.Topic)
		if err != nil {
			return nil, err
		}
		for p, at := range marks {
			out[span.Key{Log: l.ID, Partition: p}] = at
		}
	}
	return out, nil
}

// until runs roles until reached says so, then stops them.
func until(ctx context.Context, reached func() (bool, error), roles ...func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ends := make(chan error, len(roles))
	for _, r := range roles {
		go func() { ends <- r(ctx) }()
	}
	running := len(roles)
	var err error
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for ok := false; !ok && err == nil; {
		select {
		case err = <-ends:
			running--
			err = errors.Join(errors.New("a unit ended by itself"), err)
		case <-tick.C:
			ok, err = reached()
		}
	}
	cancel()
	for range running {
		err = errors.Join(err, <-ends)
	}
	return err
}

func covers(at, end span.Vector) bool {
	for k, e := range end {
		if at[k] < e {
			return false
		}
	}
	return true
}

func (w *workshop) drainLive(ctx context.Context, end span.Vector) error {
	log := childLog()
	u, err := live.New(live.Config{Owner: "bench"}, log, live.NewMetrics(prometheus.NewRegistry()), w.ledger, app.Opener(w.wire, w.admin, w.group+"bench-live", log))
	if err != nil {
		return err
	}
	return until(ctx, func() (bool, error) {
		at, err := w.ledger.PositionsOf(ctx, ledger.Live)
		return covers(at, end), err
	}, u.Run)
}

func (w *workshop) drainBatch(ctx context.Context, end span.Vector) (_ []figure, err error) {
	log := childLog()
	lake, err := w.openLake(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, lake.Close()) }()
	m := batch.NewMetrics(prometheus.NewRegistry())
	u, err := batch.New(batch.Config{Owner: "bench", StageEvery: time.Second}, log, m, w.ledger, lake, app.Opener(w.wire, w.admin, w.group+"bench-batch", log))
	if err != nil {
		return nil, err
	}
	c, err := batch.NewCommitter(batch.CommitterConfig{Owner: "bench", Every: time.Second, Behind: u.Behind}, log, m, w.ledger, lake)
	if err != nil {
		return nil, err
	}
	err = until(ctx, func() (bool, error) {
		at, err := w.ledger.LakeVector(ctx)
		return covers(at, end), err
	}, u.Run, c.Run)
	if err != nil {
		return nil, err
	}
	bytes, files := folderBytes(filepath.Join(w.data, "lake", "warehouse"), ".parquet")
	return []figure{fact("Parquet an event", float64(bytes)/backlog, "bytes"), fact("data files", float64(files), "")}, nil
}

func (w *workshop) openLake(ctx context.Context) (*icelake.Lake, error) {
	return icelake.Open(ctx, icelake.Config{
		Warehouse: filepath.Join(w.data, "lake", "warehouse"), Catalog: filepath.Join(w.data, "lake", "catalog.db"), Log: childLog(),
	})
}
