package kafkalog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/fault"
)

// TP is a partition of a topic.
type TP struct {
	Topic     string
	Partition int32
}

func (t TP) String() string { return fmt.Sprintf("%s/%d", t.Topic, t.Partition) }

// Handler is told which partitions the group gives to and takes from this member. Its methods run
// between Polls, never during the work on what a Poll returned.
type Handler interface {
	// Assigned returns the offset at which each partition starts. An error ends the membership for
	// now: Poll returns it, and the next Poll joins again.
	Assigned(ctx context.Context, parts []TP) (map[TP]int64, error)
	// Revoked comes before another member may get the partitions: work can still be finished.
	Revoked(ctx context.Context, parts []TP)
	// Lost comes when another member may have them already.
	Lost(ctx context.Context, parts []TP)
}

// Fetch is what was read of one partition: all offsets in [From, To). Those without a Record are gaps:
// control records, records of aborted transactions, holes.
type Fetch struct {
	TP
	From, To int64
	End      int64 // where what may be read ended, as the broker said with it
	Records  []event.Record
}

// Consumer reads topics as a member of a group, read committed. It commits nothing and never resets.
type Consumer struct {
	cl  *kgo.Client
	h   Handler
	log *slog.Logger

	mu      sync.Mutex
	starts  map[TP]int64 // given by the handler, not yet fetched from
	next    map[TP]int64
	pending error // of the handler

	records [][]event.Record // what the last Poll returned; its memory is the next one's
	fetched []*kgo.Record    // what that shares memory with
}

// NewConsumer joins the group in the background; Poll drives it.
func NewConsumer(cfg Config, group string, topics []string, h Handler, log *slog.Logger) (*Consumer, error) {
	cfg.setDefaults()
	c := &Consumer{h: h, log: log, starts: make(map[TP]int64), next: make(map[TP]int64)}
	spare := newPool()
	opts := append(fetchOptions(),
		kgo.ConsumerGroup(group),
		kgo.ConsumeTopics(topics...),
		kgo.Balancers(kgo.CooperativeStickyBalancer()),
		kgo.SessionTimeout(cfg.SessionTimeout),
		kgo.HeartbeatInterval(cfg.SessionTimeout/3),
		kgo.RebalanceTimeout(time.Minute),
		kgo.BlockRebalanceOnPoll(),
		kgo.DisableAutoCommit(),
		kgo.OnPartitionsAssigned(c.assigned),
		kgo.OnPartitionsRevoked(c.taken(h.Revoked)),
		kgo.OnPartitionsLost(c.taken(h.Lost)),
		kgo.AdjustFetchOffsetsFn(c.adjust),
		kgo.WithPools(spare),
		kgo.WithDecompressor(newUnpacker(spare, maxInflatedBatch)),
		kgo.WithHooks(spare),
	)
	if cfg.Instance != "" {
		opts = append(opts, kgo.InstanceID(cfg.Instance))
	}
	var err error
	c.cl, err = newClient(cfg, log, opts...)
	return c, err
}

func fetchOptions() []kgo.Opt {
	const most = 2 << 20 // as it comes over the wire, where it is packed; some answers are held at once
	return []kgo.Opt{
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(),
		kgo.ConsumeStartOffset(kgo.NoResetOffset()),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchMaxBytes(most),
		kgo.FetchMaxPartitionBytes(most / 4),
		kgo.FetchMaxWait(5 * time.Second),
		kgo.MaxConcurrentFetches(2),
	}
}

func (c *Consumer) assigned(ctx context.Context, _ *kgo.Client, given map[string][]int32) {
	parts := flatten(given)
	if len(parts) == 0 {
		return
	}
	starts, err := c.h.Assigned(ctx, parts)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.pending = err
		return
	}
	for tp, at := range starts {
		c.starts[tp], c.next[tp] = at, at
	}
}

func (c *Consumer) taken(tell func(context.Context, []TP)) func(context.Context, *kgo.Client, map[string][]int32) {
	return func(ctx context.Context, _ *kgo.Client, gone map[string][]int32) {
		parts := flatten(gone)
		if len(parts) == 0 {
			return
		}
		tell(ctx, parts)
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, tp := range parts {
			delete(c.starts, tp)
			delete(c.next, tp)
		}
	}
}

// adjust replaces the group's committed offsets, which are advisory, by the handler's.
func (c *Consumer) adjust(_ context.Context, offsets map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pending != nil {
		return nil, c.pending
	}
	for topic, parts := range offsets {
		for p := range parts {
			at, ok := c.starts[TP{topic, p}]
			if !ok {
				c.pending = fmt.Errorf("starting %s/%d: no offset was given", topic, p)
				return nil, c.pending
			}
			parts[p] = kgo.NewOffset().At(at).WithEpoch(-1)
		}
	}
	return offsets, nil
}

func flatten(m map[string][]int32) []TP {
	var parts []TP
	for topic, ps := range m {
		for _, p := range ps {
			parts = append(parts, TP{topic, p})
		}
	}
	return parts
}

// Poll lets the group rebalance, waits for records and returns at most maxRecords of them. What it
// returns stays this member's, and valid, until the next Poll. It returns ctx's error when ctx ends first;
// fault.Config with code log_truncated when an offset asked for is not in the log; the handler's error.
func (c *Consumer) Poll(ctx context.Context, maxRecords int) ([]Fetch, error) {
	c.cl.AllowRebalance()
	for _, r := range c.records {
		clear(r) // a quiet topic must not keep the last answers of the broker in memory
	}
	for _, r := range c.fetched {
		r.Recycle()
	}
	clear(c.fetched)
	c.fetched = c.fetched[:0]
	for {
		polled := c.cl.PollRecords(ctx, maxRecords)
		if err := c.failed(polled); err != nil {
			return nil, err
		}
		if out := c.fetches(polled); len(out) > 0 {
			return out, nil
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		c.cl.AllowRebalance()
	}
}

// failed returns what of a poll's errors the caller must know. Others pass by themselves.
func (c *Consumer) failed(polled kgo.Fetches) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.pending; err != nil {
		c.pending = nil
		return err
	}
	var first error
	polled.EachError(func(topic string, p int32, err error) {
		var loss *kgo.ErrDataLoss
		switch {
		case errors.Is(err, kgo.ErrClientClosed):
			first = errors.Join(first, err)
		case errors.Is(err, kerr.OffsetOutOfRange), errors.As(err, &loss):
			tp := TP{topic, p}
			first = errors.Join(first, truncated(tp, c.next[tp], err))
		case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		default:
			c.log.Warn("reading the log", "topic", topic, "partition", p, "err", err)
		}
	})
	return first
}

func truncated(tp TP, at int64, err error) error {
	return fault.New(fault.Config, "log_truncated", "reading at offset %d: %w", at, err).
		At("%s", tp).
		WithAdvice("See what is lost and accept it with: pinflow topics accept-reset %s", tp.Topic)
}

func (c *Consumer) fetches(polled kgo.Fetches) []Fetch {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []Fetch
	var read [][]*kgo.Record
	polled.EachPartition(func(p kgo.FetchTopicPartition) {
		tp := TP{p.Topic, p.Partition}
		from, ok := c.next[tp]
		c.fetched = append(c.fetched, p.Records...)
		if !ok || len(p.Records) == 0 {
			return
		}
		to := p.Records[len(p.Records)-1].Offset + 1
		if to <= from {
			return
		}
		c.next[tp] = to
		out, read = append(out, Fetch{TP: tp, From: from, To: to, End: endOf(p.FetchPartition)}), append(read, p.Records)
	})
	c.records = append(c.records, make([][]event.Record, max(0, len(out)-len(c.records)))...)
	var decoding sync.WaitGroup // of the partitions at once: one after the other, the other cores would wait
	for i := range out {
		decoding.Go(func() {
			c.records[i] = decodeRecords(read[i], c.records[i])
			out[i].Records = c.records[i]
		})
	}
	decoding.Wait()
	return out
}

// endOf is the end of what a reader of committed records may have.
func endOf(p kgo.FetchPartition) int64 {
	if p.LastStableOffset >= 0 {
		return p.LastStableOffset
	}
	return p.HighWatermark // a broker that knows no transactions
}

// Seek goes on reading an assigned partition at offset. Call it between Polls.
func (c *Consumer) Seek(tp TP, offset int64) {
	c.mu.Lock()
	c.next[tp] = offset
	c.mu.Unlock()
	c.cl.SetOffsets(map[string]map[int32]kgo.EpochOffset{tp.Topic: {tp.Partition: {Epoch: -1, Offset: offset}}})
}

// Pause stops fetching partitions until Resume; they stay assigned.
func (c *Consumer) Pause(parts ...TP) { c.cl.PauseFetchPartitions(group(parts)) }

// Resume ends a Pause.
func (c *Consumer) Resume(parts ...TP) { c.cl.ResumeFetchPartitions(group(parts)) }

func group(parts []TP) map[string][]int32 {
	m := make(map[string][]int32)
	for _, tp := range parts {
		m[tp.Topic] = append(m[tp.Topic], tp.Partition)
	}
	return m
}

// Close leaves the group, which calls Revoked for what is still assigned. No Poll may be running.
func (c *Consumer) Close() { c.cl.CloseAllowingRebalance() }

// ReadBack reads the records of [from, to) of a partition outside of any group, and calls fn with each
// in order. fault.Config with code log_truncated if the log no longer holds from, or ends before to: what
// was read once is gone, and it would wait for records that take the place of the old ones.
func ReadBack(ctx context.Context, cfg Config, tp TP, from, to int64, fn func(*event.Record) error) error {
	if from >= to {
		return nil
	}
	cfg.setDefaults()
	opts := append(fetchOptions(), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{
		tp.Topic: {tp.Partition: kgo.NewOffset().At(from).WithEpoch(-1)},
	}))
	cl, err := newClient(cfg, slog.New(slog.DiscardHandler), opts...)
	if err != nil {
		return err
	}
	defer cl.Close()
	ends, err := kadm.NewClient(cl).ListEndOffsets(ctx, tp.Topic)
	if err = errors.Join(err, ends.Error()); err != nil {
		return fault.New(fault.Transient, "log_unreachable", "asking for the end of %s: %w", tp, err)
	}
	if end, ok := ends.Lookup(tp.Topic, tp.Partition); ok && end.Offset < to {
		return truncated(tp, to, fmt.Errorf("the log ends at offset %d", end.Offset))
	}
	var read []event.Record
	for at := from; at < to; {
		polled := cl.PollRecords(ctx, 10_000)
		if err := readBackError(polled, tp, at); err != nil {
			return err
		}
		var records []*kgo.Record
		polled.EachPartition(func(p kgo.FetchTopicPartition) { records = append(records, p.Records...) })
		if len(records) > 0 {
			at = records[len(records)-1].Offset + 1
		}
		read = decodeRecords(records, read)
		for i := range read {
			r := &read[i]
			if r.Offset >= to {
				return nil
			}
			if err := fn(r); err != nil {
				return err
			}
		}
	}
	return nil
}

func readBackError(polled kgo.Fetches, tp TP, at int64) error {
	failed := polled.Errors()
	if len(failed) == 0 {
		return nil
	}
	err := failed[0].Err
	var loss *kgo.ErrDataLoss
	if errors.Is(err, kerr.OffsetOutOfRange) || errors.As(err, &loss) {
		return truncated(tp, at, err)
	}
	return fault.New(fault.Transient, "log_unreachable", "reading %s back at offset %d: %w", tp, at, err)
}
