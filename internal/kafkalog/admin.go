package kafkalog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pinflow/pinflow/internal/fault"
)

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

// Ping asks the log whether it is there.
func (a *Admin) Ping(ctx context.Context) error {
	if err := a.cl.Ping(ctx); err != nil {
		return a.failed(err, "asking the log")
	}
	return nil
}

// Close ends its connections.
func (a *Admin) Close() { a.cl.Close() }

func (a *Admin) durable(name string) error {
	if a.cfg.Created == nil {
		return nil
	}
	if err := a.cfg.Created(name); err != nil {
		return fmt.Errorf("making topic %s: %w", name, err)
	}
	return nil
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
		return nil, unknownTopic(topic)
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
