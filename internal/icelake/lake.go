package icelake

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"

	"github.com/pinflow/pinflow/internal/fault"
)

// Config says where a lake is.
type Config struct {
	Warehouse string // folder of the tables
	Catalog   string // file of the catalog's SQLite database, or a postgres:// URL
	Log       *slog.Logger
}

// Lake is the warehouse and its catalog. Its methods may be called from many goroutines; commits to
// one table must come one after the other (the catalog refuses others).
type Lake struct {
	cat   *catalog
	files storage
	log   *slog.Logger
}

// Open opens the lake, or makes an empty one. fault.Config lake_moved: the tables were written under
// another path than the warehouse's.
func Open(ctx context.Context, cfg Config) (*Lake, error) {
	return open(ctx, cfg, hostFS{})
}

func open(ctx context.Context, cfg Config, os fileSystem) (*Lake, error) {
	warehouse, err := filepath.Abs(cfg.Warehouse)
	if err != nil {
		return nil, fmt.Errorf("finding warehouse %s: %w", cfg.Warehouse, err)
	}
	at, dirs := cfg.Catalog, []string{warehouse}
	if !IsPostgres(at) {
		if at, err = filepath.Abs(cfg.Catalog); err != nil {
			return nil, fmt.Errorf("finding catalog %s: %w", cfg.Catalog, err)
		}
		dirs = append(dirs, filepath.Dir(at))
	}
	files := newDisk(os)
	for _, dir := range dirs {
		if err := files.mkdirAll(dir); err != nil {
			return nil, fault.New(fault.Config, "lake_folder", "making folder of the lake: %w", err).
				WithAdvice("make %s writable or set lake.warehouse to another folder", dir)
		}
	}
	cat, err := openCatalog(ctx, at, files, fileURI(warehouse))
	if err != nil {
		return nil, err
	}
	l := &Lake{cat: cat, files: files, log: cfg.Log}
	if err := l.checkPlace(ctx); err != nil {
		_ = cat.db.Close()
		return nil, err
	}
	return l, nil
}

// Close closes the catalog.
func (l *Lake) Close() error { return l.cat.db.Close() }

// checkPlace refuses a warehouse that was moved: Iceberg writes absolute paths into its metadata.
func (l *Lake) checkPlace(ctx context.Context) error {
	at, err := l.cat.locations(ctx)
	if err != nil {
		return err
	}
	for name, loc := range at {
		if !strings.HasPrefix(loc, l.cat.warehouse+"/") {
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
