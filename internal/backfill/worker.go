package backfill

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/pinflow/pinflow/internal/calendar"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/fold"
	"github.com/pinflow/pinflow/internal/history"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/segment"
	"github.com/pinflow/pinflow/internal/span"
)

// Timing of a task's lease, and the longest pause between two blocks.
const (
	leaseTTL   = 30 * time.Second
	leaseRenew = 10 * time.Second
	mostPause  = time.Second
)

// pinBytes are so much to read that the snapshot is pinned at once, else when the day has been read for a while
// (Config.PinAfter). A tag is a commit of the table's metadata: many workers on days of a few rows each would
// keep the committer from its own. Until then the snapshot is safe because expiry leaves the newest ones alone,
// more of them than there are commits in that time.
const pinBytes = 32 << 20

// A day that fails is tried again after about 5, 20, 80 and 300 s, half of it by chance: what stands in its way for
// some minutes does not use up its tries.
const (
	firstBackOff = 5 * time.Second
	growBackOff  = 4
	mostBackOff  = 5 * time.Minute
)

// Worker folds days. Any number may run, in any process.
type Worker struct {
	cfg   Config
	log   *slog.Logger
	m     *Metrics
	store Store
	lake  Lake
	codec *segment.Codec
	waits string // what it gave way to last

	lacks   int       // how often in a row the other engine could not be had
	without time.Time // until when its days are left to others for that
}

// NewWorker checks cfg and returns a worker that has started nothing. Its name has to be its own among
// all that run.
func NewWorker(cfg Config, log *slog.Logger, m *Metrics, store Store, lake Lake) (*Worker, error) {
	if err := cfg.defaults(); err != nil {
		return nil, err
	}
	codec, err := segment.NewCodec()
	if err != nil {
		return nil, err
	}
	return &Worker{cfg: cfg, log: log, m: m, store: store, lake: lake, codec: codec}, nil
}

// Run works until ctx ends. A day in hand is given back then.
func (w *Worker) Run(ctx context.Context) error {
	if w.cfg.Spark != nil {
		defer w.cfg.Spark.Close()
	}
	if err := every(ctx, w.cfg.Every, w.log, w.next); err != nil {
		return fmt.Errorf("filling in history: %w", err)
	}
	return nil
}

// next does one task, if there is one. A failure is the task's: it is tried again, here or elsewhere.
func (w *Worker) next(ctx context.Context) (bool, error) {
	reason := w.cfg.GiveWay(ctx)
	if reason != w.waits {
		if w.waits = reason; reason != "" {
			w.log.Info("history gives way", "to", reason)
		} else {
			w.log.Info("history goes on")
		}
	}
	if reason != "" {
		w.rest()
		return false, nil
	}
	t, err := w.store.LeaseTask(ctx, w.cfg.Owner, leaseTTL, w.engines()...)
	if err != nil || t == nil {
		w.rest()
		return false, err
	}
	start := time.Now()
	err = w.do(ctx, t)
	switch {
	case err == nil:
		w.m.Tasks.WithLabelValues("done").Inc()
		w.m.Time.Observe(time.Since(start).Seconds())
		return true, finish(ctx, w.store, w.log, t.Backfill, t.View)
	case fault.Is(err, fault.Lost), fault.Is(err, fault.Ambiguous):
		// Somebody else has it, or it was cancelled; or it may be sealed: its lease tells in a while.
		w.m.Tasks.WithLabelValues("lost").Inc()
		w.log.Info("let go of a day", "view", t.View, "day", t.Day, "cause", err)
		return false, nil
	}
	why := w.undone(ctx, t, err)
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	return false, w.store.ReturnTask(last, *t, why)
}

// undone is how a day is given back that ended with err.
func (w *Worker) undone(ctx context.Context, t *ledger.TaskLease, err error) ledger.TaskReturn {
	log := w.log.With("view", t.View, "day", t.Day)
	switch {
	case ctx.Err() != nil, errors.Is(err, errPaused):
		log.Info("gave a day back", "cause", err)
		return ledger.TaskReturn{}
	case errors.Is(err, errNoEngine):
		w.lacks++
		wait := w.backOff(w.lacks)
		w.without = time.Now().Add(wait)
		w.m.Tasks.WithLabelValues("no_engine").Inc()
		log.Warn("days are left to workers that have the engine", "engine", t.Engine, "again", "in "+wait.Round(time.Second).String(), "error", err)
		return ledger.TaskReturn{Cause: err.Error(), Untried: true}
	}
	w.m.Tasks.WithLabelValues("failed").Inc()
	why := ledger.TaskReturn{Cause: err.Error(), Wait: w.backOff(t.Tries), Final: fault.Is(err, fault.Record)}
	again := "in " + why.Wait.Round(time.Second).String()
	if why.Final || t.Tries >= ledger.MaxTries {
		again = "when somebody says retry"
	}
	log.Warn("filling in a day failed", "try", t.Tries, "again", again, "error", err)
	return why
}

// backOff is how long a day is left alone after a try that failed: longer each time, and not as long for all
// days that failed together.
func (w *Worker) backOff(tries int) time.Duration {
	wait := firstBackOff
	for ; tries > 1 && wait < mostBackOff; tries-- {
		wait *= growBackOff
	}
	wait = min(wait, mostBackOff)
	return wait/2 + time.Duration(rand.Int64N(int64(wait/2)+1))
}

// rest tells the other engine that there is no work.
func (w *Worker) rest() {
	if w.cfg.Spark != nil {
		w.cfg.Spark.Rest()
	}
}

// day is a task in hand.
type day struct {
	w       *Worker
	t       *ledger.TaskLease
	r       *history.Reader
	tier    calendar.Grain
	from    int64 // of the day, microseconds
	end     int64
	begun   time.Time
	write   int64 // open, with segments in it; 0: none
	renewed time.Time
	worked  time.Time // since when, without a pause

	snapshot int64 // that is read
	pinned   bool

	away   int64          // rows that another engine folded
	about  atomic.Int64   // that it has folded so far
	states []*fold.States // that it made and no segment has yet
	size   int            // bytes in them
}

func (w *Worker) do(ctx context.Context, t *ledger.TaskLease) error {
	snap, err := w.store.Load(ctx)
	if err != nil {
		return fmt.Errorf("reading the catalogue: %w", err)
	}
	r, err := history.New(snap, t.Version)
	if err != nil {
		return err
	}
	at, err := time.Parse(time.DateOnly, t.Day)
	if err != nil {
		return fmt.Errorf("reading day %q: %w", t.Day, err)
	}
	now := time.Now()
	d := &day{w: w, t: t, r: r, from: at.UnixMicro(), end: at.Add(24 * time.Hour).UnixMicro(), begun: now, renewed: now, worked: now}
	d.tier = segment.TierFor(r.Compiled(), d.end, now.UnixMicro())
	r.Coarsen(d.tier)
	if d.snapshot, err = w.lake.Newest(ctx, t.Stream); err != nil {
		return err
	}
	if d.snapshot != 0 {
		err = d.read(ctx)
	}
	if err == nil {
		err = d.seal(ctx)
	}
	if !d.pinned {
		return err
	}
	if unpinErr := w.lake.Unpin(ctx, t.Stream, tagOf(t.ID)); unpinErr != nil && err == nil {
		w.log.Info("a tag is left for later", "table", t.Stream, "error", unpinErr)
	}
	return err
}

// read folds the day's rows in the snapshot.
func (d *day) read(ctx context.Context) error {
	t := d.t
	sel := lake.Selection{Table: t.Stream, Snapshot: d.snapshot, Columns: d.r.Columns(), From: d.from, To: d.end}
	if t.Log != 0 { // other files of the day need not be read
		sel.Key, sel.ToOffset = span.Key{Log: t.Log}, math.MaxInt64
	}
	if t.Engine == ledger.EngineSpark || t.Bytes >= pinBytes {
		if err := d.pin(ctx); err != nil {
			return err
		}
	}
	if t.Engine == ledger.EngineSpark {
		return d.elsewhere(ctx, sel)
	}
	_, err := d.w.lake.Scan(ctx, d.r.Select(sel, d.bounds), func(b *lake.Block) error { return d.block(ctx, b, d.r.Add) })
	return err
}

// pin keeps the snapshot that is read from being expired.
func (d *day) pin(ctx context.Context) error {
	if d.pinned {
		return nil
	}
	d.pinned = true // also when it failed: it may be there
	_, err := d.w.lake.Pin(ctx, d.t.Stream, tagOf(d.t.ID), d.snapshot)
	return err
}

// bounds are the rows of the history: what lies below the cut, or an imported file.
func (d *day) bounds(k span.Key) span.Range {
	if d.t.Log != 0 {
		if k.Log == d.t.Log {
			return span.Range{To: math.MaxInt64}
		}
		return span.Range{}
	}
	return span.Range{To: d.r.Version.Cut[k]}
}

// block folds some rows, writes states down when they take much memory, keeps the lease, and pauses.
func (d *day) block(ctx context.Context, b *lake.Block, add func(*lake.Block, history.Bounds) error) error {
	before := d.r.Rows
	if err := add(b, d.bounds); err != nil {
		return err
	}
	d.w.m.Rows.Add(float64(d.r.Rows - before))
	if time.Since(d.begun) > d.w.cfg.PinAfter {
		if err := d.pin(ctx); err != nil {
			return err
		}
	}
	if d.r.Bytes()+d.size > d.w.cfg.MaxBytes {
		if err := d.spill(ctx); err != nil {
			return err
		}
	}
	if time.Since(d.renewed) > leaseRenew {
		t := *d.t
		t.Rows = d.r.Rows + d.away
		if err := d.w.store.RenewTask(ctx, t, leaseTTL); err != nil {
			return err
		}
		d.renewed = time.Now()
	}
	return d.pause(ctx)
}

// spill puts the states held into the task's write.
func (d *day) spill(ctx context.Context) error {
	segs, err := d.segments()
	if err != nil {
		return err
	}
	for _, c := range ledger.Chunks(segs) {
		if err := d.add(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// pause leaves the machine to others for the part of the time that is not ours.
func (d *day) pause(ctx context.Context) error {
	rest := time.Duration(float64(time.Since(d.worked)) * (1/d.w.cfg.Share - 1))
	if d.w.cfg.GiveWay(ctx) != "" {
		rest = mostPause
	}
	if rest <= 0 {
		return nil
	}
	timer := time.NewTimer(min(rest, mostPause))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
	}
	d.worked = time.Now()
	return nil
}

// segments makes segments of the states held, each within a day of the view's zone.
func (d *day) segments() ([]ledger.Segment, error) {
	c := d.r.Compiled()
	merged, err := fold.Regroup(c, fold.Everything(c, d.tier), append(d.r.Take(), d.states...)...)
	d.states, d.size = nil, 0
	if err != nil {
		return nil, fmt.Errorf("merging the states of %s: %w", d.t.Day, err)
	}
	var out []ledger.Segment
	for _, st := range merged.Split(fold.MaxBlock, calendar.NewClock(c.Zone).Date) {
		data, err := d.w.codec.Encode(st)
		if err != nil {
			return nil, err
		}
		from, to := st.Range()
		out = append(out, ledger.Segment{
			Version: d.t.Version, Tier: d.tier.String(), From: from, To: to, Rows: int64(st.N), Source: ledger.SourceBackfill, Data: data,
		})
	}
	return out, nil
}

// add puts segments into the task's write.
func (d *day) add(ctx context.Context, segs []ledger.Segment) error {
	if len(segs) == 0 {
		return nil
	}
	if d.write == 0 {
		id, err := d.w.store.OpenTask(ctx, *d.t)
		if err != nil {
			return err
		}
		d.write = id
	}
	return d.w.store.AddSegments(ctx, d.write, segs)
}

// seal makes the day done with all that was folded.
func (d *day) seal(ctx context.Context) error {
	segs, err := d.segments()
	if err != nil {
		return err
	}
	chunks := ledger.Chunks(segs)
	for _, c := range chunks[:len(chunks)-1] {
		if err := d.add(ctx, c); err != nil {
			return err
		}
	}
	return d.w.store.SealTask(ctx, ledger.TaskSeal{
		Lease: *d.t, Write: d.write, Segments: chunks[len(chunks)-1], Rows: d.r.Rows + d.away, Floors: segment.Skipped(d.r.Compiled(), d.tier, d.end),
	})
}
