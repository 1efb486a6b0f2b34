package app

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/span"
)

// truncator keeps the embedded log short: it deletes what live has passed and the lake holds, less the dedup
// window, which a unit that starts must be able to read back. What is sealed for the lake and not in it yet
// stays, so that a ledger that was lost can be built from the lake, and read on.
type truncator struct {
	every    time.Duration
	log      *slog.Logger
	said     fault.Repeats
	store    truncatorStore
	truncate func(ctx context.Context, topic string, partition int32, before int64) error
}

type truncatorStore interface {
	Load(ctx context.Context) (*ledger.Snapshot, error)
	Progress(ctx context.Context) (*ledger.Progress, error)
}

// run truncates until ctx ends. A failure is tried again next time: the cap guards the disk.
func (t *truncator) run(ctx context.Context) error {
	tick := time.NewTicker(t.every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := t.pass(ctx); err != nil && ctx.Err() == nil {
			if !fault.Is(err, fault.Transient) {
				return err
			}
			if unsaid, say := t.said.Say(fault.CodeOf(err), time.Now()); say {
				t.log.Warn("truncating the log failed, trying again", "error", err, "unsaid", unsaid)
			}
		}
	}
}

func (t *truncator) pass(ctx context.Context) error {
	snap, err := t.store.Load(ctx)
	if err != nil {
		return fmt.Errorf("reading the catalogue: %w", err)
	}
	progress, err := t.store.Progress(ctx)
	if err != nil {
		return fmt.Errorf("reading positions: %w", err)
	}
	for _, l := range snap.Logs {
		if l.Kind != ledger.KindKafka || !l.ClosedAt.IsZero() {
			continue
		}
		window := int64(0)
		for _, s := range snap.Streams {
			if s.Name == l.Stream {
				for _, v := range s.Schemas {
					window = max(window, int64(v.Definition.Dedup.Records))
				}
			}
		}
		for p := range l.Partitions {
			if err := t.partition(ctx, l, span.Key{Log: l.ID, Partition: p}, progress, window); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *truncator) partition(ctx context.Context, l ledger.Log, key span.Key, progress *ledger.Progress, window int64) error {
	passed, known := progress.Lake[key]
	if !l.Dead {
		live, ok := progress.Live[key]
		passed, known = min(passed, live), known && ok
	}
	if !known || passed <= window {
		return nil
	}
	return t.truncate(ctx, l.Topic, key.Partition, passed-window)
}
