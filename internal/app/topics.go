package app

import (
	"strconv"

	"github.com/pinflow/pinflow/internal/config"
	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/kafkalog"
)

// TopicsOf are the two topics of a stream as the project wants them: that of its events, and (true) that
// of its dead letters.
func TopicsOf(def *event.Stream, how config.Log) map[bool]kafkalog.TopicSpec {
	configs := map[string]string{}
	if how.Retention > 0 {
		configs[kafkalog.RetentionMillis] = strconv.FormatInt(how.Retention.Milliseconds(), 10)
	}
	rf := int16(how.ReplicationFactor)
	return map[bool]kafkalog.TopicSpec{
		false: {Name: def.Topic, Partitions: def.Partitions, Replication: rf, Configs: configs},
		true:  {Name: def.DeadTopic(), Partitions: 1, Replication: rf, Configs: configs},
	}
}

// topicDiffers refuses a topic that somebody made otherwise than the project says.
func topicDiffers(stream string, dead bool, want kafkalog.TopicSpec, have kafkalog.Topic) error {
	err := fault.New(fault.Config, "topic_differs", "topic %s has %d partitions, the project says %d", have.Name, have.Partitions, want.Partitions).
		WithExit(fault.ExitConflict)
	if dead {
		return err.WithAdvice("delete it: dead letters need an order, so their topic has one partition")
	}
	return err.WithAdvice("set partitions: %d in streams/%s.yaml, or delete the topic", have.Partitions, stream)
}
