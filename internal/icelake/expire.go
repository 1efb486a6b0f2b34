package icelake

import (
	"context"
	"fmt"
	"hash/maphash"
	"slices"
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
	named := map[string]bool{plain(tbl.MetadataLocation()): true}
	for e := range tbl.Metadata().PreviousFiles() {
		named[plain(e.MetadataFile)] = true
	}
	manifests, was, err := l.namedManifests(name, tbl)
	if err != nil {
		return err
	}
	for _, s := range tbl.Metadata().Snapshots() {
		named[plain(s.ManifestList)] = true
	}
	for at := range manifests {
		named[plain(at)] = true
	}
	var loose []string
	for _, f := range files {
		if !named[plain(f)] {
			loose = append(loose, f)
		}
	}
	if err := l.cleanData(name, tbl, slices.DeleteFunc(slices.Clone(loose), func(at string) bool {
		m, known := was[at]
		return !isManifest(at) || known && m.DeletedDataFiles() == 0
	}), manifests); err != nil {
		return err
	}
	for _, f := range loose {
		if err := l.files.Remove(f); err != nil {
			return fmt.Errorf("removing %s: %w", f, err)
		}
	}
	return nil
}

// namedManifests are the manifests of all snapshots, and those that were known the last time. Lists never
// change, so each is read once: what an expiry costs does not grow with the snapshots that are kept.
func (l *Lake) namedManifests(name string, tbl *table.Table) (now, was map[string]iceberg.ManifestFile, err error) {
	s := l.seenOf(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	lists := map[string][]iceberg.ManifestFile{}
	now = map[string]iceberg.ManifestFile{}
	for _, snap := range tbl.Metadata().Snapshots() {
		list, known := s.lists[snap.ManifestList]
		if !known {
			if list, err = snap.Manifests(l.files); err != nil {
				return nil, nil, fmt.Errorf("reading manifest list %s: %w", snap.ManifestList, err)
			}
		}
		for i, m := range list {
			if same, known := now[m.FilePath()]; known {
				list[i] = same // lists share what they name
			} else {
				now[m.FilePath()] = m
			}
		}
		lists[snap.ManifestList] = list
	}
	was, s.lists, s.named = s.named, lists, now
	return now, was, nil
}

// cleanData deletes the data files that some manifest marks as deleted, unless a named one holds them.
// loose are manifests that none names any more.
func (l *Lake) cleanData(name string, tbl *table.Table, loose []string, named map[string]iceberg.ManifestFile) error {
	dropped := map[string]bool{}
	for _, at := range loose {
		gone, err := l.deletedBy(at)
		if err != nil {
			// A torn file that a crash left: it never was part of the table.
			l.log.Info("skipping an unreadable manifest", "path", at, "error", err)
		}
		for _, file := range gone {
			dropped[plain(file)] = true
		}
	}
	s := l.seenOf(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	now := map[string][]string{}
	for at, m := range named { // appends carry them on until they are merged
		if m.DeletedDataFiles() == 0 {
			continue
		}
		gone, known := s.gone[at]
		if !known {
			var err error
			if gone, err = l.deletedBy(at); err != nil {
				return fmt.Errorf("reading manifest %s: %w", at, err)
			}
		}
		now[at] = gone
		for _, file := range gone {
			dropped[plain(file)] = true
		}
	}
	s.gone = now
	if len(dropped) == 0 {
		return nil
	}
	live, err := l.liveIn(s, named)
	if err != nil {
		return err
	}
	for at := range dropped {
		if live[nameSum(at)] || !strings.HasPrefix(at, plain(tbl.Location())+"/data/") {
			continue
		}
		if err := l.files.Remove(at); err != nil {
			return fmt.Errorf("removing data file %s: %w", at, err)
		}
	}
	return nil
}

// liveIn are the sums of the names of all files that live in named manifests: of two names with the same sum
// one may stay longer than it has to. Only what is new is read.
func (l *Lake) liveIn(s *seen, named map[string]iceberg.ManifestFile) (map[uint64]bool, error) {
	now, all := map[string][]uint64{}, map[uint64]bool{}
	for at, m := range named {
		sums, known := s.live[at]
		if !known {
			err := l.eachEntry(m, func(file string) { sums = append(sums, nameSum(plain(file))) })
			if err != nil {
				return nil, err
			}
		}
		now[at] = sums
		for _, x := range sums {
			all[x] = true
		}
	}
	s.live = now
	return all, nil
}

var nameSeed = maphash.MakeSeed()

func nameSum(name string) uint64 { return maphash.String(nameSeed, name) }

// isManifest tells a manifest from a manifest list and a metadata file by its name.
func isManifest(at string) bool {
	name := at[strings.LastIndexByte(at, '/')+1:]
	return strings.HasSuffix(name, ".avro") && !strings.HasPrefix(name, "snap-")
}

// deletedBy are the files that a manifest marks as deleted, whether or not a list names it.
func (l *Lake) deletedBy(at string) ([]string, error) {
	f, err := l.files.Open(at)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	m := iceberg.NewManifestFile(formatVersion, at, info.Size(), 0, 0).Build()
	all, err := iceberg.ReadManifest(m, f, false)
	if err != nil {
		return nil, err
	}
	var gone []string
	for _, e := range all {
		if e.Status() == iceberg.EntryStatusDELETED {
			gone = append(gone, e.DataFile().FilePath())
		}
	}
	return gone, nil
}
