package live_test

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/intake"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/sqlledger"
)

// workersLedger is the ledger as one worker reaches it.
type workersLedger struct {
	*sqlledger.DB
	w *worker
}

func (l *workersLedger) Seal(ctx context.Context, s ledger.Seal) error {
	if err := l.pass(); err != nil {
		return err
	}
	switch l.w.rnd.IntN(30) {
	case 0:
		return fault.New(fault.Ambiguous, "unclear", "the connection broke before the commit")
	case 1:
		return errors.Join(l.DB.Seal(ctx, s), fault.New(fault.Ambiguous, "unclear", "the connection broke after the commit"))
	}
	return l.DB.Seal(ctx, s)
}

func (l *workersLedger) AddSegments(ctx context.Context, write int64, segs []ledger.Segment) error {
	if err := l.pass(); err != nil {
		return err
	}
	if l.w.rnd.IntN(20) == 0 {
		return fault.New(fault.Transient, "busy", "the ledger is busy")
	}
	return l.DB.AddSegments(ctx, write, segs)
}

// pass lets a living worker through, and a paused one when it goes on.
func (l *workersLedger) pass() error {
	l.w.g.mu.Lock()
	pause := l.w.pause
	l.w.g.mu.Unlock()
	if pause != nil {
		<-pause
	}
	l.w.g.mu.Lock()
	defer l.w.g.mu.Unlock()
	if l.w.dead {
		return fault.New(fault.Unknown, "killed", "there is nobody any more")
	}
	return nil
}

func (w *worker) open(ctx context.Context, _ []string, h intake.Handler) (intake.Source, error) {
	w.g.mu.Lock()
	defer w.g.mu.Unlock()
	w.h, w.ctx, w.held, w.struck = h, ctx, map[intake.TP]int64{}, nil
	return w, nil
}

// Poll tells the member what the group decided, then reads what it holds.
func (w *worker) Poll(ctx context.Context, _ int) ([]intake.Fetch, error) {
	struck, give, take := w.decided()
	if len(struck) > 0 {
		w.h.Lost(w.ctx, struck)
	}
	if len(give) > 0 {
		w.h.Revoked(w.ctx, give)
		w.g.mu.Lock()
		for _, tp := range give {
			delete(w.held, tp)
		}
		w.g.mu.Unlock()
	}
	if len(take) > 0 {
		at, err := w.h.Assigned(w.ctx, take)
		if err != nil {
			return nil, err
		}
		w.g.mu.Lock()
		for tp, next := range at {
			w.held[tp] = next
		}
		w.g.mu.Unlock()
	}
	out := w.read()
	wait := 50 * time.Millisecond
	if len(out) > 0 {
		wait = time.Duration(w.rnd.Int64N(int64(60 * time.Millisecond)))
	}
	select {
	case <-time.After(wait):
	case <-ctx.Done():
	}
	return out, ctx.Err()
}

func (w *worker) decided() (struck, give, take []intake.TP) {
	w.g.mu.Lock()
	defer w.g.mu.Unlock()
	for tp, held := range w.struck {
		if held {
			struck = append(struck, tp)
		}
	}
	w.struck = nil
	for p := range int32(groupParts) {
		tp := intake.TP{Topic: "pin", Partition: p}
		_, has := w.held[tp]
		switch owner := w.g.owner[tp]; {
		case has && owner != w:
			give = append(give, tp)
		case !has && owner == w && !w.g.heldByOther(tp, w):
			take = append(take, tp)
		}
	}
	return struck, give, take
}

func (g *group) heldByOther(tp intake.TP, w *worker) bool {
	return slices.ContainsFunc(g.workers, func(o *worker) bool {
		_, has := o.held[tp]
		return has && o != w && !o.dead
	})
}

func (w *worker) read() []intake.Fetch {
	w.g.mu.Lock()
	defer w.g.mu.Unlock()
	var out []intake.Fetch
	for p := range int32(groupParts) { // in order, so that a seed is a run
		tp := intake.TP{Topic: "pin", Partition: p}
		from, has := w.held[tp]
		if !has {
			continue
		}
		if to := min(groupRecords, from+w.rnd.Int64N(8)); to > from {
			out = append(out, intake.Fetch{TP: tp, From: from, To: to, Records: slices.Clone(w.g.logs[tp][from:to])})
			w.held[tp] = to
		}
	}
	return out
}

func (w *worker) Seek(tp intake.TP, offset int64) {
	w.g.mu.Lock()
	defer w.g.mu.Unlock()
	if _, has := w.held[tp]; has {
		w.held[tp] = offset
	}
}

func (w *worker) ReadBack(_ context.Context, tp intake.TP, from, to int64, fn func(*event.Record) error) error {
	for i := from; i < to; i++ {
		r := w.g.logs[tp][i]
		if err := fn(&r); err != nil {
			return err
		}
	}
	return nil
}

func (w *worker) Start(context.Context, intake.TP) (int64, error) { return 0, nil }

func (w *worker) Close(context.Context) error {
	w.g.mu.Lock()
	defer w.g.mu.Unlock()
	w.h, w.held = nil, nil
	return nil
}
