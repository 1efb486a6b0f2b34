package icelake

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/iceberg-go"
	iceio "github.com/apache/iceberg-go/io"
	"github.com/apache/iceberg-go/table"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/pages"
)

// Scan bounds of concurrency and memory: files read at once, and rows a block.
const (
	scanFiles = 2
	scanRows  = 32 << 10
)

// Scan shows the selected rows to fn, in no particular order, and returns the snapshot that it read (0:
// the table is empty). A block is valid until fn returns. A column that the table got after a snapshot
// that is not its newest is not in that snapshot's blocks.
func (l *Lake) Scan(ctx context.Context, sel lake.Selection, fn func(*lake.Block) error) (int64, error) {
	tbl, err := l.cat.load(ctx, sel.Table)
	if err != nil {
		return 0, err
	}
	snap := tbl.CurrentSnapshot()
	if sel.Snapshot != 0 {
		if snap = tbl.SnapshotByID(sel.Snapshot); snap == nil {
			return 0, noSnapshot(sel.Table, sel.Snapshot)
		}
	}
	if snap == nil {
		return 0, nil
	}
	asks := conditions(sel, partitionColumn(tbl))
	sc, columns, opts := scanOptions(sel, tbl, snap, asks)
	scan := l.planned(tbl).Scan(opts...)
	defer scan.Close()
	plain, other, err := l.plan(ctx, tbl, snap, scan, asks)
	if err != nil {
		return 0, fmt.Errorf("scanning table %s: %w", sel.Table, err)
	}
	if sel.Files != nil {
		wanted := map[string]bool{}
		for _, at := range sel.Files {
			wanted[at] = true
		}
		unwanted := func(t table.FileScanTask) bool { return !wanted[t.File.FilePath()] }
		plain, other = slices.DeleteFunc(plain, unwanted), slices.DeleteFunc(other, unwanted)
	}
	r := l.newFileReader(sel, columns, sc, asks)
	if err := r.read(ctx, plain, fn); err != nil {
		return 0, fmt.Errorf("scanning table %s: %w", sel.Table, err)
	}
	if other = append(other, r.foreign...); len(other) > 0 {
		if err := readTasks(ctx, tbl, scan, other, sel.Columns, fn); err != nil {
			return 0, fmt.Errorf("scanning table %s: %w", sel.Table, err)
		}
	}
	return snap.SnapshotID, nil
}

// planned is a table whose manifests are read by l.plans.
func (l *Lake) planned(tbl *table.Table) *table.Table {
	return table.New(tbl.Identifier(), tbl.Metadata(), tbl.MetadataLocation(), func(context.Context) (iceio.IO, error) { return l.plans, nil }, nil)
}

// icebergPlan lists the data files of a scan, each as a whole: iceberg-go cuts those larger than 128 MiB, which only other
// engines write, into ranges of row groups, but who reads a file here reads all of it.
func icebergPlan(ctx context.Context, scan *table.Scan) ([]table.FileScanTask, error) {
	tasks, err := scan.PlanFiles(ctx)
	for i := range tasks {
		if tasks[i].Start == 0 {
			tasks[i].Length = tasks[i].File.FileSizeBytes()
		}
	}
	return slices.DeleteFunc(tasks, func(t table.FileScanTask) bool { return t.Start != 0 }), err
}

// splitTasks tells files of which every row counts from those of which another engine deleted some.
func splitTasks(tasks []table.FileScanTask) (plain, other []table.FileScanTask) {
	for _, t := range tasks {
		if len(t.DeleteFiles)+len(t.EqualityDeleteFiles)+len(t.DeletionVectorFiles) > 0 || t.File.FileFormat() != iceberg.ParquetFile {
			other = append(other, t)
		} else {
			plain = append(plain, t)
		}
	}
	return plain, other
}

// readTasks shows what iceberg-go reads: it knows of deletes, and how to read what others wrote.
func readTasks(ctx context.Context, tbl *table.Table, scan *table.Scan, tasks []table.FileScanTask, columns []string, fn func(*lake.Block) error) error {
	_, records, err := scan.ReadTasks(ctx, tasks)
	if err != nil {
		return err
	}
	for rec, err := range records {
		if err != nil {
			return err
		}
		err = show(rec, tbl.Schema(), columns, fn)
		rec.Release()
		if err != nil {
			return err
		}
	}
	return nil
}

// scanOptions says how a snapshot is scanned, its schema, and which of the columns asked for it has.
func scanOptions(sel lake.Selection, tbl *table.Table, snap *table.Snapshot, asks []condition) (sc *iceberg.Schema, have []string, opts []table.ScanOption) {
	opts = []table.ScanOption{table.WithMaxConcurrency(scanFiles), table.WithArrowBatchSize(scanRows)}
	sc = tbl.Schema()
	if snap.SnapshotID != tbl.CurrentSnapshot().SnapshotID {
		// Of a snapshot that is named iceberg-go takes the schema, too.
		opts = append(opts, table.WithSnapshotID(snap.SnapshotID))
		if old := schemaOfSnapshot(tbl, snap); old != nil {
			sc = old
		}
	}
	if sel.Columns != nil {
		have = slices.DeleteFunc(slices.Clone(sel.Columns), func(c string) bool {
			_, known := sc.FindFieldByName(c)
			_, ever := tbl.Schema().FindFieldByName(c)
			return ever && !known
		})
		// A file that has none of the columns asked for is more than iceberg-go can read.
		first, read := tbl.Schemas()[0], have
		if !slices.ContainsFunc(have, func(c string) bool { _, ok := first.FindFieldByName(c); return ok }) {
			read = append(slices.Clone(have), partitionColumn(tbl))
		}
		opts = append(opts, table.WithSelectedFields(read...))
	}
	if filter := rowFilter(asks); filter != nil {
		opts = append(opts, table.WithRowFilter(filter))
	}
	return sc, have, opts
}

// rowFilter says conditions to iceberg-go, nil if there are none. Files and row groups are left out by it.
func rowFilter(asks []condition) iceberg.BooleanExpression {
	var all []iceberg.BooleanExpression
	for _, a := range asks {
		ref := iceberg.Reference(a.column)
		if a.time {
			all = append(all, iceberg.GreaterThanEqual(ref, iceberg.Timestamp(a.from)), iceberg.LessThan(ref, iceberg.Timestamp(a.to)))
		} else {
			all = append(all, iceberg.GreaterThanEqual(ref, a.from), iceberg.LessThan(ref, a.to))
		}
	}
	if len(all) == 0 {
		return nil
	}
	return iceberg.NewAnd(all[0], all[1], all[2:]...)
}

// condition asks for rows by a column of longs or times: [from, to), microseconds.
type condition struct {
	column   string
	from, to int64
	time     bool
}

// conditions are those of a selection; by is the table's partition column.
func conditions(sel lake.Selection, by string) (out []condition) {
	for _, c := range []condition{{by, sel.From, sel.To, true}, {event.ColumnReceivedAt, sel.ReceivedFrom, sel.ReceivedTo, true}} {
		if c.from == 0 && c.to == 0 {
			continue
		}
		if c.to == 0 {
			c.to = math.MaxInt64
		}
		out = append(out, c)
	}
	long := func(column string, from, to int64) { out = append(out, condition{column, from, to, false}) }
	if sel.Logs != (lake.Within{}) {
		long(event.ColumnLog, sel.Logs.Least, sel.Logs.Most+1)
	}
	if sel.ToOffset != 0 {
		long(event.ColumnLog, int64(sel.Key.Log), int64(sel.Key.Log)+1)
		long(event.ColumnPartition, int64(sel.Key.Partition), int64(sel.Key.Partition)+1)
		long(event.ColumnOffset, sel.FromOffset, sel.ToOffset)
	}
	return out
}

// partitionColumn is the column by whose day the table is partitioned.
func partitionColumn(tbl *table.Table) string {
	spec := tbl.Spec()
	name, _ := tbl.Schema().FindColumnName(spec.Field(0).SourceID())
	return name
}

// schemaOfSnapshot is the schema under which a snapshot was written, nil if it does not say.
func schemaOfSnapshot(tbl *table.Table, snap *table.Snapshot) *iceberg.Schema {
	if snap.SchemaID == nil {
		return nil
	}
	return tbl.Schemas()[*snap.SchemaID]
}

// show hands a record batch to fn as a block of the columns asked for (nil: all).
func show(rec arrow.RecordBatch, sc *iceberg.Schema, columns []string, fn func(*lake.Block) error) error {
	b := lake.Block{N: int(rec.NumRows())}
	for i, f := range rec.Schema().Fields() {
		field, ok := sc.FindFieldByName(f.Name)
		if !ok || columns != nil && !slices.Contains(columns, f.Name) {
			continue
		}
		kind := kindOf(field)
		v, err := pages.FromArrow(rec.Column(i), kind)
		if err != nil {
			return fmt.Errorf("reading column %s: %w", f.Name, err)
		}
		b.Columns = append(b.Columns, lake.Column{Name: f.Name, Kind: kind, Required: field.Required})
		b.Cols = append(b.Cols, v)
	}
	return fn(&b)
}
