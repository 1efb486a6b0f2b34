package icelake

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/apache/iceberg-go"

	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/lake"
)

// Orphans finds the data files of a table that were written before a moment, that no snapshot holds, and that
// known does not name: what a crash left between writing a file and noting it. It deletes nothing.
//
// The order keeps it safe beside writers: the files are listed first, then known is asked, then the table. A
// file that the ledger let go of in between is in the table by then; one that is being written is younger.
func (l *Lake) Orphans(ctx context.Context, name string, before time.Time, known func(context.Context) ([]string, error)) ([]lake.Orphan, error) {
	tbl, err := l.cat.load(ctx, name)
	if err != nil {
		return nil, err
	}
	there := map[string]bool{}
	var old []lake.Orphan
	err = l.files.walk(tbl.Location()+"/data/", true, func(f found) error {
		if err := ctx.Err(); err != nil { // there may be very many
			return err
		}
		there[plain(f.at)] = true
		if f.modified.Before(before) {
			old = append(old, lake.Orphan{Path: f.at, Bytes: f.bytes, Modified: f.modified})
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing data files of table %s: %w", name, err)
	}
	if len(old) == 0 {
		return nil, nil
	}
	names, err := known(ctx)
	if err != nil {
		return nil, err
	}
	used := map[string]bool{}
	for _, at := range names {
		used[plain(at)] = true
	}
	if err := l.referenced(ctx, name, there, used); err != nil {
		return nil, err
	}
	orphans := old[:0]
	for _, f := range old {
		if !used[plain(f.Path)] {
			orphans = append(orphans, f)
		}
	}
	return orphans, nil
}

// referenced adds the files of every snapshot to used. If not one of them was listed, the names are not
// what they seem, and nothing may be deleted by them.
func (l *Lake) referenced(ctx context.Context, name string, there, used map[string]bool) error {
	tbl, err := l.cat.load(ctx, name)
	if err != nil {
		return err
	}
	read := map[string]bool{}
	files, seen := 0, 0
	for _, s := range tbl.Metadata().Snapshots() {
		if err := ctx.Err(); err != nil {
			return err
		}
		manifests, err := s.Manifests(l.files)
		if err != nil {
			return fmt.Errorf("reading manifest list %s: %w", s.ManifestList, err)
		}
		for _, m := range manifests {
			if read[m.FilePath()] {
				continue
			}
			read[m.FilePath()] = true
			err := l.eachEntry(m, func(at string) {
				used[plain(at)] = true
				files++
				if there[plain(at)] {
					seen++
				}
			})
			if err != nil {
				return err
			}
		}
	}
	if files > 0 && seen == 0 {
		return fault.New(fault.Corrupt, "lake_files", "none of the %d data files of table %s is in its folder %s", files, name, tbl.Location()).
			WithAdvice("restore the lake: nothing was deleted")
	}
	return nil
}

func (l *Lake) eachEntry(m iceberg.ManifestFile, fn func(at string)) error {
	for e, err := range m.Entries(l.files, true) {
		if err != nil {
			return fmt.Errorf("reading manifest %s: %w", m.FilePath(), err)
		}
		fn(e.DataFile().FilePath())
	}
	return nil
}

// plain is a location as a name to compare: Iceberg writers differ in how they escape a path.
func plain(at string) string {
	if strings.HasPrefix(at, "s3://") {
		return at
	}
	path, err := localPath(at)
	if err != nil {
		return at
	}
	return path
}

// RemoveOrphans deletes files that Orphans found.
func (l *Lake) RemoveOrphans(ctx context.Context, orphans []lake.Orphan) error {
	for _, f := range orphans {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := l.files.Remove(f.Path); err != nil {
			return fmt.Errorf("removing orphan %s: %w", f.Path, err)
		}
	}
	return nil
}
