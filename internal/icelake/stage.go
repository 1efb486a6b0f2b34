package icelake

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/iceberg-go"
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
	days, err := byDay(tbl, blocks)
	if err != nil {
		return nil, fmt.Errorf("staging for table %s: %w", name, err)
	}
	var files []ledger.LakeFile
	c, back := l.lend()
	defer back()
	for _, d := range days {
		more, err := l.write(ctx, tbl, name, d.n, d.once(), 0, c)
		if err != nil {
			return nil, errors.Join(err, l.Discard(ctx, files))
		}
		files = append(files, more...)
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

// arrowSchema is the Arrow form of a table's rows, with the numbers of its fields.
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

// byDay sorts the blocks' rows by day. Within a day they stay in the order given.
func byDay(tbl *table.Table, blocks []lake.Block) ([]rowsOf, error) {
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
	slices.SortStableFunc(pieces, func(a, b piece) int { return cmp.Compare(a.day, b.day) })
	var days []rowsOf
	for from, p := range pieces {
		if from == 0 || pieces[from-1].day != p.day {
			days = append(days, rowsOf{blocks: blocks})
		}
		d := &days[len(days)-1]
		d.pieces, d.n = append(d.pieces, p), d.n+p.len(blocks)
	}
	return days, nil
}

func (p piece) len(blocks []lake.Block) int {
	if p.rows == nil {
		return blocks[p.block].N
	}
	return len(p.rows)
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
		var err error
		if cols[i], err = arrayOf(f, b, rows); err != nil {
			return nil, err
		}
	}
	return array.NewRecordBatch(sc, cols, int64(n)), nil
}

// arrayOf makes an Arrow array of a column of a block's rows (nil: all).
func arrayOf(f arrow.Field, b *lake.Block, rows []int32) (arrow.Array, error) {
	v, n := *valuesOf(f, b), b.N
	if rows != nil {
		v, n = v.Pick(rows), len(rows)
	}
	a, err := toArrow(&v, n, f.Type)
	if err != nil {
		return nil, fmt.Errorf("column %s: %w", f.Name, err)
	}
	return a, nil
}

// valuesOf is a column of a block, all NULL if the block lacks it.
func valuesOf(f arrow.Field, b *lake.Block) *column.Vec {
	if at := b.Index(f.Name); at >= 0 {
		return &b.Cols[at]
	}
	return &column.Vec{}
}
