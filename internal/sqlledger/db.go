package sqlledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/ledger"
)

var _ ledger.Ledger = (*DB)(nil)

// DB is a ledger in a SQL database. It is safe for concurrent use, also by several processes.
type DB struct {
	dialect *dialect
	w       *sql.DB // transactions that write
	r       *sql.DB // snapshots
}

// Open opens the ledger at dsn, a file or a postgres:// URL, and brings its tables up to date.
func Open(ctx context.Context, dsn string, log *slog.Logger) (*DB, error) {
	return open(ctx, dsn, log, nil)
}

func open(ctx context.Context, dsn string, log *slog.Logger, wrap wrapper) (*DB, error) {
	var d *DB
	var err error
	switch {
	case isPostgres(dsn):
		d, err = openPostgres(ctx, dsn, wrap)
	case dsn == "":
		return nil, fault.New(fault.Config, "bad_dsn", "the ledger has no address").
			WithAdvice("set ledger.dsn to a file or a postgres:// URL")
	default:
		d, err = openSQLite(ctx, strings.TrimPrefix(dsn, "file:"), wrap)
	}
	if err != nil {
		return nil, err
	}
	if err := migrate(ctx, d, log); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// isPostgres tells a postgres:// URL from the name of a file.
func isPostgres(dsn string) bool {
	return strings.HasPrefix(dsn, "postgres://") || strings.HasPrefix(dsn, "postgresql://")
}

// Close closes the connections. A transaction that runs is rolled back.
func (d *DB) Close() error {
	if d.w == d.r {
		return d.w.Close()
	}
	return errors.Join(d.r.Close(), d.w.Close())
}

func (d *DB) fault(err error) error { return d.dialect.classify(err) }

// tx is one transaction with the dialect's placeholders and faults.
type tx struct {
	*sql.Tx
	d *dialect
}

// lock says which catalogue lock a writing transaction begins with.
type lock int

const (
	noLock lock = iota
	shared
	exclusive
	migrations
)

// write runs fn in a transaction. What fn returned comes back as it is; the transaction's own failures
// carry a kind. After fault.Ambiguous the transaction may have happened.
func (d *DB) write(ctx context.Context, l lock, fn func(*tx) error) error {
	t, err := d.w.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("beginning a ledger transaction: %w", d.fault(err))
	}
	defer t.Rollback() //nolint:errcheck // after a commit it does nothing
	x := &tx{Tx: t, d: d.dialect}
	if err := x.take(ctx, l); err != nil {
		return err
	}
	if err := fn(x); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil { // before COMMIT is sent the outcome is clear
		return fmt.Errorf("committing to the ledger: %w", err)
	}
	if err := t.Commit(); err != nil {
		if errors.Is(err, sql.ErrTxDone) { // rolled back when the context ended
			return fmt.Errorf("committing to the ledger: %w", errors.Join(ctx.Err(), err))
		}
		if d.dialect.unclear(err) {
			return fault.New(fault.Ambiguous, "commit_unknown", "committing to the ledger: no clear answer: %w", err)
		}
		return fmt.Errorf("committing to the ledger: %w", d.fault(err))
	}
	return nil
}

func (x *tx) take(ctx context.Context, l lock) error {
	q := ""
	switch l {
	case noLock:
	case shared:
		q = x.d.lockShared
	case exclusive:
		q = x.d.lockExclusive
	case migrations:
		q = x.d.lockMigrations
	}
	if q == "" {
		return nil
	}
	_, err := x.exec(ctx, q)
	return err
}

// read runs fn in a snapshot.
func (d *DB) read(ctx context.Context, fn func(*tx) error) error {
	opts := d.dialect.snapshot
	t, err := d.r.BeginTx(ctx, &opts)
	if err != nil {
		return fmt.Errorf("beginning a ledger snapshot: %w", d.fault(err))
	}
	defer t.Rollback() //nolint:errcheck // it only ends the snapshot
	return fn(&tx{Tx: t, d: d.dialect})
}

// exec runs a statement and returns how many rows it changed.
func (x *tx) exec(ctx context.Context, query string, args ...any) (int64, error) {
	res, err := x.ExecContext(ctx, x.d.rebind(query), args...)
	if err != nil {
		return 0, x.wrap(query, err)
	}
	n, err := res.RowsAffected()
	return n, x.wrap(query, err)
}

// one scans the first row and tells whether there was one.
func (x *tx) one(ctx context.Context, dest []any, query string, args ...any) (bool, error) {
	err := x.QueryRowContext(ctx, x.d.rebind(query), args...).Scan(dest...)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, x.wrap(query, err)
}

// each calls scan on every row.
func (x *tx) each(ctx context.Context, scan func(*sql.Rows) error, query string, args ...any) error {
	rows, err := x.QueryContext(ctx, x.d.rebind(query), args...)
	if err != nil {
		return x.wrap(query, err)
	}
	defer rows.Close() //nolint:errcheck // Err is looked at
	for rows.Next() {
		if err := scan(rows); err != nil {
			return x.wrap(query, err)
		}
	}
	return x.wrap(query, rows.Err())
}

// list reads all rows of a query.
func list[T any](ctx context.Context, x *tx, scan func(*sql.Rows) (T, error), query string, args ...any) (all []T, err error) {
	err = x.each(ctx, func(r *sql.Rows) error {
		one, err := scan(r)
		all = append(all, one)
		return err
	}, query, args...)
	return all, err
}

// wrap names the statement by its first words: verb and table.
func (x *tx) wrap(query string, err error) error {
	if err == nil {
		return nil
	}
	words := strings.Fields(query)
	return fmt.Errorf("running %q on the ledger: %w", strings.Join(words[:min(4, len(words))], " "), x.d.classify(err))
}

func (x *tx) now(ctx context.Context) (int64, error) {
	at, err := x.d.now(ctx, x.Tx)
	return at, x.wrap("SELECT clock", err)
}

// moment turns a stored time into a time; 0 and NULL are the zero time.
func moment(us sql.NullInt64) time.Time {
	if us.Int64 == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us.Int64).UTC()
}

func flag(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

func orEmpty(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
