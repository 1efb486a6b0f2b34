package icelake

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/codec"
	"github.com/apache/iceberg-go/table"

	"github.com/pinflow/pinflow/internal/column"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
)

// usPerDay is the length of a UTC day in microseconds.
const usPerDay = 24 * 60 * 60 * 1e6

// formatVersion is Iceberg's, of every table that we make.
const formatVersion = 2

// Stage writes rows as synced data files that no table names yet: within a day the rows stay in the
// order given. The columns of blocks may differ; what a block lacks is NULL. The files are removed again
// when Stage fails. fault.Transient schema_behind: the table lacks a column, evolve it first.
func (l *Lake) Stage(ctx context.Context, name string, blocks []lake.Block) ([]ledger.LakeFile, error) {
	tbl, err := l.stagingTable(ctx, name, blocks)
	if err != nil {
		return nil, err
	}
	groups, err := byDay(tbl, blocks)
	if err != nil {
		return nil, fmt.Errorf("staging for table %s: %w", name, err)
	}
	var files []ledger.LakeFile
	for _, g := range groups {
		more, err := l.write(ctx, tbl, name, g.rows, g.batches)
		if err != nil {
			return nil, errors.Join(err, l.Discard(ctx, files))
		}
		files = append(files, more...)
	}
	return files, nil
}

// write makes data files of batches that are clustered by day, at most so many rows of each.
func (l *Lake) write(ctx context.Context, tbl *table.Table, name string, rows int, batches iter.Seq2[arrow.RecordBatch, error], opts ...table.WriteRecordOption) ([]ledger.LakeFile, error) {
	sc, err := arrowSchema(tbl)
	if err != nil {
		return nil, err
	}
	if tbl, err = withFilter(tbl, rows); err != nil {
		return nil, fmt.Errorf("writing data files of table %s: %w", name, err)
	}
	spec := tbl.Spec()
	var files []ledger.LakeFile
	opts = append(opts, table.WithClusteredWrite(), table.WithRecordBatchBufferSize(1))
	for df, err := range table.WriteRecords(ctx, tbl, sc, batches, opts...) {
		if err != nil {
			return nil, errors.Join(fmt.Errorf("writing data files of table %s: %w", name, err), l.Discard(ctx, files))
		}
		entry, err := codec.EncodeDataFile(df, spec, tbl.Schema(), formatVersion)
		files = append(files, ledger.LakeFile{
			Table: name, Path: df.FilePath(), Records: df.Count(), Bytes: df.FileSizeBytes(), Entry: entry,
		})
		if err != nil {
			return nil, errors.Join(fmt.Errorf("encoding manifest entry of %s: %w", df.FilePath(), err), l.Discard(ctx, files))
		}
	}
	return files, nil
}

// Discard removes files that no commit can ever name. It tries each of them.
func (l *Lake) Discard(_ context.Context, files []ledger.LakeFile) error {
	var errs []error
	for _, f := range files {
		if err := l.files.Remove(f.Path); err != nil {
			errs = append(errs, fmt.Errorf("removing unused data file %s: %w", f.Path, err))
		}
	}
	return errors.Join(errs...)
}

// stagingTable returns the table if it has all columns of the blocks.
func (l *Lake) stagingTable(ctx context.Context, name string, blocks []lake.Block) (*table.Table, error) {
	tbl, err := l.cat.load(ctx, name)
	if err != nil {
		return nil, err
	}
	if lacks := covers(tbl.Schema(), blocks); lacks != "" {
		return nil, fault.New(fault.Transient, "schema_behind", "table %s has no column %s yet", name, lacks)
	}
	return tbl, nil
}

// covers returns the first column of the blocks that the schema lacks.
func covers(sc *iceberg.Schema, blocks []lake.Block) string {
	for _, b := range blocks {
		for _, c := range b.Columns {
			if _, ok := sc.FindFieldByName(c.Name); !ok {
				return c.Name
			}
		}
	}
	return ""
}

// arrowSchema is the Arrow form in which WriteRecords takes rows without converting them.
func arrowSchema(tbl *table.Table) (*arrow.Schema, error) {
	return table.SchemaToArrowSchemaWithOptions(tbl.Schema(), table.ArrowSchemaOptions{
		IncludeFieldIDs: true, TableProperties: tbl.Properties(),
	})
}

// piece is the rows of one block that fall on one day; rows nil: all of them.
type piece struct {
	day   int64
	block int
	rows  []int32
}

// group is days with about as many rows each, at most so many.
type group struct {
	rows    int
	batches iter.Seq2[arrow.RecordBatch, error]
}

// byDay returns the blocks' rows as record batches, grouped by the size that a day's filter of ids needs,
// within a group days in order.
func byDay(tbl *table.Table, blocks []lake.Block) ([]group, error) {
	sc, err := arrowSchema(tbl)
	if err != nil {
		return nil, err
	}
	spec := tbl.Spec()
	by, ok := tbl.Schema().FindFieldByID(spec.Field(0).SourceID())
	if !ok {
		return nil, errors.New("the table has lost its partition column")
	}
	var pieces []piece
	for i := range blocks {
		at := blocks[i].Index(by.Name)
		if at < 0 {
			return nil, fmt.Errorf("rows without %s", by.Name)
		}
		pieces = splitDays(pieces, i, &blocks[i].Cols[at])
	}
	perDay := map[int64]int{}
	for _, p := range pieces {
		perDay[p.day] += p.len(blocks)
	}
	size := func(p piece) int { return filterBytes(perDay[p.day]) }
	slices.SortStableFunc(pieces, func(a, b piece) int {
		return cmp.Or(cmp.Compare(size(b), size(a)), cmp.Compare(a.day, b.day), a.block-b.block)
	})
	var groups []group
	for from := 0; from < len(pieces); {
		until, most := from, 0
		for ; until < len(pieces) && size(pieces[until]) == size(pieces[from]); until++ {
			most = max(most, perDay[pieces[until].day])
		}
		groups = append(groups, group{most, batches(sc, blocks, pieces[from:until])})
		from = until
	}
	return groups, nil
}

func (p piece) len(blocks []lake.Block) int {
	if p.rows == nil {
		return blocks[p.block].N
	}
	return len(p.rows)
}

// batches yields pieces as record batches.
func batches(sc *arrow.Schema, blocks []lake.Block, pieces []piece) iter.Seq2[arrow.RecordBatch, error] {
	return func(yield func(arrow.RecordBatch, error) bool) {
		for _, p := range pieces {
			rec, err := record(sc, &blocks[p.block], p.rows)
			if !yield(rec, err) || err != nil {
				return
			}
		}
	}
}

// splitDays appends a piece for each day of a block, from the times in microseconds.
func splitDays(pieces []piece, block int, times *column.Vec) []piece {
	if times.Len == 0 {
		return pieces
	}
	first, same := day(times.Ints[0]), true
	for _, t := range times.Ints {
		if day(t) != first {
			same = false
			break
		}
	}
	if same {
		return append(pieces, piece{day: first, block: block})
	}
	at := map[int64]int{}
	for i, t := range times.Ints {
		d := day(t)
		p, ok := at[d]
		if !ok {
			p = len(pieces)
			at[d] = p
			pieces = append(pieces, piece{day: d, block: block})
		}
		pieces[p].rows = append(pieces[p].rows, int32(i))
	}
	return pieces
}

// day is the UTC day of a time, in days since the epoch.
func day(us int64) int64 {
	d := us / usPerDay
	if us%usPerDay < 0 {
		d--
	}
	return d
}

// record makes a record batch of the schema's columns out of a block's rows (nil: all).
func record(sc *arrow.Schema, b *lake.Block, rows []int32) (arrow.RecordBatch, error) {
	n := b.N
	if rows != nil {
		n = len(rows)
	}
	cols := make([]arrow.Array, sc.NumFields())
	for i, f := range sc.Fields() {
		v := column.Vec{}
		if at := b.Index(f.Name); at >= 0 {
			v = b.Cols[at]
		}
		if rows != nil {
			v = v.Pick(rows)
		}
		var err error
		if cols[i], err = toArrow(&v, n, f.Type); err != nil {
			return nil, fmt.Errorf("column %s: %w", f.Name, err)
		}
	}
	return array.NewRecordBatch(sc, cols, int64(n)), nil
}
