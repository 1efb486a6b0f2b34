package intake

import (
	"context"
	"fmt"

	"github.com/pinflow/pinflow/internal/fault"
)

var _ Handler = (*Intake)(nil)

// Assigned takes the partitions over and returns where the ledger stands.
func (in *Intake) Assigned(ctx context.Context, tps []TP) (map[TP]int64, error) {
	at := make(map[TP]int64, len(tps))
	for _, tp := range tps {
		p, err := in.takeOver(ctx, tp)
		if err != nil {
			in.failed = err
			return nil, err
		}
		in.held[tp] = p
		at[tp] = p.Next
	}
	return at, nil
}

func (in *Intake) takeOver(ctx context.Context, tp TP) (*Partition, error) {
	l, ok := in.cat.topics[tp.Topic]
	if !ok {
		return nil, fault.New(fault.Config, "unknown_topic", "the group gave %s/%d, which the ledger does not know", tp.Topic, tp.Partition)
	}
	start, err := in.src.Start(ctx, tp)
	if err != nil {
		return nil, fmt.Errorf("asking for the start of %s/%d: %w", tp.Topic, tp.Partition, err)
	}
	p := &Partition{TP: tp, Stream: in.cat.Stream(l.Stream), Dead: l.Dead}
	p.Key.Log, p.Key.Partition = l.ID, tp.Partition
	h, err := in.store.TakeOver(ctx, in.cfg.Unit, in.cfg.Owner, p.Key, start)
	if err != nil {
		return nil, fmt.Errorf("taking over %s/%d for the %s unit: %w", tp.Topic, tp.Partition, in.cfg.Unit, err)
	}
	p.Owner, p.horizon = h.Owner, h.Horizon
	if err := in.rewind(ctx, p, h.Position); err != nil {
		return nil, err
	}
	in.log.Debug("took over", "unit", in.cfg.Unit, "topic", tp.Topic, "partition", tp.Partition, "owner", p.Owner, "position", p.Next)
	return p, nil
}

// Revoked seals what is held, so that the next owner starts where we stopped, and lets go.
func (in *Intake) Revoked(ctx context.Context, tps []TP) {
	if err := in.flush(ctx); err != nil {
		in.failed = err
	}
	in.release(tps)
}

// Lost lets go without sealing: the partitions may have gone already.
func (in *Intake) Lost(_ context.Context, tps []TP) {
	in.release(tps)
	in.sink.Drop()
	in.redo = true
}

func (in *Intake) release(tps []TP) {
	for _, tp := range tps {
		delete(in.held, tp)
	}
}
