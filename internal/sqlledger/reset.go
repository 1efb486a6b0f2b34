package sqlledger

import (
	"context"
	"fmt"

	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/span"
)

// AcceptReset implements ledger.Catalogue.
func (d *DB) AcceptReset(ctx context.Context, r ledger.Reset) (*ledger.Accepted, error) {
	var a *ledger.Accepted
	err := d.write(ctx, exclusive, func(x *tx) (err error) {
		if err := x.raise(ctx, ledger.Change{Stream: r.Stream, Epoch: r.Epoch}, 0); err != nil {
			return err
		}
		a, err = x.acceptReset(ctx, &r)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("accepting the reset of log %d of stream %s: %w", r.Log, r.Stream, err)
	}
	return a, nil
}

func (x *tx) acceptReset(ctx context.Context, r *ledger.Reset) (*ledger.Accepted, error) {
	now, err := x.now(ctx)
	if err != nil {
		return nil, err
	}
	l, window, err := x.resetOf(ctx, r)
	if err != nil {
		return nil, err
	}
	parts, err := x.resetParts(ctx, r, l, window)
	if err != nil {
		return nil, err
	}
	a := &ledger.Accepted{Log: l.ID, Parts: parts}
	apart := false
	for i := range parts {
		if err := x.resetPart(ctx, r, &parts[i], l.Dead, now); err != nil {
			return nil, err
		}
		changed := r.New != nil || parts[i].Horizon > 0 || parts[i].Batch.Lost() > 0 || parts[i].Live.Lost() > 0
		apart = apart || changed && parts[i].Live.From != parts[i].Batch.From
	}
	if r.New != nil {
		if _, err := x.exec(ctx, "UPDATE logs SET closed_at = ? WHERE id = ?", now, l.ID); err != nil {
			return nil, err
		}
		if err := x.addLog(ctx, *r.New, &a.Log); err != nil {
			return nil, err
		}
	}
	if apart && !l.Dead {
		a.Rebuilt, err = x.rebuildViews(ctx, r.Stream, now)
	}
	return a, err
}

// resetOf finds the log, and the largest dedup window of its stream.
func (x *tx) resetOf(ctx context.Context, r *ledger.Reset) (*ledger.Log, int64, error) {
	logs, err := x.logs(ctx, "")
	if err != nil {
		return nil, 0, err
	}
	streams, err := x.streams(ctx, r.Stream)
	if err != nil {
		return nil, 0, err
	}
	window := int64(0)
	for _, s := range streams {
		for _, v := range s.Schemas {
			window = max(window, int64(v.Definition.Dedup.Records))
		}
	}
	for i := range logs {
		l := &logs[i]
		if l.ID != r.Log || l.Stream != r.Stream || l.Kind != ledger.KindKafka || !l.ClosedAt.IsZero() {
			continue
		}
		if n := r.New; n != nil && (n.Stream != l.Stream || n.Dead != l.Dead || n.TopicID == l.TopicID && n.ClusterID == l.ClusterID) {
			return nil, 0, fault.New(fault.Config, "nothing_lost", "topic %s is the one that the ledger knows", l.Topic)
		}
		return l, window, nil
	}
	return nil, 0, fault.New(fault.Stale, "plan_stale", "log %d is not an open log of stream %s", r.Log, r.Stream)
}

// resetParts computes what each partition loses.
func (x *tx) resetParts(ctx context.Context, r *ledger.Reset, l *ledger.Log, window int64) ([]ledger.ResetPart, error) {
	live, err := x.positions(ctx, ledger.Live)
	if err != nil {
		return nil, err
	}
	batch, err := x.positions(ctx, ledger.Batch)
	if err != nil {
		return nil, err
	}
	horizons, err := x.vector(ctx, "SELECT log_id, part, next_offset FROM horizons")
	if err != nil {
		return nil, err
	}
	ends := span.Vector{}
	var mark []byte
	if found, err := x.one(ctx, []any{&mark}, "SELECT ends FROM marks WHERE stream = ? ORDER BY at DESC LIMIT 1", r.Stream); err != nil {
		return nil, err
	} else if found {
		if ends, err = decodeVector(mark); err != nil {
			return nil, err
		}
	}
	var parts []ledger.ResetPart
	some := r.New != nil
	for p := range l.Partitions {
		k := span.Key{Log: l.ID, Partition: p}
		at, read := batch[k]
		if !read && (r.New == nil || ends[k] == 0) {
			continue // nobody has begun it
		}
		part := ledger.ResetPart{Key: k, Batch: ledger.ResetMove{From: at, To: at}}
		to := r.Starts[p]
		if r.New != nil { // where it is known to have ended
			to = max(ends[k], at, live[k])
		}
		part.Batch.To = max(at, to)
		if !l.Dead {
			part.Live = ledger.ResetMove{From: live[k], To: max(live[k], to)}
		}
		if r.New == nil && shortened(&part, l.Dead, r.Starts[p], horizons[k], window) {
			part.Horizon = max(part.Batch.To, part.Live.To)
			some = true
		}
		parts = append(parts, part)
	}
	if !some {
		return nil, fault.New(fault.Config, "nothing_lost", "the log of topic %s holds everything that the units have to read", l.Topic)
	}
	return parts, nil
}

// shortened tells whether a unit cannot read its partition, or the dedup window before it.
func shortened(p *ledger.ResetPart, dead bool, start, horizon, window int64) bool {
	short := func(m ledger.ResetMove) bool {
		return m.Lost() > 0 || start > max(0, m.From-window) && start > horizon
	}
	return short(p.Batch) || !dead && short(p.Live)
}

// resetPart fences the partition's holders, moves both units past what is gone and books it as lost.
func (x *tx) resetPart(ctx context.Context, r *ledger.Reset, p *ledger.ResetPart, dead bool, now int64) error {
	k := p.Key
	if err := x.firstTakeOver(ctx, k, 0, dead); err != nil {
		return err
	}
	for unit, m := range map[ledger.Unit]ledger.ResetMove{ledger.Batch: p.Batch, ledger.Live: p.Live} {
		if _, err := x.exec(ctx, "UPDATE positions SET next_offset = ?, owner = owner + 1, owner_name = '' WHERE log_id = ? AND part = ? AND unit = ?",
			m.To, k.Log, k.Partition, unit); err != nil {
			return err
		}
		if _, err := x.exec(ctx, "UPDATE counts SET lost = lost + ? WHERE log_id = ? AND part = ? AND unit = ?",
			m.Lost(), k.Log, k.Partition, unit); err != nil {
			return err
		}
	}
	if p.Horizon > 0 {
		if _, err := x.exec(ctx, "UPDATE horizons SET next_offset = ?, set_at = ? WHERE log_id = ? AND part = ?",
			p.Horizon, now, k.Log, k.Partition); err != nil {
			return err
		}
	}
	if r.New == nil {
		return nil
	}
	_, err := x.exec(ctx, "UPDATE partitions SET closing_live = ?, closing_batch = ? WHERE log_id = ? AND part = ?",
		p.Live.From, p.Batch.From, k.Log, k.Partition)
	return err
}

// rebuildViews makes every view of the stream anew, so that live and history are of the same records again.
func (x *tx) rebuildViews(ctx context.Context, stream string, now int64) ([]string, error) {
	cut, err := x.cutNow(ctx, stream)
	if err != nil {
		return nil, err
	}
	views, err := x.views(ctx, "")
	if err != nil {
		return nil, err
	}
	var names []string
	for _, v := range views {
		if v.Stream != stream {
			continue
		}
		var of *ledger.ViewVersion
		for i, version := range v.Versions {
			if version.State == ledger.Building || version.State == ledger.Serving && of == nil {
				of = &v.Versions[i]
			}
		}
		if of == nil {
			continue
		}
		c := &ledger.ViewChange{
			Name: v.Name, Metadata: of.Metadata, Shown: v.Metadata, Hash: of.Hash, Definition: of.Definition,
			State: ledger.Building, Anew: true, Plan: []byte(`{"reason":"reset"}`),
		}
		if err := x.changeView(ctx, stream, c, cut, now); err != nil {
			return nil, fmt.Errorf("rebuilding view %s: %w", v.Name, err)
		}
		names = append(names, v.Name)
	}
	return names, nil
}
