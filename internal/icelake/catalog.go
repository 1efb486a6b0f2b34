package icelake

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"path"
	"strconv"
	"strings"
	"sync"

	"github.com/apache/iceberg-go"
	iceio "github.com/apache/iceberg-go/io"
	"github.com/apache/iceberg-go/table"
	_ "modernc.org/sqlite" // driver "sqlite"

	"github.com/pinflow/pinflow/internal/fault"
)

// Names that other engines need to read the tables. Catalog and namespace must differ: Spark takes a
// catalog's name first.
const (
	CatalogName = "pinflow"
	Namespace   = "lake"
)

// errRefused: the commit provably did not land. It wraps ErrCommitFailed, which is how iceberg-go
// knows that it may clean up what the commit wrote.
var errRefused = fmt.Errorf("commit refused: %w", table.ErrCommitFailed)

// catalog is Iceberg's SQL ("JDBC") catalog: the same two tables that iceberg-go, pyiceberg and Spark
// use, without the query builder and the five dialects that iceberg-go's own brings along.
type catalog struct {
	db        *sql.DB
	at        string                    // file or URL
	bind      func(query string) string // translates the placeholders ?
	lock      string                    // statement that keeps others from making the tables; "": needless
	files     storage
	warehouse string // URI without a slash at the end

	mu     sync.Mutex
	parsed map[string]parsed // by table
}

// parsed is a metadata file as read. A file never changes, so it is good for as long as it is named.
type parsed struct {
	at   string
	meta table.Metadata
}

const catalogTables = `
CREATE TABLE IF NOT EXISTS iceberg_tables (
	catalog_name VARCHAR NOT NULL, table_namespace VARCHAR NOT NULL, table_name VARCHAR NOT NULL,
	iceberg_type VARCHAR, metadata_location VARCHAR, previous_metadata_location VARCHAR,
	PRIMARY KEY (catalog_name, table_namespace, table_name));
CREATE TABLE IF NOT EXISTS iceberg_namespace_properties (
	catalog_name VARCHAR NOT NULL, namespace VARCHAR NOT NULL, property_key VARCHAR NOT NULL,
	property_value VARCHAR, PRIMARY KEY (catalog_name, namespace, property_key));`

// openCatalog opens or makes the catalog at a postgres:// URL or in a SQLite file.
func openCatalog(ctx context.Context, at string, files storage, warehouse string) (*catalog, error) {
	c := &catalog{at: at, files: files, warehouse: warehouse, parsed: map[string]parsed{}}
	open := c.openSQLite
	if IsPostgres(at) {
		open = c.openPostgres
	}
	if err := open(at); err != nil {
		return nil, err
	}
	if err := c.create(ctx); err != nil {
		return nil, errors.Join(c.unavailable("preparing the lake's catalog", err), c.db.Close())
	}
	return c, nil
}

// openSQLite opens the file: WAL, every commit synced, writers queue for 10 s.
func (c *catalog) openSQLite(file string) error {
	q := url.Values{"_pragma": {"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)"}, "_txlock": {"immediate"}}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: file}).EscapedPath()+"?"+q.Encode())
	if err != nil {
		return fmt.Errorf("opening catalog %s: %w", file, err)
	}
	c.db, c.bind = db, func(query string) string { return query }
	return nil
}

// create makes the tables. On PostgreSQL a lock keeps those who start together apart: IF NOT EXISTS alone
// fails when two make the same table at once.
func (c *catalog) create(ctx context.Context) error {
	tx, err := c.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // after a commit it does nothing
	for _, statement := range []string{c.lock, catalogTables} {
		if statement == "" {
			continue
		}
		if _, err := tx.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	if _, err = tx.ExecContext(ctx, c.bind(`INSERT INTO iceberg_namespace_properties VALUES (?, ?, 'exists', 'true')
		ON CONFLICT DO NOTHING`), CatalogName, Namespace); err != nil {
		return err
	}
	return tx.Commit()
}

// unavailable is a failure of the catalog's database that may pass.
func (c *catalog) unavailable(doing string, err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%s: %w", doing, err)
	}
	if known := refused(err); known != "" {
		return fault.New(fault.Config, "catalog_refused", "%s: the lake's catalog refuses this user: %s", doing, known).
			WithAdvice("check user, password, database and rights in lake.catalog")
	}
	if damaged(err) {
		return fault.New(fault.Corrupt, "catalog_corrupt", "%s: the catalog's file %s is damaged: %w", doing, c.at, err).
			WithAdvice("keep the file, then restore log, ledger and lake from one backup; or move it away and run: pinflow lake adopt").
			WithExit(fault.ExitInvalid)
	}
	return fault.New(fault.Transient, "catalog", "%s: %w", doing, err)
}

// locations returns the metadata location of every table of the namespace.
func (c *catalog) locations(ctx context.Context) (map[string]string, error) {
	rows, err := c.db.QueryContext(ctx, c.bind(`SELECT table_name, metadata_location FROM iceberg_tables
		WHERE catalog_name = ? AND table_namespace = ?`), CatalogName, Namespace)
	if err != nil {
		return nil, c.unavailable("listing tables", err)
	}
	defer rows.Close()
	all := map[string]string{}
	for rows.Next() {
		var name, at string
		if err := rows.Scan(&name, &at); err != nil {
			return nil, fmt.Errorf("listing tables: %w", err)
		}
		all[name] = at
	}
	return all, rows.Err()
}

// location returns where the table's metadata is; fault.Config no_table when there is no such table.
func (c *catalog) location(ctx context.Context, name string) (string, error) {
	var at string
	err := c.db.QueryRowContext(ctx, c.bind(`SELECT metadata_location FROM iceberg_tables
		WHERE catalog_name = ? AND table_namespace = ? AND table_name = ?`), CatalogName, Namespace, name).Scan(&at)
	if errors.Is(err, sql.ErrNoRows) {
		return "", fault.New(fault.Config, "no_table", "the lake has no table %s.%s", Namespace, name).WithExit(fault.ExitUsage)
	}
	if err != nil {
		return "", c.unavailable("looking up table "+name, err)
	}
	return at, nil
}

// load reads the table's newest metadata.
func (c *catalog) load(ctx context.Context, name string) (*table.Table, error) {
	// A commit may remove the metadata that the row named a moment ago (the oldest of a hundred), so a
	// reader that was very slow in between looks again.
	for try := 0; ; try++ {
		at, err := c.location(ctx, name)
		if err != nil {
			return nil, err
		}
		c.mu.Lock()
		p := c.parsed[name]
		c.mu.Unlock()
		if p.at == at {
			return table.New(ident(name), p.meta, at, c.io, nil), nil
		}
		t, err := table.NewFromLocation(ctx, ident(name), at, c.io, nil)
		if err == nil {
			c.keep(name, at, t.Metadata())
			return t, nil
		}
		if try == 2 || ctx.Err() != nil {
			return nil, fmt.Errorf("reading metadata of table %s: %w", name, err)
		}
	}
}

func (c *catalog) keep(name, at string, meta table.Metadata) {
	c.mu.Lock()
	c.parsed[name] = parsed{at, meta}
	c.mu.Unlock()
}

func (c *catalog) io(context.Context) (iceio.IO, error) { return c.files, nil }

func ident(name string) table.Identifier { return table.Identifier{Namespace, name} }

// createTable makes a table unless it is there.
func (c *catalog) createTable(ctx context.Context, name string, sc *iceberg.Schema, spec *iceberg.PartitionSpec, props iceberg.Properties) error {
	meta, err := table.NewMetadata(sc, spec, table.UnsortedSortOrder, c.warehouse+"/"+name, props)
	if err != nil {
		return fmt.Errorf("describing table %s: %w", name, err)
	}
	at, err := c.writeMetadata(meta, 0)
	if err != nil {
		return fmt.Errorf("writing metadata of table %s: %w", name, err)
	}
	res, err := c.db.ExecContext(ctx, c.bind(`INSERT INTO iceberg_tables VALUES (?, ?, ?, 'TABLE', ?, NULL)
		ON CONFLICT DO NOTHING`), CatalogName, Namespace, name, at)
	if err != nil {
		return c.unavailable("adding table "+name+" to the catalog", err)
	}
	if n, err := res.RowsAffected(); err == nil && n == 0 { // somebody else was faster
		return c.files.Remove(at)
	}
	return nil
}

// writeMetadata puts a table's metadata on the disk under a new name.
func (c *catalog) writeMetadata(meta table.Metadata, version int) (string, error) {
	provider, err := table.LoadLocationProvider(meta.Location(), meta.Properties())
	if err != nil {
		return "", err
	}
	at, err := provider.NewTableMetadataFileLocation(version)
	if err != nil {
		return "", err
	}
	doc, err := json.Marshal(meta)
	if err != nil {
		return "", err
	}
	return at, c.files.WriteFile(at, doc)
}

// numbered is the catalog as one commit sees it: it lets only commit n through, and only once.
type numbered struct {
	*catalog
	n int64
}

var _ table.CatalogIO = numbered{}

func (c numbered) LoadTable(ctx context.Context, id table.Identifier) (*table.Table, error) {
	return c.load(ctx, id[len(id)-1])
}

// CommitTable applies updates to the table as it is now. errRefused says that nothing changed; after
// any other error the outcome is unknown.
func (c numbered) CommitTable(ctx context.Context, id table.Identifier, reqs []table.Requirement, updates []table.Update) (table.Metadata, string, error) {
	return c.update(ctx, id[len(id)-1], append(reqs, follows(c.n)), updates)
}

// update changes a table's metadata, as CommitTable says.
func (c *catalog) update(ctx context.Context, name string, reqs []table.Requirement, updates []table.Update) (table.Metadata, string, error) {
	now, err := c.load(ctx, name)
	if err != nil {
		return nil, "", err
	}
	for _, r := range reqs {
		if err := r.Validate(now.Metadata()); err != nil {
			return nil, "", fmt.Errorf("%w: table %s: %w", errRefused, name, err)
		}
	}
	meta, err := table.UpdateTableMetadata(now.Metadata(), updates, now.MetadataLocation())
	if err != nil {
		return nil, "", fmt.Errorf("%w: table %s: %w", errRefused, name, err)
	}
	at, err := c.writeMetadata(meta, metadataVersion(now.MetadataLocation())+1)
	if err != nil {
		return nil, "", fmt.Errorf("%w: writing metadata of table %s: %w", errRefused, name, err)
	}
	res, err := c.db.ExecContext(ctx, c.bind(`UPDATE iceberg_tables SET iceberg_type = 'TABLE', metadata_location = ?,
		previous_metadata_location = ? WHERE catalog_name = ? AND table_namespace = ? AND table_name = ?
		AND metadata_location = ?`), at, now.MetadataLocation(), CatalogName, Namespace, name, now.MetadataLocation())
	if err != nil {
		return nil, "", fmt.Errorf("naming metadata of table %s in the catalog: %w", name, err)
	}
	n, err := res.RowsAffected()
	if err != nil {
		return nil, "", fmt.Errorf("naming metadata of table %s in the catalog: %w", name, err)
	}
	if n == 0 {
		return nil, "", errors.Join(fmt.Errorf("%w: table %s changed meanwhile", errRefused, name), c.files.Remove(at))
	}
	c.keep(name, at, meta)
	return meta, at, nil
}

// metadataVersion is the number that a metadata file's name begins with, 0 when it has none.
func metadataVersion(at string) int {
	digits, _, _ := strings.Cut(path.Base(at), "-")
	n, err := strconv.Atoi(digits)
	if err != nil {
		return 0
	}
	return n
}

// follows is the requirement that commit n comes right after commit n − 1.
type follows int64

var _ table.Requirement = follows(0)

func (follows) GetType() string { return "pinflow-assert-commit-seq" }

func (n follows) Validate(m table.Metadata) error {
	if m == nil {
		return errors.New("there is no such table")
	}
	if at := m.Properties().GetInt64(propSeq, 0); at != int64(n)-1 {
		return fmt.Errorf("commit %d does not follow commit %d", int64(n), at)
	}
	return nil
}
