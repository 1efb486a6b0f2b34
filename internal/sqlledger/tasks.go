package sqlledger

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/span"
)

const taskColumns = `t.id, t.backfill_id, t.day, t.state, t.expect_rows, t.expect_bytes, t.holder, t.number, t.tries, t.n_rows,
    t.error, CASE WHEN t.state = 'queued' THEN t.not_before END, t.started_at, t.finished_at`

func scanTask(r *sql.Rows, more ...any) (ledger.Task, error) {
	var t ledger.Task
	var failed []byte
	var after, started, finished sql.NullInt64
	err := r.Scan(append([]any{
		&t.ID, &t.Backfill, &t.Day, &t.State, &t.Expect, &t.Bytes, &t.Holder, &t.Number, &t.Tries, &t.Rows,
		&failed, &after, &started, &finished,
	}, more...)...)
	t.Error, t.After, t.Started, t.Finished = string(failed), moment(after), moment(started), moment(finished)
	return t, err
}

func logOf(n sql.NullInt64) span.Log { return span.Log(n.Int64) }

// LeaseTask implements ledger.Tasks.
func (d *DB) LeaseTask(ctx context.Context, holder string, ttl time.Duration, engines ...string) (*ledger.TaskLease, error) {
	for {
		t, again, err := d.leaseTask(ctx, holder, ttl, engines)
		if err != nil {
			return nil, fmt.Errorf("leasing a task: %w", err)
		}
		if !again {
			return t, nil
		}
	}
}

// leaseTask looks before it writes: most of the time there is nothing to do.
func (d *DB) leaseTask(ctx context.Context, holder string, ttl time.Duration, engines []string) (t *ledger.TaskLease, again bool, err error) {
	err = d.read(ctx, func(x *tx) (err error) {
		now, err := x.now(ctx)
		if err == nil {
			t, err = x.nextTask(ctx, holder, engines, now)
		}
		return err
	})
	if err != nil || t == nil {
		return nil, false, err
	}
	err = d.write(ctx, noLock, func(x *tx) error {
		now, err := x.now(ctx)
		if err != nil {
			return err
		}
		if t.State == ledger.Running && t.Tries >= ledger.MaxTries { // its workers died
			again = true
			_, err = x.exec(ctx, `UPDATE backfill_tasks SET state = 'failed', error = ?, failed_at = ?, expires = NULL
			    WHERE id = ? AND number = ? AND state = 'running' AND (expires <= ? OR holder = ?)`,
				[]byte("its workers did not come back"), now, t.ID, t.Number, now, holder)
			return err
		}
		n, err := x.exec(ctx, `UPDATE backfill_tasks SET state = 'running', holder = ?, number = number + 1, tries = tries + 1,
		    expires = ?, started_at = ?, write_id = NULL, n_rows = 0 WHERE id = ? AND number = ?
		    AND (state = 'queued' AND coalesce(not_before, 0) <= ? OR state = 'running' AND (expires <= ? OR holder = ?))
		    AND EXISTS (SELECT 1 FROM backfills b WHERE b.id = backfill_id AND b.state = 'running')`,
			holder, now+ttl.Microseconds(), now, t.ID, t.Number, now, now, holder)
		again = n == 0
		t.State, t.Holder, t.Number, t.Tries, t.Started = ledger.Running, holder, t.Number+1, t.Tries+1, time.UnixMicro(now).UTC()
		return err
	})
	return t, again, err
}

// nextTask is the newest day that may be had, of those that nobody has and of those whose holder is gone: two
// questions, as each finds its answer in an index at once.
func (x *tx) nextTask(ctx context.Context, holder string, engines []string, now int64) (*ledger.TaskLease, error) {
	var of string
	var last []any
	if len(engines) > 0 {
		of = " AND b.engine IN (?" + strings.Repeat(", ?", len(engines)-1) + ")"
		for _, e := range engines {
			last = append(last, e)
		}
	}
	var t *ledger.TaskLease
	for _, may := range []struct {
		be   string
		args []any
	}{
		{"t.state = 'queued' AND coalesce(t.not_before, 0) <= ?", []any{now}},
		{"t.state = 'running' AND (t.expires <= ? OR t.holder = ?)", []any{now, holder}},
	} {
		err := x.each(ctx, func(r *sql.Rows) error {
			var l ledger.TaskLease
			var log sql.NullInt64
			task, err := scanTask(r, &l.Version, &l.View, &l.Stream, &l.Engine, &log)
			l.Task, l.Log = task, logOf(log)
			if t == nil || l.Day > t.Day || l.Day == t.Day && l.ID < t.ID {
				t = &l
			}
			return err
		}, "SELECT "+taskColumns+`, b.version, v.name, v.stream, b.engine, b.log_id FROM backfill_tasks t
		    JOIN backfills b ON b.id = t.backfill_id JOIN view_versions vv ON vv.id = b.version JOIN views v ON v.name = vv.view_name
		    WHERE b.state = 'running' AND `+may.be+of+` ORDER BY t.day DESC, t.id LIMIT 1`, append(may.args, last...)...)
		if err != nil {
			return nil, err
		}
	}
	return t, nil
}

// RenewTask implements ledger.Tasks.
func (d *DB) RenewTask(ctx context.Context, t ledger.TaskLease, ttl time.Duration) error {
	err := d.write(ctx, noLock, func(x *tx) error {
		now, err := x.now(ctx)
		if err != nil {
			return err
		}
		return x.setTask(ctx, &t, "expires = ?, n_rows = ?", now+ttl.Microseconds(), t.Rows)
	})
	if err != nil {
		return fmt.Errorf("renewing task %d: %w", t.ID, err)
	}
	return nil
}

// setTask changes a task that the lease holds.
func (x *tx) setTask(ctx context.Context, t *ledger.TaskLease, set string, args ...any) error {
	n, err := x.exec(ctx, "UPDATE backfill_tasks SET "+set+" WHERE id = ? AND number = ? AND holder = ? AND state = 'running'",
		append(args, t.ID, t.Number, t.Holder)...)
	if err == nil && n == 0 {
		err = fault.New(fault.Lost, "task_lost", "task %d (%s) is no longer held by %s", t.ID, t.Day, t.Holder)
	}
	return err
}

// ReturnTask implements ledger.Tasks.
func (d *DB) ReturnTask(ctx context.Context, t ledger.TaskLease, why ledger.TaskReturn) error {
	const untried = "state = 'queued', tries = tries - 1, n_rows = 0, expires = NULL, not_before = NULL"
	err := d.write(ctx, noLock, func(x *tx) error {
		if why.Cause == "" {
			return x.setTask(ctx, &t, untried)
		}
		now, err := x.now(ctx)
		if err != nil {
			return err
		}
		if why.Untried {
			return x.setTask(ctx, &t, untried+", error = ?, failed_at = ?", []byte(why.Cause), now)
		}
		state := ledger.Queued
		if why.Final || t.Tries >= ledger.MaxTries {
			state = ledger.Failed
		}
		return x.setTask(ctx, &t, "state = ?, error = ?, failed_at = ?, not_before = ?, n_rows = 0, expires = NULL",
			state, []byte(why.Cause), now, now+why.Wait.Microseconds())
	})
	if err != nil {
		return fmt.Errorf("returning task %d: %w", t.ID, err)
	}
	return nil
}

// OpenTask implements ledger.Tasks.
func (d *DB) OpenTask(ctx context.Context, t ledger.TaskLease) (int64, error) {
	var id int64
	err := d.write(ctx, noLock, func(x *tx) (err error) {
		if id, err = x.openWrite(ctx, ledger.Write{Kind: ledger.Backfilled, Stream: t.Stream, Owner: t.Holder}); err != nil {
			return err
		}
		return x.setTask(ctx, &t, "write_id = ?", id)
	})
	if err != nil {
		return 0, fmt.Errorf("opening a write of task %d: %w", t.ID, err)
	}
	return id, nil
}

// SealTask implements ledger.Tasks. It takes no part in the catalogue's fence: what the task folded stays
// right whatever was applied since, as long as nobody dropped its version.
func (d *DB) SealTask(ctx context.Context, s ledger.TaskSeal) error {
	size := 0
	for i := range s.Segments {
		size += segmentSize(&s.Segments[i])
	}
	if size > ledger.MaxTx && len(s.Segments) > 1 {
		return tooBig(size)
	}
	err := d.write(ctx, shared, func(x *tx) error {
		now, err := x.now(ctx)
		if err != nil {
			return err
		}
		t := &s.Lease
		write := ledger.Seal{Write: ledger.Write{Kind: ledger.Backfilled, Stream: t.Stream, Owner: t.Holder}, ID: s.Write}
		id, err := x.sealWrite(ctx, &write, now)
		if err != nil {
			return err
		}
		var dropped int64
		if _, err := x.one(ctx, []any{&dropped}, "SELECT count(*) FROM view_versions WHERE id = ? AND state = 'dropped'", t.Version); err != nil {
			return err
		}
		if dropped != 0 {
			return fault.New(fault.Lost, "task_lost", "version %d of task %d was dropped", t.Version, t.ID)
		}
		if err := x.setTask(ctx, t, "state = 'done', n_rows = ?, finished_at = ?, expires = NULL, write_id = ?, error = NULL", s.Rows, now, id); err != nil {
			return err
		}
		for _, tier := range slices.Sorted(maps.Keys(s.Floors)) {
			if err := x.raiseFloor(ctx, t.Version, tier, s.Floors[tier], sql.NullInt64{}); err != nil {
				return err
			}
		}
		return x.insertSegments(ctx, id, s.Segments)
	})
	if err != nil {
		return fmt.Errorf("sealing task %d (%s): %w", s.Lease.ID, s.Lease.Day, err)
	}
	return nil
}

// filling tells how much of a version's history is there; nil: it never had one to fill in.
func (x *tx) filling(ctx context.Context, version int64) (*ledger.Filling, error) {
	var f ledger.Filling
	var listed sql.NullInt64
	found, err := x.one(ctx, []any{&f.Backfill, &f.State, &listed}, `SELECT b.id, b.state, b.listed_at FROM backfills b
	    WHERE b.version = ? AND b.log_id IS NULL AND NOT (b.state = 'done' AND b.listed_at IS NULL) ORDER BY b.id DESC LIMIT 1`, version)
	if err != nil {
		return nil, err
	}
	f.Listed = listed.Valid
	err = x.each(ctx, func(r *sql.Rows) error {
		var log span.Log
		err := r.Scan(&log)
		f.Imports = append(f.Imports, log)
		return err
	}, "SELECT log_id FROM backfills WHERE version = ? AND log_id IS NOT NULL AND state <> 'cancelled' ORDER BY log_id", version)
	if err != nil || !found && len(f.Imports) == 0 {
		return nil, err
	}
	var first sql.NullString
	const listedDays = " FROM backfill_tasks t JOIN backfills b ON b.id = t.backfill_id WHERE b.version = ?"
	if _, err = x.one(ctx, []any{&first}, "SELECT min(t.day)"+listedDays+" AND (b.id = ? OR b.log_id IS NOT NULL)", version, f.Backfill); err != nil {
		return nil, err
	}
	f.First = first.String
	err = x.each(ctx, func(r *sql.Rows) error {
		var t ledger.TaskDay
		err := r.Scan(&t.Day, &t.State, &t.Log)
		f.Missing = append(f.Missing, t)
		return err
	}, "SELECT t.day, t.state, coalesce(b.log_id, 0)"+listedDays+" AND b.state <> 'cancelled' AND t.state <> 'done' ORDER BY t.day, b.id", version)
	if err != nil {
		return nil, err
	}
	return &f, nil
}
