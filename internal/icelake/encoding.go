package icelake

import (
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	"github.com/cespare/xxhash/v2"

	"github.com/pinflow/pinflow/internal/column"
	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/lake"
)

// Sizes of Parquet files.
const (
	pageBytes     = 1 << 20
	pageRows      = 20_000
	dictBytes     = 2 << 20
	rowGroupBytes = 128 << 20
	zstdLevel     = 1
)

// arrowProperties are those of every file: the Arrow schema is kept, so that Arrow readers get its types.
func arrowProperties() pqarrow.ArrowWriterProperties {
	return pqarrow.NewArrowWriterProperties(pqarrow.WithAllocator(memory.DefaultAllocator), pqarrow.WithStoreSchema())
}

// writerProperties chooses how the columns of a file are encoded and packed, by some of its rows. What is
// read most often, to group by or to count, must be cheap to unpack, and gains little from being packed hard:
//   - times, and integers of which hardly two are equal, are kept as differences;
//   - columns with few different values are codes of a dictionary;
//   - both, and booleans, are packed with snappy, which leaves alone what cannot be packed. With zstd they
//     are hardly smaller, and unpacking them was the greatest part of a scan;
//   - all else (ids, texts that differ, JSON, lists) is packed with zstd.
//
// filter is for how many rows the file gets a filter of event ids; 0: it gets none. plain columns are known to gain
// nothing from a dictionary.
func writerProperties(sc *arrow.Schema, r rowsOf, filter int, plain ...string) (*parquet.WriterProperties, error) {
	opts := []parquet.WriterProperty{
		parquet.WithCreatedBy("pinflow"), parquet.WithCompression(compress.Codecs.Zstd), parquet.WithCompressionLevel(zstdLevel),
		parquet.WithMaxRowGroupLength(rowGroup), parquet.WithDataPageSize(pageBytes), parquet.WithBatchSize(pageRows),
		parquet.WithDictionaryPageSizeLimit(dictBytes), parquet.WithMaxBloomFilterBytes(int64(filterBytes(filter))),
	}
	leaves, err := pqarrow.ToParquet(sc, parquet.NewWriterProperties(opts...), arrowProperties())
	if err != nil {
		return nil, fmt.Errorf("describing a Parquet file: %w", err)
	}
	for leaf := range leaves.NumColumns() {
		// A dictionary of values that are nearly all different is given up before the first page.
		at := leaves.Column(leaf)
		opts = append(opts, parquet.WithDictionaryCostFallbackFor(at.Path(), true))
		if slices.Contains(plain, sc.Field(leaf).Name) {
			opts = append(opts, parquet.WithDictionaryFor(at.Path(), false))
		}
	}
	for _, f := range sc.Fields() {
		if f.Name == event.ColumnEventID {
			opts = append(opts, parquet.WithDictionaryFor(f.Name, false), parquet.WithBloomFilterEnabledFor(f.Name, filter > 0))
			continue
		}
		opts = append(opts, columnProperties(f, r)...)
	}
	return parquet.NewWriterProperties(opts...), nil
}

// columnProperties are those of one column.
func columnProperties(f arrow.Field, r rowsOf) []parquet.WriterProperty {
	easy := []parquet.WriterProperty{parquet.WithCompressionFor(f.Name, compress.Codecs.Snappy)}
	differences := slices.Concat(easy, []parquet.WriterProperty{parquet.WithDictionaryFor(f.Name, false), parquet.WithEncodingFor(f.Name, parquet.Encodings.DeltaBinaryPacked)})
	switch f.Type.ID() {
	case arrow.TIMESTAMP:
		return differences
	case arrow.INT64, arrow.DATE32:
		// Partitions may have the same offsets, so their variety says little.
		if f.Name == event.ColumnOffset || r.variety(f.Name) > 0.75 {
			return differences
		}
		return easy
	case arrow.BOOL:
		return easy
	case arrow.STRING, arrow.FLOAT64:
		if r.variety(f.Name) < 0.25 {
			return easy
		}
	default: // a list
	}
	return nil
}

// rowsOf is rows of blocks, in the order in which they are written.
type rowsOf struct {
	blocks []lake.Block
	pieces []piece
	n      int
	forms  []form // of the columns of the only block, as its texts are; nil: not known
}

// day is the day of the rows, by the column that partitions their table.
func (r rowsOf) day(by string) (int64, error) {
	for _, p := range r.pieces {
		b := &r.blocks[p.block]
		at := b.Index(by)
		switch {
		case at < 0:
			return 0, fmt.Errorf("rows without %s", by)
		case len(p.rows) > 0:
			return day(b.Cols[at].Ints[p.rows[0]]), nil
		case p.rows == nil && b.N > 0:
			return day(b.Cols[at].Ints[0]), nil
		}
	}
	return 0, errors.New("no rows")
}

// once is rows in one run.
func (r rowsOf) once() iter.Seq2[rowsOf, error] {
	return func(yield func(rowsOf, error) bool) { yield(r, nil) }
}

// sampleRows is about how many values of a column are looked at before its encoding is chosen.
const sampleRows = 1024

// variety is what part of a column's values differs from the others, in a sample from all over the rows; 0
// if it has none.
func (r rowsOf) variety(name string) float64 {
	step := max(1, r.n/sampleRows)
	seen, values, at := map[uint64]bool{}, 0, 0
	for _, p := range r.pieces {
		n := p.len(r.blocks)
		c := r.blocks[p.block].Index(name)
		for ; c >= 0 && at < n; at += step {
			row := at
			if p.rows != nil {
				row = int(p.rows[at])
			}
			if v := &r.blocks[p.block].Cols[c]; v.Kind != column.Invalid && !v.IsNull(row) {
				seen[digestOf(v, row)] = true
				values++
			}
		}
		at = max(0, at-n)
	}
	return float64(len(seen)) / float64(max(1, values))
}

// digestOf is a value, or a hash of it.
func digestOf(v *column.Vec, i int) uint64 {
	switch v.Kind {
	case column.String, column.JSON:
		return xxhash.Sum64(v.Text(i))
	case column.Double:
		return math.Float64bits(v.Floats[i])
	case column.Long, column.Timestamptz, column.Date, column.Boolean:
		return uint64(v.Ints[i])
	case column.List, column.Invalid:
	}
	return 0
}
