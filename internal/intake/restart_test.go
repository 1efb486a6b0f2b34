package intake_test

import (
	"context"
	"io"
	"log/slog"
	"testing"

	"github.com/pinflow/pinflow/internal/intake"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/prove"
	"github.com/pinflow/pinflow/internal/span"
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
