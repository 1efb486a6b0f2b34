package sqlledger

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/ledger"
)

// addBackfill makes the back-fill of a new version. Its days are listed when the lake is past the cut. That
// of a version that serves at once is done and was never listed: it is what a rollback names.
func (x *tx) addBackfill(ctx context.Context, version int64, state string, v *ledger.ViewChange, now int64) error {
	engine := v.Engine
	if engine == "" {
		engine = ledger.EngineKernel
	}
	if state == ledger.Building {
		_, err := x.exec(ctx, "INSERT INTO backfills (version, engine, state, created_at, plan) VALUES (?, ?, 'queued', ?, ?)",
			version, engine, now, orEmpty(v.Plan))
		return err
	}
	_, err := x.exec(ctx, `INSERT INTO backfills (version, engine, state, created_at, finished_at, plan) SELECT id, ?, 'done', ?, ?, ?
	    FROM view_versions vv WHERE id = ? AND EXISTS (SELECT 1 FROM view_versions o WHERE o.view_name = vv.view_name AND o.state = 'standby')`,
		engine, now, now, orEmpty(v.Plan), version)
	return err
}

// addSwitch makes what a rollback of a switch back names. Files that are imported later go on being filled in by the
// engine that built the version.
func (x *tx) addSwitch(ctx context.Context, v *ledger.ViewChange, now int64) error {
	_, err := x.exec(ctx, `INSERT INTO backfills (version, engine, state, created_at, finished_at, plan)
	    SELECT vv.id, coalesce((SELECT b.engine FROM backfills b WHERE b.version = vv.id AND b.log_id IS NULL ORDER BY b.id DESC LIMIT 1), ?), 'done', ?, ?, ?
	    FROM view_versions vv WHERE vv.view_name = ? AND vv.state = 'serving'`, ledger.EngineKernel, now, now, orEmpty(v.Plan), v.Name)
	return err
}

// cancelDropped ends the back-fills of versions that were dropped.
func (x *tx) cancelDropped(ctx context.Context, now int64) error {
	_, err := x.exec(ctx, `UPDATE backfills SET state = 'cancelled', finished_at = ?
	    WHERE state NOT IN ('done', 'cancelled') AND version IN (SELECT id FROM view_versions WHERE state = 'dropped')`, now)
	if err != nil {
		return err
	}
	_, err = x.exec(ctx, `UPDATE backfill_tasks SET state = 'cancelled', expires = NULL
	    WHERE state IN ('queued', 'running', 'failed') AND backfill_id IN (SELECT id FROM backfills WHERE state = 'cancelled')`)
	return err
}

// Backfills implements ledger.Backfills.
func (d *DB) Backfills(ctx context.Context, id int64) ([]ledger.Backfill, error) {
	var all []ledger.Backfill
	err := d.read(ctx, func(x *tx) (err error) {
		all, err = x.backfills(ctx, id)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading back-fills: %w", err)
	}
	return all, nil
}

// FailedBackfills implements ledger.Reader.
func (d *DB) FailedBackfills(ctx context.Context) ([]ledger.Backfill, error) {
	var all []ledger.Backfill
	err := d.read(ctx, func(x *tx) (err error) {
		all, err = x.someBackfills(ctx, "b.state = 'failed'")
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading back-fills that failed: %w", err)
	}
	return all, nil
}

// backfills reads one, or all if id is 0.
func (x *tx) backfills(ctx context.Context, id int64) ([]ledger.Backfill, error) {
	if id == 0 {
		return x.someBackfills(ctx, "1 = 1")
	}
	return x.someBackfills(ctx, "b.id = ?", id)
}

// someBackfills reads those of which a condition on backfills b holds.
func (x *tx) someBackfills(ctx context.Context, which string, args ...any) ([]ledger.Backfill, error) {
	var all []ledger.Backfill
	index := map[int64]int{}
	err := x.each(ctx, func(r *sql.Rows) error {
		b := ledger.Backfill{Tasks: map[string]int64{}}
		var log, created, listed, finished sql.NullInt64
		err := r.Scan(&b.ID, &b.Version, &b.View, &b.Stream, &b.Hash, &b.VersionIs, &b.Engine, &b.State, &log, &b.File, &created, &listed, &finished, &b.Plan)
		b.Log = logOf(log)
		b.CreatedAt, b.ListedAt, b.FinishedAt = moment(created), moment(listed), moment(finished)
		index[b.ID] = len(all)
		all = append(all, b)
		return err
	}, `SELECT b.id, b.version, vv.view_name, v.stream, vv.hash, vv.state, b.engine, b.state, b.log_id, coalesce(l.topic, ''), b.created_at, b.listed_at, b.finished_at, b.plan
	    FROM backfills b JOIN view_versions vv ON vv.id = b.version JOIN views v ON v.name = vv.view_name
	    LEFT JOIN logs l ON l.id = b.log_id WHERE `+which+" ORDER BY b.id DESC", args...)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	err = x.each(ctx, func(r *sql.Rows) error {
		var of, n, expect, rows, micros int64
		var state string
		if err := r.Scan(&of, &state, &n, &expect, &rows, &micros); err != nil {
			return err
		}
		i, ok := index[of]
		if !ok {
			return nil
		}
		b := &all[i]
		b.Tasks[state] = n
		b.Expect += expect
		switch state {
		case ledger.Running:
			b.Working = rows
		case ledger.Done:
			b.Read, b.Rows, b.Seconds = expect, rows, float64(micros)/1e6
		}
		return nil
	}, `SELECT t.backfill_id, t.state, count(*), CAST(sum(t.expect_rows) AS BIGINT), CAST(sum(t.n_rows) AS BIGINT),
	    CAST(sum(CASE WHEN t.state = 'done' THEN t.finished_at - t.started_at ELSE 0 END) AS BIGINT)
	    FROM backfill_tasks t JOIN backfills b ON b.id = t.backfill_id WHERE `+which+" GROUP BY t.backfill_id, t.state", args...)
	if err != nil {
		return nil, err
	}
	return all, x.troubles(ctx, all, index, which, args)
}

// troubles notes what went wrong last in each back-fill, and what waits to be tried again.
func (x *tx) troubles(ctx context.Context, all []ledger.Backfill, index map[int64]int, which string, args []any) error {
	now, err := x.now(ctx)
	if err != nil {
		return err
	}
	return x.each(ctx, func(r *sql.Rows) error {
		var of int64
		var day, state string
		var cause []byte
		var after sql.NullInt64
		if err := r.Scan(&of, &day, &state, &cause, &after); err != nil {
			return err
		}
		i, ok := index[of]
		if !ok {
			return nil
		}
		b := &all[i]
		b.Trouble = day + ": " + string(cause)
		if state != ledger.Queued || after.Int64 <= now {
			return nil
		}
		if at := moment(after); b.Waiting == 0 || at.Before(b.NextTry) {
			b.NextTry = at
		}
		b.Waiting++
		return nil
	}, `SELECT t.backfill_id, t.day, t.state, t.error, t.not_before FROM backfill_tasks t JOIN backfills b ON b.id = t.backfill_id
	    WHERE `+which+` AND t.error IS NOT NULL AND t.state IN ('queued', 'running', 'failed')
	    ORDER BY coalesce(t.failed_at, 0), t.day`, args...)
}

// BackfillTasks implements ledger.Backfills.
func (d *DB) BackfillTasks(ctx context.Context, id int64) ([]ledger.Task, error) {
	var all []ledger.Task
	err := d.read(ctx, func(x *tx) (err error) {
		all, err = list(ctx, x, func(r *sql.Rows) (ledger.Task, error) { return scanTask(r) }, "SELECT "+taskColumns+" FROM backfill_tasks t WHERE t.backfill_id = ? ORDER BY t.day DESC", id)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the tasks of back-fill %d: %w", id, err)
	}
	return all, nil
}

// ListDays implements ledger.Backfills. An empty write is sealed with it: what is known of the coverage
// changed, and every answer's tag with it.
func (d *DB) ListDays(ctx context.Context, lease ledger.Lease, id int64, days []ledger.Task) error {
	err := d.write(ctx, noLock, func(x *tx) error {
		if err := x.assertLease(ctx, lease); err != nil {
			return err
		}
		now, err := x.now(ctx)
		if err != nil {
			return err
		}
		n, err := x.exec(ctx, "UPDATE backfills SET state = 'running', listed_at = ? WHERE id = ? AND state = 'queued'", now, id)
		if err != nil || n == 0 {
			return err
		}
		if err := x.insertTasks(ctx, id, days); err != nil {
			return err
		}
		return x.sealEmpty(ctx, lease.Holder, now)
	})
	if err != nil {
		return fmt.Errorf("listing the days of back-fill %d: %w", id, err)
	}
	return nil
}

func (x *tx) insertTasks(ctx context.Context, backfill int64, days []ledger.Task) error {
	for _, t := range days {
		_, err := x.exec(ctx, `INSERT INTO backfill_tasks (backfill_id, day, state, expect_rows, expect_bytes, holder, number, tries, n_rows)
		    VALUES (?, ?, 'queued', ?, ?, '', 0, 0, 0)`, backfill, t.Day, t.Expect, t.Bytes)
		if err != nil {
			return err
		}
	}
	return nil
}

func (x *tx) sealEmpty(ctx context.Context, owner string, now int64) error {
	_, err := x.exec(ctx, `INSERT INTO writes (kind, stream, epoch, owner, state, opened_at, ended_at, seal, pending)
	    VALUES ('backfill', '', 0, ?, 'sealed', ?, ?, `+x.d.nextSeal+", 0)", owner, now, now)
	return err
}

// Finish implements ledger.Backfills.
func (d *DB) Finish(ctx context.Context, id int64) (bool, error) {
	// Asked after every day, of which most are not the last: nobody need count all the others for that.
	left := false
	err := d.read(ctx, func(x *tx) (err error) {
		left, err = x.one(ctx, []any{new(int64)}, "SELECT id FROM backfill_tasks WHERE backfill_id = ? AND state IN ('queued', 'running') LIMIT 1", id)
		return err
	})
	if err != nil || left {
		return false, err
	}
	all, err := d.Backfills(ctx, id)
	if err != nil {
		return false, err
	}
	if len(all) != 1 || all[0].State != ledger.Running || ended(&all[0]) == "" {
		return len(all) == 1 && all[0].State == ledger.Done, nil
	}
	done := false
	err = d.write(ctx, exclusive, func(x *tx) error {
		all, err := x.backfills(ctx, id)
		if err != nil || len(all) != 1 || all[0].State != ledger.Running {
			return err
		}
		b := &all[0]
		to := ended(b)
		if to == "" {
			return nil
		}
		now, err := x.now(ctx)
		if err != nil {
			return err
		}
		if _, err := x.exec(ctx, "UPDATE backfills SET state = ?, finished_at = ? WHERE id = ?", to, now, id); err != nil {
			return err
		}
		if done = to == ledger.Done; done {
			if err := x.serveIfWhole(ctx, b, now); err != nil {
				return err
			}
		}
		return x.sealEmpty(ctx, "finish", now)
	})
	if err != nil {
		return false, fmt.Errorf("finishing back-fill %d: %w", id, err)
	}
	return done, nil
}

// ended is what a back-fill becomes whose tasks have ended; "" while some have not.
func ended(b *ledger.Backfill) string {
	switch {
	case b.Tasks[ledger.Queued]+b.Tasks[ledger.Running] > 0:
		return ""
	case b.Tasks[ledger.Failed] > 0:
		return ledger.Failed
	}
	return ledger.Done
}

// serveIfWhole lets a version that was built serve when this was the last of its back-fills: it may have
// some of imported files beside the one of what lies below its cut.
func (x *tx) serveIfWhole(ctx context.Context, b *ledger.Backfill, now int64) error {
	if b.VersionIs != ledger.Building {
		return nil
	}
	var left int64
	_, err := x.one(ctx, []any{&left}, "SELECT count(*) FROM backfills WHERE version = ? AND state NOT IN ('done', 'cancelled')", b.Version)
	if err != nil || left > 0 {
		return err
	}
	return x.serve(ctx, b, now)
}

// serve points the view to the version that was built.
func (x *tx) serve(ctx context.Context, b *ledger.Backfill, now int64) error {
	if err := x.moveVersions(ctx, b.View, now, ledger.Dropped, ledger.Standby); err != nil {
		return err
	}
	if err := x.moveVersions(ctx, b.View, now, ledger.Standby, ledger.Serving); err != nil {
		return err
	}
	if err := x.moveVersions(ctx, b.View, now, ledger.Serving, ledger.Building); err != nil {
		return err
	}
	return x.servingMoved(ctx, b.View, b.Stream, now)
}

// servingMoved lets the view answer to the names of the version that serves now, and tells the units.
func (x *tx) servingMoved(ctx context.Context, view, stream string, now int64) error {
	_, err := x.exec(ctx, `UPDATE views SET metadata = coalesce((SELECT metadata FROM view_versions
	    WHERE view_name = ? AND state = 'serving'), metadata) WHERE name = ?`, view, view)
	if err != nil {
		return err
	}
	if _, err := x.exec(ctx, "UPDATE catalogue SET epoch = epoch + 1 WHERE stream = ?", stream); err != nil {
		return err
	}
	return x.cancelDropped(ctx, now)
}

// Steer implements ledger.Backfills.
func (d *DB) Steer(ctx context.Context, id int64, action string) error {
	err := d.write(ctx, exclusive, func(x *tx) error {
		all, err := x.backfills(ctx, id)
		if err != nil {
			return err
		}
		if id <= 0 || len(all) != 1 {
			return fault.New(fault.Record, "unknown_backfill", "there is no back-fill %d", id).WithAdvice("see: pinflow backfill ls")
		}
		now, err := x.now(ctx)
		if err != nil {
			return err
		}
		return x.steer(ctx, &all[0], action, now)
	})
	if err != nil {
		return fmt.Errorf("to %s back-fill %d: %w", action, id, err)
	}
	return nil
}

func (x *tx) steer(ctx context.Context, b *ledger.Backfill, action string, now int64) error {
	set := func(state string) error {
		_, err := x.exec(ctx, "UPDATE backfills SET state = ?, finished_at = NULL WHERE id = ?", state, b.ID)
		return err
	}
	active := ledger.Queued
	if !b.ListedAt.IsZero() {
		active = ledger.Running
	}
	switch {
	case action == ledger.Pause && (b.State == ledger.Queued || b.State == ledger.Running):
		return set(ledger.Paused)
	case action == ledger.Resume && b.State == ledger.Paused:
		return set(active)
	case action == ledger.Retry && b.Tasks[ledger.Failed]+b.Waiting > 0 && b.State != ledger.Cancelled:
		_, err := x.exec(ctx, `UPDATE backfill_tasks SET state = 'queued', tries = 0, not_before = NULL
		    WHERE backfill_id = ? AND (state = 'failed' OR state = 'queued' AND not_before > ?)`, b.ID, now)
		if err != nil || b.State == ledger.Paused {
			return err
		}
		return set(active)
	case action == ledger.Cancel && b.Log != 0 && b.State != ledger.Done && b.State != ledger.Cancelled:
		// What it lacks would be missing for ever, and nothing would say so.
		return fault.New(fault.Record, "backfill_state", "back-fill %d is of an imported file, whose rows every version holds: it cannot be cancelled", b.ID).
			WithAdvice("it can be paused: pinflow backfill pause %d", b.ID).WithExit(fault.ExitConflict)
	case action == ledger.Cancel && b.State != ledger.Done && b.State != ledger.Cancelled:
		return x.cancelBackfill(ctx, b, now)
	case action == ledger.Rollback && b.Log == 0 && b.State == ledger.Done && b.VersionIs == ledger.Serving:
		return x.rollback(ctx, b, now)
	}
	return refused(b, action)
}

// rollback undoes the last switch of a view, once: an earlier one was undone already, or replaced, and to undo it would
// be to do the last one again.
func (x *tx) rollback(ctx context.Context, b *ledger.Backfill, now int64) error {
	var standby, since int64
	_, err := x.one(ctx, []any{&standby, &since}, `SELECT (SELECT count(*) FROM view_versions WHERE view_name = ? AND state = 'standby'),
	    (SELECT count(*) FROM backfills s JOIN view_versions v ON v.id = s.version WHERE v.view_name = ? AND s.log_id IS NULL AND s.state = 'done' AND s.id > ?)`,
		b.View, b.View, b.ID)
	switch {
	case err != nil:
		return err
	case standby == 0:
		return fault.New(fault.Record, "backfill_state", "view %s has no version to go back to: it was the first, or the time for it is over", b.View).
			WithExit(fault.ExitConflict)
	case since > 0:
		return refused(b, ledger.Rollback)
	}
	if err := x.swap(ctx, b.View, now); err != nil {
		return err
	}
	return x.servingMoved(ctx, b.View, b.Stream, now)
}

// refused says why a back-fill's state does not allow an action, and what does what was meant.
func refused(b *ledger.Backfill, action string) error {
	err := fault.New(fault.Record, "backfill_state", "back-fill %d is %s and its version %s: there is nothing to %s", b.ID, b.State, b.VersionIs, strings.Replace(action, "rollback", "roll back", 1)).
		WithExit(fault.ExitConflict)
	switch {
	case action != ledger.Rollback:
		return err
	case b.Log != 0:
		return err.WithAdvice("it is of an imported file; the last switch of the view is rolled back with: pinflow backfill rollback %s", b.View)
	case b.VersionIs == ledger.Standby:
		return err.WithAdvice("another version of %s serves already; to let this one serve again apply its definition: pinflow apply", b.View)
	case b.VersionIs == ledger.Building:
		return err.WithAdvice("it does not serve yet; give it up with: pinflow backfill cancel %d", b.ID)
	}
	return err.WithAdvice("it is not the last switch of view %s: see pinflow backfill ls; the version that stands by serves again when its definition is applied", b.View)
}

func (x *tx) cancelBackfill(ctx context.Context, b *ledger.Backfill, now int64) error {
	if b.VersionIs == ledger.Building {
		if _, err := x.exec(ctx, "UPDATE view_versions SET state = 'dropped', state_at = ? WHERE id = ?", now, b.Version); err != nil {
			return err
		}
		return x.servingMoved(ctx, b.View, b.Stream, now)
	}
	if _, err := x.exec(ctx, "UPDATE backfills SET state = 'cancelled', finished_at = ? WHERE id = ?", now, b.ID); err != nil {
		return err
	}
	return x.cancelDropped(ctx, now)
}

// ExpireStandby implements ledger.Backfills.
func (d *DB) ExpireStandby(ctx context.Context, lease ledger.Lease, before time.Time) (int64, error) {
	var n int64
	due := func(x *tx) (names map[string]string, err error) {
		names = map[string]string{}
		err = x.each(ctx, func(r *sql.Rows) error {
			var view, stream string
			err := r.Scan(&view, &stream)
			names[view] = stream
			return err
		}, `SELECT v.name, v.stream FROM view_versions vv JOIN views v ON v.name = vv.view_name
		    WHERE vv.state = 'standby' AND vv.state_at < ?`, before.UnixMicro())
		return names, err
	}
	var names map[string]string
	err := d.read(ctx, func(x *tx) (err error) {
		names, err = due(x)
		return err
	})
	if err != nil || len(names) == 0 {
		return 0, err
	}
	err = d.write(ctx, exclusive, func(x *tx) error {
		if err := x.assertLease(ctx, lease); err != nil {
			return err
		}
		now, err := x.now(ctx)
		if err != nil {
			return err
		}
		if names, err = due(x); err != nil {
			return err
		}
		for view, stream := range names {
			if err := x.moveVersions(ctx, view, now, ledger.Dropped, ledger.Standby); err != nil {
				return err
			}
			if err := x.servingMoved(ctx, view, stream, now); err != nil {
				return err
			}
			n++
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("dropping standby versions: %w", err)
	}
	return n, nil
}

// DropSegments implements ledger.Backfills. Segments of open writes go with their writes.
func (d *DB) DropSegments(ctx context.Context, lease ledger.Lease) (n int64, err error) {
	err = d.write(ctx, noLock, func(x *tx) error {
		if err := x.assertLease(ctx, lease); err != nil {
			return err
		}
		n, err = x.exec(ctx, `DELETE FROM segments WHERE id IN (SELECT s.id FROM segments s JOIN view_versions v ON v.id = s.version
		    JOIN writes w ON w.id = s.write_id WHERE v.state = 'dropped' AND w.state = 'sealed' LIMIT ?)`, sweepBatch)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("deleting segments of dropped versions: %w", err)
	}
	return n, nil
}
