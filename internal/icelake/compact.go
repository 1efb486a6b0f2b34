package icelake

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"math/bits"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/codec"
	"github.com/apache/iceberg-go/table"

	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
)

// compactBatch is how many rows are gathered at once when a rewrite is written.
const compactBatch = 64 << 10

// small is a data file that is worth merging with its like.
type small struct {
	path  string
	rows  int64
	bytes int64
}

// class groups files of a day whose sizes are within a factor of eight, so that a row is rewritten
// about log8(size of the day) times and not once per stage.
type class struct {
	day  int64
	size int
}

// Rewrite merges small files of one day into few, their rows in order of event time, and returns what
// it wrote: nil when nothing is worth it. The table does not change; Replace does that, or the files are
// for Discard. The smallest candidates come first.
func (l *Lake) Rewrite(ctx context.Context, name string, shape lake.Shape) (*lake.Rewrite, error) {
	tbl, err := l.cat.load(ctx, name)
	if err != nil {
		return nil, err
	}
	if tbl.CurrentSnapshot() == nil {
		return nil, nil //nolint:nilnil // an empty table has nothing to rewrite
	}
	files, err := l.smallFiles(tbl, shape)
	if err != nil {
		return nil, fmt.Errorf("looking for small files of table %s: %w", name, err)
	}
	inputs := choose(files, shape)
	if inputs == nil {
		return nil, nil //nolint:nilnil // nothing is worth a rewrite
	}
	block, inputs, err := readFiles(ctx, tbl, inputs, shape.MaxBytes)
	if err != nil {
		return nil, fmt.Errorf("reading small files of table %s: %w", name, err)
	}
	out := &lake.Rewrite{Table: name}
	for _, in := range inputs {
		out.Inputs = append(out.Inputs, in.path)
		out.Rows += in.rows
	}
	if int64(block.N) != out.Rows {
		return nil, fault.New(fault.Corrupt, "compaction", "files of table %s hold %d rows, their manifests say %d", name, block.N, out.Rows)
	}
	batches, err := sorted(tbl, block)
	if err != nil {
		return nil, fmt.Errorf("sorting rows of table %s: %w", name, err)
	}
	if out.Files, err = l.write(ctx, tbl, name, block.N, batches, table.WithTargetFileSize(2*shape.Target)); err != nil {
		return nil, err
	}
	return out, conserve(out)
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

// Replace is the commit that puts a rewrite's files in the place of its inputs. fault.Lost inputs_gone:
// some input is no longer in the table, so that this rewrite can never be committed.
func (l *Lake) Replace(ctx context.Context, in *ledger.Intent, r *lake.Rewrite) (lake.Landed, error) {
	if err := conserve(r); err != nil {
		return lake.Landed{}, err
	}
	return l.commit(ctx, in, func(tbl *table.Table, tx *table.Transaction) error {
		inputs := make(map[string]iceberg.DataFile, len(r.Inputs))
		for _, at := range r.Inputs {
			inputs[at] = nil
		}
		found := 0
		err := l.liveFiles(tbl, func(df iceberg.DataFile) error {
			if _, ok := inputs[df.FilePath()]; ok {
				inputs[df.FilePath()], found = df, found+1
			}
			return nil
		})
		if err != nil {
			return err
		}
		if found != len(inputs) {
			return fault.New(fault.Lost, "inputs_gone", "%d of %d files to be replaced are no longer in table %s", len(inputs)-found, len(inputs), r.Table)
		}
		rewrite := tx.NewRewrite(summary(in))
		for _, at := range r.Inputs {
			rewrite.DeleteFile(inputs[at])
		}
		for _, f := range r.Files {
			df, err := codec.DecodeDataFile(f.Entry, tbl.Spec(), tbl.Schema(), formatVersion)
			if err != nil {
				return fault.New(fault.Corrupt, "lake_entry", "decoding manifest entry of %s: %w", f.Path, err)
			}
			rewrite.AddDataFile(df)
		}
		return rewrite.Commit(ctx)
	})
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

func (l *Lake) smallFiles(tbl *table.Table, shape lake.Shape) (map[class][]small, error) {
	spec := tbl.Spec()
	field := spec.Field(0).FieldID
	files := map[class][]small{}
	err := l.liveFiles(tbl, func(df iceberg.DataFile) error {
		if df.FileSizeBytes() >= shape.Target {
			return nil
		}
		d, ok := dayOf(df.Partition()[field])
		if !ok {
			return fmt.Errorf("data file %s has no day", df.FilePath())
		}
		c := class{d, (bits.Len64(uint64(df.FileSizeBytes())) + 2) / 3}
		files[c] = append(files[c], small{df.FilePath(), df.Count(), df.FileSizeBytes()})
		return nil
	})
	return files, err
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

// choose picks the files of the next rewrite: of the class with the fewest bytes, the smallest files, as
// many as fit.
func choose(files map[class][]small, shape lake.Shape) []small {
	var best []small
	most := int64(0)
	for _, fs := range files {
		if len(fs) < shape.MinFiles {
			continue
		}
		bytes := int64(0)
		for _, f := range fs {
			bytes += f.bytes
		}
		if best == nil || bytes < most {
			best, most = fs, bytes
		}
	}
	slices.SortFunc(best, func(a, b small) int { return cmp.Or(cmp.Compare(a.bytes, b.bytes), cmp.Compare(a.path, b.path)) })
	bytes := int64(0)
	for i, f := range best {
		if bytes += f.bytes; i >= 2 && bytes > 2*shape.Target {
			return best[:i]
		}
	}
	return best
}

// readFiles reads whole data files of a table into one block, and returns those that fitted into most
// bytes, at least two.
func readFiles(ctx context.Context, tbl *table.Table, files []small, most int) (*lake.Block, []small, error) {
	scan := tbl.Scan(table.WithMaxConcurrency(1), table.WithArrowBatchSize(scanRows))
	defer scan.Close()
	all, err := scan.PlanFiles(ctx)
	if err != nil {
		return nil, nil, err
	}
	tasks := make(map[string][]table.FileScanTask, len(files))
	for _, t := range all {
		tasks[t.File.FilePath()] = append(tasks[t.File.FilePath()], t)
	}
	out := &lake.Block{}
	for i, f := range files {
		if i >= 2 && blockBytes(out) > most {
			return out, files[:i], nil
		}
		_, records, err := scan.ReadTasks(ctx, tasks[f.path])
		if err != nil {
			return nil, nil, err
		}
		for rec, err := range records {
			if err != nil {
				return nil, nil, err
			}
			err = show(rec, tbl.Schema(), nil, func(b *lake.Block) error { return out.Append(b) })
			rec.Release()
			if err != nil {
				return nil, nil, err
			}
		}
	}
	return out, files, nil
}

// blockBytes is about how much memory a block takes.
func blockBytes(b *lake.Block) (n int) {
	for i := range b.Cols {
		c := &b.Cols[i]
		n += len(c.Valid) + 8*(len(c.Ints)+len(c.Floats)) + 4*(len(c.Offs)+len(c.ListOffs)) + len(c.Bytes)
	}
	return n
}

// sorted yields the rows of a block, all of one day, in order of the table's partition column.
func sorted(tbl *table.Table, b *lake.Block) (iter.Seq2[arrow.RecordBatch, error], error) {
	sc, err := arrowSchema(tbl)
	if err != nil {
		return nil, err
	}
	by := partitionColumn(tbl)
	if b.Index(by) < 0 {
		return nil, errors.New("the table has lost its partition column")
	}
	times := b.Cols[b.Index(by)].Ints
	order := make([]int32, b.N)
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortStableFunc(order, func(a, b int32) int { return cmp.Compare(times[a], times[b]) })
	return func(yield func(arrow.RecordBatch, error) bool) {
		for part := range slices.Chunk(order, compactBatch) {
			rec, err := record(sc, b, part)
			if !yield(rec, err) || err != nil {
				return
			}
		}
	}, nil
}
