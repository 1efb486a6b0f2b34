package kafkalog

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/pinflow/pinflow/internal/fault"
)

// Topic identifies one incarnation of a topic.
type Topic struct {
	Name        string
	ClusterID   string
	TopicID     string
	Partitions  int32
	Replication int // replicas of the partition that has the fewest
	InSync      int // replicas in sync of the partition that has the fewest
}

// TopicSpec says how a topic is to be made.
type TopicSpec struct {
	Name        string
	Partitions  int32
	Replication int16             // 0: the cluster's default
	Configs     map[string]string // beside max.message.bytes, which is set to what the producer sends
}

// Topic configurations that matter to pinflow.
const (
	MaxMessageBytes = "max.message.bytes"
	MinInSync       = "min.insync.replicas"
	CleanupPolicy   = "cleanup.policy"
	RetentionMillis = "retention.ms"
	RetentionBytes  = "retention.bytes"
)

// EnsureTopic makes the topic if it is not there, and returns what is there: its number of partitions
// may differ from the one asked for, which changes nothing. made tells whether it was made now.
func (a *Admin) EnsureTopic(ctx context.Context, spec TopicSpec) (t Topic, made bool, err error) {
	t, err = a.Topic(ctx, spec.Name)
	if err == nil {
		return t, false, a.durable(spec.Name)
	}
	if fault.CodeOf(err) != "unknown_topic" {
		return t, false, err
	}
	configs := map[string]*string{}
	if !a.cfg.Embedded {
		size := strconv.Itoa(int(2 * a.cfg.MaxBatch))
		configs[MaxMessageBytes] = &size
		for k, v := range spec.Configs {
			configs[k] = &v
		}
	}
	replication := spec.Replication
	if replication == 0 {
		replication = -1
	}
	resp, err := a.adm.CreateTopic(ctx, spec.Partitions, replication, configs, spec.Name)
	if err := errors.Join(err, resp.Err); err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
		if resp.ErrMessage != "" {
			err = errors.Join(err, errors.New(resp.ErrMessage))
		}
		return Topic{}, false, a.failed(err, "making topic %s", spec.Name)
	}
	if err := a.durable(spec.Name); err != nil {
		return Topic{}, false, err
	}
	for { // other brokers learn of it a moment later
		t, err := a.Topic(ctx, spec.Name)
		if err == nil || fault.CodeOf(err) != "unknown_topic" || !sleep(ctx, 50*time.Millisecond) {
			return t, true, err
		}
	}
}

// Topic looks a topic up. fault.Config with code unknown_topic if it is not there.
func (a *Admin) Topic(ctx context.Context, name string) (Topic, error) {
	all, err := a.Topics(ctx, name)
	if err != nil {
		return Topic{}, err
	}
	t, ok := all[name]
	if !ok {
		return Topic{}, unknownTopic(name)
	}
	return t, nil
}

func unknownTopic(name string) error {
	return fault.New(fault.Config, "unknown_topic", "the log has no topic %s", name).
		WithAdvice("Make it with: pinflow topics create")
}

// Topics looks topics up; those that the log does not have are left out.
func (a *Admin) Topics(ctx context.Context, names ...string) (map[string]Topic, error) {
	meta, err := a.adm.Metadata(ctx, names...)
	if err != nil {
		return nil, a.failed(err, "looking up topics %v", names)
	}
	all := make(map[string]Topic, len(names))
	for _, name := range names {
		d, ok := meta.Topics[name]
		switch {
		case !ok, errors.Is(d.Err, kerr.UnknownTopicOrPartition), d.Err == nil && len(d.Partitions) == 0:
			continue
		case d.Err != nil:
			return nil, a.failed(d.Err, "looking up topic %s", name)
		}
		t := Topic{Name: name, ClusterID: meta.Cluster, TopicID: d.ID.String(), Partitions: int32(len(d.Partitions))}
		first := true
		for _, p := range d.Partitions {
			if first || len(p.Replicas) < t.Replication {
				t.Replication = len(p.Replicas)
			}
			if first || len(p.ISR) < t.InSync {
				t.InSync = len(p.ISR)
			}
			first = false
		}
		all[name] = t
	}
	return all, nil
}

// TopicConfigs returns the configurations in force of topics that are there, by topic and key. The
// embedded log has none that matter.
func (a *Admin) TopicConfigs(ctx context.Context, names ...string) (map[string]map[string]string, error) {
	all := map[string]map[string]string{}
	if a.cfg.Embedded || len(names) == 0 {
		return all, nil
	}
	described, err := a.adm.DescribeTopicConfigs(ctx, names...)
	if err != nil {
		return nil, a.failed(err, "asking for the configuration of %v", names)
	}
	for _, d := range described {
		if d.Err != nil {
			return nil, a.failed(d.Err, "asking for the configuration of topic %s", d.Name)
		}
		of := map[string]string{}
		for _, c := range d.Configs {
			of[c.Key] = c.MaybeValue()
		}
		all[d.Name] = of
	}
	return all, nil
}

// SmallestBatch is the most bytes of a record batch that each of the topics takes; most if none says less.
func (a *Admin) SmallestBatch(ctx context.Context, most int32, topics ...string) (int32, error) {
	all, err := a.TopicConfigs(ctx, topics...)
	if err != nil {
		return 0, err
	}
	for _, of := range all {
		if n, err := strconv.ParseInt(of[MaxMessageBytes], 10, 64); err == nil && n > 0 && n < int64(most) {
			most = int32(n)
		}
	}
	return most, nil
}

// AddPartitions gives a topic more partitions, so that it has total.
func (a *Admin) AddPartitions(ctx context.Context, name string, total int32) error {
	var resp kadm.CreatePartitionsResponses
	resp, err := a.adm.UpdatePartitions(ctx, int(total), name)
	if err == nil {
		err = resp.Error()
	}
	if err != nil {
		return a.failed(err, "giving topic %s %d partitions", name, total)
	}
	return a.durable(name)
}
