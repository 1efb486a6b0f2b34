package icelake

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/iceberg-go/table"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/span"
	"github.com/pinflow/pinflow/internal/testbed"
)

// What is planned of kept manifests is what iceberg-go plans of read ones: every selection finds the same files,
// also after the table has grown and its small files were merged.
func TestPlansAreThoseOfIceberg(t *testing.T) {
	rnd := rand.New(rand.NewPCG(testbed.Seed(t), 21))
	l := testLake(t, t.TempDir(), quickFS{})
	l.manifestBytes = 6 << 10
	schema, err := event.Compile(event.Stream{Name: "pin", Topic: "pin", EventTime: "at"}, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.EnsureTable(t.Context(), lake.StreamTable(schema)); err != nil {
		t.Fatal(err)
	}
	const days = 9
	number := int64(0)
	for offset := int64(0); offset < 200; {
		d := schema.NewDecoder(nil)
		for range 1 + rnd.IntN(20) {
			received := day0 + (days+rnd.Int64N(3))*usPerDay
			value := fmt.Sprintf(`{"at":%q}`, time.UnixMicro(day0+rnd.Int64N(days*usPerDay)).UTC().Format(time.RFC3339Nano))
			key := span.Key{Log: span.Log(1 + offset/70), Partition: int32(number % 3)}
			if v := d.Append(&event.Record{Key: key, Offset: offset, Value: []byte(value), Received: received}); v.Dead() {
				t.Fatal(v.Message)
			}
			offset++
		}
		number++
		block := lake.Block{Columns: lake.Columns(schema), N: d.Rows().N, Cols: d.Rows().Cols}
		if _, err := l.Commit(t.Context(), intent(number, stage(t, l, block))); err != nil {
			t.Fatal(err)
		}
		if rnd.IntN(6) == 0 {
			number = mergeSome(t, l, number)
		}
		for range 6 {
			comparePlans(t, l, anySelection(rnd, days))
		}
	}
}

// mergeSome rewrites small files of the table, if there are enough, and returns the number of the last commit.
func mergeSome(t *testing.T, l *Lake, number int64) int64 {
	t.Helper()
	r, err := l.Rewrite(t.Context(), "pin", lake.Shape{Target: 1 << 20, MinFiles: 2, MaxBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	if r == nil {
		return number
	}
	if _, err := l.Replace(t.Context(), compactIntent(number+1), r); err != nil {
		t.Fatal(err)
	}
	return number + 1
}

func anySelection(rnd *rand.Rand, days int64) lake.Selection {
	sel := lake.Selection{Table: "pin"}
	if rnd.IntN(3) > 0 {
		sel.From = day0 + (rnd.Int64N(days+6)-3)*usPerDay + rnd.Int64N(1000) - 500
		sel.To = sel.From + rnd.Int64N(3*usPerDay)
	}
	if rnd.IntN(4) == 0 {
		sel.ReceivedFrom = day0 + (days+rnd.Int64N(3))*usPerDay
	}
	switch rnd.IntN(4) {
	case 0:
		sel.Logs = lake.Within{Least: rnd.Int64N(4), Most: 1 + rnd.Int64N(4)}
	case 1:
		sel.Key = span.Key{Log: span.Log(1 + rnd.IntN(3)), Partition: rnd.Int32N(4)}
		sel.FromOffset = rnd.Int64N(200)
		sel.ToOffset = sel.FromOffset + 1 + rnd.Int64N(50)
	}
	return sel
}

func comparePlans(t *testing.T, l *Lake, sel lake.Selection) {
	t.Helper()
	tbl, err := l.cat.load(t.Context(), sel.Table)
	if err != nil {
		t.Fatal(err)
	}
	asks := conditions(sel, partitionColumn(tbl))
	_, _, opts := scanOptions(sel, tbl, tbl.CurrentSnapshot(), asks)
	scan := tbl.Scan(opts...)
	defer scan.Close()
	theirs, err := icebergPlan(t.Context(), scan)
	if err != nil {
		t.Fatal(err)
	}
	ours, other, err := l.plan(t.Context(), tbl, tbl.CurrentSnapshot(), scan, asks)
	if err != nil || len(other) > 0 {
		t.Fatalf("%d others, %v", len(other), err)
	}
	if got, want := files(ours), files(theirs); !slices.Equal(got, want) {
		t.Fatalf("%+v: planned %d files %q, iceberg-go %d %q", sel, len(got), got, len(want), want)
	}
}

func files(tasks []table.FileScanTask) (out []string) {
	for _, t := range tasks {
		out = append(out, t.File.FilePath())
	}
	slices.Sort(out)
	return out
}

// A second scan of a snapshot, be it of other days, reads no manifest again.
func TestManifestsAreDecodedOnce(t *testing.T) {
	read := &atomic.Int64{}
	l := testLake(t, t.TempDir(), meteredFS{bytes: read})
	if err := l.EnsureTable(t.Context(), pins()); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Commit(t.Context(), intent(1, stage(t, l, rows(0, 400, 200)))); err != nil {
		t.Fatal(err)
	}
	day := func(n int64) int64 {
		before, got := read.Load(), 0
		sel := lake.Selection{Table: "pin", Columns: []string{"_offset"}, From: day0 + n*usPerDay, To: day0 + (n+1)*usPerDay}
		if _, err := l.Scan(t.Context(), sel, func(b *lake.Block) error { got += b.N; return nil }); err != nil || got != 2 {
			t.Fatalf("day %d: %d rows, want 2: %v", n, got, err)
		}
		return read.Load() - before
	}
	first := day(0)
	for n := range int64(5) {
		if again := day(n + 1); again*4 > first {
			t.Errorf("day %d read %d bytes of manifests and their list, the first %d", n+1, again, first)
		}
	}
}

// What is kept is bounded: the manifests used last stay.
func TestListingsAreBounded(t *testing.T) {
	k := newListings()
	half := listing{files: make([]listedFile, listedFiles/2)}
	k.keep("a", half)
	k.keep("b", half)
	k.get("a")
	k.keep("c", half)
	k.keep("too large", listing{files: make([]listedFile, listedFiles+1)})
	for at, want := range map[string]bool{"a": true, "b": false, "c": true, "too large": false} {
		if _, ok := k.get(at); ok != want {
			t.Errorf("%s is kept: %v, want %v", at, ok, want)
		}
	}
	if k.sum != listedFiles {
		t.Errorf("%d files are counted, want %d", k.sum, listedFiles)
	}
}
