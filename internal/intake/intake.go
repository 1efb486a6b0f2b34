package intake

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/span"
)

// Config of an intake.
type Config struct {
	Unit        ledger.Unit
	Owner       string        // names this process in the ledger
	MaxPoll     int           // records a poll; 0: 20,000
	EpochEvery  time.Duration // how often the epochs are asked; 0: 1 s
	RetryFirst  time.Duration // first wait after a transient fault; doubles; 0: 50 ms
	RetryMost   time.Duration // longest wait; 0: 5 s
	DrainBudget time.Duration // for the last flush; 0: 10 s
}

// Intake reads the partitions that its group gives it into a Sink.
type Intake struct {
	cfg   Config
	log   *slog.Logger
	store Store
	open  Opener
	sink  Sink

	src     Source
	cat     *Catalogue
	held    map[TP]*Partition
	failed  error // of a handler: ends Run
	redo    bool  // what was held is dropped: go on from the ledger's positions
	checked time.Time
	behind  atomic.Int64
}

// New returns an intake that has started nothing.
func New(cfg Config, log *slog.Logger, store Store, open Opener, sink Sink) *Intake {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&cfg.EpochEvery, time.Second)
	def(&cfg.RetryFirst, 50*time.Millisecond)
	def(&cfg.RetryMost, 5*time.Second)
	def(&cfg.DrainBudget, 10*time.Second)
	if cfg.MaxPoll == 0 {
		cfg.MaxPoll = 20_000
	}
	return &Intake{cfg: cfg, log: log, store: store, open: open, sink: sink, held: map[TP]*Partition{}}
}

// Behind is about how many records wait in the log to be read by this process. Anybody may ask.
func (in *Intake) Behind() int64 { return in.behind.Load() }

// Run reads until ctx ends, then seals what it holds and leaves the group. When somebody took a
// partition over, or log or ledger are away for a moment, it joins the group again: whether this member
// still has its partitions is for the group to say.
func (in *Intake) Run(ctx context.Context) error {
	wait := in.cfg.RetryFirst
	for {
		joined := time.Now()
		err := in.session(ctx)
		if err == nil || !in.again(err) {
			return err
		}
		if time.Since(joined) > time.Minute {
			wait = in.cfg.RetryFirst
		}
		in.log.Warn("joining the group again", "unit", in.cfg.Unit, "wait", wait, "cause", err)
		if sleep(ctx, wait) != nil {
			return nil
		}
		wait = min(2*wait, in.cfg.RetryMost)
	}
}

// again tells whether a new membership may set right what ended the last one.
func (in *Intake) again(err error) bool {
	switch fault.KindOf(err) {
	case fault.Transient, fault.Stale, fault.Lost, fault.Ambiguous:
		return true
	case fault.Unknown, fault.Record, fault.Config, fault.Corrupt:
	}
	return errors.Is(err, errTopics)
}

// session is one membership of the group.
func (in *Intake) session(ctx context.Context) (err error) {
	in.failed = nil
	if err := in.reload(ctx); err != nil {
		return ended(ctx, err)
	}
	topics, shape := in.cat.Topics(in.cfg.Unit), in.cat.shape(in.cfg.Unit)
	in.src, err = in.open(ctx, topics, in)
	if err != nil {
		return ended(ctx, fmt.Errorf("joining the group of the %s unit: %w", in.cfg.Unit, err))
	}
	defer func() {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), in.cfg.DrainBudget)
		defer cancel()
		if err == nil {
			err = in.flush(last)
		}
		in.forget()
		err = errors.Join(err, in.src.Close(last))
	}()
	for ctx.Err() == nil {
		if err := in.step(ctx); err != nil {
			return ended(ctx, err)
		}
		if !slices.Equal(shape, in.cat.shape(in.cfg.Unit)) {
			if err := in.flush(ctx); err != nil {
				return ended(ctx, err)
			}
			return errTopics
		}
	}
	return nil
}

// errTopics ends a session: the group must hear of new topics and partitions.
var errTopics = errors.New("the set of topics or partitions changed")

// step reads what has come and seals what is due.
func (in *Intake) step(ctx context.Context) error {
	wait, cancel := context.WithDeadline(ctx, in.wake())
	fetches, err := in.src.Poll(wait, in.cfg.MaxPoll)
	cancel()
	if in.failed != nil {
		return in.failed
	}
	if err != nil && ctx.Err() == nil && !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("reading the log: %w", err)
	}
	if in.redo {
		return in.restart(ctx) // before what was fetched: it is read again
	}
	if err := in.take(ctx, fetches); err != nil {
		return err
	}
	in.look()
	if by := in.sink.FlushBy(); !by.IsZero() && !time.Now().Before(by) {
		if err := in.flush(ctx); err != nil {
			return err
		}
	}
	if err := in.watch(ctx); err != nil || !in.redo {
		return err
	}
	return in.restart(ctx)
}

// look sums up what waits in the partitions held.
func (in *Intake) look() {
	waiting := int64(0)
	for _, p := range in.held {
		waiting += max(0, p.end-p.Next)
	}
	in.behind.Store(waiting)
}

// take gives the sink what was fetched, one partition after the other. Duplicates are looked for before, in all
// partitions at once: one after the other, the other cores would wait.
func (in *Intake) take(ctx context.Context, fetches []Fetch) error {
	parts := make([]*Slice, len(fetches))
	busy := map[*Partition]bool{}
	var looking sync.WaitGroup
	defer looking.Wait()
	for i, f := range fetches {
		p := in.held[f.TP]
		if busy[p] {
			looking.Wait()
		}
		if p == nil || f.To <= p.Next {
			continue // given back, or read again after a seek: what was sealed is known
		}
		if f.From != p.Next {
			return fault.New(fault.Corrupt, "hole_in_reading", "reading %s/%d: got offset %d, expected %d", f.TP.Topic, f.TP.Partition, f.From, p.Next)
		}
		p.end, busy[p] = f.End, true
		looking.Go(func() { parts[i] = p.slice(f) })
	}
	looking.Wait()
	for _, s := range parts {
		if s == nil {
			continue
		}
		if err := in.sink.Add(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// wake is when the next thing other than reading is due.
func (in *Intake) wake() time.Time {
	next := in.checked.Add(in.cfg.EpochEvery)
	if by := in.sink.FlushBy(); !by.IsZero() && by.Before(next) {
		return by
	}
	return next
}

// watch asks now and then whether the catalogue moved.
func (in *Intake) watch(ctx context.Context) error {
	if time.Since(in.checked) < in.cfg.EpochEvery {
		return nil
	}
	in.checked = time.Now()
	epochs, err := in.store.Epochs(ctx)
	if err != nil {
		if fault.Is(err, fault.Transient) {
			return nil // go on with what is known: a seal compares epochs anyway
		}
		return fmt.Errorf("asking the epochs: %w", err)
	}
	for name, epoch := range epochs {
		if s := in.cat.Stream(name); s == nil || s.Epoch != epoch {
			if err := in.flush(ctx); err != nil {
				return err
			}
			in.redo = true
			return nil
		}
	}
	return nil
}

// flush seals what is held; what the ledger fences is dropped and read again.
func (in *Intake) flush(ctx context.Context) error {
	if in.redo {
		return nil // what the partitions say they hold was dropped
	}
	parts := make([]*Partition, 0, len(in.held))
	for _, p := range in.held {
		parts = append(parts, p)
	}
	slices.SortFunc(parts, func(a, b *Partition) int { return a.Key.Compare(b.Key) })
	var said fault.Repeats
	for wait := in.cfg.RetryFirst; ; wait = min(2*wait, in.cfg.RetryMost) {
		err := in.sink.Flush(ctx, parts)
		if err == nil {
			return nil
		}
		switch fault.KindOf(err) {
		case fault.Transient:
			if unsaid, say := said.Say(fault.CodeOf(err), time.Now()); say {
				in.log.Warn("sealing failed, trying again", "unit", in.cfg.Unit, "wait", wait, "error", err, "unsaid", unsaid)
			}
			if stop := sleep(ctx, wait); stop != nil {
				return errors.Join(err, stop)
			}
		case fault.Stale, fault.Ambiguous:
			// The ledger is the truth: whether the seal landed or not, reading goes on at its position.
			// Not here: inside a group callback nothing may seek.
			in.log.Info("reading again from the ledger's positions", "unit", in.cfg.Unit, "cause", err)
			return in.dropped(nil)
		default:
			return in.dropped(err)
		}
	}
}

// dropped lets go of all that is held: until reading restarts, nothing may be sealed.
func (in *Intake) dropped(err error) error {
	in.sink.Drop()
	in.redo = true
	return err
}

// restart drops all that is held, re-reads the catalogue and goes on where the ledger stands. Until every
// partition is rewound nothing may be sealed: one that is not still counts what was dropped.
func (in *Intake) restart(ctx context.Context) error {
	in.redo = true
	in.sink.Drop()
	if err := in.reload(ctx); err != nil {
		return err
	}
	at, err := in.store.PositionsOf(ctx, in.cfg.Unit)
	if err != nil {
		return fmt.Errorf("reading positions: %w", err)
	}
	for tp, p := range in.held {
		s := in.cat.Stream(p.Stream.Name)
		if s == nil {
			delete(in.held, tp)
			continue
		}
		if l := in.cat.topics[tp.Topic]; l.ID != p.Key.Log {
			return fault.New(fault.Lost, "partition_lost", "the log of %s/%d is another one now", tp.Topic, tp.Partition)
		}
		p.Stream = s
		if err := in.rewind(ctx, p, at[p.Key]); err != nil {
			return err
		}
		in.src.Seek(tp, p.Next)
	}
	in.redo = false
	return nil
}

func (in *Intake) reload(ctx context.Context) error {
	snap, err := in.store.Load(ctx)
	if err != nil {
		return fmt.Errorf("reading the catalogue: %w", err)
	}
	cat, err := NewCatalogue(snap)
	if err != nil {
		return err
	}
	in.cat, in.checked = cat, time.Now()
	return in.sink.Catalogue(cat)
}

// rewind sets a partition to a position. Its window goes back if it can; else it is rebuilt from the log.
func (in *Intake) rewind(ctx context.Context, p *Partition, at int64) error {
	whole := p.rewound(at)
	p.Sealed, p.Next, p.Counts = at, at, ledger.Counts{}
	if !whole {
		p.forget()
	}
	start, err := in.src.Start(ctx, p.TP)
	if err != nil {
		return fmt.Errorf("asking for the start of %s/%d: %w", p.TP.Topic, p.TP.Partition, err)
	}
	if start > at {
		return truncated(p, "log_truncated", "the log starts at offset %d, after the unit's position %d", start, at)
	}
	if whole {
		return nil
	}
	from := max(0, at-p.window.Records())
	if start > from && start > p.horizon {
		return truncated(p, "window_truncated", "the log starts at offset %d, inside the dedup window [%d, %d)", start, from, at)
	}
	from = max(from, start)
	if p.past = at >= p.horizon; p.past {
		from = max(from, p.horizon)
	}
	if from == at {
		p.window.Keep()
		return nil
	}
	err = in.src.ReadBack(ctx, p.TP, from, at, func(r *event.Record) error {
		if r.ID != "" {
			p.window.Seen(span.IDOf(r.DedupKey()), r.Offset, r.Received)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("rebuilding the dedup window of %s/%d from [%d, %d): %w", p.TP.Topic, p.TP.Partition, from, at, err)
	}
	p.window.Keep()
	return nil
}

func truncated(p *Partition, code, format string, args ...any) error {
	return fault.New(fault.Config, code, format, args...).
		At("%s/%d", p.TP.Topic, p.TP.Partition).
		WithAdvice("records between were deleted before pinflow read them; accept it with: pinflow topics accept-reset %s", p.TP.Topic)
}

// forget drops all that is held and every partition.
func (in *Intake) forget() {
	in.sink.Drop()
	clear(in.held)
	in.look()
	in.redo = false
}

// ended hides what only says that we were asked to stop.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) {
		return nil
	}
	return err
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
