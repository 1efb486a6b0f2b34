package batch

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/intake"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
)

// Config of the reading half.
type Config struct {
	Owner      string        // names this process in the ledger
	StageEvery time.Duration // 0: 10 s
	WatchEvery time.Duration // how often the epochs are asked; 0: 1 s
	MaxBytes   int           // columns held before an early stage, bytes; 0: 64 MiB
	PieceBytes int           // entries of files that one transaction notes; 0: ledger.MaxTx
	// DrainBudget is how long the last stage may take; 0: 10 s.
	DrainBudget time.Duration
}

// Store is the part of the ledger that the reader needs.
type Store interface {
	intake.Store
	Open(ctx context.Context, w ledger.Write) (int64, error)
	AddFiles(ctx context.Context, write int64, files []ledger.LakeFile) error
	Seal(ctx context.Context, s ledger.Seal) error
}

// Files is where a stage's rows go.
type Files interface {
	EnsureTable(ctx context.Context, t lake.Table) error
	// Stage writes rows as durable files that no table names yet; fault.Transient schema_behind when
	// the table lacks a column that the committer has to add first.
	Stage(ctx context.Context, table string, blocks []lake.Block) ([]ledger.LakeFile, error)
	// Discard removes files that the ledger has never heard of.
	Discard(ctx context.Context, files []ledger.LakeFile) error
}

// Metrics of the batch unit.
type Metrics struct {
	Records         *prometheus.CounterVec // by stream and what became of them
	Stages          prometheus.Counter
	StageTime       prometheus.Histogram
	StagedBytes     prometheus.Counter
	Commits         *prometheus.CounterVec // by table and kind
	CommitTime      prometheus.Histogram
	Head            *prometheus.GaugeVec // commit number by table
	OffsetsCompared *prometheus.GaugeVec // when, by table
}

// NewMetrics builds and registers them.
func NewMetrics(r prometheus.Registerer) *Metrics {
	times := prometheus.ExponentialBuckets(0.002, 2, 14)
	m := &Metrics{
		Records:         prometheus.NewCounterVec(prometheus.CounterOpts{Name: "pinflow_batch_records_total", Help: "Records sealed, by stream and what became of them."}, []string{"stream", "as"}),
		Stages:          prometheus.NewCounter(prometheus.CounterOpts{Name: "pinflow_batch_stages_total", Help: "Sealed stages."}),
		StageTime:       prometheus.NewHistogram(prometheus.HistogramOpts{Name: "pinflow_batch_stage_seconds", Help: "Time to write and seal a stage.", Buckets: times}),
		StagedBytes:     prometheus.NewCounter(prometheus.CounterOpts{Name: "pinflow_batch_staged_bytes_total", Help: "Bytes of data files sealed."}),
		Commits:         prometheus.NewCounterVec(prometheus.CounterOpts{Name: "pinflow_lake_commits_total", Help: "Commits that landed, by table and kind."}, []string{"table", "kind"}),
		CommitTime:      prometheus.NewHistogram(prometheus.HistogramOpts{Name: "pinflow_lake_commit_seconds", Help: "Time of a commit, from intent to its end.", Buckets: times}),
		Head:            prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "pinflow_lake_commit_seq", Help: "Number of a table's newest commit."}, []string{"table"}),
		OffsetsCompared: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "pinflow_lake_offsets_compared_timestamp_seconds", Help: "When the offsets of a table's rows were last found to be those that the ledger counted."}, []string{"table"}),
	}
	r.MustRegister(m.Records, m.Stages, m.StageTime, m.StagedBytes, m.Commits, m.CommitTime, m.Head, m.OffsetsCompared)
	return m
}

// Unit is the reading half: log → sealed stages.
type Unit struct{ in *intake.Intake }

// New checks cfg and returns a unit that has started nothing.
func New(cfg Config, log *slog.Logger, m *Metrics, store Store, files Files, open intake.Opener) (*Unit, error) {
	if cfg.Owner == "" {
		return nil, fault.New(fault.Config, "no_owner", "the batch unit needs the name of its process")
	}
	s := newSink(cfg, log, m, store, files)
	return &Unit{intake.New(intake.Config{Unit: ledger.Batch, Owner: cfg.Owner, EpochEvery: cfg.WatchEvery, DrainBudget: cfg.DrainBudget}, log, store, open, s)}, nil
}

// behindBy is how many waiting records make the unit one that is behind: more than arrive while it seals a
// stage, at any rate that it can follow.
const behindBy = 200_000

// Behind tells whether the unit has much to catch up on. Anybody may ask.
func (u *Unit) Behind() bool { return u.in.Behind() >= behindBy }

// Run stages until ctx ends, then seals what it holds. A partition that was taken over by another
// process is dropped, a record that cannot be read becomes a dead letter, anything else ends Run.
func (u *Unit) Run(ctx context.Context) error {
	if err := u.in.Run(ctx); err != nil {
		return fmt.Errorf("running the batch unit: %w", err)
	}
	return nil
}
