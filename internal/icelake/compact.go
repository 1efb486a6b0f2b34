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
	c, back := l.lend()
	defer back()
	if out.Files, err = l.write(ctx, tbl, name, int(out.Rows), l.runs(ctx, tbl, scan, tasks, out.Rows, shape.MaxBytes), 2*shape.Target, c); err != nil {
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

// runs yields so many rows of data files in sorted runs of at most about so many bytes of columns, all about as long:
// each has its dictionaries and its filter of ids, and a short one would pay as much for them.
func (l *Lake) runs(ctx context.Context, tbl *table.Table, scan *table.Scan, tasks []table.FileScanTask, left int64, most int) iter.Seq2[rowsOf, error] {
	return func(yield func(rowsOf, error) bool) {
		run := &gathered{}
		flush := func() error {
			run.end()
			rows, err := sorted(tbl, &run.rows)
			if err != nil {
				return err
			}
			rows.forms = run.forms()
			if !yield(rows, nil) {
				return errEnough
			}
			left -= int64(run.rows.N)
			run.reset()
			return nil
		}
		err := l.eachBlock(ctx, tbl, scan, tasks, func(b *lake.Block) error {
			if b.N == 0 {
				return nil
			}
			if err := run.append(b); err != nil || int64(run.rows.N) < run.share(left, most) {
				return err
			}
			return flush()
		})
		if err == nil && run.rows.N > 0 {
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
func (l *Lake) eachBlock(ctx context.Context, tbl *table.Table, scan *table.Scan, tasks []table.FileScanTask, fn func(*lake.Block) error) error {
	for i := range tasks {
		plain, other := splitTasks(tasks[i : i+1])
		r := l.newFileReader(lake.Selection{}, nil, tbl.Schema(), nil)
		r.most = compactRows
		err := r.read(ctx, plain, fn)
		if other = append(other, r.foreign...); err == nil && len(other) > 0 {
			err = readTasks(ctx, tbl, scan, other, nil, fn)
		}
		if err != nil {
			return fmt.Errorf("reading %s: %w", tasks[i].File.FilePath(), err)
		}
	}
	return nil
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
