package icelake

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/metadata"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	"github.com/apache/iceberg-go/table"
	"github.com/google/go-cmp/cmp"

	"github.com/pinflow/pinflow/internal/column"
	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/lake"
)

// codesColumns has texts and lists of all sorts, and two columns of other kinds.
func codesColumns() []lake.Column {
	return []lake.Column{
		{Name: "few", Kind: column.String},
		{Name: "needed", Kind: column.String, Required: true},
		{Name: "many", Kind: column.String},
		{Name: "empty", Kind: column.String},
		{Name: "never", Kind: column.String},
		{Name: "tags", Kind: column.List},
		{Name: "words", Kind: column.List},
		{Name: "likes", Kind: column.Long},
		{Name: event.ColumnEventID, Kind: column.String, Required: true},
		{Name: event.ColumnEventTime, Kind: column.Timestamptz, Required: true},
		{Name: event.ColumnExtra, Kind: column.JSON},
	}
}

// codesRows makes n rows. lacking columns are left out.
func codesRows(r *rand.Rand, n int, lacking ...string) lake.Block {
	b := lake.Block{N: n}
	for _, c := range codesColumns() {
		if slices.Contains(lacking, c.Name) {
			continue
		}
		v := column.Vec{Kind: c.Kind, Len: n, Offs: []int32{0}, ListOffs: []int32{0}}
		add := func(text string) {
			v.Bytes = append(v.Bytes, text...)
			v.Offs = append(v.Offs, int32(len(v.Bytes)))
		}
		for i := range n {
			there := c.Required || c.Name != "never" && r.IntN(5) > 0
			v.Valid = append(v.Valid, there)
			switch {
			case c.Kind == column.List:
				for range r.IntN(4) {
					if there && c.Name == "tags" {
						add(fmt.Sprintf("tag %d", r.IntN(300)))
					} else if there {
						add(fmt.Sprintf("word %d", r.IntN(1<<40)))
					}
				}
				v.ListOffs = append(v.ListOffs, int32(len(v.Offs)-1))
			case c.Kind == column.Long || c.Kind == column.Timestamptz:
				v.Ints = append(v.Ints, day0+int64(r.IntN(1_000_000)))
			case c.Name == "empty" || !there:
				add("")
			case c.Name == "few" || c.Name == "needed":
				add(fmt.Sprintf("é %d", r.IntN(100)))
			default:
				add(fmt.Sprintf(`"%d of %d"`, i, r.IntN(1<<40)))
			}
		}
		switch c.Kind {
		case column.List:
		case column.Long, column.Timestamptz:
			v.Offs, v.ListOffs = nil, nil
		default:
			v.ListOffs = nil
		}
		b.Columns, b.Cols = append(b.Columns, c), append(b.Cols, v)
	}
	return b
}

// codesPieces are rows of three blocks: all of one, some of one, and one that lacks columns.
func codesPieces(r *rand.Rand, n int) rowsOf {
	out := rowsOf{blocks: []lake.Block{codesRows(r, n), codesRows(r, n), codesRows(r, n/2, "few", "tags", "never")}}
	some := piece{block: 1}
	for i := range n {
		if r.IntN(3) > 0 {
			some.rows = append(some.rows, int32(i))
		}
	}
	out.pieces = []piece{{block: 0}, some, {block: 2}}
	for _, p := range out.pieces {
		out.n += p.len(out.blocks)
	}
	return out
}

// A file of codes is the file that Arrow's writer makes of the texts: the same values, and the same encodings,
// statistics and page borders.
func TestFilesOfCodesAreThoseOfArrowsWriter(t *testing.T) {
	for _, n := range []int{1, 10, 3000, 50_000} {
		seed := uint64(n)
		t.Logf("seed %d", seed)
		rows := codesPieces(rand.New(rand.NewPCG(seed, 1)), n)
		sc, err := table.SchemaToArrowSchemaWithOptions(schemaOf(lake.Table{Columns: codesColumns()}), table.ArrowSchemaOptions{IncludeFieldIDs: true})
		if err != nil {
			t.Fatal(err)
		}
		ours, coded := writtenByUs(t, sc, rows)
		if n >= 3000 && fmt.Sprint(coded) != "[few needed empty tags]" {
			t.Errorf("%d rows: codes of %v", n, coded)
		}
		theirs := writtenByArrow(t, sc, rows)
		if diff := cmp.Diff(described(t, theirs, n > 10), described(t, ours, n > 10)); diff != "" {
			t.Errorf("%d rows: %s", n, diff)
		}
		if !sameRows(t, theirs, ours) {
			t.Errorf("%d rows: the values differ", n)
		}
	}
}

func writtenByUs(t *testing.T, sc *arrow.Schema, r rowsOf) (out []byte, coded []string) {
	t.Helper()
	l := &Lake{}
	c, back := l.lend()
	defer back()
	codes, plain := codesOf(c, sc, r)
	for i, c := range codes {
		if c != nil {
			coded = append(coded, sc.Field(i).Name)
		}
	}
	props, err := writerProperties(sc, r, r.n, plain...)
	if err != nil {
		t.Fatal(err)
	}
	var to bytes.Buffer
	w, err := newColumnWriter(sc, struct{ *bytes.Buffer }{&to}, props, codes, &scratch{})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range r.pieces {
		if err := w.write(t.Context(), &r.blocks[p.block], p.rows); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return to.Bytes(), coded
}

func writtenByArrow(t *testing.T, sc *arrow.Schema, r rowsOf) []byte {
	t.Helper()
	props, err := writerProperties(sc, r, r.n)
	if err != nil {
		t.Fatal(err)
	}
	var to bytes.Buffer
	w, err := pqarrow.NewFileWriter(sc, &to, props, arrowProperties())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range r.pieces {
		rec, err := record(sc, &r.blocks[p.block], p.rows)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.WriteBuffered(rec); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return to.Bytes()
}

func opened(t *testing.T, text []byte) *file.Reader {
	t.Helper()
	r, err := file.NewParquetReader(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// described is a file's metadata, row groups, columns and, if asked for, pages in words.
func described(t *testing.T, text []byte, pages bool) (out []string) {
	t.Helper()
	r := opened(t, text)
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	meta := r.MetaData()
	for _, kv := range meta.KeyValueMetadata().Keys() {
		say("%s=%s", kv, *meta.KeyValueMetadata().FindValue(kv))
	}
	say("%s, %d rows, %s", meta.Schema, meta.NumRows, meta.GetCreatedBy())
	for g := range r.NumRowGroups() {
		say("group of %d", r.RowGroup(g).NumRows())
		for c := range meta.Schema.NumColumns() {
			chunk, err := meta.RowGroup(g).ColumnChunk(c)
			if err != nil {
				t.Fatal(err)
			}
			stats, err := chunk.Statistics()
			if err != nil {
				t.Fatal(err)
			}
			say("%s: %d values, %s, encodings %s, filter %t", chunk.PathInSchema(), chunk.NumValues(), chunk.Compression(), chunk.Encodings(), chunk.BloomFilterOffset() != 0)
			sayStatistics(say, stats)
			if pages {
				sayPages(t, say, r, g, c)
			}
		}
	}
	return out
}

func sayStatistics(say func(string, ...any), s metadata.TypedStatistics) {
	if s != nil {
		say("  %q to %q (%t), %d nulls (%t)", s.EncodeMin(), s.EncodeMax(), s.HasMinMax(), s.NullCount(), s.HasNullCount())
	}
}

func sayPages(t *testing.T, say func(string, ...any), r *file.Reader, group, col int) {
	t.Helper()
	pages, err := r.RowGroup(group).GetColumnPageReader(col)
	if err != nil {
		t.Fatal(err)
	}
	for pages.Next() {
		switch p := pages.Page().(type) {
		case *file.DataPageV1:
			s := p.Statistics()
			say("  page of %d, %s: %q to %q, %d nulls", p.NumValues(), parquet.Encoding(p.Encoding()), s.Min, s.Max, s.NullCount)
		case *file.DictionaryPage:
			say("  dictionary of %d", p.NumValues())
		default:
			say("  %T", p)
		}
	}
	if err := pages.Err(); err != nil {
		t.Fatal(err)
	}
}

func sameRows(t *testing.T, a, b []byte) bool {
	t.Helper()
	read := func(text []byte) arrow.Table {
		r, err := pqarrow.NewFileReader(opened(t, text), pqarrow.ArrowReadProperties{}, memory.DefaultAllocator)
		if err != nil {
			t.Fatal(err)
		}
		all, err := r.ReadTable(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	x, y := read(a), read(b)
	for i := range int(x.NumCols()) {
		if !array.ChunkedEqual(x.Column(i).Data(), y.Column(i).Data()) {
			return false
		}
	}
	return x.NumRows() == y.NumRows() && x.Schema().Equal(y.Schema())
}

// A column too varied for a dictionary, at once or when it has grown large, is left to be written plainly or by
// Arrow's writer, and a coder that had much is as good for what comes next.
func TestOnlyWhatIsSparedBecomesCodes(t *testing.T) {
	long := strings.Repeat("x", 200)
	for _, test := range []struct {
		name string
		text func(i int) string
		want form
	}{
		{"few", func(i int) string { return fmt.Sprint(i % 10) }, asCodes},
		{"all different", func(i int) string { return fmt.Sprint(i, long) }, plainly},
		{"different at first", func(i int) string { return fmt.Sprint(min(i, pageRows)) }, plainly},
		{"too many", func(i int) string { return fmt.Sprint(i/2, long) }, byArrow},
		{"too many, one after the other", func(i int) string { return fmt.Sprint(i%11_000, long) }, byArrow},
		{"empty", func(int) string { return "" }, asCodes},
	} {
		l := &Lake{}
		for range 2 { // with a new coder and with one that was used
			var texts []string
			for i := range 40_000 {
				texts = append(texts, test.text(i))
			}
			b := lake.Block{Columns: []lake.Column{{Name: "a", Kind: column.String}}, N: len(texts), Cols: []column.Vec{texts1(column.String, texts...)}}
			c, back := l.lend()
			got, form := c.column(rowsOf{blocks: []lake.Block{b}, pieces: []piece{{}}, n: b.N}, 0, "a", false)
			if form != test.want {
				t.Errorf("%s: form %d, want %d", test.name, form, test.want)
			}
			for i := range texts {
				if got != nil && got.texts.Value(int(got.at[i])) != texts[i] {
					t.Fatalf("%s: text %d became %q", test.name, i, got.texts.Value(int(got.at[i])))
				}
			}
			back()
		}
	}
}
