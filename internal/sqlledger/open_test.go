package sqlledger

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/ledger"
)

var quiet = slog.New(slog.DiscardHandler)

// wantFault also checks that the message is one line that says what to do.
func wantFault(t *testing.T, err error, kind fault.Kind, code string) {
	t.Helper()
	if fault.KindOf(err) != kind || fault.CodeOf(err) != code {
		t.Fatalf("got %v (%v, %q), want %v, %q", err, fault.KindOf(err), fault.CodeOf(err), kind, code)
	}
	var e *fault.Error
	if strings.Contains(err.Error(), "\n") || errors.As(err, &e) && e.Advice == "" && kind != fault.Transient {
		t.Fatalf("not one clear line: %q", err)
	}
	t.Log(err)
}

func tempLedger(t *testing.T) (*DB, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ledger.db")
	db, err := Open(t.Context(), path, quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db, path
}

func addStream(ctx context.Context, db *DB, name string) error {
	return db.Apply(ctx, ledger.Change{Stream: name, Schema: &event.Stream{Name: name}})
}

func TestOpenMakesTheFolderAndFindsItsDataAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a b", "c?d#e%20", "ledger.db")
	for range 2 {
		db, err := Open(t.Context(), path, quiet)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(path); err != nil {
			t.Fatal(err)
		}
		epochs, err := db.Epochs(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if epochs["pin"] == 0 {
			if err := addStream(t.Context(), db, "pin"); err != nil {
				t.Fatal(err)
			}
		}
		var mode string
		var level int
		if err := db.w.QueryRow("PRAGMA journal_mode").Scan(&mode); err != nil || mode != "wal" {
			t.Fatalf("journal mode %q, %v", mode, err)
		}
		if err := db.w.QueryRow("PRAGMA synchronous").Scan(&level); err != nil || level != 2 {
			t.Fatalf("synchronous %d, %v", level, err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNotWritable(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(file, "ledger.db"), dir, "/proc/none/ledger.db"} {
		_, err := Open(t.Context(), path, quiet)
		wantFault(t, err, fault.Config, "not_writable")
	}
}

func TestNotADatabase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	junk := bytes.Repeat([]byte("not a database "), 1000)
	if err := os.WriteFile(path, junk, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(t.Context(), path, quiet)
	wantFault(t, err, fault.Corrupt, "ledger_corrupt")
	if now, _ := os.ReadFile(path); !bytes.Equal(now, junk) {
		t.Fatal("the bytes were not kept")
	}
}

func TestTornPages(t *testing.T) {
	db, path := tempLedger(t)
	if err := addStream(t.Context(), db, "pin"); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := 2 * 4096; i < len(data); i += 4096 {
		copy(data[i:], bytes.Repeat([]byte{0xff}, 2000))
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = Open(t.Context(), path, quiet)
	wantFault(t, err, fault.Corrupt, "ledger_corrupt")
}

func TestForeignDatabase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "catalog.db")
	other, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Exec("CREATE TABLE iceberg_tables (x)"); err != nil {
		t.Fatal(err)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = Open(t.Context(), path, quiet)
	wantFault(t, err, fault.Config, "not_a_ledger")
}

func TestDiskFull(t *testing.T) {
	db, _ := tempLedger(t)
	if err := addStream(t.Context(), db, "pin"); err != nil {
		t.Fatal(err)
	}
	id, err := db.Open(t.Context(), ledger.Write{Kind: ledger.Flush, Stream: "pin"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.w.Exec("PRAGMA max_page_count = 200"); err != nil {
		t.Fatal(err)
	}
	seg := []ledger.Segment{{Tier: "minute", Data: make([]byte, 1<<20)}}
	wantFault(t, db.AddSegments(t.Context(), id, seg), fault.Transient, "disk_full")
	if _, err := db.w.Exec("PRAGMA max_page_count = 100000"); err != nil {
		t.Fatal(err)
	}
	if err := db.AddSegments(t.Context(), id, seg); err != nil { // there is space again
		t.Fatal(err)
	}
}

func TestBusy(t *testing.T) {
	db, path := tempLedger(t)
	other, err := sqlitePool(path, "_txlock=immediate", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close() //nolint:errcheck // read by nobody
	tx, err := other.Begin()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.w.Exec("PRAGMA busy_timeout = 1"); err != nil {
		t.Fatal(err)
	}
	wantFault(t, addStream(t.Context(), db, "pin"), fault.Transient, "ledger_busy")
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := addStream(t.Context(), db, "pin"); err != nil {
		t.Fatal(err)
	}
}

func TestEndedContext(t *testing.T) {
	db, _ := tempLedger(t)
	ctx, cancel := context.WithCancel(t.Context())
	err := db.write(ctx, noLock, func(x *tx) error {
		if _, err := x.exec(ctx, "INSERT INTO streams (name, created_at) VALUES ('pin', 0)"); err != nil {
			return err
		}
		cancel()
		return nil
	})
	if !errors.Is(err, context.Canceled) || fault.Is(err, fault.Ambiguous) {
		t.Fatalf("got %v", err)
	}
	if err := addStream(t.Context(), db, "pin"); err != nil { // it was rolled back, the connection is free
		t.Fatal(err)
	}
}

func TestMigrations(t *testing.T) {
	ctx := t.Context()
	db, path := tempLedger(t)
	all, err := migrationsIn(migrationFiles)
	if err != nil {
		t.Fatal(err)
	}
	next := migration{number: int64(len(all) + 1), name: "next", text: "CREATE TABLE more (x INTEGER) STRICT;"}

	// A failing one leaves the ledger as it was.
	broken := next
	broken.minBinary = next.number
	broken.text += "CREATE TABLE more (x INTEGER) STRICT;"
	if err := migrateTo(ctx, db, quiet, append(all, broken)); err == nil {
		t.Fatal("a broken migration was applied")
	}

	// The next release's migration only expands: this binary goes on with the ledger.
	next.minBinary = int64(len(all))
	if err := migrateTo(ctx, db, quiet, append(all, next)); err != nil {
		t.Fatal(err)
	}
	again, err := Open(ctx, path, quiet)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}

	// One that this binary would not understand: refused, and nothing is touched.
	later := migration{number: next.number + 1, minBinary: next.number + 1, name: "later", text: "DROP TABLE more;"}
	if err := migrateTo(ctx, db, quiet, append(all, next, later)); err != nil {
		t.Fatal(err)
	}
	_, err = Open(ctx, path, quiet)
	wantFault(t, err, fault.Config, "ledger_newer")
}

func TestMigrationFilesAreNumbered(t *testing.T) {
	for name, files := range map[string]fstest.MapFS{
		"gap":       {"migrations/0002_x.sql": {Data: []byte("-- min-binary: 1\n")}},
		"no number": {"migrations/x.sql": {Data: []byte("-- min-binary: 1\n")}},
		"no header": {"migrations/0001_x.sql": {Data: []byte("CREATE TABLE t (x);\n")}},
	} {
		if _, err := migrationsIn(files); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestPostgresDialect(t *testing.T) {
	if got := numberPlaceholders("a = ? AND b IN (?, ?)"); got != "a = $1 AND b IN ($2, $3)" {
		t.Fatal(got)
	}
	all, err := migrationsIn(migrationFiles)
	if err != nil {
		t.Fatal(err)
	}
	ddl := postgresDialect().ddl.Replace(uncomment(all[0].text))
	for _, word := range []string{"STRICT", "AUTOINCREMENT", "INTEGER", "BLOB"} {
		if strings.Contains(ddl, word) {
			t.Errorf("%s is left in the PostgreSQL tables", word)
		}
	}
	_, err = Open(t.Context(), "postgres://u:hunter2@h:port/d", quiet)
	wantFault(t, err, fault.Config, "bad_dsn")
	if strings.Contains(err.Error(), "hunter2") {
		t.Fatalf("the password is in %q", err)
	}
	_, err = Open(t.Context(), "postgres://u:hunter2@127.0.0.1:1/d?connect_timeout=5", quiet)
	wantFault(t, err, fault.Transient, "ledger_unreachable")
	if strings.Contains(err.Error(), "hunter2") {
		t.Fatalf("the password is in %q", err)
	}
	_, err = Open(t.Context(), "", quiet)
	wantFault(t, err, fault.Config, "bad_dsn")
}

// Processes that start together on a new data folder make the tables once, and then share the file.
func TestOpenTogether(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	const handles = 8
	errs := make([]error, handles)
	var wg sync.WaitGroup
	for i := range handles {
		wg.Go(func() {
			db, err := Open(t.Context(), path, quiet)
			if err == nil {
				err = errors.Join(addStream(t.Context(), db, fmt.Sprintf("s%d", i)), db.Close())
			}
			errs[i] = err
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	db, err := Open(t.Context(), path, quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close() //nolint:errcheck // the end of the test
	epochs, err := db.Epochs(t.Context())
	if err != nil || len(epochs) != handles {
		t.Fatalf("%d streams, %v", len(epochs), err)
	}
}
