package e2e

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pinflow/pinflow/internal/prove"
	"github.com/pinflow/pinflow/internal/testbed"
)

// L7 on servers: a ledger or a catalog that was restored from an older copy of its database is noticed, also
// when both are of one moment and the warehouse is younger.
func TestRestoredDatabases(t *testing.T) {
	place := testbed.Servers(t)
	prove.Invariant(t, "L7", append(place.On, prove.EmbeddedLog)...)
	env := onServers(place)
	if r := pinflowIn(t, env, "init", "--infra"); r.code != 0 {
		t.Fatalf("init --infra: %d\n%s", r.code, r.stderr)
	}
	dir := t.TempDir()
	s := startIn(t, env, dir)
	s.post("pin", 5)
	s.stop()
	copyDatabase(t, place.DSN, "older")
	s = startIn(t, env, dir)
	s.post("pin", 5)
	s.post("pin", 5) // in commits of their own
	s.post("pin", 5)
	s.stop()

	with := func(dsn, catalog string) []string {
		at := place
		at.DSN, at.Catalog = dsn, catalog
		return onServers(at)
	}
	up := []string{"up", "--data", dir, "--listen", freePort(t), "--log-listen", freePort(t)}
	oldLedger, oldCatalog := copyOf(t, place.DSN, "older"), copyOf(t, place.Catalog, "older")
	refusedIn(t, with(oldLedger, place.Catalog), 3, []string{"the lake is ahead of the ledger", "restore", "pinflow lake adopt"}, up...)
	refusedIn(t, with(place.DSN, oldCatalog), 3, []string{"the catalog is older than the warehouse", "restore", "pinflow lake adopt"}, up...)
	refusedIn(t, with(oldLedger, oldCatalog), 3, []string{"the catalog is older than the warehouse", "restore", "pinflow lake adopt"}, up...)
	empty := copyOf(t, place.DSN, "empty")
	newSchema(t, place.DSN, schemaOf(t, empty))
	refusedIn(t, with(empty, empty), 3, []string{"its ledger in PostgreSQL is gone", "restore", "pinflow lake adopt"}, up...)
	refusedIn(t, with(empty, place.Catalog), 3, []string{"its ledger in PostgreSQL is gone", "restore", "pinflow lake adopt"}, up...)
	s = startIn(t, env, dir) // all of one moment, it goes on
	s.post("pin", 1)
	s.stop()
}

// copyDatabase makes a copy of what a URL's schema holds, as a backup is one.
func copyDatabase(t *testing.T, dsn, suffix string) {
	t.Helper()
	from, to := schemaOf(t, dsn), schemaOf(t, copyOf(t, dsn, suffix))
	c, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(t.Context()) //nolint:errcheck // it was only used here
	exec := func(statement string) {
		if _, err := c.Exec(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	newSchema(t, dsn, to)
	rows, err := c.Query(t.Context(), "SELECT tablename FROM pg_tables WHERE schemaname = $1", from)
	if err != nil {
		t.Fatal(err)
	}
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range tables {
		exec(fmt.Sprintf("CREATE TABLE %s.%s AS TABLE %s.%s", to, table, from, table))
	}
}

func newSchema(t *testing.T, dsn, name string) {
	t.Helper()
	c, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(t.Context()) //nolint:errcheck // it was only used here
	if _, err := c.Exec(t.Context(), "CREATE SCHEMA "+name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dropSchema(t, dsn, name) })
}

func dropSchema(t *testing.T, dsn, name string) {
	ctx := context.WithoutCancel(t.Context())
	c, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(ctx) //nolint:errcheck // it was only used here
	if _, err := c.Exec(ctx, "DROP SCHEMA IF EXISTS "+name+" CASCADE"); err != nil {
		t.Error(err)
	}
}

// copyOf is the URL of a copy.
func copyOf(t *testing.T, dsn, suffix string) string {
	t.Helper()
	return strings.Replace(dsn, schemaOf(t, dsn), schemaOf(t, dsn)+"_"+suffix, 1)
}

func schemaOf(t *testing.T, dsn string) string {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil || u.Query().Get("search_path") == "" {
		t.Fatalf("%v: no schema in %s", err, dsn)
	}
	return u.Query().Get("search_path")
}
