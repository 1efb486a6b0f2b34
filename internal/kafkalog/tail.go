package kafkalog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/fault"
)

// tailBytes bounds what a tail fetches ahead: it is for people, and there may be several.
const tailBytes = 1 << 20

// Tail hands over what comes to the topics from now on, until ctx ends or fn fails: whatever is
// appended after ready was called. It is no member of a group and moves no position. Records that are
// deleted before they were read are passed over: somebody watches, nothing depends on it.
func Tail(ctx context.Context, cfg Config, topics []string, log *slog.Logger, ready func(), fn func(topic string, recs []event.Record) error) error {
	cfg.setDefaults()
	cl, err := newClient(cfg, log,
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtEnd()),
		kgo.FetchMaxBytes(tailBytes), kgo.FetchMaxPartitionBytes(tailBytes),
		kgo.FetchMaxWait(time.Second), kgo.MaxConcurrentFetches(1))
	if err != nil {
		return err
	}
	defer cl.Close()
	ends, err := kadm.NewClient(cl).ListEndOffsets(ctx, topics...)
	if err = errors.Join(err, ends.Error()); err != nil {
		return fault.New(fault.Transient, "log_unreachable", "asking for the ends of %v: %w", topics, err)
	}
	from := map[string]map[int32]kgo.Offset{}
	ends.Each(func(o kadm.ListedOffset) {
		if from[o.Topic] == nil {
			from[o.Topic] = map[int32]kgo.Offset{}
		}
		from[o.Topic][o.Partition] = kgo.NewOffset().At(o.Offset).WithEpoch(-1)
	})
	cl.AddConsumePartitions(from)
	ready()
	for {
		polled := cl.PollRecords(ctx, 10_000)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		for _, f := range polled.Errors() {
			if !errors.Is(f.Err, kgo.ErrClientClosed) {
				return fault.New(fault.Transient, "log_unreachable", "reading %s/%d: %w", f.Topic, f.Partition, f.Err)
			}
		}
		var failed error
		polled.EachPartition(func(p kgo.FetchTopicPartition) {
			if failed == nil && len(p.Records) > 0 {
				failed = fn(p.Topic, decodeRecords(p.Records, nil))
			}
		})
		if failed != nil {
			return fmt.Errorf("handing over what was read: %w", failed)
		}
	}
}
