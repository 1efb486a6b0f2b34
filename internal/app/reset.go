package app

import (
	"context"
	"fmt"

	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/span"
)

// FoundReset is a log of a stream that is not what the ledger knows.
type FoundReset struct {
	Log   ledger.Log
	Why   error // what is wrong
	reset ledger.Reset
	made  bool // the topic has to be made
	grown bool // it is the same topic, with more partitions
}

// FindResets looks which logs of a stream, named by itself or by one of its topics, have to be accepted
// anew. It writes nothing.
func (t *Topics) FindResets(ctx context.Context, name string) ([]FoundReset, error) {
	snap, err := t.p.ledger.Load(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the catalogue: %w", err)
	}
	var found []FoundReset
	known := false
	for _, s := range snap.Streams {
		for _, dead := range []bool{false, true} {
			l := openLog(snap, s.Name, dead)
			if l == nil || name != s.Name && name != l.Topic {
				continue
			}
			known = true
			f, err := t.findReset(ctx, *l, s)
			if err != nil {
				return nil, err
			}
			if f != nil {
				found = append(found, *f)
			}
		}
	}
	if !known {
		return nil, unknownStream(name, t.wanted(snap))
	}
	if len(found) == 0 {
		return nil, fault.New(fault.Config, "nothing_lost", "the logs of %s are what the ledger knows, and hold everything that the units have to read", name)
	}
	return found, nil
}

func (t *Topics) findReset(ctx context.Context, l ledger.Log, s ledger.Stream) (*FoundReset, error) {
	f := &FoundReset{Log: l, reset: ledger.Reset{Stream: s.Name, Epoch: s.Epoch, Log: l.ID}}
	there, err := t.p.admin.Topics(ctx, l.Topic)
	if err != nil {
		return nil, err
	}
	topic, ok := there[l.Topic]
	if !ok {
		f.Why, f.made = topicGone(l), true
		return f, nil
	}
	if f.Why = sameIncarnation(l, topic); f.Why != nil {
		n := l
		n.ClusterID, n.TopicID, n.Partitions = topic.ClusterID, topic.TopicID, topic.Partitions
		f.reset.New = &n
		return f, nil
	}
	if f.Why = samePartitions(l, topic); f.Why != nil {
		f.Log.Partitions, f.grown = topic.Partitions, true
		return f, nil
	}
	if f.reset.Starts, err = t.p.admin.Starts(ctx, l.Topic); err != nil {
		return nil, err
	}
	f.Why, err = t.shortened(ctx, l, s, f.reset.Starts)
	if err != nil || f.Why == nil {
		return nil, err
	}
	return f, nil
}

// shortened tells whether a log no longer holds what a unit has to read, or has to read back.
func (t *Topics) shortened(ctx context.Context, l ledger.Log, s ledger.Stream, starts map[int32]int64) (error, error) {
	p, err := t.p.ledger.Progress(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading positions: %w", err)
	}
	window := int64(0)
	for _, v := range s.Schemas {
		window = max(window, int64(v.Definition.Dedup.Records))
	}
	for part, start := range starts {
		k := span.Key{Log: l.ID, Partition: part}
		for unit, at := range map[ledger.Unit]span.Vector{ledger.Batch: p.Batch, ledger.Live: p.Live} {
			position, reads := at[k]
			switch {
			case !reads:
			case start > position:
				return fault.New(fault.Config, "log_truncated", "%s/%d begins at offset %d, the %s unit has read up to %d", l.Topic, part, start, unit, position), nil
			case start > max(0, position-window) && start > p.Horizon[k]:
				return fault.New(fault.Config, "window_truncated", "%s/%d begins at offset %d, inside the dedup window of the %s unit, which has read up to %d",
					l.Topic, part, start, unit, position), nil
			}
		}
	}
	return nil, nil
}

// Accept goes on with what the resets of a stream left, and tells of each what it did.
func (t *Topics) Accept(ctx context.Context, found []FoundReset) ([]*ledger.Accepted, error) {
	var all []*ledger.Accepted
	for _, f := range found {
		if len(all) > 0 { // the one before has raised the epoch
			epochs, err := t.p.ledger.Epochs(ctx)
			if err != nil {
				return all, fmt.Errorf("asking the epochs: %w", err)
			}
			f.reset.Epoch = epochs[f.Log.Stream]
		}
		a, err := t.accept(ctx, f)
		if err != nil {
			return all, err
		}
		all = append(all, a)
	}
	return all, nil
}

// accept makes the topic if it is gone.
func (t *Topics) accept(ctx context.Context, f FoundReset) (*ledger.Accepted, error) {
	if f.grown {
		id, err := t.p.ledger.AddLog(ctx, f.Log)
		if err != nil {
			return nil, err
		}
		return &ledger.Accepted{Log: id}, nil
	}
	if f.made {
		snap, err := t.p.ledger.Load(ctx)
		if err != nil {
			return nil, fmt.Errorf("reading the catalogue: %w", err)
		}
		def := t.wanted(snap)[f.Log.Stream]
		topic, _, err := t.p.admin.EnsureTopic(ctx, TopicsOf(&def, t.p.cfg.Project.Settings.Log)[f.Log.Dead])
		if err != nil {
			return nil, err
		}
		n := f.Log
		n.ClusterID, n.TopicID, n.Partitions = topic.ClusterID, topic.TopicID, topic.Partitions
		f.reset.New = &n
	}
	return t.p.ledger.AcceptReset(ctx, f.reset)
}
