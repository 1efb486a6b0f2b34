package batch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
)

// CleanerConfig of the job that deletes what nobody knows.
type CleanerConfig struct {
	Owner string        // names this process in the ledger
	First time.Duration // after the start; 0: 10 min
	Every time.Duration // between passes; 0: 24 h
	Age   time.Duration // at which something that nobody knows is deleted; 0: OrphanAge
	// GiveWay says why it has to wait now, "" if it has not to. nil: never.
	GiveWay func(ctx context.Context) string
}

// OrphanAge is when a data file that no snapshot and no ledger knows is no writer's any more. A write is given up
// long before, and a rewrite that waits for its commit takes minutes.
const OrphanAge = 3 * 24 * time.Hour

// Known is the part of the ledger that tells what is known.
type Known interface {
	ledger.Jobs
	paths
	Load(ctx context.Context) (*ledger.Snapshot, error)
}

// paths names the data files of a table that the ledger knows.
type paths interface {
	FilePaths(ctx context.Context, table string) ([]string, error)
}

// Leftovers is what the lake holds beside its tables' files.
type Leftovers interface {
	orphans
	// Abandoned are the jobs of other engines of which nothing was written since the moment; RemoveStaged
	// removes what is left of one.
	Abandoned(ctx context.Context, before time.Time) ([]string, error)
	RemoveStaged(job string) error
}

// orphans finds and removes data files that nobody knows.
type orphans interface {
	Orphans(ctx context.Context, table string, before time.Time, known func(context.Context) ([]string, error)) ([]lake.Orphan, error)
	RemoveOrphans(ctx context.Context, orphans []lake.Orphan) error
}

// cleanLease is held by the one process that cleans.
const cleanLease = "clean"

// cleanTick is how often the lease is looked after. A holder that could not renew it stops before it ends.
const cleanTick = 5 * time.Second

// Cleaner deletes, by age, what a crash left in the lake: data files that no table and no ledger knows, and what
// another engine wrote for a task that was killed. It lists every file, which takes long where there are many: so it
// runs beside the commits, in one process. It needs no fence: what it deletes, nobody can come to know any more.
type Cleaner struct {
	cfg    CleanerConfig
	log    *slog.Logger
	led    Known
	lake   Leftovers
	keeper *ledger.Keeper
	said   fault.Repeats
	due    time.Time
	cancel context.CancelFunc // of the pass that runs; nil: none
	ended  chan error
}

// NewCleaner checks cfg and returns a cleaner that has started nothing.
func NewCleaner(cfg CleanerConfig, log *slog.Logger, led Known, left Leftovers) (*Cleaner, error) {
	if cfg.Owner == "" {
		return nil, fault.New(fault.Config, "no_owner", "the cleaner needs the name of its process")
	}
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&cfg.First, 10*time.Minute)
	def(&cfg.Every, 24*time.Hour)
	def(&cfg.Age, OrphanAge)
	if cfg.GiveWay == nil {
		cfg.GiveWay = func(context.Context) string { return "" }
	}
	return &Cleaner{cfg: cfg, log: log, led: led, lake: left, keeper: ledger.NewKeeper(led, cfg.Owner), ended: make(chan error, 1)}, nil
}

// Run cleans now and then until ctx ends. What fails is tried again with the next pass: nothing depends on it.
func (c *Cleaner) Run(ctx context.Context) error {
	c.due = time.Now().Add(c.cfg.First)
	tick := time.NewTicker(min(cleanTick, c.cfg.First))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return c.stop(ctx)
		case err := <-c.ended:
			c.note(err)
		case <-tick.C:
			c.tick(ctx)
		}
	}
}

// tick looks after the lease, and begins a pass that is due. A pass without the lease is ended.
func (c *Cleaner) tick(ctx context.Context) {
	if c.cancel == nil && time.Now().Before(c.due) {
		return
	}
	_, ok, err := c.keeper.Hold(ctx, cleanLease)
	switch {
	case err != nil && ctx.Err() == nil:
		c.putOff(err)
	case !ok && c.cancel != nil:
		c.cancel()
	case !ok || c.cancel != nil || c.cfg.GiveWay(ctx) != "":
	default:
		var pass context.Context
		pass, c.cancel = context.WithCancel(ctx)
		go func() { c.ended <- c.pass(pass) }()
	}
}

// note takes the end of a pass. The lease is kept until the next one, so that nobody else cleans meanwhile.
func (c *Cleaner) note(err error) {
	c.cancel()
	c.cancel = nil
	c.due = time.Now().Add(c.cfg.Every)
	if err != nil {
		c.due = time.Now().Add(min(c.cfg.Every, time.Hour))
		c.putOff(err)
	}
}

func (c *Cleaner) putOff(err error) {
	if unsaid, say := c.said.Say(fault.CodeOf(err), time.Now()); say {
		c.log.Warn("cleaning the lake is put off", "error", err, "unsaid", unsaid)
	}
}

func (c *Cleaner) stop(ctx context.Context) error {
	if c.cancel != nil {
		c.cancel()
		<-c.ended
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if err := c.keeper.Release(last); err != nil {
		c.log.Info("leases run out by themselves", "error", err)
	}
	return nil
}

// pass looks at every table once, and at what other engines left.
func (c *Cleaner) pass(ctx context.Context) error {
	before := time.Now().Add(-c.cfg.Age)
	snap, err := c.led.Load(ctx)
	if err != nil {
		return fmt.Errorf("reading the catalogue: %w", err)
	}
	tables := []string{ledger.DeadLetters, ledger.Logs}
	for _, s := range snap.Streams {
		tables = append(tables, s.Name)
	}
	var errs []error
	for _, table := range tables {
		_, err := clean(ctx, c.log, c.led, c.lake, table, before)
		if fault.CodeOf(err) != "no_table" {
			errs = append(errs, err)
		}
	}
	errs = append(errs, c.abandoned(ctx, before))
	return errors.Join(errs...)
}

// abandoned removes what other engines wrote for tasks that were killed.
func (c *Cleaner) abandoned(ctx context.Context, before time.Time) error {
	jobs, err := c.lake.Abandoned(ctx, before)
	if err != nil {
		return fmt.Errorf("looking for what engines left: %w", err)
	}
	for _, job := range jobs {
		if err := errors.Join(ctx.Err(), c.lake.RemoveStaged(job)); err != nil {
			return fmt.Errorf("removing what an engine left: %w", err)
		}
		c.log.Info("removed states that an engine left for a task that was killed", "job", job)
	}
	return nil
}

// clean deletes the data files of a table that nobody knows and that are older than a moment.
func clean(ctx context.Context, log *slog.Logger, led paths, left orphans, table string, before time.Time) ([]lake.Orphan, error) {
	found, err := left.Orphans(ctx, table, before, func(ctx context.Context) ([]string, error) { return led.FilePaths(ctx, table) })
	if err != nil || len(found) == 0 {
		return nil, err
	}
	if err := left.RemoveOrphans(ctx, found); err != nil {
		return nil, fault.New(fault.Transient, "sweep", "%w", err) // those left are found again
	}
	log.Info("removed data files that nobody knew", "table", table, "files", len(found))
	return found, nil
}
