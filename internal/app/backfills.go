package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/google/uuid"

	"github.com/pinflow/pinflow/internal/audit"
	"github.com/pinflow/pinflow/internal/backfill"
	"github.com/pinflow/pinflow/internal/config"
	"github.com/pinflow/pinflow/internal/days"
	"github.com/pinflow/pinflow/internal/icelake"
	"github.com/pinflow/pinflow/internal/spark"
	"github.com/pinflow/pinflow/internal/sqlledger"
)

// backfills are the manager of back-fills and the workers inside this process.
func (p *parts) backfills() (stage, error) {
	s := p.cfg.Project.Settings
	cfg := backfill.Config{Owner: p.owner(), Every: p.cfg.JobEvery, Share: s.Backfill.Share, Standby: s.Rollback, GiveWay: p.pressure.Reason}
	m, err := backfill.NewManager(cfg, p.log.With("job", "backfill"), p.ledger, p.lake)
	if err != nil {
		return nil, err
	}
	all := stage{{"back-fill manager", m.Run}}
	metrics := backfill.NewMetrics(p.cfg.Registry)
	for n := range s.Backfill.Workers {
		cfg.Owner, cfg.Spark = fmt.Sprintf("%s#%d", p.owner(), n), p.spark()
		w, err := backfill.NewWorker(cfg, p.log.With("job", "backfill"), metrics, p.ledger, p.lake)
		if err != nil {
			return nil, err
		}
		all = append(all, role{"back-fill worker", w.Run})
	}
	return all, nil
}

// RunBackfill runs workers alone, on the ledger and the lake of a project, until ctx ends.
func RunBackfill(ctx context.Context, cfg Config, workers int) (err error) {
	a, err := New(cfg)
	if err != nil {
		return err
	}
	s := cfg.Project.Settings
	p := &parts{cfg: a.cfg, log: a.log}
	defer func() { err = errors.Join(err, p.close()) }()
	if p.ledger, err = sqlledger.Open(ctx, s.Ledger.DSN, p.log); err != nil {
		return fmt.Errorf("opening the ledger: %w", err)
	}
	p.onClose(p.ledger.Close)
	if p.lake, err = icelake.Open(ctx, lakeConfig(s, p.log)); err != nil {
		return fmt.Errorf("opening the lake: %w", err)
	}
	p.onClose(p.lake.Close)
	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("naming this worker: %w", err)
	}
	if err := p.openProfiles(); err != nil {
		return err
	}
	metrics := backfill.NewMetrics(a.cfg.Registry)
	p.pressure = days.NewPressure(p.ledger)
	all := p.profiles()
	for n := range workers {
		own := backfill.Config{Owner: fmt.Sprintf("backfill:%s:%d:%.8s#%d", host, os.Getpid(), uuid.NewString(), n), Share: s.Backfill.Share, GiveWay: p.pressure.Reason, Spark: p.spark()}
		w, err := backfill.NewWorker(own, p.log.With("job", "backfill", "worker", n), metrics, p.ledger, p.lake)
		if err != nil {
			return err
		}
		all = append(all, role{"back-fill worker", w.Run})
	}
	return supervise(ctx, a.log, a.cfg.StopBudget, all)
}

// engine is that of back-fills unless somebody says otherwise; "": the kernel.
func (p *parts) engine() string {
	if e := p.cfg.Project.Settings.Backfill.Engine; e != config.EngineKernel {
		return e
	}
	return ""
}

// spark is a Spark of a worker's own, nil if the project has none.
func (p *parts) spark() backfill.Engine {
	s := p.cfg.Project.Settings
	if s.Backfill.Engine != config.EngineSpark {
		return nil
	}
	return spark.New(sparkConfig(s), p.log.With("job", "backfill"), p.lake)
}

func sparkConfig(s config.Settings) spark.Config {
	how := s.Backfill.Spark
	out := spark.Config{Submit: how.Submit, Master: how.Master, Packages: how.Packages, Jars: how.Jars, Conf: how.Conf}
	if strings.HasPrefix(s.Lake.Warehouse, "s3://") {
		to := s.Lake.S3
		out.S3 = spark.S3{Endpoint: to.Endpoint, Region: to.Region, PathStyle: to.PathStyle, AccessKey: to.AccessKey, SecretKey: to.SecretKey, CAFile: to.CAFile}
	}
	return out
}

// audits is the slow check of closed days.
func (p *parts) audits() (*audit.Checker, error) {
	return audit.NewChecker(p.auditor, p.log.With("job", "audit"), audit.NewMetrics(p.cfg.Registry), p.ledger)
}
