package backfill

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/history"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/span"
)

// lease names the manager's job: one process does it.
const lease = "backfill"

// tidyEvery is how many passes lie between two that clear away.
const tidyEvery = 30

// Manager decides about back-fills. Any number of processes may run one.
type Manager struct {
	cfg    Config
	log    *slog.Logger
	store  Store
	lake   Lake
	keeper *ledger.Keeper
	passes int
}

// NewManager checks cfg and returns a manager that has started nothing.
func NewManager(cfg Config, log *slog.Logger, store Store, lake Lake) (*Manager, error) {
	if err := cfg.defaults(); err != nil {
		return nil, err
	}
	return &Manager{cfg: cfg, log: log, store: store, lake: lake, keeper: ledger.NewKeeper(store, cfg.Owner)}, nil
}

// Run manages until ctx ends.
func (m *Manager) Run(ctx context.Context) error {
	err := every(ctx, m.cfg.Every, m.log, func(ctx context.Context) (bool, error) { return false, m.pass(ctx) })
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if err := m.keeper.Release(last); err != nil {
		m.log.Info("leases run out by themselves", "error", err)
	}
	if err != nil {
		return fmt.Errorf("managing back-fills: %w", err)
	}
	return nil
}

func (m *Manager) pass(ctx context.Context) error {
	held, ok, err := m.keeper.Hold(ctx, lease)
	if err != nil || !ok {
		return err
	}
	all, err := m.store.Backfills(ctx, 0)
	if err != nil {
		return err
	}
	for i := range all {
		b := &all[i]
		switch b.State {
		case ledger.Queued:
			err = m.list(ctx, held, b)
		case ledger.Running:
			err = finish(ctx, m.store, m.log, b.ID, b.View)
		}
		if err != nil {
			m.keeper.Forget(lease)
			return fmt.Errorf("back-fill %d of %s: %w", b.ID, b.View, err)
		}
	}
	if m.passes++; m.passes%tidyEvery != 1 {
		return nil
	}
	return m.tidy(ctx, held, all)
}

func finish(ctx context.Context, store Store, log *slog.Logger, id int64, view string) error {
	done, err := store.Finish(ctx, id)
	if done {
		log.Info("a back-fill is done, its version serves", "view", view, "backfill", id)
	}
	return err
}

// list stores the days of a back-fill once the lake holds every row of its history.
func (m *Manager) list(ctx context.Context, held ledger.Lease, b *ledger.Backfill) error {
	snap, err := m.store.Load(ctx)
	if err != nil {
		return fmt.Errorf("reading the catalogue: %w", err)
	}
	r, err := history.New(snap, b.Version)
	if err != nil {
		return err
	}
	ready, err := m.reached(ctx, snap, r.Version.Cut)
	if err != nil || !ready {
		return err
	}
	days, err := m.lake.Days(ctx, b.Stream)
	if err != nil {
		return fmt.Errorf("listing the days of table %s: %w", b.Stream, err)
	}
	var tasks []ledger.Task
	c := r.Compiled()
	for _, d := range days {
		at, err := time.Parse(time.DateOnly, d.Day)
		if err != nil {
			return fmt.Errorf("reading day %q of table %s: %w", d.Day, b.Stream, err)
		}
		if c.Time == event.ColumnEventTime && at.Add(24*time.Hour).UnixMicro() <= c.From {
			continue // all of it lies before backfill.from
		}
		tasks = append(tasks, ledger.Task{Day: d.Day, Expect: d.Rows, Bytes: d.Bytes})
	}
	m.log.Info("a back-fill begins", "view", b.View, "backfill", b.ID, "days", len(tasks))
	return m.store.ListDays(ctx, held, b.ID, tasks)
}

// reached tells whether every row below the cut is in the lake. On a closed log batch may have ended
// before the cut: there is no more to come.
func (m *Manager) reached(ctx context.Context, snap *ledger.Snapshot, cut span.Vector) (bool, error) {
	at, err := m.store.LakeVector(ctx)
	if err != nil {
		return false, fmt.Errorf("reading the lake's offsets: %w", err)
	}
	batch, err := m.store.PositionsOf(ctx, ledger.Batch)
	if err != nil {
		return false, fmt.Errorf("reading positions: %w", err)
	}
	for k, to := range cut {
		closed := slices.ContainsFunc(snap.Logs, func(l ledger.Log) bool { return l.ID == k.Log && !l.ClosedAt.IsZero() })
		if closed {
			to = min(to, batch[k])
		}
		if at[k] < to {
			return false, nil
		}
	}
	return true, nil
}

// tidy drops what nobody can go back to any more, and tags that no task needs.
func (m *Manager) tidy(ctx context.Context, held ledger.Lease, all []ledger.Backfill) error {
	if _, err := m.store.ExpireStandby(ctx, held, time.Now().Add(-m.cfg.Standby)); err != nil {
		return err
	}
	for range 100 {
		n, err := m.store.DropSegments(ctx, held)
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
	}
	return m.unpin(ctx, all)
}

func (m *Manager) unpin(ctx context.Context, all []ledger.Backfill) error {
	snap, err := m.store.Load(ctx)
	if err != nil {
		return fmt.Errorf("reading the catalogue: %w", err)
	}
	for _, s := range snap.Streams {
		tags, err := m.lake.Pins(ctx, s.Name, tagPrefix)
		if err != nil {
			return fmt.Errorf("listing tags of table %s: %w", s.Name, err)
		}
		if len(tags) == 0 {
			continue
		}
		running := map[string]bool{}
		for i := range all {
			if all[i].Stream != s.Name || all[i].Tasks[ledger.Running] == 0 {
				continue
			}
			tasks, err := m.store.BackfillTasks(ctx, all[i].ID)
			if err != nil {
				return err
			}
			for _, t := range tasks {
				running[tagOf(t.ID)] = t.State == ledger.Running
			}
		}
		stray := slices.DeleteFunc(tags, func(tag string) bool { return running[tag] })
		if err := m.lake.Unpin(ctx, s.Name, stray...); err != nil {
			return err
		}
	}
	return nil
}
