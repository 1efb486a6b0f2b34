package sqlledger

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"

	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/ledger"
)

// Segments implements ledger.Compaction.
func (d *DB) Segments(ctx context.Context, version int64, tier string, rolled bool) ([]ledger.Segment, error) {
	var all []ledger.Segment
	err := d.read(ctx, func(x *tx) (err error) {
		all, err = x.segments(ctx, "s.version = ? AND s.tier = ? AND s.rolled = ?", version, tier, flag(rolled))
		return err
	})
	return all, err
}

// SegmentData implements ledger.Compaction.
func (d *DB) SegmentData(ctx context.Context, ids []int64) ([]ledger.Segment, error) {
	all := make([]ledger.Segment, 0, len(ids))
	err := d.read(ctx, func(x *tx) error {
		for _, id := range ids {
			var data []byte
			n := len(all)
			err := x.each(ctx, func(r *sql.Rows) error {
				s, err := scanSegment(r, &data)
				s.Data = data
				all = append(all, s)
				return err
			}, "SELECT "+segmentColumns+`, s.data FROM segments s JOIN writes w ON w.id = s.write_id
			    WHERE s.id = ? AND w.state = 'sealed'`, id)
			if err != nil {
				return err
			}
			if len(all) == n {
				return segmentGone(id)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("loading segments: %w", err)
	}
	return all, nil
}

func segmentGone(id int64) error {
	return fault.New(fault.Lost, "segment_gone", "segment %d was replaced meanwhile", id)
}

// Replace implements ledger.Compaction.
func (d *DB) Replace(ctx context.Context, lease ledger.Lease, kind string, in []int64, out []ledger.Segment) error {
	size := 0
	for i := range out {
		size += segmentSize(&out[i])
	}
	if size > ledger.MaxTx && len(out) > 1 {
		return tooBig(size)
	}
	rolled, mixed := rolledState(kind, out)
	if mixed {
		return fault.New(fault.Config, "bad_kind", "a %s of rolled and unrolled segments", kind)
	}
	take := "DELETE FROM segments WHERE id = ? AND rolled = " + strconv.FormatInt(flag(rolled), 10)
	switch kind {
	case ledger.Compacted:
	case ledger.RolledUp:
		take = "UPDATE segments SET rolled = 1, rolled_at = ? WHERE id = ? AND rolled = 0"
	default:
		return fault.New(fault.Config, "bad_kind", "segments cannot be replaced by a %s", kind)
	}
	err := d.write(ctx, noLock, func(x *tx) error {
		if err := x.assertLease(ctx, lease); err != nil {
			return err
		}
		now, err := x.now(ctx)
		if err != nil {
			return err
		}
		for _, id := range in {
			if err := x.takeInput(ctx, take, kind, id, now); err != nil {
				return err
			}
		}
		var write int64
		_, err = x.one(ctx, []any{&write}, `INSERT INTO writes (kind, stream, epoch, owner, state, opened_at, ended_at, seal, pending)
		    VALUES (?, '', 0, ?, 'sealed', ?, ?, `+x.d.nextSeal+", 0) RETURNING id", kind, lease.Holder, now, now)
		if err != nil {
			return err
		}
		return x.insertSegments(ctx, write, out)
	})
	if err != nil {
		return fmt.Errorf("replacing %d segments by %d: %w", len(in), len(out), err)
	}
	return nil
}

// rolledState is the state that the inputs are in, or mixed when the outputs do not agree on one.
func rolledState(kind string, out []ledger.Segment) (rolled, mixed bool) {
	for i := range out {
		if i == 0 {
			rolled = out[0].Rolled
		}
		mixed = mixed || out[i].Rolled != rolled || rolled && kind == ledger.RolledUp
	}
	return rolled, mixed
}

// takeInput deletes or marks one input, which must be of a sealed write and in its state.
func (x *tx) takeInput(ctx context.Context, take, kind string, id, now int64) error {
	args := []any{id}
	if kind == ledger.RolledUp {
		args = []any{now, id}
	}
	n, err := x.exec(ctx, take+" AND EXISTS (SELECT 1 FROM writes w WHERE w.id = write_id AND w.state = 'sealed')", args...)
	if err == nil && n == 0 {
		err = segmentGone(id)
	}
	return err
}

// DropRolled implements ledger.Compaction.
func (d *DB) DropRolled(ctx context.Context, lease ledger.Lease, version int64, tier string, before int64) (int64, error) {
	var dropped int64
	for {
		var n int64
		err := d.write(ctx, noLock, func(x *tx) error {
			if err := x.assertLease(ctx, lease); err != nil {
				return err
			}
			if err := x.dropBelow(ctx, version, tier, before); err != nil {
				return err
			}
			var err error
			n, err = x.exec(ctx, `DELETE FROM segments WHERE id IN (SELECT id FROM segments
			    WHERE version = ? AND tier = ? AND rolled = 1 AND to_bucket < ? LIMIT ?)`, version, tier, before, sweepBatch)
			return err
		})
		if err != nil {
			return dropped, fmt.Errorf("dropping rolled segments: %w", err)
		}
		if dropped += n; n < sweepBatch {
			return dropped, nil
		}
	}
}

// dropBelow notes what is about to be dropped: where the tier is whole from then on, and where it began.
func (x *tx) dropBelow(ctx context.Context, version int64, tier string, before int64) error {
	var oldest sql.NullInt64
	_, err := x.one(ctx, []any{&oldest}, "SELECT min(from_bucket) FROM segments WHERE version = ? AND tier = ? AND rolled = 1 AND to_bucket < ?",
		version, tier, before)
	if err != nil {
		return err
	}
	return x.raiseFloor(ctx, version, tier, before, oldest)
}

// raiseFloor lets a tier be whole from a moment on, if it was from an earlier one.
func (x *tx) raiseFloor(ctx context.Context, version int64, tier string, from int64, earliest sql.NullInt64) error {
	_, err := x.exec(ctx, `INSERT INTO tier_floors AS t (version, tier, from_bucket, earliest) VALUES (?, ?, ?, ?)
	    ON CONFLICT (version, tier) DO UPDATE SET
	      from_bucket = CASE WHEN excluded.from_bucket > t.from_bucket THEN excluded.from_bucket ELSE t.from_bucket END,
	      earliest = CASE WHEN t.earliest IS NULL OR excluded.earliest < t.earliest THEN excluded.earliest ELSE t.earliest END`,
		version, tier, from, earliest)
	return err
}
