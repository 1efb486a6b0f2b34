package sqlledger

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/span"
)

// FinishImport implements ledger.Catalogue.
func (d *DB) FinishImport(ctx context.Context, i ledger.Import) error {
	err := d.write(ctx, exclusive, func(x *tx) error {
		var stream string
		var closed sql.NullInt64
		found, err := x.one(ctx, []any{&stream, &closed}, "SELECT stream, closed_at FROM logs WHERE id = ? AND kind = 'import'", i.Log)
		switch {
		case err != nil:
			return err
		case !found:
			return fault.New(fault.Config, "unknown_import", "the ledger knows no imported file %d", i.Log)
		case closed.Valid:
			return nil
		}
		if err := x.atEnd(ctx, &i); err != nil {
			return err
		}
		if i.Void {
			return x.forgetImport(ctx, stream, &i)
		}
		now, err := x.now(ctx)
		if err != nil {
			return err
		}
		return x.finishImport(ctx, stream, &i, now)
	})
	if err != nil {
		return fmt.Errorf("finishing the import of log %d: %w", i.Log, err)
	}
	return nil
}

// atEnd asserts that the owner has sealed all rows and that all are in the lake.
func (x *tx) atEnd(ctx context.Context, i *ledger.Import) error {
	k := span.Key{Log: i.Log}
	var owner, at int64
	if _, err := x.one(ctx, []any{&owner, &at}, "SELECT owner, next_offset FROM positions WHERE log_id = ? AND part = 0 AND unit = 'batch'", i.Log); err != nil {
		return err
	}
	if owner != i.Owner || at != i.Rows {
		return ledger.NewLost("partition_lost", []span.Key{k}, "partition %s is not held: owner %d is at %d, not owner %d at %d", k, owner, at, i.Owner, i.Rows)
	}
	var waiting int64
	if _, err := x.one(ctx, []any{&waiting}, "SELECT count(*) FROM stage_moves WHERE log_id = ?", i.Log); err != nil {
		return err
	}
	if waiting > 0 {
		return fault.New(fault.Transient, "lake_behind", "%d stages are not in the lake yet", waiting)
	}
	return x.allDays(ctx, i)
}

// allDays asserts that the days hold all rows: of those that are left out no view would ever hear.
func (x *tx) allDays(ctx context.Context, i *ledger.Import) error {
	var counted, listed int64
	if _, err := x.one(ctx, []any{&counted}, "SELECT n_rows FROM counts WHERE log_id = ? AND part = 0 AND unit = 'batch'", i.Log); err != nil {
		return err
	}
	for _, d := range i.Days {
		listed += d.Expect
	}
	if listed != counted {
		return fault.New(fault.Corrupt, "conservation", "the lake shows %d rows of the imported file %d, %d were counted", listed, i.Log, counted).
			WithAdvice("keep ledger and lake as they are and report it; the file is not finished")
	}
	return nil
}

// forgetImport takes away a log of which nothing was ever sealed: no lake, no table of closed logs and no cut names it.
// Whoever still reads the file finds no position to seal at.
func (x *tx) forgetImport(ctx context.Context, stream string, i *ledger.Import) error {
	if i.Rows != 0 {
		return fault.New(fault.Corrupt, "conservation", "%d rows of the imported file %d were taken: it cannot be forgotten", i.Rows, i.Log).
			WithAdvice("report it; nothing was changed")
	}
	for _, table := range []string{"cuts", "horizons", "counts", "positions", "partitions"} {
		if _, err := x.exec(ctx, "DELETE FROM "+table+" WHERE log_id = ?", i.Log); err != nil {
			return err
		}
	}
	if _, err := x.exec(ctx, "DELETE FROM logs WHERE id = ?", i.Log); err != nil {
		return err
	}
	_, err := x.exec(ctx, "UPDATE catalogue SET epoch = epoch + 1 WHERE stream = ?", stream)
	return err
}

func (x *tx) finishImport(ctx context.Context, stream string, i *ledger.Import, now int64) error {
	if _, err := x.exec(ctx, "UPDATE logs SET closed_at = ? WHERE id = ?", now, i.Log); err != nil {
		return err
	}
	if _, err := x.exec(ctx, "UPDATE partitions SET closing_batch = ? WHERE log_id = ?", i.Rows, i.Log); err != nil {
		return err
	}
	if _, err := x.exec(ctx, "UPDATE catalogue SET epoch = epoch + 1 WHERE stream = ?", stream); err != nil || len(i.Days) == 0 {
		return err
	}
	var versions []int64
	err := x.each(ctx, func(r *sql.Rows) error {
		var id int64
		err := r.Scan(&id)
		versions = append(versions, id)
		return err
	}, `SELECT vv.id FROM view_versions vv JOIN views v ON v.name = vv.view_name
	    WHERE v.stream = ? AND vv.state <> 'dropped' ORDER BY vv.id`, stream)
	if err != nil {
		return err
	}
	for _, version := range versions {
		var id int64
		_, err := x.one(ctx, []any{&id}, `INSERT INTO backfills (version, engine, state, log_id, created_at, listed_at, plan)
		    VALUES (?, coalesce((SELECT b.engine FROM backfills b WHERE b.version = ? AND b.log_id IS NULL ORDER BY b.id DESC LIMIT 1), ?), 'running', ?, ?, ?, ?) RETURNING id`,
			version, version, ledger.EngineKernel, i.Log, now, now, []byte(`{"reason":"import"}`))
		if err != nil {
			return err
		}
		if err := x.insertTasks(ctx, id, i.Days); err != nil {
			return err
		}
	}
	return x.sealEmpty(ctx, "import", now)
}
