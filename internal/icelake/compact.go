package icelake

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"

	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/lake"
)

// compactRows is how many rows are read and written at once in a rewrite.
const compactRows = 8 << 10

// Rewrite merges small files of one day into few, and returns what it wrote: nil when nothing is worth it.
// The table does not change; Replace does that, or the files are for Discard. Rows are in order of event
// time, or in runs that are: of shape.MaxBytes each, of files in order of their least time, because no more is
// held in memory.
func (l *Lake) Rewrite(ctx context.Context, name string, shape lake.Shape) (*lake.Rewrite, error) {
	tbl, err := l.cat.load(ctx, name)
	if err != nil {
		return nil, err
	}
	if tbl.CurrentSnapshot() == nil {
		return nil, nil //nolint:nilnil // an empty table has nothing to rewrite
	}
	all, err := l.holdings(name, tbl, shape.Target)
	if err != nil {
		return nil, fmt.Errorf("looking for small files of table %s: %w", name, err)
	}
	inputs := choose(classes(all), shape)
	if inputs == nil {
		return nil, nil //nolint:nilnil // nothing is worth a rewrite
	}
	out := &lake.Rewrite{Table: name, Sequence: tbl.CurrentSnapshot().SequenceNumber}
	wanted := map[string]bool{}
	for _, in := range inputs {
		out.Inputs = append(out.Inputs, in.path)
		out.Rows += in.rows
		wanted[in.path] = true
	}
	spec := tbl.Spec()
	scan := tbl.Scan(table.WithMaxConcurrency(1), table.WithArrowBatchSize(compactRows))
	defer scan.Close()
	tasks, err := l.tasks(ctx, scan, all, wanted, spec.Field(0).SourceID())
	if err != nil {
		return nil, fmt.Errorf("looking for small files of table %s: %w", name, err)
	}
	if out.Files, err = l.write(ctx, tbl, name, int(out.Rows), runs(ctx, tbl, scan, tasks, shape.MaxBytes), 2*shape.Target, nil); err != nil {
		return nil, err
	}
	if err := conserve(out); err != nil {
		return nil, errors.Join(err, l.Discard(ctx, out.Files))
	}
	return out, nil
}

// conserve checks that as many rows went out as came in.
func conserve(r *lake.Rewrite) error {
	rows := int64(0)
	for _, f := range r.Files {
		rows += f.Records
	}
	if rows != r.Rows {
		return fault.New(fault.Corrupt, "compaction", "a rewrite of table %s has %d rows of %d", r.Table, rows, r.Rows)
	}
	return nil
}

// liveFiles shows the data files of a table's newest snapshot.
func (l *Lake) liveFiles(tbl *table.Table, fn func(iceberg.DataFile) error) error {
	snap := tbl.CurrentSnapshot()
	if snap == nil {
		return nil
	}
	manifests, err := snap.Manifests(l.files)
	if err != nil {
		return fmt.Errorf("reading manifest list: %w", err)
	}
	for _, m := range manifests {
		if m.ManifestContent() != iceberg.ManifestContentData {
			continue
		}
		for e, err := range m.Entries(l.files, true) {
			if err != nil {
				return fmt.Errorf("reading manifest %s: %w", m.FilePath(), err)
			}
			if err := fn(e.DataFile()); err != nil {
				return err
			}
		}
	}
	return nil
}

// dayOf reads a partition value, days since the epoch in whatever type the manifest reader gives it.
func dayOf(v any) (int64, bool) {
	switch d := v.(type) {
	case iceberg.Date:
		return int64(d), true
	case int32:
		return int64(d), true
	case int:
		return int64(d), true
	}
	return 0, false
}

// choose picks the files of the next rewrite: of the class that has most of them, and of such the one with
// the smallest, the smallest files, as many as fit. A rewriter that is behind merges more at once, and so
// catches up.
func choose(files map[class][]small, shape lake.Shape) []small {
	var of class
	for c, fs := range files {
		if len(fs) < shape.MinFiles {
			continue
		}
		best := files[of]
		if best == nil || cmp.Or(cmp.Compare(len(best), len(fs)), cmp.Compare(c.size, of.size), cmp.Compare(c.day, of.day)) < 0 {
			of = c
		}
	}
	best := files[of]
	slices.SortFunc(best, func(a, b small) int { return cmp.Or(cmp.Compare(a.bytes, b.bytes), cmp.Compare(a.path, b.path)) })
	bytes := int64(0)
	for i, f := range best {
		if bytes += f.bytes; i >= 2 && bytes > 2*shape.Target {
			return best[:i]
		}
	}
	return best
}

// runs yields the rows of data files in sorted runs of about so many bytes of columns.
func runs(ctx context.Context, tbl *table.Table, scan *table.Scan, tasks []table.FileScanTask, most int) iter.Seq2[rowsOf, error] {
	return func(yield func(rowsOf, error) bool) {
		run := &lake.Block{}
		flush := func() error {
			rows, err := sorted(tbl, run)
			if err != nil {
				return err
			}
			if !yield(rows, nil) {
				return errEnough
			}
			run.N = 0
			for i := range run.Cols {
				run.Cols[i].Reset()
			}
			return nil
		}
		err := eachBlock(ctx, tbl, scan, tasks, func(b *lake.Block) error {
			if err := run.Append(b); err != nil || blockBytes(run) < most {
				return err
			}
			return flush()
		})
		if err == nil && run.N > 0 {
			err = flush()
		}
		if err != nil && !errors.Is(err, errEnough) {
			yield(rowsOf{}, err)
		}
	}
}

// errEnough: whoever asked for rows wants no more.
var errEnough = errors.New("enough")

// eachBlock shows the rows of data files one after the other.
func eachBlock(ctx context.Context, tbl *table.Table, scan *table.Scan, tasks []table.FileScanTask, fn func(*lake.Block) error) error {
	for i := range tasks {
		if err := readTasks(ctx, tbl, scan, tasks[i:i+1], nil, fn); err != nil {
			return fmt.Errorf("reading %s: %w", tasks[i].File.FilePath(), err)
		}
	}
	return nil
}

// blockBytes is about how much memory a block takes.
func blockBytes(b *lake.Block) (n int) {
	for i := range b.Cols {
		c := &b.Cols[i]
		n += len(c.Valid) + 8*(len(c.Ints)+len(c.Floats)) + 4*(len(c.Offs)+len(c.ListOffs)) + len(c.Bytes)
	}
	return n
}

// sorted is the rows of a block in order of the table's partition column.
func sorted(tbl *table.Table, b *lake.Block) (rowsOf, error) {
	by := b.Index(partitionColumn(tbl))
	if by < 0 {
		return rowsOf{}, errors.New("the table has lost its partition column")
	}
	times := b.Cols[by].Ints
	order := make([]int32, b.N)
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortStableFunc(order, func(a, b int32) int { return cmp.Compare(times[a], times[b]) })
	out := rowsOf{blocks: []lake.Block{*b}, n: b.N}
	for part := range slices.Chunk(order, compactRows) {
		out.pieces = append(out.pieces, piece{rows: part})
	}
	return out, nil
}
