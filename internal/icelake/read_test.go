package icelake

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"
	"github.com/google/go-cmp/cmp"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/span"
	"github.com/pinflow/pinflow/internal/testbed"
)

// Another engine may delete rows and leave the files as they are: what it deleted is not read.
func TestRowsThatOthersDeletedAreNotRead(t *testing.T) {
	l := testLake(t, t.TempDir(), quickFS{})
	if err := l.EnsureTable(t.Context(), pins()); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Commit(t.Context(), intent(1, stage(t, l, rows(0, 30, 1)))); err != nil {
		t.Fatal(err)
	}
	_, err := l.commit(t.Context(), intent(2, nil), func(_ *table.Table, tx *table.Transaction) error {
		if err := tx.SetProperties(iceberg.Properties{table.WriteDeleteModeKey: table.WriteModeMergeOnRead}); err != nil {
			return err
		}
		return tx.Delete(t.Context(), iceberg.LessThan(iceberg.Reference("_offset"), int64(10)), nil)
	})
	if err != nil {
		t.Fatal(err)
	}
	got := all(t, l)
	if len(got) != 20 || got[9] != "" || got[10] == "" {
		t.Errorf("%d rows: %v", len(got), got)
	}
}

// Rows are chosen by time and by offset, whatever columns are asked for, and blocks hold just these.
func TestScanChoosesRows(t *testing.T) {
	l := testLake(t, t.TempDir(), quickFS{})
	schema, err := event.Compile(event.Stream{Name: "pin", Topic: "pin", Fields: []event.Field{{Name: "category", Type: "string"}}}, 1)
	if err != nil {
		t.Fatal(err)
	}
	key := span.Key{Log: 3, Partition: 1}
	d := schema.NewDecoder(nil)
	for i := range int64(100) {
		if v := d.Append(&event.Record{Key: key, Offset: i, Value: []byte(`{"category":"art"}`), Received: day0 + i}); v.Dead() {
			t.Fatal(v.Message)
		}
	}
	if err := l.EnsureTable(t.Context(), lake.StreamTable(schema)); err != nil {
		t.Fatal(err)
	}
	rows := lake.Block{Columns: lake.Columns(schema), N: d.Rows().N, Cols: d.Rows().Cols}
	if _, err := l.Commit(t.Context(), intent(1, stage(t, l, rows))); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		sel  lake.Selection
		want []int64
	}{
		{"offsets", lake.Selection{Key: key, FromOffset: 40, ToOffset: 44}, []int64{40, 41, 42, 43}},
		{"all offsets", lake.Selection{Key: key, FromOffset: 0, ToOffset: 3}, []int64{0, 1, 2}},
		{"offsets of another partition", lake.Selection{Key: span.Key{Log: key.Log, Partition: key.Partition + 1}, FromOffset: 40, ToOffset: 44}, nil},
		{"a moment", lake.Selection{From: day0 + 7, To: day0 + 9}, []int64{7, 8}},
		{"received", lake.Selection{ReceivedFrom: day0 + 20, ReceivedTo: day0 + 22}, []int64{20, 21}},
		{"received, of a moment", lake.Selection{ReceivedFrom: day0 + 20, ReceivedTo: day0 + 22, From: day0 + 21, To: day0 + 90}, []int64{21}},
		{"a moment and offsets", lake.Selection{From: day0 + 7, To: day0 + 9, Key: key, FromOffset: 8, ToOffset: 20}, []int64{8}},
		{"no offsets", lake.Selection{Key: key, FromOffset: 4000, ToOffset: 4004}, nil},
	} {
		c.sel.Table, c.sel.Columns = "pin", []string{"_offset", "category"}
		var got []int64
		if _, err := l.Scan(t.Context(), c.sel, func(b *lake.Block) error {
			if len(b.Cols) != 2 || b.Cols[0].Len != b.N || b.Cols[1].Len != b.N {
				t.Errorf("%s: %d columns of %d rows", c.name, len(b.Cols), b.N)
			}
			got = append(got, b.Cols[0].Ints...)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}

// A file of which no row was received in time is not opened, whatever the times of its events.
func TestFilesByReception(t *testing.T) {
	l := testLake(t, t.TempDir(), quickFS{})
	schema, err := event.Compile(event.Stream{Name: "pin", Topic: "pin", EventTime: "at"}, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.EnsureTable(t.Context(), lake.StreamTable(schema)); err != nil {
		t.Fatal(err)
	}
	snapshot := int64(0)
	for n := range int64(3) {
		d := schema.NewDecoder(nil)
		for i := range int64(5) {
			value := fmt.Sprintf(`{"at":%q}`, time.UnixMicro(day0+i).UTC().Format(time.RFC3339Nano))
			if v := d.Append(&event.Record{Offset: 5*n + i, Value: []byte(value), Received: day0 + n*usPerDay + i}); v.Dead() {
				t.Fatal(v.Message)
			}
		}
		done, err := l.Commit(t.Context(), intent(n+1, stage(t, l, lake.Block{Columns: lake.Columns(schema), N: d.Rows().N, Cols: d.Rows().Cols})))
		if err != nil {
			t.Fatal(err)
		}
		snapshot = done.Snapshot
	}
	for want, sel := range map[int]lake.Selection{
		3: {From: day0, To: day0 + usPerDay},
		1: {ReceivedFrom: day0 + usPerDay, ReceivedTo: day0 + 2*usPerDay},
		0: {ReceivedFrom: day0 + 9*usPerDay, ReceivedTo: day0 + 10*usPerDay},
	} {
		sel.Table, sel.Snapshot, sel.Columns = "pin", snapshot, []string{"_offset"}
		files, _, err := l.Files(t.Context(), sel)
		if err != nil || len(files) != want {
			t.Errorf("%d files for %+v, want %d: %v", len(files), sel, want, err)
		}
	}
}

// Whoever looks at the rows may stop: nothing hangs, and the reason comes back.
func TestScanStopsWhenToldTo(t *testing.T) {
	l := testLake(t, t.TempDir(), quickFS{})
	if err := l.EnsureTable(t.Context(), pins()); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Commit(t.Context(), intent(1, stage(t, l, rows(0, 300, 9)))); err != nil {
		t.Fatal(err)
	}
	blocks := 0
	_, err := l.Scan(t.Context(), lake.Selection{Table: "pin"}, func(*lake.Block) error {
		blocks++
		return errors.New("enough")
	})
	if err == nil || blocks != 1 {
		t.Errorf("%v after %d blocks", err, blocks)
	}
}

// Rows that are wanted as a whole come without the columns of their origin, if a row group's statistics tell
// it; all others come with them, and no row is lost or shown twice.
func TestRowsWantedAsAWholeComeWithoutTheirOrigin(t *testing.T) {
	l := testLake(t, t.TempDir(), quickFS{})
	schema, err := event.Compile(event.Stream{Name: "pin", Topic: "pin", Fields: []event.Field{{Name: "category", Type: "string"}}}, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.EnsureTable(t.Context(), lake.StreamTable(schema)); err != nil {
		t.Fatal(err)
	}
	of := func(log span.Log, partition int32, first int64, n int) lake.Block {
		d := schema.NewDecoder(nil)
		for i := range int64(n) {
			r := event.Record{Key: span.Key{Log: log, Partition: partition}, Offset: first + i, Value: []byte(`{"category":"art"}`), Received: day0 + first + i}
			if v := d.Append(&r); v.Dead() {
				t.Fatal(v.Message)
			}
		}
		return lake.Block{Columns: lake.Columns(schema), N: d.Rows().N, Cols: d.Rows().Cols}
	}
	files := slices.Concat(
		stage(t, l, of(1, 0, 0, 50), of(1, 2, 10, 30)), // partitions 0 to 2, offsets 0 to 50
		stage(t, l, of(1, 1, 90, 20)),
		stage(t, l, of(1, 1, 200, 5), of(2, 0, 200, 5)), // two logs
	)
	if _, err := l.Commit(t.Context(), intent(1, files)); err != nil {
		t.Fatal(err)
	}
	spare := []string{"_log", "_partition", "_offset", "_schema"}
	var mu sync.Mutex
	var asked []lake.Origin
	sel := lake.Selection{
		Table: "pin", Columns: append([]string{"category"}, spare...), Spare: spare,
		Whole: func(o lake.Origin) bool {
			mu.Lock()
			defer mu.Unlock()
			asked = append(asked, o)
			return o.LastPartition == 2
		},
	}
	scan := func(sel lake.Selection) (whole, single int) {
		if _, err := l.Scan(t.Context(), sel, func(b *lake.Block) error {
			if b.Cols[b.Index("category")].Len != b.N {
				t.Errorf("%d categories of %d rows", b.Cols[b.Index("category")].Len, b.N)
			}
			if b.Origin == nil {
				single += b.N
				for _, name := range spare {
					if at := b.Index(name); at < 0 || len(b.Cols[at].Ints) != b.N {
						t.Errorf("rows without %s", name)
					}
				}
				return nil
			}
			if whole += b.N; len(b.Columns) != 1 {
				t.Errorf("rows of %+v with columns %v", *b.Origin, b.Columns)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return whole, single
	}
	if whole, single := scan(sel); whole != 80 || single != 30 {
		t.Errorf("%d rows as a whole, %d one by one", whole, single)
	}
	slices.SortFunc(asked, func(a, b lake.Origin) int { return int(a.Offsets.From - b.Offsets.From) })
	want := []lake.Origin{
		{Log: 1, Schema: 1, FirstPartition: 0, LastPartition: 2, Offsets: span.Range{To: 50}},
		{Log: 1, Schema: 1, FirstPartition: 1, LastPartition: 1, Offsets: span.Range{From: 90, To: 110}},
	}
	if diff := cmp.Diff(want, asked); diff != "" {
		t.Error(diff)
	}
	// A time that chooses some of them does not need their origin; an offset that does, does.
	sel.From, sel.To = day0+40, day0+1000
	if whole, single := scan(sel); whole != 10 || single != 30 {
		t.Errorf("of some time: %d rows as a whole, %d one by one", whole, single)
	}
	sel.From, sel.To, sel.Key, sel.FromOffset, sel.ToOffset = 0, 0, span.Key{Log: 1, Partition: 2}, 0, 1000
	if whole, single := scan(sel); whole != 0 || single != 30 {
		t.Errorf("of some offsets: %d rows as a whole, %d one by one", whole, single)
	}
}

// Rows of some logs, those between a least and a greatest number.
func TestScanOfLogs(t *testing.T) {
	l := locatedTable(t)
	for n := range int64(4) {
		b := located(0, 0, 10)
		for i := range b.N {
			b.Cols[b.Index("_log")].Ints[i] = n + int64(i)/9 // the last row is of the next log
		}
		if _, err := l.Commit(t.Context(), intent(n+1, stage(t, l, b))); err != nil {
			t.Fatal(err)
		}
	}
	got := map[int64]int{}
	_, err := l.Scan(t.Context(), lake.Selection{Table: "pin", Columns: []string{"_log"}, Logs: lake.Within{Least: 1, Most: 2}}, func(b *lake.Block) error {
		for _, log := range b.Cols[0].Flat().Ints[:b.N] {
			got[log]++
		}
		return nil
	})
	if want := map[int64]int{1: 10, 2: 10}; err != nil || !maps.Equal(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
}

// A file may be so large that it is planned in ranges of row groups: its rows are read once all the same, and it is
// listed once.
func TestALargeFileIsReadOnce(t *testing.T) {
	testbed.Everywhere(t, func(t *testing.T, p testbed.Place) {
		l := placed(t, p)
		if err := l.EnsureTable(t.Context(), pins()); err != nil {
			t.Fatal(err)
		}
		file := grouped(t, l, rows(0, 500, 1), rows(500, 300, 1), rows(800, 200, 1))
		done, err := l.Commit(t.Context(), intent(1, []ledger.LakeFile{file}))
		if err != nil {
			t.Fatal(err)
		}
		_, err = l.commit(t.Context(), intent(2, nil), func(_ *table.Table, tx *table.Transaction) error {
			return tx.SetProperties(iceberg.Properties{table.ReadSplitTargetSizeKey: "1"})
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := all(t, l); len(got) != 1000 {
			t.Errorf("%d rows", len(got))
		}
		files, _, err := l.Files(t.Context(), lake.Selection{Table: "pin", Snapshot: done.Snapshot, Columns: []string{"_offset"}})
		if err != nil || len(files) != 1 || !files[0].Plain {
			t.Errorf("files %+v, %v", files, err)
		}
		found, err := l.Find(t.Context(), "pin", "id-700")
		if err != nil || len(found.Rows) != 1 || found.Opened != 1 {
			t.Errorf("found %+v, %v", found, err)
		}
	})
}
