package pages_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	"pgregory.net/rapid"

	"github.com/pinflow/pinflow/internal/column"
	"github.com/pinflow/pinflow/internal/pages"
)

var kinds = []struct {
	kind column.Kind
	arrow.DataType
}{
	{column.Long, arrow.PrimitiveTypes.Int64},
	{column.Double, arrow.PrimitiveTypes.Float64},
	{column.Boolean, arrow.FixedWidthTypes.Boolean},
	{column.Timestamptz, &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}},
	{column.Date, arrow.FixedWidthTypes.Date32},
	{column.String, arrow.BinaryTypes.String},
	{column.JSON, arrow.BinaryTypes.String},
	{column.List, arrow.ListOf(arrow.BinaryTypes.String)},
}

// However a file was written (pages of either version, small or large, dictionaries whole, given up in
// the middle or none, delta encodings, compressed or not, NULLs anywhere), and in whatever blocks it is
// read, the values are those written.
func TestBlocksAreWhatWasWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 600).Draw(t, "rows")
		var fields []arrow.Field
		var arrays []arrow.Array
		var want [][]string
		for i, k := range kinds {
			nullable := rapid.Bool().Draw(t, "nullable")
			fields = append(fields, arrow.Field{Name: fmt.Sprint("c", i), Type: k.DataType, Nullable: nullable})
			a, texts := values(t, k.kind, k.DataType, n, nullable)
			arrays, want = append(arrays, a), append(want, texts)
		}
		rec := array.NewRecordBatch(arrow.NewSchema(fields, nil), arrays, int64(n))
		f := written(t, rec)
		var all []pages.Column
		for i, k := range kinds { // each has one leaf
			all = append(all, pages.Column{Leaf: i, Kind: k.kind})
		}
		at := 0
		blocks := []*pages.Block{{}, {}} // two in turn, as a reader has that is ahead
		for g := range f.NumRowGroups() {
			columns := rapid.Permutation(all).Draw(t, "columns")[:rapid.IntRange(1, len(all)).Draw(t, "of them")]
			r, err := pages.New(t.Context(), f, g, columns)
			if err != nil {
				t.Fatal(err)
			}
			for turn := 0; ; turn++ {
				b := blocks[turn%2]
				if err := r.Next(b, rapid.IntRange(1, 300).Draw(t, "block")); err != nil {
					t.Fatal(err)
				}
				if b.N == 0 {
					break
				}
				if len(b.Cols) != len(columns) {
					t.Fatalf("%d columns, want %d", len(b.Cols), len(columns))
				}
				for c := range b.Cols {
					kind, want := columns[c].Kind, want[columns[c].Leaf]
					for i := range b.N {
						if got := shown(&b.Cols[c], i); got != want[at+i] {
							t.Fatalf("%s, row %d: %s, want %s", kind, at+i, got, want[at+i])
						}
					}
					if flat := b.Cols[c].Flat(); flat.Codes != nil || shown(flat, b.N-1) != want[at+b.N-1] {
						t.Fatalf("%s flat: %s, want %s", kind, shown(flat, b.N-1), want[at+b.N-1])
					}
				}
				at += b.N
			}
		}
		if at != n {
			t.Fatalf("%d rows of %d", at, n)
		}
	})
}

var codecs = []compress.Compression{compress.Codecs.Uncompressed, compress.Codecs.Zstd, compress.Codecs.Snappy, compress.Codecs.Lz4Raw}

// written is the rows as a Parquet file.
func written(t *rapid.T, rec arrow.RecordBatch) *file.Reader {
	opts := []parquet.WriterProperty{
		parquet.WithDictionaryDefault(rapid.IntRange(0, 3).Draw(t, "dictionary") > 0),
		parquet.WithDictionaryPageSizeLimit(rapid.SampledFrom([]int64{1, 64, 1 << 20}).Draw(t, "dictionary's limit")),
		parquet.WithDataPageSize(rapid.SampledFrom([]int64{16, 256, 1 << 20}).Draw(t, "page size")),
		parquet.WithBatchSize(rapid.SampledFrom([]int64{1, 7, 1024}).Draw(t, "batch")),
		parquet.WithDataPageVersion(rapid.SampledFrom([]parquet.DataPageVersion{parquet.DataPageV1, parquet.DataPageV2}).Draw(t, "page version")),
		parquet.WithCompression(rapid.SampledFrom(codecs).Draw(t, "codec")),
		parquet.WithMaxRowGroupLength(rapid.SampledFrom([]int64{100, 1 << 20}).Draw(t, "row group")),
	}
	// Columns of one file may be packed and encoded each in its own way.
	for i := range kinds {
		if rapid.IntRange(0, 2).Draw(t, "own codec") == 0 {
			opts = append(opts, parquet.WithCompressionFor(fmt.Sprint("c", i), rapid.SampledFrom(codecs).Draw(t, "codec")))
		}
	}
	for _, i := range []int{0, 3, 4, 5} {
		if rapid.IntRange(0, 2).Draw(t, "delta") == 0 {
			enc := parquet.Encodings.DeltaBinaryPacked
			if i == 5 {
				enc = parquet.Encodings.DeltaLengthByteArray
			}
			opts = append(opts, parquet.WithDictionaryFor(fmt.Sprint("c", i), false), parquet.WithEncodingFor(fmt.Sprint("c", i), enc))
		}
	}
	return opened(t, encoded(t, rec, opts...))
}

// failing is what rapid's tests and Go's have in common.
type failing interface{ Fatal(args ...any) }

// encoded is the rows as the bytes of a Parquet file.
func encoded(t failing, rec arrow.RecordBatch, opts ...parquet.WriterProperty) []byte {
	var buf bytes.Buffer
	w, err := pqarrow.NewFileWriter(rec.Schema(), &buf, parquet.NewWriterProperties(opts...), pqarrow.DefaultWriterProps())
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Write(rec); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func opened(t failing, data []byte) *file.Reader {
	f, err := file.NewParquetReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// values are random ones, with how they are shown. Of some columns few are different, of some all.
func values(t *rapid.T, kind column.Kind, dt arrow.DataType, n int, nullable bool) (arrow.Array, []string) {
	b := array.NewBuilder(memory.DefaultAllocator, dt)
	different := rapid.SampledFrom([]int{1, 3, 40, 10_000}).Draw(t, "different values")
	nulls := 0
	if nullable {
		nulls = rapid.SampledFrom([]int{0, 1, 5, 10}).Draw(t, "NULLs in ten")
	}
	draws := rapid.SliceOfN(rapid.Int64Range(0, math.MaxInt64), n, n).Draw(t, "values")
	var out []string
	for _, x := range draws {
		null, x := int(x%10) < nulls, (x/10)%int64(different)
		if null {
			b.AppendNull()
			out = append(out, "NULL")
			continue
		}
		word := strings.Repeat("é", int(x%5)) + fmt.Sprint(x)
		if x == 0 {
			word = ""
		}
		switch b := b.(type) {
		case *array.Int64Builder:
			b.Append(x - 5)
			out = append(out, fmt.Sprint(x-5))
		case *array.TimestampBuilder:
			b.Append(arrow.Timestamp(x))
			out = append(out, fmt.Sprint(x))
		case *array.Date32Builder:
			b.Append(arrow.Date32(x - 5))
			out = append(out, fmt.Sprint(x-5))
		case *array.Float64Builder:
			b.Append(float64(x) / 3)
			out = append(out, fmt.Sprint(float64(x)/3))
		case *array.BooleanBuilder:
			b.Append(x%2 == 1)
			out = append(out, fmt.Sprint(x%2))
		case *array.StringBuilder:
			b.Append(word)
			out = append(out, word)
		case *array.ListBuilder:
			b.Append(true)
			items := make([]string, x%3)
			for i := range items {
				items[i] = word
				b.ValueBuilder().(*array.StringBuilder).Append(word)
			}
			out = append(out, fmt.Sprintf("%q", items))
		default:
			t.Fatalf("no values of kind %s", kind)
		}
	}
	return b.NewArray(), out
}

func shown(v *column.Vec, i int) string {
	switch {
	case v.IsNull(i):
		return "NULL"
	case v.Kind == column.Double:
		return fmt.Sprint(v.Floats[i])
	case v.Kind == column.String || v.Kind == column.JSON:
		return string(v.Text(i))
	case v.Kind == column.List:
		from, to := v.List(i)
		items := make([]string, 0, to-from)
		for e := from; e < to; e++ {
			items = append(items, string(v.Text(int(e))))
		}
		return fmt.Sprintf("%q", items)
	}
	return fmt.Sprint(v.Ints[i])
}

// Differences of any width, also those that wrap, give the integers back, in whatever steps they are read.
func TestDifferencesOfAnyWidth(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		wide := rapid.Bool().Draw(t, "64 bits")
		shift := rapid.IntRange(0, 63).Draw(t, "narrower by")
		longs := rapid.SliceOfN(rapid.Int64(), 1, 700).Draw(t, "values")
		b, c := array.NewBuilder(memory.DefaultAllocator, arrow.PrimitiveTypes.Int64), pages.Column{Kind: column.Long}
		if !wide {
			b, c = array.NewBuilder(memory.DefaultAllocator, arrow.FixedWidthTypes.Date32), pages.Column{Kind: column.Date}
		}
		for i := range longs {
			longs[i] >>= shift
			if wide {
				b.(*array.Int64Builder).Append(longs[i])
			} else {
				longs[i] = int64(int32(longs[i]))
				b.(*array.Date32Builder).Append(arrow.Date32(longs[i]))
			}
		}
		a := b.NewArray()
		rec := array.NewRecordBatch(arrow.NewSchema([]arrow.Field{{Name: "x", Type: a.DataType()}}, nil), []arrow.Array{a}, int64(len(longs)))
		f := opened(t, encoded(t, rec, parquet.WithDictionaryDefault(false), parquet.WithEncoding(parquet.Encodings.DeltaBinaryPacked),
			parquet.WithDataPageSize(rapid.SampledFrom([]int64{64, 1 << 20}).Draw(t, "page size")), parquet.WithBatchSize(64)))
		r, err := pages.New(t.Context(), f, 0, []pages.Column{c})
		if err != nil {
			t.Fatal(err)
		}
		var block pages.Block
		for at := 0; at < len(longs); at += block.N {
			if err := r.Next(&block, rapid.IntRange(1, 200).Draw(t, "block")); err != nil {
				t.Fatal(err)
			}
			for i, x := range block.Cols[0].Ints {
				if x != longs[at+i] {
					t.Fatalf("value %d: %d, want %d", at+i, x, longs[at+i])
				}
			}
		}
	})
}

// A text that is there often is there once: the values are codes.
func TestTextsOfDictionariesAreCodes(t *testing.T) {
	b := array.NewStringBuilder(memory.DefaultAllocator)
	for i := range 1000 {
		b.Append([]string{"art", "travel"}[i%2])
	}
	rec := array.NewRecordBatch(arrow.NewSchema([]arrow.Field{{Name: "category", Type: arrow.BinaryTypes.String}}, nil), []arrow.Array{b.NewArray()}, 1000)
	f := opened(t, encoded(t, rec))
	r, err := pages.New(t.Context(), f, 0, []pages.Column{{Kind: column.String}})
	if err != nil {
		t.Fatal(err)
	}
	var first *int32
	for range 4 {
		var block pages.Block
		if err := r.Next(&block, 250); err != nil {
			t.Fatal(err)
		}
		v := &block.Cols[0]
		if v.Entries() != 2 || len(v.Codes) != 250 || (first != nil && first != &v.Offs[0]) {
			t.Fatalf("%d entries, %d codes", v.Entries(), len(v.Codes))
		}
		first = &v.Offs[0]
	}
}

// Damaged bytes are an error or other values, never a panic or an endless loop.
func FuzzReader(f *testing.F) {
	b := array.NewStringBuilder(memory.DefaultAllocator)
	for i := range 300 {
		b.Append(fmt.Sprint("text ", i%17))
	}
	longs := array.NewInt64Builder(memory.DefaultAllocator)
	for i := range int64(300) {
		longs.Append(i * i)
	}
	rec := array.NewRecordBatch(arrow.NewSchema([]arrow.Field{
		{Name: "x", Type: arrow.BinaryTypes.String, Nullable: true}, {Name: "y", Type: arrow.PrimitiveTypes.Int64},
	}, nil), []arrow.Array{b.NewArray(), longs.NewArray()}, 300)
	whole := encoded(f, rec, parquet.WithCompression(compress.Codecs.Uncompressed), parquet.WithDictionaryFor("y", false),
		parquet.WithEncodingFor("y", parquet.Encodings.DeltaBinaryPacked))
	f.Add(uint16(60), byte(255))
	f.Add(uint16(200), byte(1))
	f.Add(uint16(203), byte(0x96)) // a page without its header
	for at := range uint16(60) {   // of the differences: their header and first groups
		f.Add(600+at, byte(0x81))
	}
	f.Fuzz(func(t *testing.T, at uint16, flip byte) {
		data := bytes.Clone(whole)
		footer := len(data) - 8 - int(binary.LittleEndian.Uint32(data[len(data)-8:])) // which is arrow-go's to read
		data[int(at)%footer] ^= flip
		r, err := file.NewParquetReader(bytes.NewReader(data))
		if err != nil {
			return
		}
		rows, err := pages.New(t.Context(), r, 0, []pages.Column{{Kind: column.String}, {Leaf: 1, Kind: column.Long}})
		for err == nil {
			var block pages.Block
			if err = rows.Next(&block, 100); block.N == 0 {
				return
			}
		}
	})
}

// Row groups without rows give none, between others and alone.
func TestRowGroupsWithoutRows(t *testing.T) {
	sc := arrow.NewSchema([]arrow.Field{
		{Name: "x", Type: arrow.PrimitiveTypes.Int64, Nullable: true}, {Name: "y", Type: arrow.BinaryTypes.String},
	}, nil)
	for _, sizes := range [][]int{{0}, {3, 0, 2}, {0, 5, 0}} {
		var buf bytes.Buffer
		w, err := pqarrow.NewFileWriter(sc, &buf, parquet.NewWriterProperties(parquet.WithDictionaryFor("x", false),
			parquet.WithEncodingFor("x", parquet.Encodings.DeltaBinaryPacked), parquet.WithCompression(compress.Codecs.Snappy)), pqarrow.DefaultWriterProps())
		if err != nil {
			t.Fatal(err)
		}
		total := 0
		for _, n := range sizes {
			x, y := array.NewInt64Builder(memory.DefaultAllocator), array.NewStringBuilder(memory.DefaultAllocator)
			for i := range n {
				x.AppendNull() // a page of NULLs only
				y.Append(fmt.Sprint(total + i))
			}
			if err := w.Write(array.NewRecordBatch(sc, []arrow.Array{x.NewArray(), y.NewArray()}, int64(n))); err != nil {
				t.Fatal(err)
			}
			total += n
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		f := opened(t, buf.Bytes())
		got := 0
		for g := range f.NumRowGroups() {
			r, err := pages.New(t.Context(), f, g, []pages.Column{{Kind: column.Long}, {Leaf: 1, Kind: column.String}})
			if err != nil {
				t.Fatal(err)
			}
			var block pages.Block
			for {
				if err := r.Next(&block, 2); err != nil {
					t.Fatal(err)
				}
				if block.N == 0 {
					break
				}
				for i := range block.N {
					if !block.Cols[0].IsNull(i) || string(block.Cols[1].Text(i)) != fmt.Sprint(got+i) {
						t.Fatalf("sizes %v, row %d: %s, %s", sizes, got+i, shown(&block.Cols[0], i), block.Cols[1].Text(i))
					}
				}
				got += block.N
			}
		}
		if got != total {
			t.Errorf("sizes %v: %d rows, want %d", sizes, got, total)
		}
	}
}
