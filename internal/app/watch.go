package app

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"time"

	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/kafkalog"
	"github.com/pinflow/pinflow/internal/ledger"
)

// settle is how long a topic may be away, or have other partitions than the ledger names, before it is
// believed: a cluster that restarts, and an apply that is under way, look like that for a moment.
const settle = 30 * time.Second

// watch looks whether the topics are still the logs that the ledger knows. When one is not, a process
// that reads it ends, and one that only writes to it takes no more events for it: both would go on in
// an incarnation that nobody has registered, and a second one would take it away unnoticed.
type watch struct {
	every  time.Duration
	log    *slog.Logger
	led    watchStore
	topics func(ctx context.Context, names ...string) (map[string]kafkalog.Topic, error)
	reads  bool
	refuse func(topic string, why error) // nil: this process does not write

	epochs map[string]int64
	logs   []ledger.Log // open
	since  map[string]time.Time
	bad    map[string]bool
}

type watchStore interface {
	Epochs(ctx context.Context) (map[string]int64, error)
	Load(ctx context.Context) (*ledger.Snapshot, error)
}

func (w *watch) run(ctx context.Context) error {
	w.since, w.bad = map[string]time.Time{}, map[string]bool{}
	tick := time.NewTicker(w.every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := w.pass(ctx); err != nil && ctx.Err() == nil {
			return err
		}
	}
}

func (w *watch) pass(ctx context.Context) error {
	if err := w.reload(ctx); err != nil {
		if fault.Is(err, fault.Transient) {
			return nil
		}
		return err
	}
	names := make([]string, len(w.logs))
	for i := range w.logs {
		names[i] = w.logs[i].Topic
	}
	there, err := w.topics(ctx, names...)
	if err != nil {
		return nil //nolint:nilerr // a log that does not answer is for others to tell
	}
	for _, l := range w.logs {
		t, ok := there[l.Topic]
		err := w.judge(l, t, ok)
		if err == nil || w.refuse != nil {
			w.tell(l.Topic, err)
		}
		if err != nil && w.reads {
			return err
		}
	}
	return nil
}

// judge says what is wrong with a topic, once it is sure.
func (w *watch) judge(l ledger.Log, t kafkalog.Topic, there bool) error {
	var err error
	switch {
	case !there:
		err = topicGone(l)
	case sameIncarnation(l, t) != nil:
		return sameIncarnation(l, t)
	default:
		err = samePartitions(l, t)
	}
	if err == nil {
		delete(w.since, l.Topic)
		return nil
	}
	if w.since[l.Topic].IsZero() {
		w.since[l.Topic] = time.Now()
		w.log.Warn("a topic is not as the ledger knows it", "topic", l.Topic, "problem", err)
	}
	if time.Since(w.since[l.Topic]) < settle {
		return nil
	}
	return err
}

// tell lets the producer refuse a topic, or take it again.
func (w *watch) tell(topic string, why error) {
	switch {
	case why != nil && !w.bad[topic]:
		w.log.Error("no events are taken for a topic", "topic", topic, "problem", why)
		w.bad[topic] = true
		w.refuse(topic, why)
	case why == nil && w.bad[topic]:
		w.log.Info("events are taken again", "topic", topic)
		delete(w.bad, topic)
		w.refuse(topic, nil)
	}
}

func (w *watch) reload(ctx context.Context) error {
	epochs, err := w.led.Epochs(ctx)
	if err != nil {
		return fmt.Errorf("asking the epochs: %w", err)
	}
	if w.epochs != nil && maps.Equal(epochs, w.epochs) {
		return nil
	}
	snap, err := w.led.Load(ctx)
	if err != nil {
		return fmt.Errorf("reading the catalogue: %w", err)
	}
	w.logs = w.logs[:0]
	for _, l := range snap.Logs {
		if l.Kind == ledger.KindKafka && l.ClosedAt.IsZero() {
			w.logs = append(w.logs, l)
		}
	}
	w.epochs = epochs
	return nil
}
