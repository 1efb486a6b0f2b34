package app

import (
	"context"
	"log/slog"
	"sync"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/intake"
	"github.com/pinflow/pinflow/internal/kafkalog"
)

// source lets an intake read through a Kafka consumer group.
type source struct {
	cfg      kafkalog.Config
	admin    *kafkalog.Admin
	consumer *kafkalog.Consumer
	polled   func() // lets the group's callbacks through: the reader is in Poll, or done
}

var _ intake.Source = (*source)(nil)

// Opener lets a unit join a group on the log.
func Opener(cfg kafkalog.Config, admin *kafkalog.Admin, group string, log *slog.Logger) intake.Opener {
	return func(_ context.Context, topics []string, h intake.Handler) (intake.Source, error) {
		// The client joins in the background and may call back before the reader has its source.
		ready := make(chan struct{})
		c, err := kafkalog.NewConsumer(cfg, group, topics, handler{h, ready}, log)
		if err != nil {
			return nil, err
		}
		return &source{cfg, admin, c, sync.OnceFunc(func() { close(ready) })}, nil
	}
}

func (s *source) Poll(ctx context.Context, most int) ([]intake.Fetch, error) {
	s.polled()
	polled, err := s.consumer.Poll(ctx, most)
	out := make([]intake.Fetch, len(polled))
	for i, f := range polled {
		out[i] = intake.Fetch{TP: intake.TP(f.TP), From: f.From, To: f.To, End: f.End, Records: f.Records}
	}
	return out, err
}

func (s *source) Seek(tp intake.TP, offset int64) { s.consumer.Seek(kafkalog.TP(tp), offset) }

func (s *source) ReadBack(ctx context.Context, tp intake.TP, from, to int64, fn func(*event.Record) error) error {
	return kafkalog.ReadBack(ctx, s.cfg, kafkalog.TP(tp), from, to, fn)
}

func (s *source) Start(ctx context.Context, tp intake.TP) (int64, error) {
	starts, err := s.admin.Starts(ctx, tp.Topic)
	return starts[tp.Partition], err
}

func (s *source) Close(context.Context) error {
	s.polled()
	s.consumer.Close()
	return nil
}

// handler translates what the group says.
type handler struct {
	h     intake.Handler
	ready <-chan struct{}
}

var _ kafkalog.Handler = handler{}

func (h handler) Assigned(ctx context.Context, tps []kafkalog.TP) (map[kafkalog.TP]int64, error) {
	<-h.ready
	at, err := h.h.Assigned(ctx, translate(tps))
	out := make(map[kafkalog.TP]int64, len(at))
	for tp, o := range at {
		out[kafkalog.TP(tp)] = o
	}
	return out, err
}

func (h handler) Revoked(ctx context.Context, tps []kafkalog.TP) {
	<-h.ready
	h.h.Revoked(ctx, translate(tps))
}

func (h handler) Lost(ctx context.Context, tps []kafkalog.TP) {
	<-h.ready
	h.h.Lost(ctx, translate(tps))
}

func translate(tps []kafkalog.TP) []intake.TP {
	out := make([]intake.TP, len(tps))
	for i, tp := range tps {
		out[i] = intake.TP(tp)
	}
	return out
}
