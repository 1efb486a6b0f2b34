package icelake

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pinflow/pinflow/internal/column"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/span"
)

const day0 = 20_000 * int64(usPerDay) // 2024-10-04

func pins() lake.Table {
	return lake.Table{Name: "pin", Time: "_event_time", Columns: []lake.Column{
		{Name: "title", Kind: column.String},
		{Name: "followers", Kind: column.Long},
		{Name: "score", Kind: column.Double},
		{Name: "liked", Kind: column.Boolean},
		{Name: "born", Kind: column.Date},
		{Name: "tags", Kind: column.List},
		{Name: "_event_id", Kind: column.String},
		{Name: "_event_time", Kind: column.Timestamptz, Required: true},
		{Name: "_offset", Kind: column.Long, Required: true},
		{Name: "_extra", Kind: column.JSON},
	}}
}

func texts1(kind column.Kind, texts ...string) column.Vec {
	v := column.Vec{Kind: kind, Len: len(texts), Offs: []int32{0}}
	for _, t := range texts {
		v.Bytes = append(v.Bytes, t...)
		v.Offs = append(v.Offs, int32(len(v.Bytes)))
	}
	return v
}

// rows makes n rows with offsets from on; row i falls on day i%days.
func rows(from, n, days int) lake.Block {
	t := pins()
	b := lake.Block{Columns: t.Columns, N: n, Cols: make([]column.Vec, len(t.Columns))}
	var title, id, extra []string
	ints := map[string][]int64{}
	tags := column.Vec{Kind: column.List, Len: n, Offs: []int32{0}, ListOffs: []int32{0}}
	score := column.Vec{Kind: column.Double, Len: n}
	valid := make([]bool, n)
	for i := range n {
		o := int64(from + i)
		title = append(title, fmt.Sprintf("title %d é", o))
		id = append(id, fmt.Sprintf("id-%d", o))
		extra = append(extra, fmt.Sprintf(`{"n":%d}`, o))
		ints["followers"] = append(ints["followers"], o*7)
		ints["liked"] = append(ints["liked"], o%2)
		ints["born"] = append(ints["born"], o%1000-500)
		ints["_event_time"] = append(ints["_event_time"], day0+int64(i%days)*int64(usPerDay)+o)
		ints["_offset"] = append(ints["_offset"], o)
		score.Floats = append(score.Floats, float64(o)/4)
		valid[i] = o%3 != 0
		for e := range o % 3 {
			tags.Bytes = append(tags.Bytes, fmt.Sprintf("t%d", e)...)
			tags.Offs = append(tags.Offs, int32(len(tags.Bytes)))
		}
		tags.ListOffs = append(tags.ListOffs, int32(len(tags.Offs)-1))
	}
	for i, c := range t.Columns {
		b.Cols[i] = column.Vec{Kind: c.Kind, Len: n, Ints: ints[c.Name]}
	}
	b.Cols[0], b.Cols[2], b.Cols[5] = texts1(column.String, title...), score, tags
	b.Cols[6], b.Cols[9] = texts1(column.String, id...), texts1(column.JSON, extra...)
	b.Cols[1].Valid = valid
	return b
}

// text writes row i of a block down.
func text(b *lake.Block, i int) string {
	s := ""
	for c, col := range b.Columns {
		v := &b.Cols[c]
		s += col.Name + "="
		switch {
		case v.IsNull(i):
			s += "NULL"
		case col.Kind == column.Double:
			s += fmt.Sprint(v.Floats[i])
		case col.Kind == column.String || col.Kind == column.JSON:
			s += string(v.Text(i))
		case col.Kind == column.List:
			from, to := v.List(i)
			for e := from; e < to; e++ {
				s += string(v.Text(int(e))) + ","
			}
		default:
			s += fmt.Sprint(v.Ints[i])
		}
		s += " "
	}
	return s
}

func testLake(t *testing.T, dir string, os fileSystem) *Lake {
	t.Helper()
	l, err := open(t.Context(), Config{
		Warehouse: filepath.Join(dir, "warehouse"), Catalog: filepath.Join(dir, "catalog.db"), Log: slog.New(slog.DiscardHandler),
	}, os)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// quickFS forgets to sync: for tests that no power cut is part of.
type quickFS struct{ hostFS }

type quickFile struct{ writableFile }

func (quickFile) Sync() error        { return nil }
func (quickFS) SyncDir(string) error { return nil }
func (q quickFS) Create(path string) (writableFile, error) {
	f, err := q.hostFS.Create(path)
	return quickFile{f}, err
}

func intent(n int64, files []ledger.LakeFile) *ledger.Intent {
	return &ledger.Intent{
		Table: "pin", N: n, ID: fmt.Sprintf("commit-%d", n), Kind: lake.Append, Open: true, Files: files,
		Offsets: span.Vector{{Log: 1, Partition: 0}: n * 100},
	}
}

func stage(t *testing.T, l *Lake, blocks ...lake.Block) []ledger.LakeFile {
	t.Helper()
	files, err := l.Stage(t.Context(), "pin", blocks)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// all reads every row of the table by its offset.
func all(t *testing.T, l *Lake) map[int64]string {
	t.Helper()
	got := map[int64]string{}
	_, err := l.Scan(t.Context(), lake.Selection{Table: "pin"}, func(b *lake.Block) error {
		o := &b.Cols[b.Index("_offset")]
		for i := range b.N {
			if _, twice := got[o.Ints[i]]; twice {
				t.Errorf("offset %d is in the table twice", o.Ints[i])
			}
			got[o.Ints[i]] = text(b, i)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestRowsComeBackAsTheyWereStaged(t *testing.T) {
	dir := t.TempDir()
	l := testLake(t, dir, hostFS{})
	if err := l.EnsureTable(t.Context(), pins()); err != nil {
		t.Fatal(err)
	}
	a, b := rows(0, 1000, 1), rows(1000, 500, 3)
	files := stage(t, l, a, b)
	if len(files) != 3 {
		t.Errorf("%d files for three days", len(files))
	}
	landed, err := l.Commit(t.Context(), intent(1, files))
	if err != nil {
		t.Fatal(err)
	}
	if landed.Files != 3 || landed.Records != 1500 {
		t.Errorf("landed %+v", landed)
	}
	again, err := l.Commit(t.Context(), intent(1, files))
	if err != nil || again != landed {
		t.Errorf("repeated commit: %+v, %v; want %+v", again, err, landed)
	}
	want := map[int64]string{}
	for _, blk := range []lake.Block{a, b} {
		for i := range blk.N {
			want[blk.Cols[8].Ints[i]] = text(&blk, i)
		}
	}
	if diff := cmp.Diff(want, all(t, l)); diff != "" {
		t.Error(diff)
	}
	_ = l.Close()
	l = testLake(t, dir, hostFS{})
	head, err := l.Head(t.Context(), "pin")
	if err != nil {
		t.Fatal(err)
	}
	wantHead := lake.Head{Seq: 1, CommitID: "commit-1", Snapshot: landed.Snapshot, Rows: 1500, Files: 3, Offsets: span.Vector{{Log: 1}: 100}}
	if diff := cmp.Diff(wantHead, head); diff != "" {
		t.Error(diff)
	}
	if n, err := l.LiveRows(t.Context(), "pin", head.Snapshot); n != 1500 || err != nil {
		t.Errorf("live rows %d, %v", n, err)
	}
}

func TestScanReadsOneDayAndSomeColumns(t *testing.T) {
	l := testLake(t, t.TempDir(), quickFS{})
	if err := l.EnsureTable(t.Context(), pins()); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Commit(t.Context(), intent(1, stage(t, l, rows(0, 30, 3)))); err != nil {
		t.Fatal(err)
	}
	var got []int64
	sel := lake.Selection{Table: "pin", Columns: []string{"_offset"}, From: day0 + int64(usPerDay), To: day0 + 2*int64(usPerDay)}
	_, err := l.Scan(t.Context(), sel, func(b *lake.Block) error {
		if len(b.Columns) != 1 {
			t.Errorf("columns %v", b.Columns)
		}
		got = append(got, b.Cols[0].Ints...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]int64{1, 4, 7, 10, 13, 16, 19, 22, 25, 28}, got); diff != "" {
		t.Error(diff)
	}
}

func TestNewColumnsAreANumberedCommit(t *testing.T) {
	l := testLake(t, t.TempDir(), quickFS{})
	old := pins()
	if err := l.EnsureTable(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	first, err := l.Commit(t.Context(), intent(1, stage(t, l, rows(0, 10, 1))))
	if err != nil {
		t.Fatal(err)
	}
	wide := pins()
	wide.Columns = append(wide.Columns, lake.Column{Name: "links", Kind: column.List}, lake.Column{Name: "rank", Kind: column.Long})
	blk := rows(10, 5, 1)
	blk.Columns = wide.Columns
	blk.Cols = append(blk.Cols, blk.Cols[5], blk.Cols[8])
	if _, err := l.Stage(t.Context(), "pin", []lake.Block{blk}); fault.CodeOf(err) != "schema_behind" {
		t.Fatalf("staging before the column is there: %v", err)
	}
	if add, err := l.Missing(t.Context(), wide); err != nil || len(add) != 2 {
		t.Fatalf("missing %v, %v", add, err)
	}
	in := &ledger.Intent{Table: "pin", N: 2, ID: "schema-2", Kind: lake.Schema, Open: true}
	for range 2 { // repeating it changes nothing
		if _, err := l.Evolve(t.Context(), in, wide); err != nil {
			t.Fatal(err)
		}
	}
	// The new column can be read at once, though no row has it yet; of an older snapshot it is left out.
	nulls := 0
	if _, err := l.Scan(t.Context(), lake.Selection{Table: "pin", Columns: []string{"rank"}}, func(b *lake.Block) error {
		for i := range b.N {
			if b.Cols[0].IsNull(i) {
				nulls++
			}
		}
		return nil
	}); err != nil || nulls != 10 {
		t.Errorf("%d rows without a rank, %v", nulls, err)
	}
	// A file of the old columns staged before, and one of the new ones, land together.
	files := append(stage(t, l, rows(20, 5, 1)), stage(t, l, blk)...)
	if landed, err := l.Commit(t.Context(), intent(3, files)); err != nil || landed.Records != 10 {
		t.Fatalf("landed %+v, %v", landed, err)
	}
	if got := all(t, l); len(got) != 20 {
		t.Errorf("%d rows", len(got))
	}
	old1 := lake.Selection{Table: "pin", Columns: []string{"_offset", "rank"}, Snapshot: first.Snapshot}
	if _, err := l.Scan(t.Context(), old1, func(b *lake.Block) error {
		if len(b.Columns) != 1 || b.N != 10 {
			t.Errorf("%d rows of columns %v", b.N, b.Columns)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	clash := pins()
	clash.Columns[1].Kind = column.String
	if _, err := l.Missing(t.Context(), clash); fault.CodeOf(err) != "column_type" {
		t.Errorf("a column of another type: %v", err)
	}
}

func TestDigestDoesNotDependOnOrderOrFiles(t *testing.T) {
	var want []lake.DayDigest
	for _, cut := range []int{1, 7, 30} {
		l := testLake(t, t.TempDir(), quickFS{})
		if err := l.EnsureTable(t.Context(), pins()); err != nil {
			t.Fatal(err)
		}
		n := int64(0)
		for from := 30 - cut; from >= 0; from -= cut {
			n++
			b := rows(from, cut, 1)
			for i := range b.N {
				b.Cols[7].Ints[i] = day0 + int64((from+i)%2)*int64(usPerDay)
			}
			if _, err := l.Commit(t.Context(), intent(n, stage(t, l, b))); err != nil {
				t.Fatal(err)
			}
		}
		if 30%cut != 0 {
			b := rows(0, 30%cut, 1)
			for i := range b.N {
				b.Cols[7].Ints[i] = day0 + int64(i%2)*int64(usPerDay)
			}
			if _, err := l.Commit(t.Context(), intent(n+1, stage(t, l, b))); err != nil {
				t.Fatal(err)
			}
		}
		got, err := l.Digest(t.Context(), "pin")
		if err != nil {
			t.Fatal(err)
		}
		if want == nil {
			want = got
			if len(got) != 2 || got[0].Rows != 15 || got[1].Longs["_offset"] != nil {
				t.Errorf("digest %+v", got)
			}
		}
		if diff := cmp.Diff(fmt.Sprint(want), fmt.Sprint(got)); diff != "" {
			t.Error(diff)
		}
	}
}

func TestMovedLakeIsRefused(t *testing.T) {
	dir := t.TempDir()
	l := testLake(t, dir, hostFS{})
	if err := l.EnsureTable(t.Context(), pins()); err != nil {
		t.Fatal(err)
	}
	_, err := Open(context.Background(), Config{
		Warehouse: filepath.Join(t.TempDir(), "warehouse"), Catalog: filepath.Join(dir, "catalog.db"), Log: slog.New(slog.DiscardHandler),
	})
	if fault.CodeOf(err) != "lake_moved" {
		t.Errorf("opening under another path: %v", err)
	}
}
