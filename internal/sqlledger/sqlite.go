package sqlledger

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/pinflow/pinflow/internal/fault"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// sqliteDialect is SQLite in a file of this host: BEGIN IMMEDIATE excludes other writers, and the
// database's clock is the host's.
func sqliteDialect(path string) *dialect {
	return &dialect{
		name:       "sqlite",
		ddl:        strings.NewReplacer(),
		rebind:     keepPlaceholders,
		snapshot:   sql.TxOptions{ReadOnly: true}, // the driver then says BEGIN DEFERRED: in WAL a snapshot
		nextSeal:   "(SELECT coalesce(max(seal), 0) + 1 FROM writes)",
		newestSeal: "SELECT coalesce(max(seal), 0) FROM writes",
		tables:     "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
		tableName:  "name",
		now:        func(context.Context, *sql.Tx) (int64, error) { return time.Now().UnixMicro(), nil },
		classify:   func(err error) error { return classifySQLite(path, err) },
		unclear:    unclearSQLite,
	}
}

// wrapper lets a test put itself between database/sql and the driver.
type wrapper func(driver.Connector) driver.Connector

// openSQLite opens the file with one connection for writes and a pool of snapshots for reads.
func openSQLite(ctx context.Context, path string, wrap wrapper) (*DB, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("finding the ledger file: %w", err)
	}
	if err := writable(abs); err != nil {
		return nil, err
	}
	d := &DB{dialect: sqliteDialect(abs)}
	if d.w, err = sqlitePool(abs, "_txlock=immediate", wrap); err != nil {
		return nil, err
	}
	d.w.SetMaxOpenConns(1)
	if err := checkSQLite(ctx, d, abs); err != nil {
		return nil, errors.Join(err, d.w.Close())
	}
	if d.r, err = sqlitePool(abs, "_pragma=query_only(1)", wrap); err != nil {
		return nil, errors.Join(err, d.w.Close())
	}
	d.r.SetMaxOpenConns(max(4, runtime.NumCPU()))
	d.r.SetMaxIdleConns(max(4, runtime.NumCPU()))
	return d, nil
}

func sqlitePool(abs, extra string, wrap wrapper) (*sql.DB, error) {
	return sqliteFile(abs, extra+"&_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)"+
		"&_pragma=foreign_keys(1)&_pragma=journal_size_limit(67108864)&_pragma=cache_size(-16384)", wrap)
}

func sqliteFile(abs, how string, wrap wrapper) (*sql.DB, error) {
	dsn := "file:" + (&url.URL{Path: abs}).EscapedPath() + "?" + how + "&_error_rc=1"
	c, err := sqlite.NewConnector(dsn)
	if err != nil {
		return nil, classifySQLite(abs, err)
	}
	if wrap != nil {
		return sql.OpenDB(wrap(c)), nil
	}
	return sql.OpenDB(c), nil
}

// writable makes the folder and tries to open the file, because SQLite's own messages do not say which
// of folder, file and side files is the trouble.
func writable(abs string) error {
	dir := filepath.Dir(abs)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return notWritable(dir, err)
	}
	if fi, err := os.Stat(abs); err == nil && fi.IsDir() {
		return notWritable(abs, errors.New("it is a folder"))
	}
	f, err := os.OpenFile(abs, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return notWritable(abs, err)
	}
	return f.Close()
}

func notWritable(path string, err error) error {
	var pe *os.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	return fault.New(fault.Config, "not_writable", "the ledger cannot be written at %s: %w", path, err).
		WithAdvice("make the folder writable for this user, or set ledger.dsn (or --data) to another place")
}

// quickCheckBytes is the size up to which the whole file is checked at start (about 0.1 s).
const quickCheckBytes = 32 << 20

// checkSQLite touches the file for the first time: not a database, not a ledger, torn pages.
func checkSQLite(ctx context.Context, d *DB, abs string) error {
	if err := d.w.PingContext(ctx); err != nil {
		return fmt.Errorf("opening the ledger: %w", d.fault(err))
	}
	fi, err := os.Stat(abs)
	if err != nil || fi.Size() > quickCheckBytes {
		return nil
	}
	var said string
	if err := d.w.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&said); err != nil {
		return fmt.Errorf("checking the ledger: %w", d.fault(err))
	}
	if said != "ok" {
		return ledgerCorrupt(abs, errors.New(strings.Join(strings.Fields(said), " ")))
	}
	return nil
}

func ledgerCorrupt(path string, err error) error {
	return fault.New(fault.Corrupt, "ledger_corrupt", "the ledger file %s is damaged: %w", path, err).
		WithAdvice("keep the file, then restore log, ledger and lake from one backup; or move it away and run: pinflow lake adopt").
		WithExit(fault.ExitInvalid)
}

// classifySQLite sorts SQLite's result codes (https://www.sqlite.org/rescode.html).
func classifySQLite(path string, err error) error {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return err
	}
	code := e.Code()
	if code == sqlite3.SQLITE_IOERR_SHMSIZE { // the shared-memory file could not grow
		code = sqlite3.SQLITE_FULL
	}
	switch code & 0xff {
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL:
		return fault.New(fault.Transient, "ledger_busy", "the ledger is busy: %w", err)
	case sqlite3.SQLITE_FULL:
		return fault.New(fault.Transient, "disk_full", "the disk that holds %s is full: %w", path, err).
			WithAdvice("free some space; work goes on by itself")
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return ledgerCorrupt(path, err)
	case sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM:
		return notWritable(path, err)
	case sqlite3.SQLITE_IOERR:
		return fault.New(fault.Unknown, "ledger_io", "reading or writing %s failed: %w", path, err).
			WithAdvice("check the disk")
	}
	return err
}

// unclearSQLite: a busy or full COMMIT has written no valid commit frame. An I/O error may come after
// the frame reached the file, and recovery may find it there; an ended context may hide one.
func unclearSQLite(err error) bool {
	var e *sqlite.Error
	return !errors.As(err, &e) || e.Code()&0xff == sqlite3.SQLITE_IOERR
}
