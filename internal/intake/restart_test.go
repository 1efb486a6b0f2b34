package intake_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/intake"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/prove"
	"github.com/pinflow/pinflow/internal/span"
	"github.com/pinflow/pinflow/internal/testbed"
)

// stopped is a world without dice: two partitions are read, one of them is lost, and the process is asked
// to stop while it goes back to the ledger's positions.
type stopped struct {
	*world
	stop  context.CancelFunc
	polls int
}

func (s *stopped) open(ctx context.Context, topics []string, h intake.Handler) (intake.Source, error) {
	_, err := s.world.open(ctx, topics, h)
	return s, err
}

func (s *stopped) Poll(context.Context, int) ([]intake.Fetch, error) {
	tps := []intake.TP{{Topic: "pin", Partition: 0}, {Topic: "pin", Partition: 1}}
	if s.polls++; s.polls > 1 {
		s.handler.Lost(s.member, tps[:1])
		return nil, nil
	}
	if _, err := s.handler.Assigned(s.member, tps); err != nil {
		return nil, err
	}
	var out []intake.Fetch
	for _, tp := range tps {
		out = append(out, intake.Fetch{TP: tp, From: 0, To: 1, Records: s.logs[tp.Partition][:1]})
	}
	return out, nil
}

func (s *stopped) PositionsOf(ctx context.Context, _ ledger.Unit) (span.Vector, error) {
	s.stop()
	return nil, ctx.Err()
}

// L1: a stop in the middle of going back seals nothing of what was dropped.
func TestStopWhileGoingBack(t *testing.T) {
	prove.Invariant(t, "L1")
	w := newWorld(t, 1)
	w.faults = 0
	for p := range w.logs {
		w.logs[p][0].Value = []byte{byte('a' + p)} // a record, not a gap
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s := &stopped{world: w, stop: cancel}
	in := intake.New(intake.Config{Unit: ledger.Live, Owner: "test"}, slog.New(slog.NewTextHandler(io.Discard, nil)), s, s.open, s)
	if err := in.Run(ctx); err != nil {
		t.Fatal(err)
	}
	var rows int64
	for _, c := range w.counts {
		rows += c.Rows
	}
	if rows != int64(len(w.sealed)) {
		t.Errorf("%d rows are booked, but %d were sealed: %+v", rows, len(w.sealed), w.held)
	}
}

// moving is a world whose catalogue moves now and then, and that has no log to read back.
type moving struct {
	*world
	flushes int
}

func (m *moving) open(ctx context.Context, topics []string, h intake.Handler) (intake.Source, error) {
	_, err := m.world.open(ctx, topics, h)
	return m, err
}

func (m *moving) Flush(ctx context.Context, parts []*intake.Partition) error {
	if m.flushes++; m.flushes%3 == 0 {
		m.epoch++
	}
	return m.world.Flush(ctx, parts)
}

func (m *moving) ReadBack(_ context.Context, tp intake.TP, from, to int64, _ func(*event.Record) error) error {
	return fmt.Errorf("reading back [%d, %d) of %v, which is slow", from, to, tp)
}

// A unit that meets a newer catalogue goes on where the ledger stands with the dedup window that it has.
func TestMovedCatalogueKeepsTheWindow(t *testing.T) {
	testbed.Bubble(t, func(t *testing.T) {
		w := newWorld(t, 1)
		w.faults = 0
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		w.done = cancel
		m := &moving{world: w}
		in := intake.New(intake.Config{Unit: ledger.Live, Owner: "test"}, slog.New(slog.NewTextHandler(io.Discard, nil)), m, m.open, m)
		if err := in.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if w.epoch < 3 || errors.Is(ctx.Err(), context.DeadlineExceeded) {
			t.Fatalf("epoch %d: %+v", w.epoch, w.held)
		}
		w.check(1)
	})
}
