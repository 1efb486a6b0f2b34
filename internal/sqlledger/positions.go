package sqlledger

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/span"
)

// TakeOver implements ledger.Positions.
func (d *DB) TakeOver(ctx context.Context, unit ledger.Unit, owner string, key span.Key, start int64) (ledger.Held, error) {
	var h ledger.Held
	err := d.write(ctx, shared, func(x *tx) error {
		var dead int64
		var kind string
		var closed sql.NullInt64
		found, err := x.one(ctx, []any{&dead, &kind, &closed}, `SELECT l.dead, l.kind, l.closed_at FROM logs l
		    JOIN partitions p ON p.log_id = l.id WHERE p.log_id = ? AND p.part = ?`, key.Log, key.Partition)
		switch {
		case err != nil:
			return err
		case !found || closed.Valid:
			return fault.New(fault.Stale, "unknown_partition", "partition %s is unknown or its log is closed", key)
		case dead != 0 && unit == ledger.Live:
			return fault.New(fault.Config, "dead_log", "the live unit does not read dead logs (partition %s)", key)
		case kind == ledger.KindImport && unit == ledger.Live:
			return fault.New(fault.Config, "import_log", "the live unit does not read imported files (partition %s)", key)
		}
		if err := x.firstTakeOver(ctx, key, start, dead != 0 || kind == ledger.KindImport); err != nil {
			return err
		}
		_, err = x.one(ctx, []any{&h.Owner, &h.Position}, `UPDATE positions SET owner = owner + 1, owner_name = ?
		    WHERE log_id = ? AND part = ? AND unit = ? RETURNING owner, next_offset`, owner, key.Log, key.Partition, unit)
		if err != nil {
			return err
		}
		_, err = x.one(ctx, []any{&h.Horizon}, "SELECT next_offset FROM horizons WHERE log_id = ? AND part = ?", key.Log, key.Partition)
		return err
	})
	if err != nil {
		return ledger.Held{}, fmt.Errorf("taking over partition %s for %s: %w", key, unit, err)
	}
	return h, nil
}

// firstTakeOver inserts both units' positions, so that neither can begin behind the other's back. Dead
// logs and imported files are for the batch unit alone.
func (x *tx) firstTakeOver(ctx context.Context, key span.Key, start int64, batchOnly bool) error {
	n, err := x.exec(ctx, "UPDATE partitions SET start_offset = ? WHERE log_id = ? AND part = ? AND start_offset IS NULL",
		start, key.Log, key.Partition)
	if err != nil || n == 0 {
		return err
	}
	now, err := x.now(ctx)
	if err != nil {
		return err
	}
	_, err = x.exec(ctx, "INSERT INTO horizons (log_id, part, next_offset, set_at) VALUES (?, ?, ?, ?)",
		key.Log, key.Partition, start, now)
	if err != nil {
		return err
	}
	units := []ledger.Unit{ledger.Batch, ledger.Live}
	if batchOnly {
		units = units[:1]
	}
	for _, u := range units {
		_, err = x.exec(ctx, `INSERT INTO positions (log_id, part, unit, next_offset, owner, owner_name)
		    VALUES (?, ?, ?, ?, 0, '')`, key.Log, key.Partition, u, start)
		if err != nil {
			return err
		}
		_, err = x.exec(ctx, `INSERT INTO counts (log_id, part, unit, n_rows, dead, duplicates, gaps, lost)
		    VALUES (?, ?, ?, 0, 0, 0, 0, 0)`, key.Log, key.Partition, u)
		if err != nil {
			return err
		}
	}
	return nil
}

// PositionsOf implements ledger.Positions.
func (d *DB) PositionsOf(ctx context.Context, unit ledger.Unit) (span.Vector, error) {
	var v span.Vector
	err := d.read(ctx, func(x *tx) (err error) {
		v, err = x.positions(ctx, unit)
		return err
	})
	return v, err
}

func (x *tx) positions(ctx context.Context, unit ledger.Unit) (span.Vector, error) {
	return x.vector(ctx, "SELECT log_id, part, next_offset FROM positions WHERE unit = ?", unit)
}

// Counts implements ledger.Positions.
func (d *DB) Counts(ctx context.Context, unit ledger.Unit) (map[span.Key]ledger.Counts, error) {
	var c map[span.Key]ledger.Counts
	err := d.read(ctx, func(x *tx) (err error) {
		c, err = x.counts(ctx, unit)
		return err
	})
	return c, err
}

func (x *tx) counts(ctx context.Context, unit ledger.Unit) (map[span.Key]ledger.Counts, error) {
	all := map[span.Key]ledger.Counts{}
	err := x.each(ctx, func(r *sql.Rows) error {
		var k span.Key
		var c ledger.Counts
		err := r.Scan(&k.Log, &k.Partition, &c.Rows, &c.Dead, &c.Duplicates, &c.Gaps, &c.Lost)
		all[k] = c
		return err
	}, "SELECT log_id, part, n_rows, dead, duplicates, gaps, lost FROM counts WHERE unit = ?", unit)
	if err != nil {
		return nil, err
	}
	return all, nil
}

// Progress implements ledger.Positions.
func (d *DB) Progress(ctx context.Context) (*ledger.Progress, error) {
	var p ledger.Progress
	err := d.read(ctx, func(x *tx) (err error) {
		if p.Start, err = x.vector(ctx, "SELECT log_id, part, start_offset FROM partitions WHERE start_offset IS NOT NULL"); err != nil {
			return err
		}
		if p.Horizon, err = x.vector(ctx, "SELECT log_id, part, next_offset FROM horizons"); err != nil {
			return err
		}
		if p.Live, err = x.positions(ctx, ledger.Live); err != nil {
			return err
		}
		if p.Batch, err = x.positions(ctx, ledger.Batch); err != nil {
			return err
		}
		if p.Lake, err = x.lakeVector(ctx); err != nil {
			return err
		}
		if p.LiveCounts, err = x.counts(ctx, ledger.Live); err != nil {
			return err
		}
		if p.BatchCounts, err = x.counts(ctx, ledger.Batch); err != nil {
			return err
		}
		p.NewestSealed, err = x.newestSeal(ctx)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading progress: %w", err)
	}
	return &p, nil
}
