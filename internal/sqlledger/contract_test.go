package sqlledger_test

import (
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/ledger/ledgertest"
	"github.com/pinflow/pinflow/internal/prove"
	"github.com/pinflow/pinflow/internal/sqlledger"
)

func open(t *testing.T) ledger.Ledger {
	t.Helper()
	db, err := sqlledger.Open(t.Context(), filepath.Join(t.TempDir(), "ledger.db"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func TestContract(t *testing.T) { ledgertest.Run(t, open, prove.SQLite) }
