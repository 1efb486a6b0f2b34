package icelake

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"
	"golang.org/x/sync/errgroup"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/lake"
)

// listedFiles is of how many data files it is kept what their manifests say, about 250 bytes each.
const listedFiles = 1 << 16

// listing is what a manifest says; foreign: of files that are not Parquet, or are not divided by day.
type listing struct {
	files   []listedFile
	foreign bool
}

// listedFile is a data file as a scan is planned with it.
type listedFile struct {
	at          string
	rows, bytes int64
	day         int64
	bounds      [len(boundColumns)]lake.Within // of boundColumns
}

// boundColumns are those by which files are left out or told apart, after the one that the table is partitioned by.
var boundColumns = [...]string{"", event.ColumnReceivedAt, event.ColumnLog, event.ColumnPartition, event.ColumnOffset, event.ColumnSchema}

// newListings keeps what was read of manifests. A back-fill plans a scan for every day, of mostly the same ones: to decode
// all of their entries took longer than to read a small day's rows.
func newListings() *bounded[listing] {
	return newBounded(listedFiles, func(of listing) int { return len(of.files) })
}

// planner finds the files of a snapshot that may hold rows of a selection.
type planner struct {
	l    *Lake
	tbl  *table.Table
	asks []condition
	of   []int                  // by condition: its place in listedFile.bounds
	ids  [len(boundColumns)]int // of columns in the table's files, 0: it has none
}

// plan lists the data files of a snapshot that may hold rows of a selection: plain ones, of which every row counts,
// and others, of which another engine deleted some, or which it wrote in a way of its own.
func (l *Lake) plan(ctx context.Context, tbl *table.Table, snap *table.Snapshot, scan *table.Scan, asks []condition) (plain, other []table.FileScanTask, err error) {
	manifests, err := snap.Manifests(l.plans)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the list of manifests: %w", err)
	}
	if !slices.ContainsFunc(manifests, func(m iceberg.ManifestFile) bool { return m.ManifestContent() != iceberg.ManifestContentData }) {
		p := newPlanner(l, tbl, asks)
		plain, ok, err := p.plain(ctx, manifests)
		if err != nil || ok {
			return plain, nil, err
		}
	}
	tasks, err := icebergPlan(ctx, scan) // it knows of deletes
	if err != nil {
		return nil, nil, err
	}
	plain, other = splitTasks(tasks)
	return plain, other, nil
}

func newPlanner(l *Lake, tbl *table.Table, asks []condition) *planner {
	p := &planner{l: l, tbl: tbl, asks: asks}
	by := partitionColumn(tbl)
	for i, name := range boundColumns {
		if i == 0 {
			name = by
		}
		if f, ok := tbl.Schema().FindFieldByName(name); ok {
			p.ids[i] = f.ID
		}
	}
	for _, a := range asks {
		at := 0
		if a.column != by {
			at = slices.Index(boundColumns[:], a.column)
		}
		p.of = append(p.of, at)
	}
	return p
}

// plain lists the files of manifests; not ok: iceberg-go has to.
func (p *planner) plain(ctx context.Context, manifests []iceberg.ManifestFile) (tasks []table.FileScanTask, ok bool, err error) {
	specs := map[int]iceberg.PartitionSpec{}
	for _, s := range p.tbl.Metadata().PartitionSpecs() {
		specs[s.ID()] = s
	}
	all := make([]listing, len(manifests))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(scanFiles)
	for i, m := range manifests {
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			spec, known := specs[int(m.PartitionSpecID())]
			if !known || spec.NumFields() != 1 {
				all[i].foreign = true
				return nil
			}
			of, known := p.l.listed.get(m.FilePath())
			if !known {
				if !p.mayList(m) {
					return nil
				}
				var err error
				if of, err = p.list(m, spec.Field(0).FieldID); err != nil {
					return err
				}
				p.l.listed.keep(m.FilePath(), of)
			}
			all[i] = of
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, false, err
	}
	for i, of := range all {
		if of.foreign {
			return nil, false, nil
		}
		for k := range of.files {
			if f := &of.files[k]; p.mayHold(&f.bounds) {
				t, err := p.task(specs[int(manifests[i].PartitionSpecID())], f)
				if err != nil {
					return nil, false, err
				}
				tasks = append(tasks, t)
			}
		}
	}
	return tasks, true, nil
}

// mayList tells whether a manifest may list files with rows of the days asked for, by its summary.
func (p *planner) mayList(m iceberg.ManifestFile) bool {
	parts := m.Partitions()
	if len(parts) != 1 || parts[0].LowerBound == nil || parts[0].UpperBound == nil {
		return true
	}
	least, one := bound(*parts[0].LowerBound)
	most, two := bound(*parts[0].UpperBound)
	if !one || !two {
		return true
	}
	for i, a := range p.asks {
		if p.of[i] == 0 && (a.to <= least*usPerDay || (most+1)*usPerDay <= a.from) {
			return false
		}
	}
	return true
}

// mayHold tells whether a file with such bounds may hold rows that are asked for.
func (p *planner) mayHold(bounds *[len(boundColumns)]lake.Within) bool {
	for i, a := range p.asks {
		if at := p.of[i]; at >= 0 && (bounds[at].Most < a.from || a.to <= bounds[at].Least) {
			return false
		}
	}
	return true
}

// list reads the files that a manifest lists.
func (p *planner) list(m iceberg.ManifestFile, day int) (of listing, err error) {
	for e, err := range m.Entries(p.l.plans, true) {
		if err != nil {
			return of, fmt.Errorf("reading manifest %s: %w", m.FilePath(), err)
		}
		df := e.DataFile()
		f := listedFile{at: strings.Clone(df.FilePath()), rows: df.Count(), bytes: df.FileSizeBytes()}
		d, ok := dayOf(df.Partition()[day])
		if !ok || df.FileFormat() != iceberg.ParquetFile {
			return listing{foreign: true}, nil
		}
		f.day = d
		least, most := df.LowerBoundValues(), df.UpperBoundValues()
		for i, id := range p.ids {
			b := lake.Within{Least: math.MinInt64, Most: math.MaxInt64}
			if i == 0 {
				b = lake.Within{Least: d * usPerDay, Most: (d+1)*usPerDay - 1}
			}
			if v, ok := bound(least[id]); ok {
				b.Least = v
			}
			if v, ok := bound(most[id]); ok {
				b.Most = v
			}
			f.bounds[i] = b
		}
		of.files = append(of.files, f)
	}
	return of, nil
}

// bound is what a manifest says of a column of integers or times.
func bound(v []byte) (int64, bool) {
	switch len(v) {
	case 4:
		return int64(int32(binary.LittleEndian.Uint32(v))), true
	case 8:
		return int64(binary.LittleEndian.Uint64(v)), true
	}
	return 0, false
}

// task is how a file is read.
func (p *planner) task(spec iceberg.PartitionSpec, f *listedFile) (t table.FileScanTask, err error) {
	day := spec.Field(0).FieldID
	b, err := iceberg.NewDataFileBuilder(spec, iceberg.EntryContentData, f.at, iceberg.ParquetFile,
		map[int]any{day: iceberg.Date(f.day)}, map[int]string{day: "date"}, nil, f.rows, f.bytes)
	if err != nil {
		return t, fmt.Errorf("data file %s: %w", f.at, err)
	}
	least, most := map[int][]byte{}, map[int][]byte{}
	for i, name := range boundColumns {
		if name == event.ColumnLog || name == event.ColumnSchema { // what Files tells
			least[p.ids[i]] = binary.LittleEndian.AppendUint64(nil, uint64(f.bounds[i].Least))
			most[p.ids[i]] = binary.LittleEndian.AppendUint64(nil, uint64(f.bounds[i].Most))
		}
	}
	b.LowerBoundValues(least).UpperBoundValues(most)
	return table.FileScanTask{File: b.Build(), Length: f.bytes}, nil
}
