package app

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/pinflow/pinflow/internal/config"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/icelake"
	"github.com/pinflow/pinflow/internal/kafkalog"
)

// Config of a process: `pinflow up` and the tests run everything, `pinflow collect`, `batch`, `live` and
// `serve` one unit.
type Config struct {
	Project *config.Project
	Units   Units // zero: all
	Version string
	Demo    bool
	Log     *slog.Logger
	Out     io.Writer // the URLs and a curl line

	Reloading // nil members: the files are read once

	// For tests, which may live in virtual time and on a virtual network; nil: the real ones.
	Listen   func(network, addr string) (net.Listener, error)
	Registry *prometheus.Registry

	// Wire changes how the process's own clients reach the log; nil: as it is.
	Wire func(b *kafkalog.Broker, c kafkalog.Config) kafkalog.Config

	FlushEvery  time.Duration // of the live unit; 0: 250 ms
	StageEvery  time.Duration // of the batch unit; 0: 1 s
	CommitEvery time.Duration // of the lake; 0: 1 s
	MarkEvery   time.Duration // 0: 1 s
	WatchEvery  time.Duration // how often the epochs are asked; 0: 1 s
	AuditEvery  time.Duration // between two closed days of the background audit; 0: 1 min
	JobEvery    time.Duration // compaction, truncation; 0: 1 s, 5 s
	StopBudget  time.Duration // for all steps of stopping; 0: 30 s
}

// App is the program as a value.
type App struct {
	cfg Config
	log *slog.Logger
}

// New checks cfg and returns an App that has started nothing.
func New(cfg Config) (*App, error) {
	if cfg.Project == nil || cfg.Log == nil {
		return nil, errors.New("app: a project and a logger are required")
	}
	if cfg.Units == (Units{}) {
		cfg.Units = allUnits
	}
	if err := supported(cfg.Project.Settings, cfg.Units); err != nil {
		return nil, err
	}
	if cfg.Out == nil {
		cfg.Out = io.Discard
	}
	if cfg.Listen == nil {
		cfg.Listen = net.Listen
	}
	if cfg.Registry == nil {
		cfg.Registry = prometheus.NewRegistry()
		cfg.Registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	}
	if cfg.Wire == nil {
		cfg.Wire = func(_ *kafkalog.Broker, c kafkalog.Config) kafkalog.Config { return c }
	}
	cfg.StageEvery = cmp.Or(cfg.StageEvery, time.Second)
	cfg.CommitEvery = cmp.Or(cfg.CommitEvery, time.Second)
	cfg.MarkEvery = cmp.Or(cfg.MarkEvery, time.Second)
	cfg.StopBudget = cmp.Or(cfg.StopBudget, 30*time.Second)
	return &App{cfg: cfg, log: cfg.Log}, nil
}

// Run starts everything, prints where it is, and runs until ctx ends or a part fails. Then it stops in
// order: the front door, the units, the committer and the jobs, the stores.
func (a *App) Run(ctx context.Context) (err error) {
	defer FewerCollections()()
	defer BoundMemory(a.cfg.Units)()
	p := &parts{cfg: a.cfg, log: a.log}
	defer func() { err = errors.Join(err, p.close()) }()
	if err := p.open(ctx); err != nil {
		return err
	}
	stages, err := p.stages(ctx)
	if err != nil {
		return err
	}
	p.greet()
	return supervise(ctx, a.log, a.cfg.StopBudget+a.cfg.Project.Settings.Drain, stages...)
}

// noteAddress leaves the address in the data folder, where the commands look: a port that was taken has
// given way to another.
func (p *parts) noteAddress(url string) {
	name := filepath.Join(p.folder.path, config.AddressFile)
	if err := os.WriteFile(name, []byte(url+"\n"), 0o644); err != nil {
		p.log.Warn("noting the address for the commands", "error", err)
		return
	}
	p.onClose(func() error { return os.Remove(name) })
}

// supported refuses settings of what this version cannot do: a URL would be taken for a file's name.
func supported(s config.Settings, units Units) error {
	if s.Log.Kind == config.Embedded && !units.all() {
		return fault.New(fault.Config, "needs_kafka", "pinflow %s runs one unit, and the embedded log lives inside of pinflow up", units.name()).
			WithAdvice("set log.kind: kafka and log.brokers, or run everything with: pinflow up")
	}
	if scheme, _, url := strings.Cut(s.Lake.Warehouse, "://"); url && scheme != "s3" {
		return fault.New(fault.Config, "not_supported", "lake.warehouse %s://…: a lake is in a folder or in S3", scheme).
			WithAdvice("name a folder or s3://bucket/prefix, or leave lake.warehouse out")
	}
	if scheme, _, url := strings.Cut(s.Lake.Catalog, "://"); url && !icelake.IsPostgres(s.Lake.Catalog) {
		return fault.New(fault.Config, "not_supported", "lake.catalog %s://…: a catalog is a SQLite file or a postgres:// URL", scheme).
			WithAdvice("name a file, or leave lake.catalog out")
	}
	return nil
}
