package icelake

import (
	"context"
	"fmt"
	"strings"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"

	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
)

// Expire is the commit that drops old snapshots; then it deletes what no snapshot names any more.
//
// A metadata file may be deleted if it was there before this commit and the table does not name it now:
// whatever attempt wrote it carried a number that can no longer land. So what a crash left behind goes
// with the next expiry, and no clock is asked. Data files go only if a snapshot that was dropped knew
// them and none that stayed does; those of open writes and intents are in no snapshot yet.
func (l *Lake) Expire(ctx context.Context, in *ledger.Intent, keep lake.Retention) (lake.Landed, error) {
	before, err := l.metadataFiles(ctx, in.Table)
	if err != nil {
		return lake.Landed{}, err
	}
	landed, err := l.commit(ctx, in, func(_ *table.Table, tx *table.Transaction) error {
		return tx.ExpireSnapshots(table.WithPostCommit(false), table.WithRetainLast(keep.Keep), table.WithOlderThan(keep.Age))
	})
	if err != nil {
		return landed, err
	}
	if err := l.clean(ctx, in.Table, before); err != nil { // the next expiry tries again
		l.log.WarnContext(ctx, "old metadata is left for the next expiry", "table", in.Table, "error", err)
	}
	return landed, nil
}

func (l *Lake) metadataFiles(ctx context.Context, name string) ([]string, error) {
	tbl, err := l.cat.load(ctx, name)
	if err != nil {
		return nil, err
	}
	files, err := l.files.List(tbl.Location() + "/metadata")
	if err != nil {
		return nil, fmt.Errorf("listing metadata of table %s: %w", name, err)
	}
	return files, nil
}

// clean deletes those of the metadata files that the table does not name, data files first: until its
// manifest is gone, a dropped data file is found again.
func (l *Lake) clean(ctx context.Context, name string, files []string) error {
	tbl, err := l.cat.load(ctx, name)
	if err != nil {
		return err
	}
	named := map[string]bool{tbl.MetadataLocation(): true}
	for e := range tbl.Metadata().PreviousFiles() {
		named[e.MetadataFile] = true
	}
	manifests := map[string]iceberg.ManifestFile{}
	for _, s := range tbl.Metadata().Snapshots() {
		named[s.ManifestList] = true
		list, err := s.Manifests(l.files)
		if err != nil {
			return fmt.Errorf("reading manifest list %s: %w", s.ManifestList, err)
		}
		for _, m := range list {
			named[m.FilePath()] = true
			manifests[m.FilePath()] = m
		}
	}
	var loose []string
	for _, f := range files {
		if !named[f] {
			loose = append(loose, f)
		}
	}
	if err := l.cleanData(tbl, loose, manifests); err != nil {
		return err
	}
	for _, f := range loose {
		if err := l.files.Remove(f); err != nil {
			return fmt.Errorf("removing %s: %w", f, err)
		}
	}
	return nil
}

// cleanData deletes the data files that some manifest marks as deleted, unless a named one holds them.
func (l *Lake) cleanData(tbl *table.Table, loose []string, named map[string]iceberg.ManifestFile) error {
	dropped := map[string]bool{}
	drop := func(e iceberg.ManifestEntry) {
		if e.Status() == iceberg.EntryStatusDELETED {
			dropped[e.DataFile().FilePath()] = true
		}
	}
	for _, at := range loose {
		if !isManifest(at) {
			continue
		}
		if err := l.entries(at, drop); err != nil {
			// A torn file that a crash left: it never was part of the table.
			l.log.Info("skipping an unreadable manifest", "path", at, "error", err)
		}
	}
	for _, m := range named { // appends carry them on until they are merged
		if m.DeletedDataFiles() == 0 {
			continue
		}
		if err := l.entries(m.FilePath(), drop); err != nil {
			return fmt.Errorf("reading manifest %s: %w", m.FilePath(), err)
		}
	}
	if len(dropped) == 0 {
		return nil
	}
	for _, m := range named {
		for e, err := range m.Entries(l.files, true) {
			if err != nil {
				return fmt.Errorf("reading manifest %s: %w", m.FilePath(), err)
			}
			delete(dropped, e.DataFile().FilePath())
		}
	}
	for at := range dropped {
		if !strings.HasPrefix(at, tbl.Location()+"/data/") {
			continue
		}
		if err := l.files.Remove(at); err != nil {
			return fmt.Errorf("removing data file %s: %w", at, err)
		}
	}
	return nil
}

// isManifest tells a manifest from a manifest list and a metadata file by its name.
func isManifest(at string) bool {
	name := at[strings.LastIndexByte(at, '/')+1:]
	return strings.HasSuffix(name, ".avro") && !strings.HasPrefix(name, "snap-")
}

// entries shows the entries of a manifest that no list names any more.
func (l *Lake) entries(at string, fn func(iceberg.ManifestEntry)) error {
	f, err := l.files.Open(at)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	m := iceberg.NewManifestFile(formatVersion, at, info.Size(), 0, 0).Build()
	all, err := iceberg.ReadManifest(m, f, false)
	if err != nil {
		return err
	}
	for _, e := range all {
		fn(e)
	}
	return nil
}
