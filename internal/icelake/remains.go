package icelake

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/apache/iceberg-go"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/pinflow/pinflow/internal/fault"
)

// Remains is what is there of a lake. Looking makes and writes nothing.
type Remains struct {
	Named  map[string]string // by table, the metadata that the catalog names; empty: no catalog, or one without tables
	Newest map[string]string // by table, the newest metadata in the warehouse; nil: not asked for
	files  storage
	close  func()
}

// Look looks at the catalog, and with deep at all of the warehouse. To be closed.
func Look(ctx context.Context, cfg Config, deep bool) (*Remains, error) {
	w, err := findWarehouse(cfg, hostFS{})
	if fault.CodeOf(err) == "no_bucket" { // nothing is in it
		w, err = &warehouse{close: func() {}}, nil
	}
	if err != nil {
		return nil, err
	}
	r := &Remains{files: w.files, close: w.close}
	if r.Named, err = peekCatalog(ctx, cfg.Catalog); err != nil {
		return nil, errors.Join(err, w.closed())
	}
	if deep && w.files != nil {
		if r.Newest, err = newestMetadata(w.files, w.uri); err != nil {
			return nil, errors.Join(err, w.closed())
		}
	}
	return r, nil
}

// Close ends requests that still wait.
func (r *Remains) Close() { r.close() }

// Seq is the number of the newest commit in a metadata file.
func (r *Remains) Seq(at string) (int64, error) {
	doc, err := r.files.ReadFile(at)
	if err != nil {
		return 0, fmt.Errorf("reading metadata %s: %w", at, err)
	}
	var meta struct {
		Properties iceberg.Properties `json:"properties"`
	}
	if err := json.Unmarshal(doc, &meta); err != nil {
		return 0, fmt.Errorf("reading metadata %s: %w", at, err)
	}
	return meta.Properties.GetInt64(propSeq, 0), nil
}

// newestMetadata finds the newest metadata file of each folder of the warehouse that is whole: a crash may have
// torn the last one. Of two of one number, which attempts at one commit leave, the younger counts.
func newestMetadata(files storage, warehouse string) (map[string]string, error) {
	all := map[string][]found{}
	err := files.walk(warehouse+"/", true, func(f found) error {
		table, name, ok := strings.Cut(strings.TrimPrefix(f.at, warehouse+"/"), "/metadata/")
		if ok && !strings.Contains(table, "/") && strings.HasSuffix(name, metadataSuffix) {
			all[table] = append(all[table], f)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing warehouse %s: %w", warehouse, err)
	}
	newest := make(map[string]string, len(all))
	for table, some := range all {
		slices.SortFunc(some, func(a, b found) int {
			return cmp.Or(cmp.Compare(metadataVersion(b.at), metadataVersion(a.at)), b.modified.Compare(a.modified))
		})
		for _, f := range some {
			doc, err := files.ReadFile(f.at)
			if err != nil {
				return nil, fmt.Errorf("reading metadata %s: %w", f.at, err)
			}
			if json.Valid(doc) {
				newest[table] = f.at
				break
			}
		}
	}
	return newest, nil
}

const metadataSuffix = ".metadata.json"

// CheckAge refuses a catalog that is older than its warehouse: it was restored without it. An attempt at a
// commit that a crash ended leaves metadata one newer than what the catalog names, never more.
func (l *Lake) CheckAge(ctx context.Context) error {
	tables, err := l.Tables(ctx)
	if err != nil {
		return err
	}
	for _, name := range tables {
		newest := ""
		files, err := l.metadataFiles(ctx, name) // before the catalog is asked: others may commit meanwhile
		if err != nil {
			return err
		}
		for _, f := range files {
			if strings.HasSuffix(f, metadataSuffix) && metadataVersion(f) > metadataVersion(newest) {
				newest = f
			}
		}
		at, err := l.cat.location(ctx, name)
		if err != nil {
			return err
		}
		if metadataVersion(newest) > metadataVersion(at)+1 {
			return fault.New(fault.Config, "catalog_behind", "the catalog is older than the warehouse: of table %s it names %s, the warehouse has %s",
				name, path.Base(at), path.Base(newest)).
				WithAdvice("restore log, ledger, catalog and warehouse from one backup; or give ledger and catalog an empty database and run: pinflow lake adopt")
		}
	}
	return nil
}

// peekCatalog reads the metadata locations without making a catalog.
func peekCatalog(ctx context.Context, at string) (map[string]string, error) {
	c := &catalog{at: at}
	tables := "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'iceberg_tables'"
	if IsPostgres(at) {
		tables = "SELECT count(*) FROM information_schema.tables WHERE table_schema = current_schema() AND table_name = 'iceberg_tables'"
		if err := c.openPostgres(at); err != nil {
			return nil, err
		}
	} else {
		abs, err := filepath.Abs(at)
		if err != nil {
			return nil, fmt.Errorf("finding catalog %s: %w", at, err)
		}
		if _, err := os.Stat(abs); errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		c.bind = func(query string) string { return query }
		q := url.Values{"mode": {"ro"}, "_pragma": {"busy_timeout(10000)"}}
		if c.db, err = sql.Open("sqlite", "file:"+(&url.URL{Path: abs}).EscapedPath()+"?"+q.Encode()); err != nil {
			return nil, fmt.Errorf("opening catalog %s: %w", at, err)
		}
	}
	defer c.db.Close() //nolint:errcheck // it was only read
	var n int64
	if err := c.db.QueryRowContext(ctx, tables).Scan(&n); err != nil {
		return nil, c.unavailable("looking at the lake's catalog", err)
	}
	if n == 0 {
		return nil, nil
	}
	return c.locations(ctx)
}

// damaged tells whether SQLite says that the file is torn or is no database.
func damaged(err error) bool {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return false
	}
	code := e.Code() & 0xff
	return code == sqlite3.SQLITE_CORRUPT || code == sqlite3.SQLITE_NOTADB
}
