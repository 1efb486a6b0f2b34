package kafkalog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pinflow/pinflow/internal/fault"
)

// Topic identifies one incarnation of a topic.
type Topic struct {
	Name       string
	ClusterID  string
	TopicID    string
	Partitions int32
}

// Admin makes topics and asks for their ends.
type Admin struct {
	cfg Config
	cl  *kgo.Client
	adm *kadm.Client
}

// NewAdmin makes an Admin; nothing is connected yet.
func NewAdmin(cfg Config, log *slog.Logger) (*Admin, error) {
	cfg.setDefaults()
	cl, err := newClient(cfg, log)
	if err != nil {
		return nil, err
	}
	return &Admin{cfg: cfg, cl: cl, adm: kadm.NewClient(cl)}, nil
}

// Close ends its connections.
func (a *Admin) Close() { a.cl.Close() }

// EnsureTopic makes the topic if it is not there, and returns what is there: its number of partitions
// may differ from the one asked for, which changes nothing. rf is the replication factor, -1 for the
// cluster's default.
func (a *Admin) EnsureTopic(ctx context.Context, name string, partitions int32, rf int16) (Topic, error) {
	t, err := a.Topic(ctx, name)
	if err == nil {
		return t, a.durable(name)
	}
	if fault.CodeOf(err) != "unknown_topic" {
		return t, err
	}
	configs := map[string]*string{}
	if !a.cfg.Embedded {
		size := strconv.Itoa(int(2 * a.cfg.MaxBatch))
		configs["max.message.bytes"] = &size
	}
	resp, err := a.adm.CreateTopic(ctx, partitions, rf, configs, name)
	if err := errors.Join(err, resp.Err); err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
		return Topic{}, a.failed(err, "making topic %s", name)
	}
	if err := a.durable(name); err != nil {
		return Topic{}, err
	}
	for { // other brokers learn of it a moment later
		t, err := a.Topic(ctx, name)
		if err == nil || fault.CodeOf(err) != "unknown_topic" || !sleep(ctx, 50*time.Millisecond) {
			return t, err
		}
	}
}

func (a *Admin) durable(name string) error {
	if a.cfg.Created == nil {
		return nil
	}
	if err := a.cfg.Created(name); err != nil {
		return fmt.Errorf("making topic %s: %w", name, err)
	}
	return nil
}

// Topic looks a topic up. fault.Config with code unknown_topic if it is not there.
func (a *Admin) Topic(ctx context.Context, name string) (Topic, error) {
	meta, err := a.adm.Metadata(ctx, name)
	if err != nil {
		return Topic{}, a.failed(err, "looking up topic %s", name)
	}
	d, ok := meta.Topics[name]
	switch {
	case !ok, errors.Is(d.Err, kerr.UnknownTopicOrPartition), d.Err == nil && len(d.Partitions) == 0:
		return Topic{}, fault.New(fault.Config, "unknown_topic", "the log has no topic %s", name).
			WithAdvice("Make it with: pinflow topics create")
	case d.Err != nil:
		return Topic{}, a.failed(d.Err, "looking up topic %s", name)
	}
	return Topic{Name: name, ClusterID: meta.Cluster, TopicID: d.ID.String(), Partitions: int32(len(d.Partitions))}, nil
}

// HighWatermarks returns, per partition, the offset that the next record will have. An answer that
// misses a partition is an error.
func (a *Admin) HighWatermarks(ctx context.Context, topic string) (map[int32]int64, error) {
	listed, err := a.adm.ListEndOffsets(ctx, topic)
	return a.offsets(topic, listed, err, "ends")
}

// Starts returns the first offset that each partition still has.
func (a *Admin) Starts(ctx context.Context, topic string) (map[int32]int64, error) {
	listed, err := a.adm.ListStartOffsets(ctx, topic)
	return a.offsets(topic, listed, err, "starts")
}

func (a *Admin) offsets(topic string, listed kadm.ListedOffsets, err error, what string) (map[int32]int64, error) {
	if err := errors.Join(err, listed.Error()); err != nil {
		return nil, a.failed(err, "asking for the %s of %s", what, topic)
	}
	at := make(map[int32]int64, len(listed[topic]))
	for p, o := range listed[topic] {
		at[p] = o.Offset
	}
	if len(at) == 0 {
		return nil, fault.New(fault.Config, "unknown_topic", "the log has no topic %s", topic)
	}
	return at, nil
}

// failed classes an admin error: what the broker refused stays so, the rest may pass.
func (a *Admin) failed(err error, format string, args ...any) error {
	what := fmt.Sprintf(format, args...)
	var ke *kerr.Error
	if errors.As(err, &ke) && !ke.Retriable {
		return fault.New(fault.Config, "log_refused", "%s: %w", what, err)
	}
	return fault.New(fault.Transient, "log_unreachable", "%s: %w", what, err)
}
