package sqlledger_test

import (
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/ledger/ledgertest"
	"github.com/pinflow/pinflow/internal/prove"
	"github.com/pinflow/pinflow/internal/sqlledger"
	"github.com/pinflow/pinflow/internal/testbed"
)

func open(t *testing.T, dsn string) ledger.Ledger {
	t.Helper()
	db, err := sqlledger.Open(t.Context(), dsn, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func TestContract(t *testing.T) {
	ledgertest.Run(t, func(t *testing.T) ledger.Ledger {
		return open(t, filepath.Join(t.TempDir(), "ledger.db"))
	}, prove.SQLite)
}

func TestContractOnPostgres(t *testing.T) {
	ledgertest.Run(t, func(t *testing.T) ledger.Ledger { return open(t, testbed.Postgres(t)) }, prove.Postgres)
}
