package icelake

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/metadata"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	"github.com/apache/arrow-go/v18/parquet/schema"

	"github.com/pinflow/pinflow/internal/column"
	"github.com/pinflow/pinflow/internal/lake"
)

// columnWriter writes a Parquet file as pqarrow.FileWriter does, except that it takes columns of codes as they are.
type columnWriter struct {
	*file.Writer
	sc       *arrow.Schema
	manifest *pqarrow.SchemaManifest
	codes    []*codes // by field; nil: Arrow's writer looks its texts up
	next     []int    // by field: how many of its codes are written
	group    file.BufferedRowGroupWriter
	rows     int // in it
	*scratch
}

// scratch is memory that one file after the other uses.
type scratch struct {
	def, rep []int16 // levels
	ones     []int16 // levels of what is all there
	valid    []bool
}

// newColumnWriter begins a file. codes are by field, of all rows that will be written.
func newColumnWriter(sc *arrow.Schema, w io.Writer, props *parquet.WriterProperties, codes []*codes, s *scratch) (*columnWriter, error) {
	leaves, err := pqarrow.ToParquet(sc, props, arrowProperties())
	if err != nil {
		return nil, fmt.Errorf("describing a Parquet file: %w", err)
	}
	meta := metadata.NewKeyValueMetadata()
	text := base64.StdEncoding.EncodeToString(flight.SerializeSchema(sc, memory.DefaultAllocator))
	if err := meta.Append("ARROW:schema", text); err != nil {
		return nil, fmt.Errorf("describing a Parquet file: %w", err)
	}
	out := &columnWriter{sc: sc, codes: codes, next: make([]int, len(codes)), scratch: s}
	if out.Writer, err = file.NewParquetWriterWithError(w, leaves.Root(), file.WithWriterProps(props), file.WithWriteMetadata(meta)); err != nil {
		return nil, fmt.Errorf("beginning a Parquet file: %w", err)
	}
	if out.manifest, err = pqarrow.NewSchemaManifest(leaves, nil, &pqarrow.ArrowReadProperties{}); err != nil {
		return nil, fmt.Errorf("describing a Parquet file: %w", err)
	}
	return out, nil
}

// write writes a block's rows (nil: all).
func (w *columnWriter) write(ctx context.Context, b *lake.Block, rows []int32) error {
	n := b.N
	if rows != nil {
		n = len(rows)
	}
	props := arrowProperties()
	ctx = pqarrow.NewArrowWriteContext(ctx, &props)
	arrays := make([]arrow.Array, w.sc.NumFields())
	for i, f := range w.sc.Fields() {
		if w.codes[i] != nil {
			continue
		}
		var err error
		if arrays[i], err = arrayOf(f, b, rows); err != nil {
			return err
		}
	}
	for from := 0; from < n; {
		if w.group == nil || w.rows == rowGroup || w.group.TotalBytesWritten() >= rowGroupBytes {
			if err := w.newGroup(); err != nil {
				return err
			}
		}
		to := min(n, from+rowGroup-w.rows)
		for i, f := range w.sc.Fields() {
			var err error
			def, rep, all := w.levels(w.Schema.Column(i), valuesOf(f, b), rows, from, to)
			if w.codes[i] != nil {
				err = w.texts(i, def, rep, to-from, all)
			} else {
				err = w.array(ctx, i, arrays[i], def, rep, from, to)
			}
			if err != nil {
				return fmt.Errorf("column %s: %w", f.Name, err)
			}
		}
		w.rows += to - from
		from = to
	}
	return nil
}

// use takes the codes of the run that follows, but for columns that the file was to have without a dictionary.
func (w *columnWriter) use(coded []*codes) {
	for i := range coded {
		if coded[i] != nil && !w.Properties().DictionaryEnabledFor(w.Schema.Column(i).Path()) {
			coded[i] = nil
		}
	}
	w.codes = coded
	clear(w.next)
}

// endRun ends a run. Its dictionaries end with the row group: their memory is the next run's.
func (w *columnWriter) endRun() error {
	if w.group == nil || !slices.ContainsFunc(w.codes, func(c *codes) bool { return c != nil }) {
		return nil
	}
	err := w.group.Close()
	w.group, w.rows = nil, 0
	return err
}

func (w *columnWriter) newGroup() (err error) {
	if w.group != nil {
		if err := w.group.Close(); err != nil {
			return err
		}
	}
	w.group, err = w.AppendBufferedRowGroupChecked()
	w.rows = 0
	return err
}

// array writes values [from, to) of a field's array. Every field has one column of Parquet.
func (w *columnWriter) array(ctx context.Context, field int, a arrow.Array, def, rep []int16, from, to int) error {
	out, err := w.group.Column(field)
	if err != nil {
		return err
	}
	nullable, first, end := w.sc.Field(field).Nullable, int64(from), int64(to)
	if l, ok := a.(*array.List); ok {
		nullable = l.DataType().(*arrow.ListType).ElemField().Nullable
		first, end = int64(l.Offsets()[from]), int64(l.Offsets()[to])
		if n := present(out.Descr(), def); end-first != int64(n) {
			return fmt.Errorf("lists that are NULL have %d elements", end-first-int64(n))
		}
		a = l.ListValues()
	}
	return pqarrow.WriteArrowToColumn(ctx, out, array.NewSlice(a, first, end), def, rep, nullable)
}

// present is how many values are there by their definition levels.
func present(of *schema.Column, def []int16) (n int) {
	for _, d := range def {
		if d == of.MaxDefinitionLevel() {
			n++
		}
	}
	return n
}

// dictEncoder is what Arrow's writer has for a column that is a dictionary.
type dictEncoder interface {
	PutDictionary(texts arrow.Array) error
	NumEntries() int
	AddRawSize(bytes int64) // of the values that follow: pages are cut by it
}

// texts writes the codes of so many rows.
func (w *columnWriter) texts(field int, def, rep []int16, n int, all bool) error {
	chunk, err := w.group.Column(field)
	if err != nil {
		return err
	}
	out, ok := chunk.(*file.ByteArrayColumnChunkWriter)
	if !ok {
		return fmt.Errorf("its writer takes no texts: %T", chunk)
	}
	enc, ok := out.CurrentEncoder().(dictEncoder)
	if !ok {
		return fmt.Errorf("its writer takes no codes: %T", out.CurrentEncoder())
	}
	c := w.codes[field]
	if enc.NumEntries() == 0 && c.texts.Len() > 0 {
		if err := enc.PutDictionary(c.texts); err != nil {
			return err
		}
	}
	if def != nil {
		n = len(def)
	}
	for at := 0; at < n; at += pageRows {
		end := min(at+pageRows, n)
		b := batch{n: end - at, all: all}
		if def != nil {
			b.def = def[at:end]
		}
		if rep != nil {
			b.rep = rep[at:end]
		}
		used, err := c.put(out, enc, w.next[field], b, w.scratch)
		if err != nil {
			return err
		}
		w.next[field] += used
	}
	return nil
}

// levels are Parquet's definition and repetition levels of rows [from, to) of those given (nil: all of the
// column): what of them is there, nil where all has to be, and what begins a row, nil without lists. They are valid
// until the next call. all: nothing is NULL or an empty list.
func (w *columnWriter) levels(of *schema.Column, v *column.Vec, rows []int32, from, to int) (def, rep []int16, all bool) {
	there := of.MaxDefinitionLevel()
	switch {
	case there == 0:
		return nil, nil, true
	case of.MaxRepetitionLevel() > 0:
		empty := int16(0) // a list without elements
		if of.SchemaNode().Parent().Parent().RepetitionType() == parquet.Repetitions.Optional {
			empty = 1 // NULL is 0
		}
		return w.listLevels(v, rows, from, to, there, empty)
	case v.Kind != column.Invalid && v.Valid == nil && there == 1:
		for len(w.ones) < to-from {
			w.ones = append(w.ones, 1)
		}
		return w.ones[:to-from], nil, true
	}
	def = slices.Grow(w.def[:0], to-from)
	for i := from; i < to; i++ {
		d := int16(0)
		if v.Kind != column.Invalid && !v.IsNull(rowOf(rows, i)) {
			d = there
		}
		def = append(def, d)
	}
	w.def = def
	return def, nil, false
}

func rowOf(rows []int32, i int) int {
	if rows == nil {
		return i
	}
	return int(rows[i])
}

func (w *columnWriter) listLevels(v *column.Vec, rows []int32, from, to int, there, empty int16) (def, rep []int16, all bool) {
	n := to - from // at least one for each row
	for i := from; i < to && v.Kind != column.Invalid; i++ {
		first, end := v.List(rowOf(rows, i))
		n += int(max(end-first-1, 0))
	}
	def, rep, all = slices.Grow(w.def[:0], n), slices.Grow(w.rep[:0], n), true
	for i := from; i < to; i++ {
		row := rowOf(rows, i)
		if v.Kind == column.Invalid || v.IsNull(row) {
			def, rep, all = append(def, 0), append(rep, 0), false
			continue
		}
		first, end := v.List(row)
		if first == end {
			def, rep, all = append(def, empty), append(rep, 0), false
			continue
		}
		def, rep = append(def, there), append(rep, 0)
		for range end - first - 1 {
			def, rep = append(def, there), append(rep, 1)
		}
	}
	w.def, w.rep = def, rep
	return def, rep, all
}

// batch is the levels of so many values; nil: see levels.
type batch struct {
	n        int
	def, rep []int16
	all      bool
}

// put writes a batch of codes from a place on, and says how many that were.
func (c *codes) put(out *file.ByteArrayColumnChunkWriter, enc dictEncoder, place int, b batch, s *scratch) (n int, err error) {
	n, there, valid := b.n, b.n, []bool(nil)
	if !b.all {
		there = present(out.Descr(), b.def)
	}
	if b.rep != nil {
		n = there // what is not has no code
	} else if there < n {
		valid = s.valid[:0]
		for _, d := range b.def {
			valid = append(valid, d > 0)
		}
		s.valid = valid
	}
	at := c.at[place : place+n]
	raw, least, most := c.extent(at, valid)
	enc.AddRawSize(raw)
	if stats, ok := out.PageStatistics().(*metadata.ByteArrayStatistics); ok {
		stats.IncNulls(int64(b.n - there))
		stats.IncNumValues(int64(there))
		if there > 0 {
			stats.SetMinMax(least, most)
		}
	}
	bits, nulls := bitmap(valid)
	buffers := []*memory.Buffer{bits, memory.NewBufferBytes(arrow.Int32Traits.CastToBytes(at))}
	return n, out.WriteDictIndices(array.NewInt32Data(array.NewData(arrow.PrimitiveTypes.Int32, n, buffers, nil, nulls, 0)), b.def, b.rep)
}

// extent is how many bytes the texts of codes take, and the least and greatest of them.
func (c *codes) extent(at []int32, valid []bool) (raw int64, least, most []byte) {
	offs, texts := c.texts.ValueOffsets(), c.texts.ValueBytes()
	clear(c.used)
	for i, e := range at {
		if valid != nil && !valid[i] {
			continue
		}
		raw += int64(offs[e+1]-offs[e]) + 4
		c.used[e] = true
	}
	for e, used := range c.used {
		if !used {
			continue
		}
		text := texts[offs[e]:offs[e+1]]
		if least == nil || bytes.Compare(text, least) < 0 {
			least = text
		}
		if most == nil || bytes.Compare(text, most) > 0 {
			most = text
		}
	}
	return raw, least, most
}
