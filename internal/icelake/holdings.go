package icelake

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"sync"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"
)

// holding is a manifest of a snapshot and the small files that live in it.
type holding struct {
	iceberg.ManifestFile
	files []small
}

// small is a data file that is worth merging with its like.
type small struct {
	path  string
	day   int64
	rows  int64
	bytes int64
}

// class groups files of a day whose sizes are within a factor of eight, so that a row is rewritten
// about log8(size of the day) times and not once per stage.
type class struct {
	day  int64
	size int
}

// seen is what was read of a table's manifests. A manifest never changes, so each is read once, and what
// looking for small files costs does not grow with the table.
type seen struct {
	mu    sync.Mutex
	below int64 // size of the files that were noted
	small map[string][]small

	// Of the last expiry:
	lists map[string][]iceberg.ManifestFile // by manifest list
	named map[string]iceberg.ManifestFile
	live  map[string][]uint64 // by manifest: sums of the names of its live files
	gone  map[string][]string // by manifest: the files that it marks as deleted
}

// seenOf is what was read of the table before.
func (l *Lake) seenOf(name string) *seen {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.seen[name]
	if s == nil {
		s = &seen{}
		l.seen[name] = s
	}
	return s
}

// holdings lists the manifests of a table's newest snapshot with their data files of fewer bytes than
// below; 0: the size of the last time.
func (l *Lake) holdings(name string, tbl *table.Table, below int64) ([]holding, error) {
	s := l.seenOf(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	if below == 0 && s.below == 0 {
		below = math.MaxInt64
	}
	if below != 0 && below != s.below {
		s.below, s.small = below, nil
	}
	manifests, err := tbl.CurrentSnapshot().Manifests(l.files)
	if err != nil {
		return nil, fmt.Errorf("reading manifest list: %w", err)
	}
	spec := tbl.Spec()
	now, all := map[string][]small{}, make([]holding, len(manifests))
	for i, m := range manifests {
		at := m.FilePath()
		files, known := s.small[at]
		if !known {
			if files, err = l.smallIn(m, spec.Field(0).FieldID, s.below); err != nil {
				return nil, err
			}
		}
		now[at], all[i] = files, holding{m, files}
	}
	s.small = now
	return all, nil
}

// smallIn reads the live data files of a manifest that have fewer bytes than below.
func (l *Lake) smallIn(m iceberg.ManifestFile, day int, below int64) ([]small, error) {
	var files []small
	if m.ManifestContent() != iceberg.ManifestContentData {
		return nil, nil
	}
	for e, err := range m.Entries(l.files, true) {
		if err != nil {
			return nil, fmt.Errorf("reading manifest %s: %w", m.FilePath(), err)
		}
		df := e.DataFile()
		if df.FileSizeBytes() >= below {
			continue
		}
		d, ok := dayOf(df.Partition()[day])
		if !ok {
			return nil, fmt.Errorf("data file %s has no day", df.FilePath())
		}
		files = append(files, small{df.FilePath(), d, df.Count(), df.FileSizeBytes()})
	}
	return files, nil
}

// classes groups the small files of holdings.
func classes(all []holding) map[class][]small {
	files := map[class][]small{}
	for _, h := range all {
		for _, f := range h.files {
			c := class{f.day, (bits.Len64(uint64(f.bytes)) + 2) / 3}
			files[c] = append(files[c], f)
		}
	}
	return files
}

// tasks says how data files of holdings are read, in order of their least time. Those of a table from which
// another engine deleted rows are planned by iceberg-go, which knows what was deleted.
func (l *Lake) tasks(ctx context.Context, scan *table.Scan, all []holding, wanted map[string]bool, time int) ([]table.FileScanTask, error) {
	var tasks []table.FileScanTask
	if slices.ContainsFunc(all, func(h holding) bool { return h.ManifestContent() != iceberg.ManifestContentData }) {
		planned, err := icebergPlan(ctx, scan)
		if err != nil {
			return nil, err
		}
		tasks = slices.DeleteFunc(planned, func(t table.FileScanTask) bool { return !wanted[t.File.FilePath()] })
		all = nil
	}
	for _, h := range all {
		if !h.has(wanted) {
			continue
		}
		for e, err := range h.Entries(l.files, true) {
			if err != nil {
				return nil, fmt.Errorf("reading manifest %s: %w", h.FilePath(), err)
			}
			if df := e.DataFile(); wanted[df.FilePath()] {
				tasks = append(tasks, table.FileScanTask{File: df, Length: df.FileSizeBytes()})
			}
		}
	}
	least := func(t table.FileScanTask) int64 {
		if v, ok := bound(t.File.LowerBoundValues()[time]); ok {
			return v
		}
		return math.MinInt64
	}
	slices.SortStableFunc(tasks, func(a, b table.FileScanTask) int { return cmp.Compare(least(a), least(b)) })
	return tasks, nil
}

func (h *holding) has(wanted map[string]bool) bool {
	for _, f := range h.files {
		if wanted[f.path] {
			return true
		}
	}
	return false
}
