package icelake

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/apache/arrow-go/v18/parquet/file"
	iceio "github.com/apache/iceberg-go/io"
	"github.com/cespare/xxhash/v2"

	"github.com/pinflow/pinflow/internal/column"
	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/testbed"
)

// readFS counts the bytes that are read of data files.
type readFS struct {
	quickFS
	bytes *atomic.Int64
}

type readFile struct {
	iceio.File
	bytes *atomic.Int64
}

func (f readFS) Open(path string) (iceio.File, error) {
	file, err := f.quickFS.Open(path)
	return readFile{file, f.bytes}, err
}

func (f readFile) ReadAt(p []byte, at int64) (int, error) {
	n, err := f.File.ReadAt(p, at)
	f.bytes.Add(int64(n))
	return n, err
}

func (f readFile) Read(p []byte) (int, error) {
	n, err := f.File.Read(p)
	f.bytes.Add(int64(n))
	return n, err
}

// scattered gives rows ids that no bounds of a file tell apart.
func scattered(from, n int) lake.Block {
	b := rows(from, n, 1)
	ids := make([]string, n)
	for i := range ids {
		ids[i] = idOf(from + i)
	}
	b.Cols[b.Index(event.ColumnEventID)] = texts1(column.String, ids...)
	return b
}

func idOf(i int) string { return fmt.Sprintf("%016x", xxhash.Sum64String(fmt.Sprint(i))) }

func TestOneEventIsFoundWithoutAScan(t *testing.T) {
	var read atomic.Int64
	l := testLake(t, t.TempDir(), readFS{bytes: &read})
	if err := l.EnsureTable(t.Context(), pins()); err != nil {
		t.Fatal(err)
	}
	const files, each = 24, 4000
	size := int64(0)
	for n := range files {
		staged := stage(t, l, scattered(n*each, each))
		if _, err := l.Commit(t.Context(), intent(int64(n+1), staged)); err != nil {
			t.Fatal(err)
		}
		size += staged[0].Bytes
	}
	check := func(t *testing.T, i, opened int) {
		t.Helper()
		read.Store(0)
		got, err := l.Find(t.Context(), "pin", idOf(i))
		if err != nil {
			t.Fatal(err)
		}
		if len(got.Rows) != 1 || got.Rows[0].Snapshot == 0 || got.Rows[0].CommittedAt == 0 || got.Snapshot == 0 {
			t.Fatalf("found %+v", got)
		}
		row := got.Rows[0].Row
		if at := row.Cols[row.Index(event.ColumnOffset)].Ints[0]; at != int64(i) {
			t.Errorf("found the row at offset %d, not %d", at, i)
		}
		if got.Opened != opened || got.Read > 1+opened/10 { // 1 % of the filters may let it through
			t.Errorf("opened %d files and read %d", got.Opened, got.Read)
		}
		t.Logf("%d bytes read of %d", read.Load(), size)
		if read.Load() > size/2 {
			t.Errorf("read %d bytes of %d to find one event", read.Load(), size)
		}
	}
	for i := 0; i < files*each; i += 7919 {
		check(t, i, files)
	}
	if got, err := l.Find(t.Context(), "pin", "nowhere"); err != nil || len(got.Rows) != 0 || got.Read > 2 {
		t.Errorf("an event that is not there: %+v, %v", got, err)
	}

	r, err := l.Rewrite(t.Context(), "pin", lake.Shape{Target: size / 8, MinFiles: 2, MaxBytes: 1 << 30})
	if err != nil || r == nil {
		t.Fatal(r, err)
	}
	if _, err := l.Replace(t.Context(), compactIntent(files+1), r); err != nil {
		t.Fatal(err)
	}
	check(t, 12345, files-len(r.Inputs)+len(r.Files))
	checkFilters(t, l, r)
}

// checkFilters looks for the filter and the bounds of ids in each row group.
func checkFilters(t *testing.T, l *Lake, r *lake.Rewrite) {
	t.Helper()
	for _, df := range r.Files {
		f, err := l.files.Open(df.Path)
		if err != nil {
			t.Fatal(err)
		}
		p, err := file.NewParquetReader(f)
		if err != nil {
			t.Fatal(err)
		}
		col := p.MetaData().Schema.ColumnIndexByName(event.ColumnEventID)
		for g := range p.NumRowGroups() {
			chunk, err := p.RowGroup(g).MetaData().ColumnChunk(col)
			if err != nil {
				t.Fatal(err)
			}
			if ok, err := chunk.StatsSet(); !ok || err != nil {
				t.Errorf("%s: row group %d has no statistics of ids: %v", df.Path, g, err)
			}
			if chunk.BloomFilterLength() < int32(filterBytes(int(df.Records))) {
				t.Errorf("%s: row group %d has a filter of %d bytes for %d rows", df.Path, g, chunk.BloomFilterLength(), df.Records)
			}
		}
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFilesOfFewRowsHaveSmallFilters(t *testing.T) {
	l := testLake(t, t.TempDir(), quickFS{})
	if err := l.EnsureTable(t.Context(), pins()); err != nil {
		t.Fatal(err)
	}
	late := rows(100_000, 40, 20) // two a day
	staged := stage(t, l, rows(0, 50_000, 1), late)
	if len(staged) != 20 {
		t.Fatalf("%d files", len(staged))
	}
	small := int64(0)
	for _, f := range staged {
		if f.Records < 10 {
			small = max(small, f.Bytes)
		}
	}
	if small > 16<<10 {
		t.Errorf("a file of two rows takes %d bytes", small)
	}
	if _, err := l.Commit(t.Context(), intent(1, staged)); err != nil {
		t.Fatal(err)
	}
	if got, err := l.Find(t.Context(), "pin", "id-100021"); err != nil || len(got.Rows) != 1 || got.Read != 1 {
		t.Errorf("found %+v, %v", got, err)
	}
}

func TestFindEverywhere(t *testing.T) {
	testbed.Everywhere(t, func(t *testing.T, p testbed.Place) {
		l := placed(t, p)
		if err := l.EnsureTable(t.Context(), pins()); err != nil {
			t.Fatal(err)
		}
		grow(t, l)
		got, err := l.Find(t.Context(), "pin", "id-7")
		if err != nil || len(got.Rows) != 1 || got.Rows[0].Snapshot == 0 {
			t.Errorf("found %+v, %v", got, err)
		}
	})
}
