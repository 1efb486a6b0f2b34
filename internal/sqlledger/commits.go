package sqlledger

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/google/uuid"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/span"
)

// Kind of an intent that appends staged files; the other kinds have no files here.
const kindAppend = "append"

// Kind of an intent of table logs that brings closed logs.
const kindClose = "close"

// Intent implements ledger.Commits.
func (d *DB) Intent(ctx context.Context, lease ledger.Lease, table, kind string, limit int) (*ledger.Intent, error) {
	var in *ledger.Intent
	err := d.write(ctx, noLock, func(x *tx) error {
		if err := x.assertLease(ctx, lease); err != nil {
			return err
		}
		newest, err := x.newestIntent(ctx, table)
		if err != nil {
			return err
		}
		if newest != nil && newest.Open {
			in = newest
			return nil
		}
		in = &ledger.Intent{Table: table, N: 1, ID: uuid.NewString(), Kind: kind, Open: true}
		if newest != nil {
			in.N = newest.N + 1
		}
		opened, err := x.openIntent(ctx, in, limit)
		if !opened {
			in = nil // nothing to commit
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("opening a commit of table %s: %w", table, err)
	}
	return in, nil
}

// openIntent gives an append its files, or table logs its logs, and stores the intent, unless there are none.
func (x *tx) openIntent(ctx context.Context, in *ledger.Intent, limit int) (opened bool, err error) {
	if in.Kind == kindAppend {
		stages, err := x.stagesToCommit(ctx, in.Table, limit)
		if err != nil || len(stages) == 0 {
			return false, err
		}
		for _, id := range stages {
			if _, err := x.exec(ctx, "UPDATE lake_files SET n = ? WHERE table_name = ? AND write_id = ? AND n IS NULL",
				in.N, in.Table, id); err != nil {
				return false, err
			}
		}
		if in.Files, err = x.intentFiles(ctx, in.Table, in.N); err != nil {
			return false, err
		}
	}
	if in.Kind == kindClose {
		some, err := x.closeLogs(ctx, in.N, limit)
		if err != nil || some == 0 {
			return false, err
		}
	}
	if in.Offsets, err = x.offsetsAfter(ctx, in); err != nil {
		return false, err
	}
	now, err := x.now(ctx)
	if err != nil {
		return false, err
	}
	_, err = x.exec(ctx, `INSERT INTO lake_intents (table_name, n, id, kind, state, snapshot, offsets, opened_at)
	    VALUES (?, ?, ?, ?, 'open', 0, ?, ?)`, in.Table, in.N, in.ID, in.Kind, encodeVector(in.Offsets), now)
	return true, err
}

func (x *tx) intentFiles(ctx context.Context, table string, n int64) ([]ledger.LakeFile, error) {
	return x.files(ctx, "f.table_name = ? AND f.n = ?", "w.seal, f.id", table, n)
}

// stagesToCommit picks whole stages in the order of their seals, which within a partition is the order
// of its offsets. A stream's table stops before the first stage that has a dead letter not yet in its
// table: so a row in the lake implies that every dead letter before it is there too, and the table's
// offsets tell the truth about both.
func (x *tx) stagesToCommit(ctx context.Context, table string, limit int) ([]int64, error) {
	query := `SELECT w.id, count(*) FROM lake_files f JOIN writes w ON w.id = f.write_id
	    WHERE f.table_name = ? AND f.committed = 0 AND f.n IS NULL AND w.state = 'sealed'`
	args := []any{table}
	if table != ledger.DeadLetters {
		query += ` AND w.seal < coalesce((SELECT min(dw.seal) FROM lake_files df JOIN writes dw ON dw.id = df.write_id
		    WHERE df.table_name = ? AND df.committed = 0 AND dw.state = 'sealed' AND dw.stream = ?), 9223372036854775807)`
		args = append(args, ledger.DeadLetters, table)
	}
	var stages []int64
	files := 0
	full := false
	err := x.each(ctx, func(r *sql.Rows) error {
		var id int64
		var n int
		if err := r.Scan(&id, &n); err != nil {
			return err
		}
		if full = full || len(stages) > 0 && files+n > limit; !full {
			stages = append(stages, id)
			files += n
		}
		return nil
	}, query+" GROUP BY w.id, w.seal ORDER BY w.seal LIMIT ?", append(args, max(limit, 1))...)
	return stages, err
}

// offsetsAfter is the lake vector once this intent has landed, in the open Kafka logs of the table's
// stream (of all streams for dead_letters).
func (x *tx) offsetsAfter(ctx context.Context, in *ledger.Intent) (span.Vector, error) {
	const ours = ` AND log_id IN (SELECT id FROM logs WHERE kept_n IS NULL AND kind = 'kafka' AND closed_at IS NULL AND ? IN ('dead_letters', stream))`
	return x.reached(ctx, in, ours, in.Table)
}

// reached is where the logs that a condition picks will be in the lake once this intent has landed.
func (x *tx) reached(ctx context.Context, in *ledger.Intent, ours string, args ...any) (span.Vector, error) {
	after, err := x.vector(ctx, "SELECT log_id, part, next_offset FROM positions WHERE unit = 'batch'"+ours, args...)
	if err != nil {
		return nil, err
	}
	// Of a stage that is not in the lake yet, some file is neither committed nor of this intent.
	waiting, err := x.vector(ctx, `SELECT log_id, part, min(from_offset) FROM stage_moves m WHERE EXISTS
	    (SELECT 1 FROM lake_files f WHERE f.write_id = m.write_id AND f.committed = 0
	     AND NOT (f.table_name = ? AND f.n IS NOT NULL AND f.n = ?))`+ours+" GROUP BY log_id, part", append([]any{in.Table, in.N}, args...)...)
	if err != nil {
		return nil, err
	}
	for k, at := range waiting {
		after[k] = min(after[k], at)
	}
	return after, nil
}

// LakeVector implements ledger.Commits.
func (d *DB) LakeVector(ctx context.Context) (span.Vector, error) {
	var v span.Vector
	err := d.read(ctx, func(x *tx) (err error) {
		v, err = x.lakeVector(ctx)
		return err
	})
	return v, err
}

// lakeVector reads positions before moves: a stage sealed in between then lowers nothing.
func (x *tx) lakeVector(ctx context.Context) (span.Vector, error) {
	v, err := x.positions(ctx, ledger.Batch)
	if err != nil {
		return nil, err
	}
	waiting, err := x.vector(ctx, "SELECT log_id, part, min(from_offset) FROM stage_moves GROUP BY log_id, part")
	if err != nil {
		return nil, err
	}
	for k, at := range waiting {
		v[k] = min(v[k], at)
	}
	return v, nil
}

// CloseIntent implements ledger.Commits. Closing it again is no fault: the first answer may have been lost.
func (d *DB) CloseIntent(ctx context.Context, lease ledger.Lease, in *ledger.Intent, snapshot int64) error {
	err := d.write(ctx, noLock, func(x *tx) error {
		if err := x.assertLease(ctx, lease); err != nil {
			return err
		}
		now, err := x.now(ctx)
		if err != nil {
			return err
		}
		n, err := x.exec(ctx, `UPDATE lake_intents SET state = 'closed', snapshot = ?, closed_at = ?
		    WHERE table_name = ? AND n = ? AND id = ? AND state = 'open'`, snapshot, now, in.Table, in.N, in.ID)
		if err != nil {
			return err
		}
		if n == 0 {
			return x.closedBefore(ctx, in)
		}
		return x.commitFiles(ctx, in)
	})
	if err != nil {
		return fmt.Errorf("closing commit %d of table %s: %w", in.N, in.Table, err)
	}
	return nil
}

func (x *tx) closedBefore(ctx context.Context, in *ledger.Intent) error {
	var id string
	found, err := x.one(ctx, []any{&id}, "SELECT id FROM lake_intents WHERE table_name = ? AND n = ?", in.Table, in.N)
	if err == nil && (!found || id != in.ID) {
		err = fault.New(fault.Corrupt, "intent_unknown", "the ledger has no commit %d with id %s (its id is %q)", in.N, in.ID, id).
			WithAdvice("stop every batch unit, then restore log, ledger and lake from one backup")
	}
	return err
}

// keepIntents is how many numbers of a table stay readable.
const keepIntents = 1000

// commitFiles books the intent's files, lets go of stages that are whole in the lake, and of the files
// of earlier commits: from here on the table itself knows them.
func (x *tx) commitFiles(ctx context.Context, in *ledger.Intent) error {
	steps := []struct {
		query string
		args  []any
	}{
		{`UPDATE writes SET pending = pending - (SELECT count(*) FROM lake_files f
		    WHERE f.write_id = writes.id AND f.table_name = ? AND f.n = ? AND f.committed = 0)
		  WHERE id IN (SELECT write_id FROM lake_files WHERE table_name = ? AND n = ? AND committed = 0)`, []any{in.Table, in.N, in.Table, in.N}},
		{"UPDATE lake_files SET committed = 1 WHERE table_name = ? AND n = ?", []any{in.Table, in.N}},
		{`DELETE FROM stage_moves WHERE write_id IN (SELECT f.write_id FROM lake_files f JOIN writes w ON w.id = f.write_id
		    WHERE f.table_name = ? AND f.n = ? AND w.pending = 0)`, []any{in.Table, in.N}},
		{"DELETE FROM lake_files WHERE table_name = ? AND committed = 1 AND n < ?", []any{in.Table, in.N}},
		{"DELETE FROM lake_intents WHERE table_name = ? AND n < ?", []any{in.Table, in.N - keepIntents}},
	}
	for _, s := range steps {
		if _, err := x.exec(ctx, s.query, s.args...); err != nil {
			return err
		}
	}
	return nil
}

// FilePaths implements ledger.Commits.
func (d *DB) FilePaths(ctx context.Context, table string) ([]string, error) {
	var all []string
	err := d.read(ctx, func(x *tx) (err error) {
		all, err = list(ctx, x, func(r *sql.Rows) (at string, err error) {
			err = r.Scan(&at)
			return at, err
		}, "SELECT path FROM lake_files WHERE table_name = ?", table)
		return err
	})
	return all, err
}

// LastIntent implements ledger.Commits.
func (d *DB) LastIntent(ctx context.Context, table string) (*ledger.Intent, error) {
	var in *ledger.Intent
	err := d.read(ctx, func(x *tx) (err error) {
		in, err = x.newestIntent(ctx, table)
		return err
	})
	return in, err
}

func (x *tx) newestIntent(ctx context.Context, table string) (*ledger.Intent, error) {
	in := ledger.Intent{Table: table}
	var state string
	var offsets []byte
	found, err := x.one(ctx, []any{&in.N, &in.ID, &in.Kind, &state, &in.Snapshot, &offsets},
		"SELECT n, id, kind, state, snapshot, offsets FROM lake_intents WHERE table_name = ? ORDER BY n DESC LIMIT 1", table)
	if err != nil || !found {
		return nil, err
	}
	in.Open = state == "open"
	if in.Offsets, err = decodeVector(offsets); err != nil {
		return nil, err
	}
	in.Files, err = x.intentFiles(ctx, table, in.N)
	return &in, err
}

// StageCounts implements ledger.Commits.
func (d *DB) StageCounts(ctx context.Context, in *ledger.Intent) (ledger.Counts, error) {
	var c ledger.Counts
	err := d.read(ctx, func(x *tx) error {
		var rows, dead, duplicates, gaps, lost sql.NullInt64
		_, err := x.one(ctx, []any{&rows, &dead, &duplicates, &gaps, &lost}, `SELECT CAST(sum(n_rows) AS BIGINT), CAST(sum(dead) AS BIGINT),
		    CAST(sum(duplicates) AS BIGINT), CAST(sum(gaps) AS BIGINT), CAST(sum(lost) AS BIGINT) FROM stage_moves
		    WHERE write_id IN (SELECT write_id FROM lake_files WHERE table_name = ? AND n = ?)`, in.Table, in.N)
		c = ledger.Counts{Rows: rows.Int64, Dead: dead.Int64, Duplicates: duplicates.Int64, Gaps: gaps.Int64, Lost: lost.Int64}
		return err
	})
	return c, err
}

// Booked implements ledger.Commits. One statement sees one moment.
func (d *DB) Booked(ctx context.Context, table string) (rows int64, err error) {
	counted, args := "SELECT sum(c.n_rows) FROM counts c JOIN logs l ON l.id = c.log_id WHERE c.unit = 'batch' AND l.stream = ?", []any{table}
	switch table {
	case ledger.DeadLetters:
		counted, args = "SELECT sum(dead) FROM counts WHERE unit = 'batch'", nil
	case ledger.Logs:
		counted = `SELECT count(*) FROM logs WHERE kept_n <= (SELECT max(n) FROM lake_intents WHERE table_name = ? AND state = 'closed')`
	}
	err = d.read(ctx, func(x *tx) error {
		_, err := x.one(ctx, []any{&rows}, "SELECT CAST(coalesce(("+counted+`), 0) - coalesce((SELECT sum(f.records) FROM lake_files f
		    JOIN writes w ON w.id = f.write_id WHERE f.table_name = ? AND f.committed = 0 AND w.state = 'sealed'), 0) AS BIGINT)`, append(args, table)...)
		return err
	})
	return rows, err
}

// BookedOffsets implements ledger.Commits. One statement sees one moment.
func (d *DB) BookedOffsets(ctx context.Context, table string) (map[span.Key]ledger.BookedOffsets, error) {
	of, which, args := "n_rows", " AND l.stream = ?", []any{table, table}
	if table == ledger.DeadLetters {
		of, which, args = "dead", "", args[:1]
	}
	all := map[span.Key]ledger.BookedOffsets{}
	err := d.read(ctx, func(x *tx) error {
		return x.each(ctx, func(r *sql.Rows) error {
			var k span.Key
			var b ledger.BookedOffsets
			err := r.Scan(&k.Log, &k.Partition, &b.Rows, &b.From, &b.To)
			all[k] = b
			return err
		}, `SELECT c.log_id, c.part, CAST(c.`+of+` - coalesce(w.waiting, 0) AS BIGINT), coalesce(p.start_offset, 0), o.next_offset
		    FROM counts c JOIN logs l ON l.id = c.log_id
		    JOIN partitions p ON p.log_id = c.log_id AND p.part = c.part
		    JOIN positions o ON o.log_id = c.log_id AND o.part = c.part AND o.unit = 'batch'
		    LEFT JOIN (SELECT m.log_id, m.part, sum(m.`+of+`) AS waiting FROM stage_moves m WHERE EXISTS
		      (SELECT 1 FROM lake_files f WHERE f.write_id = m.write_id AND f.table_name = ? AND f.committed = 0)
		      GROUP BY m.log_id, m.part) w ON w.log_id = c.log_id AND w.part = c.part
		    WHERE c.unit = 'batch'`+which, args...)
	})
	if err != nil {
		return nil, fmt.Errorf("counting the offsets of table %s: %w", table, err)
	}
	return all, nil
}
