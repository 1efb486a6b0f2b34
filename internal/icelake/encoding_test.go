package icelake

import (
	"fmt"
	"testing"

	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/google/go-cmp/cmp"

	"github.com/pinflow/pinflow/internal/column"
	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/lake"
)

// encodingTable has a column of each kind that is encoded in a way of its own.
func encodingTable() lake.Table {
	return lake.Table{Name: "pin", Time: "_event_time", Columns: []lake.Column{
		{Name: "few", Kind: column.String},
		{Name: "many", Kind: column.String},
		{Name: "fewer", Kind: column.Long},
		{Name: "lots", Kind: column.Long},
		{Name: "price", Kind: column.Double},
		{Name: "weight", Kind: column.Double},
		{Name: "liked", Kind: column.Boolean},
		{Name: "born", Kind: column.Date},
		{Name: "at", Kind: column.Timestamptz},
		{Name: event.ColumnEventID, Kind: column.String},
		{Name: event.ColumnEventTime, Kind: column.Timestamptz, Required: true},
		{Name: event.ColumnOffset, Kind: column.Long, Required: true},
		{Name: event.ColumnExtra, Kind: column.JSON},
	}}
}

// encodingRows are n rows of one day, in which every seventh value is NULL where it may be. few is how many
// different values the columns of few have.
func encodingRows(n, few int) lake.Block {
	t := encodingTable()
	b := lake.Block{Columns: t.Columns, N: n}
	for _, c := range t.Columns {
		v := column.Vec{Kind: c.Kind, Len: n}
		var texts []string
		for i := range n {
			k := i
			switch c.Name {
			case "few", "fewer", "price", "born":
				k = i * 31 % few
			}
			v.Valid = append(v.Valid, c.Required || i%7 != 0)
			switch c.Kind {
			case column.String, column.JSON:
				texts = append(texts, fmt.Sprintf(`"a text of some length, number %d"`, k*7919))
			case column.Double:
				v.Floats = append(v.Floats, float64(k)/7)
			case column.Boolean:
				v.Ints = append(v.Ints, int64(k%2))
			case column.Timestamptz:
				v.Ints = append(v.Ints, day0+int64(k*7919%1000_000))
			default:
				v.Ints = append(v.Ints, int64(k*7919%100_003))
			}
		}
		if texts != nil {
			flat := texts1(c.Kind, texts...)
			v.Offs, v.Bytes = flat.Offs, flat.Bytes
		}
		b.Cols = append(b.Cols, v)
	}
	return b
}

// What is read most is packed lightly and what is long is packed hard, by what the columns hold.
func TestColumnsAreEncodedByWhatTheyHold(t *testing.T) {
	l := testLake(t, t.TempDir(), quickFS{})
	if err := l.EnsureTable(t.Context(), encodingTable()); err != nil {
		t.Fatal(err)
	}
	files := stage(t, l, encodingRows(5000, 20))
	f, err := l.openFile(files[0].Path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	light, hard := compress.Codecs.Snappy, compress.Codecs.Zstd
	plain, codes, differences := parquet.Encodings.Plain, parquet.Encodings.RLEDict, parquet.Encodings.DeltaBinaryPacked
	for name, want := range map[string]struct {
		codec    compress.Compression
		encoding parquet.Encoding
	}{
		"few": {light, codes}, "many": {hard, plain}, "fewer": {light, codes}, "lots": {light, differences},
		"price": {light, codes}, "weight": {hard, plain}, "liked": {light, plain}, "born": {light, codes}, "at": {light, differences},
		event.ColumnEventID: {hard, plain}, event.ColumnEventTime: {light, differences}, event.ColumnOffset: {light, differences},
		event.ColumnExtra: {hard, plain},
	} {
		chunk, err := f.MetaData().RowGroup(0).ColumnChunk(f.MetaData().Schema.ColumnIndexByName(name))
		if err != nil {
			t.Fatal(err)
		}
		if chunk.Compression() != want.codec || chunk.Encodings()[0] != want.encoding {
			t.Errorf("%s: %s and %s, want %s and %s", name, chunk.Encodings(), chunk.Compression(), want.encoding, want.codec)
		}
	}
}

// However varied the columns are, and whatever their encodings are chosen by, rows are read as they were
// staged, also after a compaction.
func TestRowsOfAnyVarietyComeBack(t *testing.T) {
	for _, few := range []int{1, 20, 300, 5000} {
		for _, n := range []int{1, 5000} {
			t.Run(fmt.Sprintf("%d rows, %d different", n, few), func(t *testing.T) {
				l := testLake(t, t.TempDir(), quickFS{})
				if err := l.EnsureTable(t.Context(), encodingTable()); err != nil {
					t.Fatal(err)
				}
				want := map[string]int{}
				for k := range int64(2) {
					b := encodingRows(n, few)
					if _, err := l.Commit(t.Context(), intent(k+1, stage(t, l, b))); err != nil {
						t.Fatal(err)
					}
					count(want, &b)
				}
				check := func(when string) {
					got := map[string]int{}
					if _, err := l.Scan(t.Context(), lake.Selection{Table: "pin"}, func(b *lake.Block) error {
						count(got, b)
						return nil
					}); err != nil {
						t.Fatal(err)
					}
					if diff := cmp.Diff(want, got); diff != "" {
						t.Errorf("%s: %.2000s", when, diff)
					}
				}
				check("staged")
				r, err := l.Rewrite(t.Context(), "pin", lake.Shape{Target: 1 << 30, MinFiles: 2, MaxBytes: 1 << 30})
				if err != nil || r == nil {
					t.Fatal(r, err)
				}
				if _, err := l.Replace(t.Context(), compactIntent(3), r); err != nil {
					t.Fatal(err)
				}
				check("compacted")
			})
		}
	}
}

// count counts the rows of a block by what they show.
func count(rows map[string]int, b *lake.Block) {
	for i := range b.N {
		rows[text(b, i)]++
	}
}
