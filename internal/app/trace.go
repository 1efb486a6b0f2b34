package app

import (
	"context"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/kafkalog"
	"github.com/pinflow/pinflow/internal/trace"
)

// topicLog reads the log's topics for those who follow an event.
type topicLog struct {
	*kafkalog.Admin
	wire kafkalog.Config
}

var _ trace.Log = topicLog{}

// Read reads the records of [from, to) of a partition.
func (l topicLog) Read(ctx context.Context, topic string, partition int32, from, to int64, fn func(*event.Record) error) error {
	wire := l.wire
	wire.Instance = ""
	return kafkalog.ReadBack(ctx, wire, kafkalog.TP{Topic: topic, Partition: partition}, from, to, fn)
}
