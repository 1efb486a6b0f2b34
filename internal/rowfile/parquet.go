package rowfile

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/pages"
)

const parquetRows = 4096

// openParquet opens what pinflow exported, whose rows give the events back, or any other Parquet file.
func openParquet(f *File) (reader, error) {
	in, err := file.OpenParquetFile(f.Path, false)
	if err != nil {
		return nil, bad(f.Path, 0, "is no Parquet file: %w", err)
	}
	names := map[string]int{}
	for leaf := range in.MetaData().Schema.NumColumns() {
		names[in.MetaData().Schema.ColumnRoot(leaf).Name()] = leaf
	}
	_, extra := names[event.ColumnExtra]
	_, schema := names[event.ColumnSchema]
	if extra && schema {
		return &exported{f: f, in: in, leaves: names, group: -1}, nil
	}
	r, err := openForeign(f, in)
	if err != nil {
		return nil, errors.Join(err, in.Close())
	}
	return r, nil
}

// exported reads a day that pinflow exported.
type exported struct {
	f       *File
	in      *file.Reader
	leaves  map[string]int
	group   int
	rows    *pages.Reader
	columns []lake.Column
	block   pages.Block
	at      int
	under   map[int64]*event.Rows
	line    []byte
}

// system are the columns of origin that the events themselves do not have.
func systemColumns(s *event.Schema) []lake.Column { return lake.Columns(s) }

// begin opens the next row group; io.EOF after the last.
func (e *exported) begin() error {
	if e.group++; e.group >= e.in.NumRowGroups() {
		return io.EOF
	}
	var newest *event.Schema
	for _, s := range e.f.schemas {
		if newest == nil || s.Version > newest.Version {
			newest = s
		}
	}
	e.columns = e.columns[:0]
	var columns []pages.Column
	for _, c := range systemColumns(newest) {
		leaf, ok := e.leaves[c.Name]
		if !ok {
			continue // the file is older than the column
		}
		columns, e.columns = append(columns, pages.Column{Leaf: leaf, Kind: c.Kind}), append(e.columns, c)
	}
	for name := range e.leaves {
		if newest.Index(name) < 0 {
			return bad(e.f.Path, 0, "was exported by pinflow, of a stream with the field %q, which this one has not", name).
				WithAdvice("declare it, or export the day as jsonl")
		}
	}
	rows, err := pages.New(context.Background(), e.in, e.group, columns)
	if err != nil {
		return e.f.failed(err)
	}
	e.rows, e.block, e.at = rows, pages.Block{}, 0
	return nil
}

func (e *exported) next() (row, error) {
	for e.rows == nil || e.at >= e.block.N {
		if e.rows != nil {
			if err := e.rows.Next(&e.block, parquetRows); err != nil {
				return row{}, e.f.failed(err)
			}
			e.at, e.under = 0, map[int64]*event.Rows{}
			if e.block.N > 0 {
				break
			}
		}
		if err := e.begin(); err != nil {
			return row{}, err
		}
	}
	i := e.at
	e.at++
	b := &lake.Block{Columns: e.columns, N: e.block.N, Cols: e.block.Cols}
	version := b.Cols[b.Index(event.ColumnSchema)].Ints[i]
	s := e.f.schemas[version]
	if s == nil {
		return row{}, bad(e.f.Path, 0, "has rows of schema %d, which this stream has not", version).WithAdvice("import the day as jsonl")
	}
	if e.under[version] == nil {
		e.under[version] = lake.Rows(b, s)
	}
	e.line = s.AppendJSON(e.line[:0], e.under[version], i)
	x := row{value: e.line}
	if at := b.Index(event.ColumnReceivedAt); at >= 0 && !b.Cols[at].IsNull(i) {
		x.received = b.Cols[at].Ints[i]
	}
	if at := b.Index(event.ColumnEventID); at >= 0 && !b.Cols[at].IsNull(i) {
		x.id = string(b.Cols[at].Text(i))
	}
	return x, nil
}

func (e *exported) skip(rows int64) error { return skipRows(e, rows) }

func (e *exported) Close() error { return e.in.Close() }

// foreign reads any Parquet file: each column is a member, NULL one that the event does not have.
type foreign struct {
	f      *File
	in     *file.Reader
	groups pqarrow.RecordReader
	keys   [][]byte
	values []values
	id     int
	got    int
	batch  arrow.RecordBatch
	gone   int64 // rows of batches before
	at     int64
	line   []byte
}

func openForeign(f *File, in *file.Reader) (*foreign, error) {
	files, err := pqarrow.NewFileReader(in, pqarrow.ArrowReadProperties{BatchSize: parquetRows}, memory.DefaultAllocator)
	if err != nil {
		return nil, f.failed(err)
	}
	for i := range files.Manifest.Fields {
		if c := files.Manifest.Fields[i].Field; c.Type.ID() == arrow.DURATION {
			return nil, bad(f.Path, 0, "column %s is a duration, which no event can hold", c.Name).WithAdvice("write it as a number or text")
		}
	}
	groups, err := files.GetRecordReader(context.Background(), nil, nil)
	if err != nil {
		return nil, f.failed(err)
	}
	r := &foreign{f: f, in: in, groups: groups, id: -1, got: -1}
	for i, c := range groups.Schema().Fields() {
		switch c.Name {
		case event.ColumnEventID:
			r.id = i
		case event.ColumnReceivedAt:
			r.got = i
		}
		key, err := json.Marshal(c.Name)
		if err != nil {
			return nil, f.failed(err)
		}
		r.keys = append(r.keys, append(key, ':'))
		r.values = append(r.values, valuesOf(&files.Manifest.Fields[i], in.MetaData().Schema))
	}
	return r, nil
}

func (r *foreign) next() (row, error) {
	for r.batch == nil || r.at >= r.batch.NumRows() {
		if !r.groups.Next() {
			if err := r.groups.Err(); err != nil && !errors.Is(err, io.EOF) {
				return row{}, r.f.failed(err)
			}
			return row{}, io.EOF
		}
		if r.batch != nil {
			r.gone += r.batch.NumRows()
		}
		r.batch, r.at = r.groups.RecordBatch(), 0
	}
	i := int(r.at)
	r.at++
	var x row
	b := append(r.line[:0], '{')
	for c, column := range r.batch.Columns() {
		if column.IsNull(i) {
			continue
		}
		switch c {
		case r.id:
			x.id = column.ValueStr(i)
			continue
		case r.got:
			if t, ok := column.(*array.Timestamp); ok {
				x.received = momentIn(t, i).UnixMicro()
				continue
			}
		}
		if len(b) > 1 {
			b = append(b, ',')
		}
		var err error
		if b, err = r.values[c].append(append(b, r.keys[c]...), column, i); err != nil {
			return row{}, bad(r.f.Path, 0, "row %d, column %s: %w", r.gone+r.at, r.batch.ColumnName(c), err)
		}
	}
	r.line = append(b, '}')
	x.value = r.line
	return x, nil
}

func (r *foreign) skip(rows int64) error { return skipRows(r, rows) }

func (r *foreign) Close() error {
	r.groups.Release()
	if err := r.in.Close(); err != nil {
		return fmt.Errorf("closing %s: %w", r.f.Path, err)
	}
	return nil
}
