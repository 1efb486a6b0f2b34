package sqlledger

import (
	"context"
	"database/sql/driver"
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/ledger/ledgertest"
	"github.com/pinflow/pinflow/internal/testbed"
)

func TestFaults(t *testing.T) {
	faults(t, func(t *testing.T) string { return filepath.Join(t.TempDir(), "ledger.db") })
}

func TestFaultsOnPostgres(t *testing.T) {
	faults(t, func(t *testing.T) string { return testbed.Postgres(t) })
}

func faults(t *testing.T, dsn func(*testing.T) string) {
	ledgertest.RunFaults(t, func(t *testing.T, f *ledgertest.Faults) ledger.Ledger {
		db, err := open(t.Context(), dsn(t), slog.New(slog.DiscardHandler),
			func(c driver.Connector) driver.Connector { return faultyConnector{c, f} })
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = db.Close() })
		return db
	})
}

// faultyConnector puts faults between database/sql and the driver.
type faultyConnector struct {
	driver.Connector
	f *ledgertest.Faults
}

// conn is what the driver's connections can do and this program needs.
type conn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ExecerContext
	driver.QueryerContext
}

func (c faultyConnector) Connect(ctx context.Context) (driver.Conn, error) {
	inner, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &faultyConn{inner.(conn), c.f}, nil
}

type faultyConn struct {
	conn
	f *ledgertest.Faults
}

func (c *faultyConn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	if err := c.f.Call(); err != nil {
		return nil, err
	}
	t, err := c.conn.BeginTx(ctx, opts)
	if err != nil {
		return nil, err
	}
	return &faultyTx{t, c.f}, nil
}

func (c *faultyConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	if err := c.f.Call(); err != nil {
		return nil, err
	}
	return c.conn.ExecContext(ctx, query, args)
}

func (c *faultyConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	if err := c.f.Call(); err != nil {
		return nil, err
	}
	return c.conn.QueryContext(ctx, query, args)
}

type faultyTx struct {
	driver.Tx
	f *ledgertest.Faults
}

func (t *faultyTx) Commit() error { return t.f.Commit(t.Tx.Commit, t.Rollback) }
