// Package testbed gives tests the real servers that a script started beside them: PostgreSQL
// (scripts/with-postgres) and S3 (scripts/with-s3). A test without its server is skipped, and says which
// script brings it; make test runs under both. Seed is what a test with random input draws from.
package testbed

import (
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/google/uuid"
	_ "github.com/jackc/pgx/v5/stdlib" // driver "pgx"
)

// Postgres returns the URL of an empty schema of its own in the PostgreSQL that runs beside the tests.
// It is dropped when the test ends.
func Postgres(t testing.TB) string {
	t.Helper()
	base := os.Getenv("TESTBED_POSTGRES")
	if base == "" {
		t.Skip("no PostgreSQL: run the tests under scripts/with-postgres")
	}
	name := "t" + strings.ReplaceAll(uuid.NewString(), "-", "")
	run := func(statement string) {
		db, err := sql.Open("pgx", base)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close() //nolint:errcheck // one statement
		if _, err := db.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	run("CREATE SCHEMA " + name)
	t.Cleanup(func() { run("DROP SCHEMA IF EXISTS " + name + " CASCADE") })
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(fmt.Errorf("reading TESTBED_POSTGRES: %w", err))
	}
	q := u.Query()
	q.Set("search_path", name)
	u.RawQuery = q.Encode()
	return u.String()
}
