package backfill

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/span"
)

// Config of manager and workers.
type Config struct {
	Owner    string        // names this process in the ledger
	Every    time.Duration // between looks for work; 0: 1 s
	Share    float64       // of its time that a worker works; 0: all of it
	MaxBytes int           // states held before they are written down, bytes; 0: 64 MiB
	Standby  time.Duration // how long a version that was replaced is kept; 0: 24 h
	PinAfter time.Duration // of reading a day, before its snapshot is pinned; 0: 3 s
	// GiveWay says why history has to wait now, "" if it has not to: no day is begun then, and the one in hand
	// goes on slowly. nil: never.
	GiveWay func(ctx context.Context) string
	// Spark folds the days of back-fills whose engine it is. nil: the worker leaves them to others.
	Spark Engine
}

func (c *Config) defaults() error {
	if c.Owner == "" {
		return fault.New(fault.Config, "no_owner", "a back-fill needs the name of its process")
	}
	if c.Every == 0 {
		c.Every = time.Second
	}
	if c.Share <= 0 || c.Share > 1 {
		c.Share = 1
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = 64 << 20
	}
	if c.PinAfter == 0 {
		c.PinAfter = 3 * time.Second
	}
	if c.Standby == 0 {
		c.Standby = 24 * time.Hour
	}
	if c.GiveWay == nil {
		c.GiveWay = func(context.Context) string { return "" }
	}
	return nil
}

// Store is the part of the ledger that back-fills need.
type Store interface {
	ledger.Jobs
	ledger.Backfills
	ledger.Tasks
	Load(ctx context.Context) (*ledger.Snapshot, error)
	LakeVector(ctx context.Context) (span.Vector, error)
	PositionsOf(ctx context.Context, unit ledger.Unit) (span.Vector, error)
	AddSegments(ctx context.Context, write int64, segs []ledger.Segment) error
}

// Lake is where the history is.
type Lake interface {
	Days(ctx context.Context, table string) ([]lake.DayFiles, error)
	Newest(ctx context.Context, table string) (snapshot int64, err error)
	Pin(ctx context.Context, table, tag string, snapshot int64) (int64, error)
	Unpin(ctx context.Context, table string, tags ...string) error
	Pins(ctx context.Context, table, prefix string) ([]string, error)
	Scan(ctx context.Context, sel lake.Selection, fn func(*lake.Block) error) (int64, error)
	Files(ctx context.Context, sel lake.Selection) ([]lake.DataFile, []lake.FileColumn, error)
}

// Metrics of the back-fills.
type Metrics struct {
	Rows  prometheus.Counter
	Tasks *prometheus.CounterVec // by how they ended
	Time  prometheus.Histogram
}

// NewMetrics builds and registers them.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		Rows:  prometheus.NewCounter(prometheus.CounterOpts{Name: "pinflow_backfill_rows_total", Help: "Rows of the lake folded into the history of views."}),
		Tasks: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "pinflow_backfill_tasks_total", Help: "Days of back-fills, by how a worker ended with them."}, []string{"as"}),
		Time:  prometheus.NewHistogram(prometheus.HistogramOpts{Name: "pinflow_backfill_task_seconds", Help: "Time of a day that was sealed.", Buckets: prometheus.ExponentialBuckets(0.01, 2, 16)}),
	}
	r.MustRegister(m.Rows, m.Tasks, m.Time)
	return m
}

// tagPrefix begins the names of the tags that pin snapshots for tasks.
const tagPrefix = "pinflow-backfill-"

func tagOf(task int64) string { return fmt.Sprintf("%s%d", tagPrefix, task) }

// every calls fn until ctx ends, with a pause when it had nothing to do. A failure is logged and tried
// again, for history that is late must not stop what is live; only what is corrupt ends it.
func every(ctx context.Context, pause time.Duration, log *slog.Logger, fn func(ctx context.Context) (busy bool, err error)) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var said fault.Repeats
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		busy, err := fn(ctx)
		wait := pause
		switch {
		case ctx.Err() != nil:
			return nil
		case fault.Is(err, fault.Corrupt):
			return err
		case err != nil:
			if unsaid, say := said.Say(fault.CodeOf(err), time.Now()); say {
				log.Warn("a back-fill is put off", "error", err, "unsaid", unsaid)
			}
		case busy:
			wait = 0
		}
		timer.Reset(wait)
	}
}
