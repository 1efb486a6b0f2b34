package live

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/intake"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/segment"
)

// Config of the live unit.
type Config struct {
	Owner      string        // names this process in the ledger
	FlushEvery time.Duration // 0: 250 ms
	WatchEvery time.Duration // how often the epochs are asked; 0: 1 s
	MaxBytes   int           // groups held before an early flush, bytes; 0: 64 MiB
	PieceBytes int           // segments that a transaction inserts, bytes; 0: what the ledger takes
}

// Store is the part of the ledger that the unit needs.
type Store interface {
	intake.Store
	Open(ctx context.Context, w ledger.Write) (int64, error)
	AddSegments(ctx context.Context, write int64, segs []ledger.Segment) error
	Seal(ctx context.Context, s ledger.Seal) error
}

// Metrics of the live unit.
type Metrics struct {
	Records  *prometheus.CounterVec // by stream and what became of them
	Flushes  prometheus.Counter
	Segments prometheus.Counter
	Bytes    prometheus.Counter
	Flush    prometheus.Histogram
}

// NewMetrics builds and registers them.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		Records:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "pinflow_live_records_total", Help: "Records sealed, by stream and what became of them."}, []string{"stream", "as"}),
		Flushes:  prometheus.NewCounter(prometheus.CounterOpts{Name: "pinflow_live_flushes_total", Help: "Sealed flushes."}),
		Segments: prometheus.NewCounter(prometheus.CounterOpts{Name: "pinflow_live_segments_total", Help: "Segments sealed."}),
		Bytes:    prometheus.NewCounter(prometheus.CounterOpts{Name: "pinflow_live_segment_bytes_total", Help: "Bytes of segments sealed."}),
		Flush:    prometheus.NewHistogram(prometheus.HistogramOpts{Name: "pinflow_live_flush_seconds", Help: "Time of a flush.", Buckets: prometheus.ExponentialBuckets(0.001, 2, 14)}),
	}
	r.MustRegister(m.Records, m.Flushes, m.Segments, m.Bytes, m.Flush)
	return m
}

// Unit is a live unit.
type Unit struct{ in *intake.Intake }

// New checks cfg and returns a unit that has started nothing.
func New(cfg Config, log *slog.Logger, m *Metrics, store Store, open intake.Opener) (*Unit, error) {
	if cfg.Owner == "" {
		return nil, fault.New(fault.Config, "no_owner", "the live unit needs the name of its process")
	}
	if cfg.FlushEvery == 0 {
		cfg.FlushEvery = 250 * time.Millisecond
	}
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = 64 << 20
	}
	if cfg.PieceBytes == 0 {
		cfg.PieceBytes = ledger.MaxTx - 64<<10
	}
	codec, err := segment.NewCodec()
	if err != nil {
		return nil, err
	}
	s := &sink{cfg: cfg, m: m, store: store, codec: codec}
	return &Unit{intake.New(intake.Config{Unit: ledger.Live, Owner: cfg.Owner, EpochEvery: cfg.WatchEvery}, log, store, open, s)}, nil
}

// Run folds until ctx ends, then seals what it holds. A partition that was taken over by another
// process is dropped, a record that cannot be read is counted as a dead letter, anything else ends Run.
func (u *Unit) Run(ctx context.Context) error {
	if err := u.in.Run(ctx); err != nil {
		return fmt.Errorf("running the live unit: %w", err)
	}
	return nil
}
