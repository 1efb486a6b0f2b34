package pages

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	"github.com/apache/arrow-go/v18/parquet/schema"

	"github.com/pinflow/pinflow/internal/column"
)

// Column names a column of a file by its leaf.
type Column struct {
	Leaf int
	Kind column.Kind
}

// Block is rows as columns, parallel to those asked for. It is filled again and again in the same memory,
// also of other columns, but for dictionaries, which are made once.
type Block struct {
	N    int
	Cols []column.Vec

	spaces []space
}

// Reader reads the rows of a row group. It is not safe for concurrent use.
type Reader struct {
	left    int
	columns []source
}

// source is a column.
type source interface {
	read(v *column.Vec, m *space, n int) error
}

// New begins a row group of a file, which must stay open.
func New(ctx context.Context, f *file.Reader, group int, columns []Column) (*Reader, error) {
	rows := f.RowGroup(group)
	r := &Reader{left: int(rows.NumRows())}
	for _, c := range columns {
		if err := Fits(f, c); err != nil {
			return nil, err
		}
		s, err := open(ctx, f, group, c)
		if err != nil {
			return nil, fmt.Errorf("reading column %s: %w", name(f, c), err)
		}
		r.columns = append(r.columns, s)
	}
	return r, nil
}

func name(f *file.Reader, c Column) string { return f.MetaData().Schema.Column(c.Leaf).Path() }

// Next fills the block with the next rows, at most most. It has none at the end.
func (r *Reader) Next(b *Block, most int) (err error) {
	defer func() {
		if p := recover(); p != nil { // arrow-go takes a page's header at its word
			err = fmt.Errorf("a page is damaged: %v", p)
		}
	}()
	b.N = min(most, r.left)
	b.Cols = room(b.Cols[:cap(b.Cols)], len(r.columns))
	if len(b.spaces) < len(r.columns) {
		b.spaces = append(b.spaces, make([]space, len(r.columns)-len(b.spaces))...)
	}
	if b.N == 0 {
		return nil
	}
	for i, c := range r.columns {
		if err := c.read(&b.Cols[i], &b.spaces[i], b.N); err != nil {
			return fmt.Errorf("reading column %d of a block: %w", i, err)
		}
	}
	r.left -= b.N
	return nil
}

// Bytes is how much memory the block keeps.
func (b *Block) Bytes() int {
	n := 0
	for _, m := range b.spaces {
		n += cap(m.valid) + 8*(cap(m.ints)+cap(m.floats)) + 4*(cap(m.codes)+cap(m.offs)) + cap(m.bytes)
	}
	return n
}

// Fits tells whether a column of a file can be read as the kind: nil if so.
func Fits(f *file.Reader, c Column) error {
	leaf := f.MetaData().Schema.Column(c.Leaf)
	ok := false
	switch physical, logical := leaf.PhysicalType(), leaf.LogicalType(); c.Kind {
	case column.Long:
		ok = physical == parquet.Types.Int64
	case column.Timestamptz:
		t, is := logical.(schema.TimestampLogicalType)
		ok = physical == parquet.Types.Int64 && is && t.TimeUnit() == schema.TimeUnitMicros
	case column.Double:
		ok = physical == parquet.Types.Double
	case column.Boolean:
		ok = physical == parquet.Types.Boolean
	case column.Date:
		ok = physical == parquet.Types.Int32 && leaf.ConvertedType() == schema.ConvertedTypes.Date
	case column.String, column.JSON:
		ok = physical == parquet.Types.ByteArray
	case column.List:
		return nil
	case column.Invalid:
	}
	if !ok || leaf.MaxRepetitionLevel() > 0 || leaf.MaxDefinitionLevel() > 1 {
		return fmt.Errorf("column %s is a %s, which is no %s", leaf.Path(), leaf.PhysicalType(), c.Kind)
	}
	return nil
}

// open chooses how a column is read.
func open(ctx context.Context, f *file.Reader, group int, c Column) (source, error) {
	chunkMeta, err := f.MetaData().RowGroup(group).ColumnChunk(c.Leaf)
	if err != nil {
		return nil, err
	}
	ours := func(e parquet.Encoding) bool {
		switch e {
		case parquet.Encodings.Plain, parquet.Encodings.PlainDict, parquet.Encodings.RLEDict:
			return true
		case parquet.Encodings.RLE: // of levels; booleans may be encoded so, too
			return c.Kind != column.Boolean
		case parquet.Encodings.DeltaBinaryPacked:
			return isInteger(c.Kind)
		}
		return false
	}
	if c.Kind == column.List || !all(chunkMeta.Encodings(), ours) {
		return openArrow(ctx, f, group, c)
	}
	pages, err := f.RowGroup(group).GetColumnPageReader(c.Leaf)
	if err != nil {
		return nil, err
	}
	leaf := f.MetaData().Schema.Column(c.Leaf)
	return &chunk{
		pages: pages, kind: c.Kind, optional: leaf.MaxDefinitionLevel() == 1, wide: leaf.PhysicalType() == parquet.Types.Int64,
	}, nil
}

func all[T any](of []T, is func(T) bool) bool {
	return !slices.ContainsFunc(of, func(x T) bool { return !is(x) })
}

// arrowColumn is a column that arrow-go reads.
type arrowColumn struct {
	kind   column.Kind
	reader *pqarrow.ColumnReader
}

func openArrow(ctx context.Context, f *file.Reader, group int, c Column) (source, error) {
	r, err := pqarrow.NewFileReader(f, pqarrow.ArrowReadProperties{}, memory.DefaultAllocator)
	if err != nil {
		return nil, err
	}
	field, err := r.Manifest.GetFieldIndices([]int{c.Leaf})
	if err != nil {
		return nil, err
	}
	cr, err := r.GetFieldReader(ctx, field[0], map[int]bool{c.Leaf: true}, []int{group})
	if err != nil {
		return nil, err
	}
	return &arrowColumn{c.Kind, cr}, nil
}

func (a *arrowColumn) read(v *column.Vec, _ *space, n int) error {
	chunked, err := a.reader.NextBatch(int64(n))
	if err != nil {
		return err
	}
	parts := chunked.Chunks()
	if len(parts) != 1 {
		if len(parts) == 0 {
			return errors.New("the pages hold fewer rows than the file says")
		}
		one, err := array.Concatenate(parts, memory.DefaultAllocator)
		if err != nil {
			return err
		}
		parts = []arrow.Array{one}
	}
	if parts[0].Len() != n {
		return fmt.Errorf("got %d rows of %d", parts[0].Len(), n)
	}
	*v, err = FromArrow(parts[0], a.kind)
	return err
}
