package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/pinflow/pinflow/internal/batch"
	"github.com/pinflow/pinflow/internal/collect"
	"github.com/pinflow/pinflow/internal/days"
	"github.com/pinflow/pinflow/internal/emulate"
	"github.com/pinflow/pinflow/internal/httpapi"
	"github.com/pinflow/pinflow/internal/live"
	"github.com/pinflow/pinflow/internal/query"
	"github.com/pinflow/pinflow/internal/status"
	"github.com/pinflow/pinflow/web"
)

// stages builds the units on the open parts. Their order is that of stopping.
func (p *parts) stages(ctx context.Context) ([]stage, error) {
	marks := days.New(p.owner(), p.cfg.MarkEvery, p.log.With("job", "marks"), p.ledger, p.admin.HighWatermarks)
	door, err := p.frontDoor(ctx, status.New(p.ledger, p.admin.HighWatermarks, marks.Missing))
	if err != nil {
		return nil, err
	}
	units, err := p.units()
	if err != nil {
		return nil, err
	}
	jobs, err := p.jobs()
	if err != nil {
		return nil, err
	}
	return []stage{door, units, append(jobs, role{"marks", marks.Run})}, nil
}

// units are the two readers of the log.
func (p *parts) units() (stage, error) {
	l, err := live.New(live.Config{Owner: p.owner(), FlushEvery: p.cfg.FlushEvery, WatchEvery: p.cfg.WatchEvery}, p.log.With("unit", "live"),
		live.NewMetrics(p.cfg.Registry), p.ledger, Opener(p.wire, p.admin, "pinflow-live", p.log))
	if err != nil {
		return nil, err
	}
	b, err := batch.New(batch.Config{Owner: p.owner(), StageEvery: p.cfg.StageEvery, WatchEvery: p.cfg.WatchEvery}, p.log.With("unit", "batch"),
		p.batchMetrics(), p.ledger, p.lake, Opener(p.wire, p.admin, "pinflow-batch", p.log))
	if err != nil {
		return nil, err
	}
	return stage{{"live unit", l.Run}, {"batch unit", b.Run}}, nil
}

// jobs are the singletons; they stop last, so that what the units sealed is committed.
func (p *parts) jobs() (stage, error) {
	committer, err := batch.NewCommitter(batch.CommitterConfig{Owner: p.owner(), Every: p.cfg.CommitEvery}, p.log.With("job", "committer"), p.batchMetrics(), p.ledger, p.lake)
	if err != nil {
		return nil, err
	}
	compactor, err := live.NewCompactor(p.owner(), p.cfg.JobEvery, p.log.With("job", "compactor"), p.ledger)
	if err != nil {
		return nil, err
	}
	t := &truncator{every: cmp.Or(p.cfg.JobEvery, 5*time.Second), log: p.log, store: p.ledger, truncate: p.broker.Truncate}
	return stage{{"committer", committer.Run}, {"compactor", compactor.Run}, {"truncator", t.run}}, nil
}

// frontDoor is what speaks HTTP: it stops first, and the demonstration, which speaks to it, before.
func (p *parts) frontDoor(ctx context.Context, reporter *status.Reporter) (stage, error) {
	s := p.cfg.Project.Settings
	collector := collect.New(collect.Config{Event: s.Limits.Event, Batch: s.Limits.Batch, InFlight: s.Limits.InFlight, Refresh: p.cfg.WatchEvery},
		p.log.With("unit", "collect"), collect.NewMetrics(p.cfg.Registry), p.door, p.ledger)
	if err := collector.Refresh(ctx); err != nil {
		return nil, fmt.Errorf("reading the catalogue for the collector: %w", err)
	}
	engine, err := query.New(query.Config{Wait: days.Wait}, p.ledger, time.Now)
	if err != nil {
		return nil, err
	}
	page, err := web.Files()
	if err != nil {
		return nil, fmt.Errorf("opening the page: %w", err)
	}
	api, err := httpapi.New(httpapi.Config{Version: p.cfg.Version, Page: page, Body: s.Limits.Body, InFlight: s.Limits.InFlight}, p.log.With("unit", "http"), httpapi.Deps{
		Collector: collector, Querier: engine, Catalogue: p.ledger, Days: p.ledger, Lake: p.lake,
		Status: reporter, Feed: httpapi.NewLedgerFeed(p.ledger), Registry: p.cfg.Registry,
		Checks: []httpapi.Check{
			{Name: "ledger", Check: func(ctx context.Context) error { _, err := p.ledger.Epochs(ctx); return err }},
			{Name: "log", Check: func(context.Context) error { return p.broker.Room(0) }},
			{Name: "lake", Check: func(ctx context.Context) error { _, err := p.lake.Tables(ctx); return err }},
		},
	})
	if err != nil {
		return nil, err
	}
	door := stage{{"HTTP server", serve(api.Server(""), p, api.Close)}, {"collector", collector.Run}}
	if p.cfg.Demo {
		door = append(door, role{"demonstration", p.demo})
	}
	return door, nil
}

// demo posts the demonstration's events to our own front door until it closes.
func (p *parts) demo(ctx context.Context) error {
	e, err := emulate.New(emulate.Config{
		URL: "http://" + p.http.Addr().String(), Rate: demoRate, Users: demoUsers,
		Seed: uint64(time.Now().UnixNano()), Shares: emulate.Shares{Late: 0.01, Duplicate: 0.005, Bad: 0.001, Future: 0.001},
		Pace: emulate.Pace{Rhythm: 0.3, Burst: emulate.Burst{Factor: 3, For: 40 * time.Second, Every: 4 * time.Minute}},
	}, p.log.With("unit", "demonstration"))
	if err != nil {
		return err
	}
	if _, err := e.Run(ctx); err != nil && ctx.Err() == nil {
		return fmt.Errorf("posting the demonstration: %w", err)
	}
	<-ctx.Done()
	return nil
}

// The demonstration is a small town: enough to see lines move, little enough to leave the machine alone.
const (
	demoRate  = 60 // events a second
	demoUsers = 500
)

// batchMetrics are shared by the batch unit's two halves.
func (p *parts) batchMetrics() *batch.Metrics {
	if p.batched == nil {
		p.batched = batch.NewMetrics(p.cfg.Registry)
	}
	return p.batched
}

// serve runs an HTTP server on the listener until ctx ends, then lets requests in progress end.
func serve(srv *http.Server, p *parts, closeStreams func()) func(context.Context) error {
	return func(ctx context.Context) error {
		ended := make(chan error, 1)
		go func() { ended <- srv.Serve(p.http) }()
		select {
		case err := <-ended:
			return fmt.Errorf("serving HTTP: %w", err)
		case <-ctx.Done():
		}
		closeStreams()
		budget, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.cfg.StopBudget/2)
		defer cancel()
		err := srv.Shutdown(budget)
		if serveErr := <-ended; !errors.Is(serveErr, http.ErrServerClosed) {
			err = errors.Join(err, serveErr)
		}
		if err != nil {
			return fmt.Errorf("closing the front door: %w", err)
		}
		return nil
	}
}
