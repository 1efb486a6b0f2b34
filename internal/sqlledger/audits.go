package sqlledger

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/pinflow/pinflow/internal/ledger"
)

// NoteAudit implements ledger.Audits.
func (d *DB) NoteAudit(ctx context.Context, lease ledger.Lease, a ledger.DayAudit) error {
	err := d.write(ctx, noLock, func(x *tx) error {
		if err := x.assertLease(ctx, lease); err != nil {
			return err
		}
		now, err := x.now(ctx)
		if err != nil {
			return err
		}
		_, err = x.exec(ctx, `INSERT INTO audits (version, day, at, result, n_rows, differences, first) VALUES (?, ?, ?, ?, ?, ?, ?)
		    ON CONFLICT (version, day) DO UPDATE SET at = excluded.at, result = excluded.result, n_rows = excluded.n_rows,
		    differences = excluded.differences, first = excluded.first`, a.Version, a.Day, now, a.Result, a.Rows, a.Differences, []byte(a.First))
		if err != nil {
			return err
		}
		_, err = x.exec(ctx, "DELETE FROM audits WHERE version IN (SELECT id FROM view_versions WHERE state = 'dropped')")
		return err
	})
	if err != nil {
		return fmt.Errorf("noting the audit of %s: %w", a.Day, err)
	}
	return nil
}

const auditColumns = "a.version, a.day, a.at, a.result, a.n_rows, a.differences, a.first"

func scanAudit(r *sql.Rows) (ledger.DayAudit, error) {
	var a ledger.DayAudit
	var at sql.NullInt64
	var first []byte
	err := r.Scan(&a.Version, &a.Day, &at, &a.Result, &a.Rows, &a.Differences, &first)
	a.At, a.First = moment(at), string(first)
	return a, err
}

// DayAudits implements ledger.Audits.
func (d *DB) DayAudits(ctx context.Context, version int64) ([]ledger.DayAudit, error) {
	var all []ledger.DayAudit
	err := d.read(ctx, func(x *tx) (err error) {
		all, err = list(ctx, x, scanAudit, "SELECT "+auditColumns+" FROM audits a WHERE a.version = ? ORDER BY a.day DESC", version)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the audits of version %d: %w", version, err)
	}
	return all, nil
}

// AuditSums implements ledger.Audits.
func (d *DB) AuditSums(ctx context.Context) (map[int64]ledger.AuditSum, error) {
	all := map[int64]ledger.AuditSum{}
	err := d.read(ctx, func(x *tx) error {
		err := x.each(ctx, func(r *sql.Rows) error {
			var version int64
			var s ledger.AuditSum
			var at sql.NullInt64
			err := r.Scan(&version, &at, &s.From, &s.To, &s.Days, &s.Uncovered, &s.Rows, &s.Differences)
			s.At = moment(at)
			all[version] = s
			return err
		}, `SELECT a.version, max(a.at), min(a.day), max(a.day), count(*), CAST(sum(CASE WHEN a.result = 'uncovered' THEN 1 ELSE 0 END) AS BIGINT),
		    CAST(sum(a.n_rows) AS BIGINT), CAST(sum(a.differences) AS BIGINT)
		    FROM audits a JOIN view_versions v ON v.id = a.version WHERE v.state <> 'dropped' GROUP BY a.version`)
		if err != nil {
			return err
		}
		return x.each(ctx, func(r *sql.Rows) error {
			a, err := scanAudit(r)
			s, known := all[a.Version]
			if err != nil || !known {
				return err
			}
			if s.WrongDays++; len(s.Wrong) < ledger.MaxWrong {
				s.Wrong = append(s.Wrong, a)
			}
			all[a.Version] = s
			return nil
		}, "SELECT "+auditColumns+" FROM audits a WHERE a.result NOT IN ('right', 'uncovered') ORDER BY a.day DESC")
	})
	if err != nil {
		return nil, fmt.Errorf("summing up audits: %w", err)
	}
	return all, nil
}
