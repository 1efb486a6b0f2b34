package icelake

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"

	"github.com/pinflow/pinflow/internal/fault"
)

// Config says where a lake is.
type Config struct {
	Warehouse string // folder or s3://bucket/prefix of the tables
	S3        S3     // of a warehouse there
	Catalog   string // file of the catalog's SQLite database, or a postgres:// URL
	Log       *slog.Logger
}

// Lake is the warehouse and its catalog. Its methods may be called from many goroutines; commits to
// one table must come one after the other (the catalog refuses others).
type Lake struct {
	cat    *catalog
	files  storage
	plans  storage // files as planning a scan sees them
	listed *bounded[listing]
	far    *far // how data files in a bucket are read; nil: they are on a disk
	log    *slog.Logger
	close  func()

	manifestBytes int64 // up to which manifests are merged

	spare  sync.Pool // of *filled: memory of scans that ended
	coders shelf

	mu   sync.Mutex
	seen map[string]*seen // by table
}

// Open opens the lake, or makes an empty one. fault.Config lake_moved: the tables were written under
// another path than the warehouse's; no_bucket: S3 has no such bucket, see Make.
func Open(ctx context.Context, cfg Config) (*Lake, error) {
	return open(ctx, cfg, hostFS{})
}

// Make makes what Open only finds: the bucket of a warehouse in S3, in its region. It tells whether there
// was none.
func Make(cfg Config) (bool, error) {
	if !isS3(cfg.Warehouse) {
		return false, nil
	}
	name, _, err := splitS3(cfg.Warehouse)
	if err != nil {
		return false, err
	}
	b, err := newBucket(cfg.S3, name, cfg.Log)
	if err != nil {
		return false, err
	}
	defer b.close()
	return b.make(cfg.S3.Region)
}

func open(ctx context.Context, cfg Config, os fileSystem) (*Lake, error) {
	w, err := findWarehouse(cfg, os)
	if err != nil {
		return nil, err
	}
	at := cfg.Catalog
	if !IsPostgres(at) {
		abs, err := filepath.Abs(cfg.Catalog)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("finding catalog %s: %w", cfg.Catalog, err), w.closed())
		}
		at, w.dirs = abs, append(w.dirs, filepath.Dir(abs))
	}
	for _, dir := range w.dirs {
		if err := newDisk(os).mkdirAll(dir); err != nil {
			return nil, fault.New(fault.Config, "lake_folder", "making folder of the lake: %w", err).
				WithAdvice("make %s writable or set lake.warehouse to another folder", dir)
		}
	}
	l := &Lake{log: cfg.Log, files: w.files, plans: w.plans, listed: newListings(), far: w.far, close: w.close, manifestBytes: manifestBytes, seen: map[string]*seen{}}
	if l.cat, err = openCatalog(ctx, at, l.files, w.uri); err != nil {
		return nil, errors.Join(err, w.closed())
	}
	if err := l.checkPlace(ctx); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// warehouse is a place of tables that was found.
type warehouse struct {
	uri   string // without a slash at the end
	files storage
	plans storage
	far   *far
	dirs  []string // folders that have to be made
	close func()
}

func (w *warehouse) closed() error { w.close(); return nil }

// findWarehouse makes nothing. fault.Config no_bucket: S3 has no such bucket.
func findWarehouse(cfg Config, os fileSystem) (*warehouse, error) {
	at := strings.TrimRight(cfg.Warehouse, "/")
	if !isS3(at) {
		abs, err := filepath.Abs(cfg.Warehouse)
		if err != nil {
			return nil, fmt.Errorf("finding warehouse %s: %w", cfg.Warehouse, err)
		}
		d := newDisk(os)
		return &warehouse{uri: fileURI(abs), files: d, plans: d, dirs: []string{abs}, close: func() {}}, nil
	}
	name, _, err := splitS3(at)
	if err != nil {
		return nil, err
	}
	b, err := newBucket(cfg.S3, name, cfg.Log)
	if err != nil {
		return nil, err
	}
	if err := b.check(); err != nil {
		b.close()
		return nil, err
	}
	return &warehouse{uri: at, files: b, plans: newManifestCache(b), far: newFar(b, usualReach), close: b.close}, nil
}

// Close closes the catalog and ends requests that still wait.
func (l *Lake) Close() error {
	l.close()
	return l.cat.db.Close()
}

// Answers asks catalog and warehouse once whether they are there: it tries nothing again.
func (l *Lake) Answers(ctx context.Context) error {
	if _, err := l.cat.locations(ctx); err != nil {
		return err
	}
	return l.files.answers(ctx, l.cat.warehouse)
}

// checkPlace refuses a warehouse that was moved: Iceberg writes absolute paths into its metadata.
func (l *Lake) checkPlace(ctx context.Context) error {
	at, err := l.cat.locations(ctx)
	if err != nil {
		return err
	}
	for name, loc := range at {
		if !strings.HasPrefix(plain(loc), plain(l.cat.warehouse)+"/") {
			was, _, _ := strings.Cut(loc, "/"+name+"/metadata/")
			return fault.New(fault.Config, "lake_moved", "table %s was written under %s, the warehouse is %s",
				name, was, l.cat.warehouse).
				WithAdvice("move the folder back, put a bind mount at its old path, or set lake.warehouse to the old path: the paths inside Iceberg's metadata are absolute")
		}
	}
	return nil
}

// Tables returns the names of the lake's tables.
func (l *Lake) Tables(ctx context.Context) ([]string, error) {
	at, err := l.cat.locations(ctx)
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(at))
	for name := range at {
		names = append(names, name)
	}
	return names, nil
}
