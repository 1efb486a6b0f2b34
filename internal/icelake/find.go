package icelake

import (
	"context"
	"errors"
	"fmt"
	"math/bits"

	"github.com/apache/arrow-go/v18/parquet/metadata"
	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"
	"golang.org/x/sync/errgroup"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/lake"
)

// Bloom filters of event ids: 10 bits an id let about 1 % of others through. A file may have row groups of
// rowGroup rows, so more are never asked of one filter.
const (
	filterBits = 10
	filterMin  = 1 << 10 // bytes
	rowGroup   = 1 << 20
)

// findFiles is how many files are asked at once: of a bucket it is the waiting that counts.
const findFiles = 16

// filterBytes is the size of the filter for a file of so many rows, a power of 2: one for the largest file
// would outweigh the small ones.
func filterBytes(rows int) int {
	n := min(rows, rowGroup) * filterBits / 8
	return max(filterMin, 1<<bits.Len(uint(max(n, 1)-1)))
}

// Find looks for the rows of an event id in a table's newest snapshot. It opens only files whose bounds
// allow the id, reads their bloom filters, and of what these let through the rows.
func (l *Lake) Find(ctx context.Context, name, id string) (*lake.Found, error) {
	tbl, err := l.cat.load(ctx, name)
	if err != nil {
		return nil, err
	}
	out := &lake.Found{Table: name}
	snap := tbl.CurrentSnapshot()
	if snap == nil {
		return out, nil
	}
	out.Snapshot = snap.SnapshotID
	scan := l.planned(tbl).Scan(table.WithMaxConcurrency(1), table.WithArrowBatchSize(scanRows),
		table.WithRowFilter(iceberg.EqualTo(iceberg.Reference(event.ColumnEventID), id)))
	defer scan.Close()
	tasks, err := icebergPlan(ctx, scan)
	if err != nil {
		return nil, fmt.Errorf("planning the search for an event in table %s: %w", name, err)
	}
	out.Opened = len(tasks)
	may := make([]bool, len(tasks))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(findFiles)
	for i := range tasks {
		g.Go(func() (err error) {
			if gctx.Err() != nil {
				return gctx.Err()
			}
			may[i], err = l.mayHold(tasks[i].File.FilePath(), id)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, fmt.Errorf("searching for an event in table %s: %w", name, err)
	}
	for i, t := range tasks {
		if !may[i] {
			continue
		}
		out.Read++
		if err := readFound(ctx, tbl, scan, t, out); err != nil {
			return nil, fmt.Errorf("reading %s: %w", t.File.FilePath(), err)
		}
	}
	return out, l.addedBy(tbl, snap, out)
}

// readFound adds the rows that a file has of the event.
func readFound(ctx context.Context, tbl *table.Table, scan *table.Scan, t table.FileScanTask, out *lake.Found) error {
	_, records, err := scan.ReadTasks(ctx, []table.FileScanTask{t})
	if err != nil {
		return err
	}
	for rec, err := range records {
		if err != nil {
			return err
		}
		err = show(rec, tbl.Schema(), nil, func(b *lake.Block) error {
			for i := range b.N {
				row := &lake.Block{}
				if err := row.Append(b.Pick([]int32{int32(i)})); err != nil {
					return err
				}
				out.Rows = append(out.Rows, lake.FoundRow{File: t.File.FilePath(), Row: row})
			}
			return nil
		})
		rec.Release()
		if err != nil {
			return err
		}
	}
	return nil
}

// mayHold asks a data file's filters whether it may hold an event id.
func (l *Lake) mayHold(at, id string) (may bool, err error) {
	r, err := l.openFile(at)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	col := r.MetaData().Schema.ColumnIndexByName(event.ColumnEventID)
	if col < 0 {
		return false, nil
	}
	filters := r.GetBloomFilterReader()
	for g := range r.NumRowGroups() {
		group, err := filters.RowGroup(g)
		if err != nil {
			return false, err
		}
		hit := true // without a filter it may
		err = group.VisitColumnBloomFilter(col, func(b metadata.BloomFilter) error {
			if b != nil {
				hit = b.CheckHash(b.Hasher().Sum64([]byte(id)))
			}
			return nil
		})
		if err != nil || hit {
			return hit, err
		}
	}
	return false, nil
}

// addedBy notes which snapshot brought the files that were found.
func (l *Lake) addedBy(tbl *table.Table, snap *table.Snapshot, out *lake.Found) error {
	if len(out.Rows) == 0 {
		return nil
	}
	manifests, err := snap.Manifests(l.files)
	if err != nil {
		return fmt.Errorf("reading manifest list of table %s: %w", out.Table, err)
	}
	for _, m := range manifests {
		for e, err := range m.Entries(l.files, true) {
			if err != nil {
				return fmt.Errorf("reading manifest %s: %w", m.FilePath(), err)
			}
			for i := range out.Rows {
				if row := &out.Rows[i]; row.File == e.DataFile().FilePath() {
					row.Snapshot = e.SnapshotID()
					if s := tbl.SnapshotByID(row.Snapshot); s != nil {
						row.CommittedAt = s.TimestampMs
					}
				}
			}
		}
	}
	return nil
}
