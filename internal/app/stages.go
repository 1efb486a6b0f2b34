package app

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/pinflow/pinflow/internal/audit"
	"github.com/pinflow/pinflow/internal/batch"
	"github.com/pinflow/pinflow/internal/collect"
	"github.com/pinflow/pinflow/internal/days"
	"github.com/pinflow/pinflow/internal/deadletter"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/httpapi"
	"github.com/pinflow/pinflow/internal/live"
	"github.com/pinflow/pinflow/internal/query"
	"github.com/pinflow/pinflow/internal/status"
	"github.com/pinflow/pinflow/internal/trace"
	"github.com/pinflow/pinflow/web"
)

// stages builds the process's units on the open parts. Their order is that of stopping: what speaks HTTP,
// then what reads the log, then the jobs, so that what the units sealed is committed.
func (p *parts) stages(ctx context.Context) ([]stage, error) {
	u := p.cfg.Units
	marks := days.New(p.owner(), p.cfg.MarkEvery, p.log.With("job", "marks"), p.ledger, ends(p.admin))
	p.pace = days.NewPace()
	marks.Tell(p.pace)
	door, err := p.frontDoor(ctx, status.New(p.ledger, ends(p.admin), marks.Missing, p.logReady))
	if err != nil {
		return nil, err
	}
	var readers, jobs stage
	if u.Live {
		if readers, jobs, err = p.liveUnit(readers, jobs); err != nil {
			return nil, err
		}
	}
	if u.Batch {
		if readers, jobs, err = p.batchUnit(readers, jobs); err != nil {
			return nil, err
		}
	}
	if u.Serve {
		check, err := p.audits()
		if err != nil {
			return nil, err
		}
		jobs = append(jobs, role{"marks", marks.Run}, role{"audit", check.Run})
	}
	if p.broker != nil {
		t := &truncator{every: cmp.Or(p.cfg.JobEvery, 5*time.Second), log: p.log, store: p.ledger, truncate: p.broker.Truncate}
		jobs = append(jobs, role{"truncator", t.run})
	} else if u.Collect || u.Live || u.Batch { // the embedded log lets nobody remove a topic
		w := &watch{every: cmp.Or(p.cfg.WatchEvery, time.Second), log: p.log, led: p.ledger, topics: p.admin.Topics, reads: u.Live || u.Batch}
		if p.door != nil {
			w.refuse = p.door.Refuse
		}
		jobs = append(jobs, role{"topics", w.run})
	}
	if p.cfg.Reload != nil && u.all() {
		jobs = append(jobs, role{"definitions", p.reload})
	}
	return []stage{door, readers, append(jobs, p.profiles()...)}, nil
}

// group is the name of a unit's consumer group.
func (p *parts) group(unit string) string { return p.cfg.Project.Settings.Log.Group + "-" + unit }

// liveUnit adds the live unit and its jobs.
func (p *parts) liveUnit(readers, jobs stage) (stage, stage, error) {
	l, err := live.New(live.Config{Owner: p.owner(), FlushEvery: p.cfg.FlushEvery, WatchEvery: p.cfg.WatchEvery}, p.log.With("unit", "live"),
		live.NewMetrics(p.cfg.Registry), p.ledger, Opener(p.wire, p.admin, p.group("live"), p.log))
	if err != nil {
		return nil, nil, err
	}
	compactor, err := live.NewCompactor(p.owner(), p.cfg.JobEvery, p.log.With("job", "compactor"), p.ledger)
	if err != nil {
		return nil, nil, err
	}
	return append(readers, role{"live unit", l.Run}), append(jobs, role{"compactor", compactor.Run}), nil
}

// batchUnit adds the batch unit and its jobs.
func (p *parts) batchUnit(readers, jobs stage) (stage, stage, error) {
	m := batch.NewMetrics(p.cfg.Registry)
	b, err := batch.New(batch.Config{Owner: p.owner(), StageEvery: p.cfg.StageEvery, WatchEvery: p.cfg.WatchEvery}, p.log.With("unit", "batch"),
		m, p.ledger, p.lake, Opener(p.wire, p.admin, p.group("batch"), p.log))
	if err != nil {
		return nil, nil, err
	}
	committer, err := batch.NewCommitter(batch.CommitterConfig{Owner: p.owner(), Every: p.cfg.CommitEvery, GiveWay: p.pressure.Reason, Behind: b.Behind}, p.log.With("job", "committer"), m, p.ledger, p.lake)
	if err != nil {
		return nil, nil, err
	}
	cleaner, err := batch.NewCleaner(batch.CleanerConfig{Owner: p.owner(), GiveWay: p.pressure.Reason}, p.log.With("job", "cleaner"), p.ledger, p.lake)
	if err != nil {
		return nil, nil, err
	}
	filling, err := p.backfills()
	if err != nil {
		return nil, nil, err
	}
	return append(readers, role{"batch unit", b.Run}), append(append(jobs, filling...), role{"committer", committer.Run}, role{"cleaner", cleaner.Run}), nil
}

// frontDoor is what speaks HTTP: it stops first, and the demonstration, which speaks to it, before.
func (p *parts) frontDoor(ctx context.Context, reporter *status.Reporter) (stage, error) {
	s := p.cfg.Project.Settings
	deps := httpapi.Deps{Registry: p.cfg.Registry, Access: p.access, Keys: p.access, Checks: []httpapi.Check{
		{Name: "ledger", Check: func(ctx context.Context) error { _, err := p.ledger.Epochs(ctx); return err }},
		{Name: "log", Check: p.logReady},
	}}
	if p.lake != nil {
		deps.Checks = append(deps.Checks, httpapi.Check{Name: "lake", Check: p.lake.Answers})
	}
	cfg, err := p.doorConfig()
	if err != nil {
		return nil, err
	}
	door := stage{{"API keys", p.access.Run}}
	if p.cfg.Units.Serve {
		if err := p.serveUnit(&cfg, &deps, reporter); err != nil {
			return nil, err
		}
	}
	if p.cfg.Units.Collect {
		collector := collect.New(collect.Config{Event: s.Limits.Event, Batch: s.Limits.Batch, InFlight: s.Limits.InFlight, Refresh: p.cfg.WatchEvery},
			p.log.With("unit", "collect"), collect.NewMetrics(p.cfg.Registry), p.door, p.ledger)
		if err := collector.Refresh(ctx); err != nil {
			return nil, fmt.Errorf("reading the catalogue for the collector: %w", err)
		}
		deps.Collector = collector
		door = append(door, role{"collector", collector.Run})
	}
	api, err := httpapi.New(cfg, p.log.With("unit", "http"), deps)
	if err != nil {
		return nil, err
	}
	door = append(door, role{"HTTP server", serve(api, p)})
	if p.cfg.Demo {
		door = append(door, role{"demonstration", p.demo})
	}
	return door, nil
}

// lateBy counts a view's late rows by day.
func lateBy(e *query.Engine) days.Late {
	return func(ctx context.Context, view, first, last string) (map[string]int64, error) {
		end, err := time.Parse(time.DateOnly, last)
		if err != nil {
			return nil, err
		}
		a, err := e.Query(ctx, query.Request{View: view, Measures: []string{"_late"}, Grain: "day", From: first, To: end.AddDate(0, 0, 1).Format(time.DateOnly)})
		if fault.Is(err, fault.Record) { // the view is gone, or keeps no such days
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		out := map[string]int64{}
		for _, row := range a.Rows {
			at, isTime := row[0].(string)
			if n, isCount := row[1].(int64); isTime && isCount {
				out[at[:len(time.DateOnly)]] = n
			}
		}
		return out, nil
	}
}

// serveUnit adds what answers questions.
func (p *parts) serveUnit(cfg *httpapi.Config, deps *httpapi.Deps, reporter *status.Reporter) error {
	engine, err := query.New(query.Config{Wait: days.Wait}, p.ledger, time.Now)
	if err != nil {
		return err
	}
	reporter.Lake(batch.NewLookout(p.ledger, p.lake).Problems)
	page, err := web.Files()
	if err != nil {
		return fmt.Errorf("opening the page: %w", err)
	}
	p.showDashboards(p.cfg.Project)
	cfg.Page, cfg.Dashboards = page, func() []httpapi.Dashboard { return *p.dashboards.Load() }
	deps.Querier, deps.Catalogue, deps.Days, deps.Lake = engine, p.ledger, days.NewReporter(p.ledger, lateBy(engine), p.pace), p.lake
	deps.Status, deps.Feed = reporter, httpapi.NewLedgerFeed(p.ledger)
	definitions := &applier{planner{p.ledger, p.lake, p.engine()}, *p.bringer()}
	deps.Planner, deps.Applier, deps.Backfills = definitions, definitions, p.ledger
	if p.auditor, err = audit.New(audit.Config{Owner: p.owner(), Every: p.cfg.AuditEvery, GiveWay: p.pressure.Reason}, p.ledger, p.lake); err != nil {
		return err
	}
	deps.Auditor, deps.Audits = p.auditor, p.ledger
	deps.Tracer = trace.New(p.ledger, p.lake, topicLog{p.admin, p.wire})
	deps.DeadLetters = deadletter.New(p.ledger, p.lake)
	if err := p.cfg.Registry.Register(reporter.Gauges()); err != nil {
		return fmt.Errorf("registering the status's metrics: %w", err)
	}
	deps.Tail = &tail{p.wire, p.ledger, p.log.With("unit", "tail")}
	return nil
}
