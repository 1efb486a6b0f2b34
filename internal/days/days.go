package days

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pinflow/pinflow/internal/calendar"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/span"
)

// Wait is the collector's longest wait for the log plus the clock difference allowed between hosts: an
// event answered before a moment lies below every mark that is this much later.
const Wait = 30*time.Second + 5*time.Second

// Timing of the job.
const (
	answerWait = 5 * time.Second // for the ends of the logs
	pendingMax = 400             // stored days looked at for a landing that is still to come
)

// Ends returns the next offset of every partition of an open log. A topic that is no longer that log is an error.
type Ends func(ctx context.Context, l ledger.Log) (map[int32]int64, error)

// Ledger is the part of the ledger that the job needs.
type Ledger interface {
	ledger.Jobs
	ledger.Marks
	Epochs(ctx context.Context) (map[string]int64, error)
	Load(ctx context.Context) (*ledger.Snapshot, error)
	Progress(ctx context.Context) (*ledger.Progress, error)
}

// Unit keeps the marks and days of every stream of the ledger, as long as it holds their leases.
type Unit struct {
	holder string
	every  time.Duration // between marks
	log    *slog.Logger
	led    Ledger
	ends   Ends
	pace   *Pace // nil: nobody asks for it

	said fault.Repeats

	mu      sync.Mutex
	missing map[string]string // by stream: why there is no newer mark
}

// New returns a unit that has started nothing. holder names the process; a mark is stored every so
// often (0: 1 s).
func New(holder string, interval time.Duration, log *slog.Logger, led Ledger, ends Ends) *Unit {
	return &Unit{holder: holder, every: cmp.Or(interval, time.Second), log: log, led: led, ends: ends, missing: map[string]string{}}
}

// Tell notes in p, too, what the days lack that wait.
func (u *Unit) Tell(p *Pace) { u.pace = p }

// Missing tells, by stream, why this process could not store the newest mark: which log did not answer.
func (u *Unit) Missing() map[string]string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return maps.Clone(u.missing)
}

func (u *Unit) setMissing(stream, why string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if why == "" {
		delete(u.missing, stream)
		return
	}
	if u.missing[stream] == "" {
		u.log.Warn("no mark: a log does not answer", "stream", stream, "problem", why)
	}
	u.missing[stream] = why
}

// Run works until ctx ends. A stream that comes later is found within a second. Each stream has its own
// loop, because a log that hangs must not hold up the others.
func (u *Unit) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		started := map[string]bool{}
		return every(ctx, u.every, func() error {
			epochs, err := u.led.Epochs(ctx)
			if err != nil {
				return u.later("looking for streams", err)
			}
			for name := range epochs {
				if !started[name] {
					started[name] = true
					g.Go(func() error { return u.follow(ctx, name) })
				}
			}
			return nil
		})
	})
	return g.Wait()
}

// every calls fn at once and then at each tick until ctx ends.
func every(ctx context.Context, d time.Duration, fn func() error) error {
	tick := time.NewTicker(d)
	defer tick.Stop()
	for {
		if err := fn(); err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// later lets what may set itself right wait for the next tick.
func (u *Unit) later(what string, err error) error {
	switch fault.KindOf(err) {
	case fault.Transient, fault.Ambiguous, fault.Lost, fault.Stale:
		if unsaid, say := u.said.Say(fault.CodeOf(err), time.Now()); say {
			u.log.Warn("marks are put off", "doing", what, "error", err, "unsaid", unsaid)
		}
		return nil
	case fault.Unknown, fault.Record, fault.Config, fault.Corrupt:
	}
	return fmt.Errorf("%s: %w", what, err)
}

// follow keeps one stream.
func (u *Unit) follow(ctx context.Context, name string) error {
	s := &stream{Unit: u, name: name, keeper: ledger.NewKeeper(u.led, u.holder)}
	err := every(ctx, u.every, func() error {
		if err := s.tick(ctx); err != nil {
			if fault.Is(err, fault.Lost) || fault.Is(err, fault.Ambiguous) {
				s.drop()
			}
			return u.later("marking stream "+name, err)
		}
		return nil
	})
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if rel := s.keeper.Release(last); rel != nil {
		u.log.Info("leases run out by themselves", "stream", name, "error", rel)
	}
	return err
}

// stream is the state of one stream's loop while it holds the lease.
type stream struct {
	*Unit
	name   string
	keeper *ledger.Keeper

	snap    *ledger.Snapshot
	epochs  map[string]int64
	ready   bool           // pending and next were read under this lease
	pending []ledger.Day   // cut, not landed
	next    map[string]day // by zone: the first day without a cut
	alarmed bool           // conservation was found broken and said so
}

func (s *stream) leaseName() string { return "marks:" + s.name }

// drop forgets what was known under a lease that may be another's now.
func (s *stream) drop() {
	s.keeper.Forget(s.leaseName())
	s.ready = false
}

func (s *stream) tick(ctx context.Context) error {
	lease, ok, err := s.keeper.Hold(ctx, s.leaseName())
	if err != nil {
		return err
	}
	if !ok {
		s.ready = false
		s.setMissing(s.name, "")
		return nil
	}
	if err := s.mark(ctx, lease); err != nil {
		return err
	}
	if !s.ready {
		if err := s.recall(ctx); err != nil {
			return err
		}
	}
	if err := s.cutDays(ctx, lease); err != nil {
		return err
	}
	return s.landDays(ctx, lease)
}

// mark notes the time first, then reads the partitions, then asks their ends: so all that was durable
// at that time is below the mark.
func (s *stream) mark(ctx context.Context, lease ledger.Lease) error {
	at := time.Now().UTC()
	if err := s.reload(ctx); err != nil {
		return err
	}
	end := span.Vector{}
	for _, l := range s.snap.LogsOf(s.name) {
		if l.Kind != ledger.KindKafka || !l.ClosedAt.IsZero() {
			continue
		}
		if why := s.endsOf(ctx, l, end); why != "" {
			if ctx.Err() == nil {
				s.setMissing(s.name, why)
			}
			return nil
		}
	}
	if len(end) == 0 {
		return nil // no log yet
	}
	s.setMissing(s.name, "")
	return s.led.AddMark(ctx, lease, ledger.Mark{Stream: s.name, At: at, End: end})
}

// endsOf adds the ends of a log, or says what is missing.
func (s *stream) endsOf(ctx context.Context, l ledger.Log, end span.Vector) string {
	ctx, cancel := context.WithTimeout(ctx, answerWait)
	defer cancel()
	got, err := s.ends(ctx, l)
	if err != nil {
		return fmt.Sprintf("topic %s does not answer: %v", l.Topic, err)
	}
	for p := range l.Partitions {
		at, ok := got[p]
		if !ok {
			return fmt.Sprintf("partition %d of topic %s does not answer", p, l.Topic)
		}
		end[span.Key{Log: l.ID, Partition: p}] = at
	}
	return ""
}

// reload reads the catalogue again when an epoch moved.
func (s *stream) reload(ctx context.Context) error {
	epochs, err := s.led.Epochs(ctx)
	if err != nil || s.snap != nil && maps.Equal(epochs, s.epochs) {
		return err
	}
	snap, err := s.led.Load(ctx)
	if err != nil {
		return err
	}
	s.snap, s.epochs = snap, epochs // older epochs than the snapshot's: it is only read once more
	return nil
}

// recall reads what earlier holders stored: the days that have not landed, and for each zone where cuts
// go on. A zone without days begins with the day of the stream's first mark.
func (s *stream) recall(ctx context.Context) error {
	stored, err := s.led.Days(ctx, s.name, pendingMax)
	if err != nil {
		return err
	}
	s.pending, s.next = nil, map[string]day{}
	for _, d := range stored {
		if d.LandedAt.IsZero() {
			s.pending = append(s.pending, d)
		}
		z, err := calendar.Load(d.Zone)
		if err != nil {
			continue
		}
		if last, ok := dayOf(z, d.Date); ok && s.next[d.Zone].date <= last.date {
			s.next[d.Zone] = last.next()
		}
	}
	s.ready = true
	return nil
}

// cutDays stores the cut of every day whose cut moment has a mark.
func (s *stream) cutDays(ctx context.Context, lease ledger.Lease) error {
	now := time.Now()
	grace := s.grace()
	for _, z := range zones(s.snap, s.name) {
		d, known := s.next[z.Name()]
		if !known {
			first, err := s.led.FirstMark(ctx, s.name, time.Unix(0, 0))
			if err != nil {
				return err
			}
			if first == nil {
				return nil
			}
			d = dayAt(z, first.At)
		}
		for ; !now.Before(d.end().Add(grace + Wait)); d = d.next() {
			cut, err := s.cutDay(ctx, lease, d, d.end().Add(grace+Wait))
			if err != nil {
				return err
			}
			if cut == nil {
				break
			}
			if cut.LandedAt.IsZero() {
				s.pending = append(s.pending, *cut)
			}
		}
		s.next[z.Name()] = d
	}
	return nil
}

// cutDay stores the first mark at or after the moment as the day's cut; nil when there is none yet.
func (s *stream) cutDay(ctx context.Context, lease ledger.Lease, d day, moment time.Time) (*ledger.Day, error) {
	m, err := s.led.FirstMark(ctx, s.name, moment)
	if err != nil || m == nil {
		return nil, err
	}
	cut, err := s.led.DayCut(ctx, lease, ledger.Day{Stream: s.name, Zone: d.zone.Name(), Date: d.String(), CutAt: m.At, Cut: m.End})
	if err != nil {
		return nil, err
	}
	s.log.Info("a day was cut", "stream", s.name, "day", d.String(), "zone", d.zone.Name(), "at", cut.CutAt)
	return &cut, nil
}

func (s *stream) grace() time.Duration {
	for _, x := range s.snap.Streams {
		if x.Name == s.name && len(x.Schemas) > 0 {
			return x.Schemas[len(x.Schemas)-1].Definition.Grace
		}
	}
	return 0
}

// landDays records the landing of the days that are complete now.
func (s *stream) landDays(ctx context.Context, lease ledger.Lease) error {
	if len(s.pending) == 0 {
		return nil
	}
	p, err := s.led.Progress(ctx)
	if err != nil {
		return err
	}
	logs := s.snap.LogsOf(s.name)
	dead := map[span.Log]bool{}
	for _, l := range logs {
		dead[l.ID] = l.Dead
	}
	waiting := s.pending[:0:0]
	for i := range s.pending {
		d := s.pending[i]
		if g := blocked(d.Cut, p, dead); g != nil {
			if g.what == "conservation" && !s.alarmed {
				s.alarmed = true
				s.log.Error("offsets are not accounted for", "stream", s.name, "partition", g.key.String(), "counted", g.at, "read", g.want)
			}
			if u := s.Unit; u.pace != nil {
				u.pace.Note(&d, time.Now(), lacks(d.Cut, p, dead))
			}
			waiting = append(waiting, d)
			continue
		}
		if d.Totals, err = json.Marshal(totalsOf(p, logs)); err != nil {
			return fmt.Errorf("encoding totals: %w", err)
		}
		d.LandedAt = time.Now().UTC()
		if err := s.led.Land(ctx, lease, d); err != nil {
			return err // the days before this one are stored once: landing them again changes nothing
		}
		s.log.Info("a day is complete", "stream", s.name, "day", d.Date, "zone", d.Zone)
	}
	s.pending = waiting
	return nil
}
