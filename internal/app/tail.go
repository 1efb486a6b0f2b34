package app

import (
	"context"
	"log/slog"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/httpapi"
	"github.com/pinflow/pinflow/internal/kafkalog"
	"github.com/pinflow/pinflow/internal/ledger"
)

// tail lets people watch a stream's topics.
type tail struct {
	wire      kafkalog.Config
	catalogue interface {
		Load(ctx context.Context) (*ledger.Snapshot, error)
	}
	log *slog.Logger
}

var _ httpapi.Tail = (*tail)(nil)

// Tail hands over what comes to the stream and to its dead log from now on.
func (t *tail) Tail(ctx context.Context, stream string, ready func(), fn func(dead bool, recs []event.Record) error) error {
	snap, err := t.catalogue.Load(ctx)
	if err != nil {
		return err
	}
	dead := map[string]bool{}
	var topics []string
	for _, l := range snap.LogsOf(stream) {
		if l.Kind == ledger.KindKafka && l.ClosedAt.IsZero() {
			topics = append(topics, l.Topic)
			dead[l.Topic] = l.Dead
		}
	}
	if len(topics) == 0 {
		return fault.New(fault.Record, "unknown_stream", "there is no stream %q with a log", stream).WithExit(fault.ExitUsage)
	}
	wire := t.wire
	wire.Instance = ""
	return kafkalog.Tail(ctx, wire, topics, t.log, ready, func(topic string, recs []event.Record) error { return fn(dead[topic], recs) })
}
