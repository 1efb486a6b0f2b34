package batch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
)

// CommitterConfig of the committing half.
type CommitterConfig struct {
	Owner       string         // names this process in the ledger
	Every       time.Duration  // between commits of a table; 0: 10 s
	ExpireEvery int64          // commits between expiries; 0: 100
	Keep        lake.Retention // of snapshots; zero: 20, and those of the last 10 minutes
	SweepEvery  time.Duration  // 0: 1 min
	Abandoned   time.Duration  // age at which an open write is given up; 0: 10 min
	DrainBudget time.Duration  // for the last commits; 0: 10 s
	OrphanAge   time.Duration  // at which a data file that nobody knows is deleted; 0: 3 days
	LeaseWait   time.Duration  // for which a command waits for a table that another process holds, which may have been killed; 0: it does not
	Shape       lake.Shape     // of tables; zero: small files of a day are merged by eights up to 16 MiB
	// GiveWay says why merging files has to wait now, "" if it has not to. nil: never.
	GiveWay func(ctx context.Context) string
	// Behind tells whether this process's reader has much to catch up on: merging then waits for many more
	// files. nil: never.
	Behind func() bool
}

// Commits is the part of the ledger that the committer needs.
type Commits interface {
	Epochs(ctx context.Context) (map[string]int64, error)
	Load(ctx context.Context) (*ledger.Snapshot, error)
	ledger.Jobs
	Intent(ctx context.Context, lease ledger.Lease, table, kind string, limit int) (*ledger.Intent, error)
	CloseIntent(ctx context.Context, lease ledger.Lease, in *ledger.Intent, snapshot int64) error
	OffsetsLedger
	Memo(ctx context.Context, in *ledger.Intent) ([]byte, error)
	FilePaths(ctx context.Context, table string) ([]string, error)
	ClosedLogs(ctx context.Context, in *ledger.Intent) ([]ledger.ClosedLog, error)
	StageCounts(ctx context.Context, in *ledger.Intent) (ledger.Counts, error)
	BookedLedger
	Progress(ctx context.Context) (*ledger.Progress, error)
	Sweep(ctx context.Context, lease ledger.Lease, before time.Time) ([]ledger.LakeFile, error)
	Forget(ctx context.Context, lease ledger.Lease, files []ledger.LakeFile) error
}

// Tables is where commits go. Each commit may be repeated with the same intent: fault.Transient says
// that it has not landed, fault.Ambiguous that nobody knows.
type Tables interface {
	EnsureTable(ctx context.Context, t lake.Table) error
	OffsetsLake
	AlteredLake
	Missing(ctx context.Context, t lake.Table) ([]lake.Column, error)
	Commit(ctx context.Context, in *ledger.Intent) (lake.Landed, error) // append and skip
	Evolve(ctx context.Context, in *ledger.Intent, t lake.Table) (lake.Landed, error)
	Expire(ctx context.Context, in *ledger.Intent, keep lake.Retention) (lake.Landed, error)
	Rewrite(ctx context.Context, table string, shape lake.Shape) (*lake.Rewrite, error) // nil: nothing to do
	Replace(ctx context.Context, in *ledger.Intent, r *lake.Rewrite) (lake.Landed, error)
	Stage(ctx context.Context, table string, blocks []lake.Block) ([]ledger.LakeFile, error)
	Discard(ctx context.Context, files []ledger.LakeFile) error
	Whole(ctx context.Context, table string) error
	Orphans(ctx context.Context, table string, before time.Time, known func(context.Context) ([]string, error)) ([]lake.Orphan, error)
	RemoveOrphans(ctx context.Context, orphans []lake.Orphan) error
}

// Timing of leases (DESIGN §5) and the size of a commit.
const (
	leaseTTL   = 15 * time.Second
	leaseRenew = 5 * time.Second
	// LeaseWait is as long as a process that was killed may still hold a table.
	LeaseWait = leaseTTL + time.Second
	leaseAsk  = 250 * time.Millisecond
	// leaseMargin is left between the last step under a lease and its end.
	leaseMargin = 3 * time.Second
	// maxFiles is how many files one commit takes at most, but always whole stages.
	maxFiles = 1000
)

// Committer makes sealed files part of their tables and keeps the tables in shape. Any number of
// processes may run one: a table is committed to by the holder of its lease.
type Committer struct {
	cfg   CommitterConfig
	log   *slog.Logger
	m     *Metrics
	led   Commits
	lake  Tables
	now   func() time.Time
	epoch map[string]int64 // of the catalogue that tables were made of

	tables []*kept // dead letters first, closed logs last
	// closing: there are closed logs that their table does not hold yet. A log is closed under a new epoch.
	closing bool
	leases  map[string]*held
	swept   time.Time
	work    *rewriter
	offsets *offsets
	said    fault.Repeats
	ending  bool // only what is sealed is committed, the rest can wait
}

// kept is a table that is kept by a committer.
type kept struct {
	lake.Table
	shaped  bool      // it is there and has all columns
	expired int64     // number of the commit at which old snapshots were last dropped
	checked time.Time // when all of it was last found to be there
	base    int64     // snapshot that was looked at, and that the next commit is to stand on
}

// adds is the kind of commit that brings rows.
func (t *kept) adds() string {
	if t.Name == ledger.Logs {
		return lake.Close
	}
	return lake.Append
}

type held struct {
	ledger.Lease
	renewed time.Time
}

// NewCommitter checks cfg and returns a committer that has started nothing.
func NewCommitter(cfg CommitterConfig, log *slog.Logger, m *Metrics, led Commits, tables Tables) (*Committer, error) {
	if cfg.Owner == "" {
		return nil, fault.New(fault.Config, "no_owner", "the committer needs the name of its process")
	}
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&cfg.Every, 10*time.Second)
	def(&cfg.SweepEvery, time.Minute)
	def(&cfg.Abandoned, 10*time.Minute)
	def(&cfg.DrainBudget, 10*time.Second)
	def(&cfg.OrphanAge, OrphanAge)
	if cfg.GiveWay == nil {
		cfg.GiveWay = func(context.Context) string { return "" }
	}
	if cfg.Behind == nil {
		cfg.Behind = func() bool { return false }
	}
	if cfg.ExpireEvery == 0 {
		cfg.ExpireEvery = 100
	}
	if cfg.Keep == (lake.Retention{}) {
		cfg.Keep = lake.Retention{Keep: 20, Age: 10 * time.Minute}
	}
	if cfg.Shape == (lake.Shape{}) {
		cfg.Shape = lake.DefaultShape()
	}
	return &Committer{
		cfg: cfg, log: log, m: m, led: led, lake: tables, now: time.Now, leases: map[string]*held{},
		work: newRewriter(tables, cfg.Shape, cfg.GiveWay, cfg.Behind), offsets: newOffsets(),
	}, nil
}

// Run commits until ctx ends, then once more what is sealed by then, and gives its leases up.
func (c *Committer) Run(ctx context.Context) error {
	err := c.rounds(ctx)
	c.work.stop()
	c.offsets.end()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.cfg.DrainBudget)
	defer cancel()
	if c.ending = true; err == nil {
		if err = c.round(last); err != nil && last.Err() != nil {
			c.log.Warn("the last commits are left to whoever holds the tables next: what is sealed is safe", "error", err)
			err = nil
		}
	}
	c.release(last)
	if err != nil {
		return fmt.Errorf("committing to the lake: %w", err)
	}
	return nil
}

func (c *Committer) rounds(ctx context.Context) error {
	tick := time.NewTicker(c.cfg.Every)
	defer tick.Stop()
	for {
		if err := c.round(ctx); err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// round commits once to every table whose lease we hold or get. What another round may set right is
// logged; anything else ends the committer.
func (c *Committer) round(ctx context.Context) error {
	if err := c.passable(c.work.collect(), "compaction"); err != nil {
		return err
	}
	if err := c.passable(c.collectOffsets(), "offsets"); err != nil {
		return err
	}
	if err := c.passable(c.reload(ctx), "catalogue"); err != nil {
		return err
	}
	for _, t := range c.tables {
		if c.idle(t) {
			continue
		}
		lease, ok, err := c.hold(ctx, "lake:"+t.Name)
		if err == nil && ok {
			err = c.ours(ctx, lease, c.keep(ctx, lease, t))
		}
		if err := c.passable(err, t.Name); err != nil {
			return err
		}
	}
	if c.ending {
		return nil
	}
	return c.passable(c.sweep(ctx), "sweep")
}

// idle tells that there is nothing to do for a table: that of closed logs gets a row now and then.
func (c *Committer) idle(t *kept) bool {
	return t.Name == ledger.Logs && !c.closing && c.work.ready[t.Name] == nil
}

// ours tells an alarm from the surprise of a holder that slept past its lease: whoever took the table over has
// ended its commit and gone on, so the table and the ledger are ahead of what it knew. Without the lease it
// cannot judge them.
func (c *Committer) ours(ctx context.Context, lease ledger.Lease, err error) error {
	if !slices.Contains([]string{"conservation", "lake_altered", "lake_mismatch"}, fault.CodeOf(err)) {
		return err
	}
	if lost := c.led.Renew(ctx, lease, leaseTTL); fault.Is(lost, fault.Lost) {
		return fmt.Errorf("keeping a table that another process took over: %w", lost)
	}
	return err
}

// passable hides faults that go away by themselves.
func (c *Committer) passable(err error, what string) error {
	switch fault.KindOf(err) {
	case fault.Transient, fault.Ambiguous:
		if unsaid, say := c.said.Say(fault.CodeOf(err), c.now()); say {
			c.log.Warn("committing is put off", "of", what, "error", err, "unsaid", unsaid)
		}
		return nil
	case fault.Lost:
		c.log.Info("somebody else holds the lease", "of", what, "cause", err)
		delete(c.leases, "lake:"+what)
		return nil
	default:
		return err
	}
}

// reload makes the list of tables when the catalogue moved.
func (c *Committer) reload(ctx context.Context) error {
	epochs, err := c.led.Epochs(ctx)
	if err != nil {
		return fmt.Errorf("asking the epochs: %w", err)
	}
	if c.epoch != nil && sameEpochs(epochs, c.epoch) {
		return nil
	}
	snap, err := c.led.Load(ctx)
	if err != nil {
		return fmt.Errorf("reading the catalogue: %w", err)
	}
	tables := []*kept{{Table: lake.DeadLetterTable()}}
	seen := map[string]int64{}
	for _, s := range snap.Streams {
		newest := s.Schemas[len(s.Schemas)-1]
		schema, err := event.Compile(newest.Definition, newest.Version)
		if err != nil {
			return fmt.Errorf("compiling schema %d of stream %s: %w", newest.Version, s.Name, err)
		}
		tables = append(tables, &kept{Table: lake.StreamTable(schema)})
		seen[s.Name] = s.Epoch
	}
	c.closing = false
	if slices.ContainsFunc(snap.Logs, func(l ledger.Log) bool { return !l.ClosedAt.IsZero() }) {
		tables = append(tables, &kept{Table: lake.LogsTable()})
		c.closing = slices.ContainsFunc(snap.Logs, func(l ledger.Log) bool { return !l.ClosedAt.IsZero() && !l.Kept })
	}
	for _, t := range tables { // what was done to a table stays done when the catalogue moves
		for _, old := range c.tables {
			if old.Name == t.Name {
				t.expired, t.checked, t.base = old.expired, old.checked, old.base
			}
		}
	}
	c.tables, c.epoch = tables, seen
	return nil
}

func sameEpochs(a, b map[string]int64) bool {
	if len(a) != len(b) {
		return false
	}
	for name, epoch := range a {
		if at, ok := b[name]; !ok || at != epoch {
			return false
		}
	}
	return true
}

// keep does everything that one table needs in a round.
func (c *Committer) keep(ctx context.Context, lease ledger.Lease, t *kept) error {
	if !t.shaped {
		if err := c.lake.EnsureTable(ctx, t.Table); err != nil {
			return err
		}
	}
	last, head, err := c.agree(ctx, t.Name)
	if err != nil {
		return err
	}
	landed := last != nil && last.Open && head.Seq == last.N
	if !landed {
		if err := c.looked(ctx, t, head); err != nil {
			return err
		}
	}
	if last != nil && t.expired == 0 {
		t.expired = last.N
	}
	if last != nil && last.Open { // whoever opened it may be gone; it is ours to end
		if err := c.finish(ctx, lease, t, last); err != nil {
			return err
		}
	}
	if landed {
		if head, err = c.lake.Head(ctx, t.Name); err != nil {
			return fmt.Errorf("reading the head of table %s: %w", t.Name, err)
		}
		if err := c.looked(ctx, t, head); err != nil {
			return err
		}
	}
	if err := c.check(ctx, t); err != nil {
		return err
	}
	if err := c.compareOffsets(ctx, t.Name); err != nil {
		return err
	}
	if err := c.shape(ctx, lease, t); err != nil {
		return err
	}
	if err := c.replace(ctx, lease, t); err != nil {
		return err
	}
	in, err := c.led.Intent(ctx, lease, t.Name, t.adds(), maxFiles)
	if err != nil {
		return err
	}
	if in == nil {
		c.work.consider(ctx, t.Name) // it may have been put off
		return nil
	}
	if err := c.finish(ctx, lease, t, in); err != nil {
		return err
	}
	c.work.appended(ctx, t.Name, max(len(in.Files), 1))
	if !c.ending && in.N/c.cfg.ExpireEvery > t.expired/c.cfg.ExpireEvery {
		t.expired = in.N
		if err := c.do(ctx, lease, t, lake.Expire); err != nil {
			return err
		}
	}
	return nil
}

// agree compares the table's head with the ledger's newest intent before anything is written (L7).
func (c *Committer) agree(ctx context.Context, table string) (*ledger.Intent, lake.Head, error) {
	// The ledger first: a commit that lands in between is then newer than the intent, never older, and
	// since only the lease's holder closes intents it is that of the intent itself.
	last, err := c.led.LastIntent(ctx, table)
	if err != nil {
		return nil, lake.Head{}, fmt.Errorf("reading the newest commit of table %s: %w", table, err)
	}
	head, err := c.lake.Head(ctx, table)
	if err != nil {
		return nil, lake.Head{}, fmt.Errorf("reading the head of table %s: %w", table, err)
	}
	c.m.Head.WithLabelValues(table).Set(float64(head.Seq))
	return last, head, head.Check(table, last)
}

// shape adds the columns that a newer schema brought.
func (c *Committer) shape(ctx context.Context, lease ledger.Lease, t *kept) error {
	if t.shaped {
		return nil
	}
	add, err := c.lake.Missing(ctx, t.Table)
	if err != nil {
		return err
	}
	if len(add) > 0 {
		if err := c.do(ctx, lease, t, lake.Schema); err != nil {
			return err
		}
		c.log.Info("added columns to the lake", "table", t.Name, "columns", len(add))
	}
	t.shaped = true
	return nil
}

// do opens a commit without files and ends it. If another kind was open, that one is ended instead.
func (c *Committer) do(ctx context.Context, lease ledger.Lease, t *kept, kind string) error {
	in, err := c.led.Intent(ctx, lease, t.Name, kind, 0)
	if err != nil || in == nil {
		return err
	}
	return c.finish(ctx, lease, t, in)
}

// finish makes an open intent land, checks what landed and closes it.
func (c *Committer) finish(ctx context.Context, lease ledger.Lease, t *kept, in *ledger.Intent) error {
	start := c.now()
	in.Base = t.base
	var err error
	if in.Memo, err = c.led.Memo(ctx, in); err != nil {
		return fmt.Errorf("noting the ledger for commit %d of table %s: %w", in.N, in.Table, err)
	}
	var landed lake.Landed
	switch in.Kind {
	case lake.Schema:
		landed, err = c.lake.Evolve(ctx, in, t.Table)
	case lake.Expire:
		landed, err = c.lake.Expire(ctx, in, c.cfg.Keep)
	case lake.Append, lake.Skip:
		landed, err = c.lake.Commit(ctx, in)
	case lake.Close:
		landed, err = c.closeLogs(ctx, in)
	case lake.Compact:
		landed, err = c.compact(ctx, in)
	default:
		landed, err = c.skip(ctx, in)
	}
	if err != nil {
		return err
	}
	if landed.Snapshot != 0 {
		t.base = landed.Snapshot
	}
	if in.Kind == lake.Append {
		if err := c.conserved(ctx, in, landed); err != nil {
			return err
		}
	}
	if err := c.led.CloseIntent(ctx, lease, in, landed.Snapshot); err != nil {
		return fmt.Errorf("closing commit %d of table %s: %w", in.N, in.Table, err)
	}
	c.m.Commits.WithLabelValues(in.Table, in.Kind).Inc()
	c.m.CommitTime.Observe(c.now().Sub(start).Seconds())
	c.m.Head.WithLabelValues(in.Table).Set(float64(in.N))
	if in.Kind != lake.Append {
		if err := c.accounted(ctx, in.Table); err != nil {
			return err
		}
	}
	c.log.Debug("committed", "table", in.Table, "n", in.N, "kind", in.Kind, "files", landed.Files, "rows", landed.Records)
	return nil
}

// sweep gives up writes that nobody sealed, and deletes their files.
func (c *Committer) sweep(ctx context.Context) error {
	if c.now().Sub(c.swept) < c.cfg.SweepEvery {
		return nil
	}
	lease, ok, err := c.hold(ctx, "sweep")
	if err != nil || !ok {
		return err
	}
	files, err := c.led.Sweep(ctx, lease, c.now().Add(-c.cfg.Abandoned))
	if err != nil {
		return fmt.Errorf("sweeping abandoned writes: %w", err)
	}
	c.swept = c.now()
	if len(files) == 0 {
		return nil
	}
	if err := c.lake.Discard(ctx, files); err != nil {
		return fault.New(fault.Transient, "sweep", "%w", err) // the ledger names them again next time
	}
	c.log.Info("removed files of abandoned writes", "files", len(files))
	return c.led.Forget(ctx, lease, files)
}

// hold returns the lease if it is ours for long enough to do something under it.
func (c *Committer) hold(ctx context.Context, name string) (ledger.Lease, bool, error) {
	now := c.now()
	if h := c.leases[name]; h != nil {
		age := now.Sub(h.renewed)
		if age < leaseRenew {
			return h.Lease, true, nil
		}
		if age < leaseTTL-leaseMargin {
			err := c.led.Renew(ctx, h.Lease, leaseTTL)
			if err == nil {
				h.renewed = now
				return h.Lease, true, nil
			}
			if !fault.Is(err, fault.Lost) {
				return ledger.Lease{}, false, fmt.Errorf("renewing lease %s: %w", name, err)
			}
		}
		delete(c.leases, name)
	}
	lease, err := c.led.Acquire(ctx, name, c.cfg.Owner, leaseTTL)
	if fault.Is(err, fault.Lost) {
		return ledger.Lease{}, false, nil
	}
	if err != nil {
		return ledger.Lease{}, false, fmt.Errorf("taking lease %s: %w", name, err)
	}
	c.leases[name] = &held{lease, now}
	return lease, true, nil
}

func (c *Committer) release(ctx context.Context) {
	var errs []error
	for _, h := range c.leases {
		errs = append(errs, c.led.Release(ctx, h.Lease))
	}
	clear(c.leases)
	if err := errors.Join(errs...); err != nil {
		c.log.Info("leases run out by themselves", "error", err)
	}
}
