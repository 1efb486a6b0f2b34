package testbed

import (
	"path/filepath"
	"testing"

	"github.com/pinflow/pinflow/internal/prove"
)

// Place is where a test keeps its ledger and its lake.
type Place struct {
	On        []prove.Backend
	DSN       string // of the ledger
	Catalog   string
	Warehouse string
	S3        S3 // of a warehouse there; its bucket is to be made

	fresh func(t testing.TB) Place
}

// Fresh is another, empty place of the same kind.
func (p Place) Fresh(t testing.TB) Place { return p.fresh(t) }

// Local is a place in a folder: SQLite and the disk.
func Local(dir string) Place {
	return Place{
		On: []prove.Backend{prove.Disk, prove.SQLite}, DSN: filepath.Join(dir, "ledger.db"),
		Catalog: filepath.Join(dir, "catalog.db"), Warehouse: filepath.Join(dir, "warehouse"),
		fresh: func(t testing.TB) Place { return Local(t.TempDir()) },
	}
}

// Servers is a place on real servers: PostgreSQL and S3.
func Servers(t testing.TB) Place {
	t.Helper()
	dsn, s3 := Postgres(t), Bucket(t)
	return Place{
		On: []prove.Backend{prove.S3, prove.Postgres}, DSN: dsn, Catalog: dsn,
		Warehouse: "s3://" + s3.Bucket + "/lake", S3: s3, fresh: Servers,
	}
}

// Everywhere runs a test on the disk with SQLite, and on S3 with PostgreSQL.
func Everywhere(t *testing.T, test func(t *testing.T, p Place)) {
	t.Run("local", func(t *testing.T) { test(t, Local(t.TempDir())) })
	t.Run("servers", func(t *testing.T) { test(t, Servers(t)) })
}
