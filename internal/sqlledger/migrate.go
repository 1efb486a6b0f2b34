package sqlledger

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"
	"log/slog"
	"path"
	"strconv"
	"strings"

	"github.com/pinflow/pinflow/internal/fault"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// A migration is a file NNNN_name.sql whose first line is "-- min-binary: N": the newest migration that
// a binary must know to work on a ledger that has this one. So a release runs on the ledger of the next
// one as long as that only expanded it.
type migration struct {
	number    int64
	minBinary int64
	name      string
	text      string
}

const createMigrations = `CREATE TABLE migrations (
  number INTEGER PRIMARY KEY, name TEXT NOT NULL, min_binary INTEGER NOT NULL, applied_at INTEGER NOT NULL) STRICT`

func migrationsIn(files fs.FS) ([]migration, error) {
	names, err := fs.Glob(files, "migrations/*.sql") // sorted
	if err != nil {
		return nil, err
	}
	var all []migration
	for _, name := range names {
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, err
		}
		m := migration{name: strings.TrimSuffix(path.Base(name), ".sql"), text: string(text)}
		number, _, _ := strings.Cut(m.name, "_")
		if m.number, err = strconv.ParseInt(number, 10, 64); err != nil || m.number != int64(len(all)+1) {
			return nil, fmt.Errorf("migration %s: its number must be %d", name, len(all)+1)
		}
		first, _, _ := strings.Cut(m.text, "\n")
		oldest, ok := strings.CutPrefix(first, "-- min-binary: ")
		if m.minBinary, err = strconv.ParseInt(oldest, 10, 64); !ok || err != nil {
			return nil, fmt.Errorf("migration %s: its first line must say -- min-binary: N", name)
		}
		all = append(all, m)
	}
	return all, nil
}

func migrate(ctx context.Context, d *DB, log *slog.Logger) error {
	all, err := migrationsIn(migrationFiles)
	if err != nil {
		return fmt.Errorf("reading migrations: %w", err)
	}
	return migrateTo(ctx, d, log, all)
}

// migrateTo applies what is missing in one transaction, so that a crash leaves the old tables.
func migrateTo(ctx context.Context, d *DB, log *slog.Logger, all []migration) error {
	return d.write(ctx, migrations, func(x *tx) error {
		if err := ownTables(ctx, x); err != nil {
			return err
		}
		newest, err := newestApplied(ctx, x, int64(len(all)))
		if err != nil {
			return err
		}
		at, err := x.now(ctx)
		if err != nil {
			return err
		}
		for _, m := range all {
			if m.number <= newest {
				continue
			}
			if err := apply(ctx, x, m, at); err != nil {
				return err
			}
			log.Info("applied ledger migration", "name", m.name)
		}
		return nil
	})
}

// ownTables makes the table of applied names in an empty database, and refuses one that is not ours.
func ownTables(ctx context.Context, x *tx) error {
	var tables, ours int64
	if _, err := x.one(ctx, []any{&tables}, x.d.tables); err != nil {
		return err
	}
	if _, err := x.one(ctx, []any{&ours}, x.d.tables+" AND "+x.d.tableName+" = 'migrations'"); err != nil {
		return err
	}
	if ours > 0 {
		return nil
	}
	if tables > 0 {
		return fault.New(fault.Config, "not_a_ledger", "the ledger's database holds tables that are not pinflow's").
			WithAdvice("set ledger.dsn to a database of its own")
	}
	_, err := x.exec(ctx, x.d.ddl.Replace(createMigrations))
	return err
}

func newestApplied(ctx context.Context, x *tx, known int64) (int64, error) {
	var newest, needs sql.NullInt64
	if _, err := x.one(ctx, []any{&newest, &needs}, "SELECT max(number), max(min_binary) FROM migrations"); err != nil {
		return 0, err
	}
	if needs.Int64 > known {
		return 0, fault.New(fault.Config, "ledger_newer",
			"the ledger was written by a newer pinflow (its tables are version %d, this one knows %d)", newest.Int64, known).
			WithAdvice("run the newer version, or restore a backup of the ledger")
	}
	return newest.Int64, nil
}

func apply(ctx context.Context, x *tx, m migration, at int64) error {
	for _, stmt := range strings.Split(x.d.ddl.Replace(uncomment(m.text))+x.d.extra[m.number], ";") {
		if strings.TrimSpace(stmt) == "" {
			continue
		}
		if _, err := x.exec(ctx, stmt); err != nil {
			return fmt.Errorf("applying ledger migration %s: %w", m.name, err)
		}
	}
	_, err := x.exec(ctx, "INSERT INTO migrations (number, name, min_binary, applied_at) VALUES (?, ?, ?, ?)",
		m.number, m.name, m.minBinary, at)
	return err
}

// uncomment drops the lines that are comments: they may hold a semicolon.
func uncomment(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "--") {
			b.WriteString(line)
		}
	}
	return b.String()
}
