package icelake

import (
	"fmt"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/apache/iceberg-go"
	iceio "github.com/apache/iceberg-go/io"
	"github.com/apache/iceberg-go/table"
	"github.com/google/go-cmp/cmp"

	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
)

var shape = lake.Shape{Target: 1 << 20, MinFiles: 8, MaxBytes: 1 << 20}

func compactIntent(n int64) *ledger.Intent {
	return &ledger.Intent{Table: "pin", N: n, ID: fmt.Sprint("compact-", n), Kind: lake.Compact, Open: true}
}

func TestCompactionKeepsEveryRow(t *testing.T) {
	dir := t.TempDir()
	l := testLake(t, dir, quickFS{})
	if err := l.EnsureTable(t.Context(), pins()); err != nil {
		t.Fatal(err)
	}
	n := int64(0)
	for range 9 {
		n++
		if _, err := l.Commit(t.Context(), intent(n, stage(t, l, rows(int(n)*7, 7, 2)))); err != nil {
			t.Fatal(err)
		}
	}
	before := all(t, l)
	rewrites := 0
	for {
		r, err := l.Rewrite(t.Context(), "pin", shape)
		if err != nil {
			t.Fatal(err)
		}
		if r == nil {
			break
		}
		rewrites++
		n++
		for range 2 { // repeating it changes nothing
			landed, err := l.Replace(t.Context(), compactIntent(n), r)
			if err != nil || landed.Files != 1 || landed.Records != r.Rows {
				t.Fatalf("landed %+v, %v", landed, err)
			}
		}
	}
	if rewrites != 2 { // one a day
		t.Errorf("%d rewrites", rewrites)
	}
	if diff := cmp.Diff(before, all(t, l)); diff != "" {
		t.Error(diff)
	}
	head, err := l.Head(t.Context(), "pin")
	if err != nil || head.Files != 2 || head.Rows != 63 {
		t.Errorf("head %+v, %v", head, err)
	}
	// Their rows are in order of time now.
	last := map[int64]int64{}
	_, err = l.Scan(t.Context(), lake.Selection{Table: "pin", Columns: []string{"_event_time"}}, func(b *lake.Block) error {
		for _, at := range b.Cols[0].Ints {
			if d := day(at); at < last[d] {
				t.Errorf("time %d after %d", at, last[d])
			} else {
				last[d] = at
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	// What was replaced goes with the snapshots that knew it.
	n++
	in := &ledger.Intent{Table: "pin", N: n, ID: "expire", Kind: lake.Expire, Open: true}
	if _, err := l.Expire(t.Context(), in, lake.Retention{Keep: 1}); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "warehouse", "pin", "data", "*", "*.parquet"))
	if err != nil || len(files) != 2 {
		t.Errorf("data files on the disk: %v, %v", files, err)
	}
	if diff := cmp.Diff(before, all(t, l)); diff != "" {
		t.Error(diff)
	}
}

func TestRewriteOfFilesThatAreGoneIsRefused(t *testing.T) {
	l := testLake(t, t.TempDir(), quickFS{})
	if err := l.EnsureTable(t.Context(), pins()); err != nil {
		t.Fatal(err)
	}
	n := int64(0)
	for range 8 {
		n++
		if _, err := l.Commit(t.Context(), intent(n, stage(t, l, rows(int(n)*7, 7, 1)))); err != nil {
			t.Fatal(err)
		}
	}
	first, err := l.Rewrite(t.Context(), "pin", shape)
	if err != nil {
		t.Fatal(err)
	}
	second, err := l.Rewrite(t.Context(), "pin", shape)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Replace(t.Context(), compactIntent(9), first); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Replace(t.Context(), compactIntent(10), second); fault.CodeOf(err) != "inputs_gone" {
		t.Errorf("replacing the same files again: %v", err)
	}
	if err := l.Discard(t.Context(), second.Files); err != nil {
		t.Fatal(err)
	}
	if got := all(t, l); len(got) != 56 {
		t.Errorf("%d rows", len(got))
	}
	short := *first
	short.Rows++
	if _, err := l.Replace(t.Context(), compactIntent(10), &short); !fault.Is(err, fault.Corrupt) {
		t.Errorf("a rewrite that lost a row: %v", err)
	}
}

// What another engine deletes while files are merged does not come back with the merge.
func TestARewriteOfFilesThatLostRowsIsRefused(t *testing.T) {
	l := testLake(t, t.TempDir(), quickFS{})
	if err := l.EnsureTable(t.Context(), pins()); err != nil {
		t.Fatal(err)
	}
	for n := range int64(8) {
		if _, err := l.Commit(t.Context(), intent(n+1, stage(t, l, rows(int(n)*7, 7, 1)))); err != nil {
			t.Fatal(err)
		}
	}
	r, err := l.Rewrite(t.Context(), "pin", shape)
	if err != nil || r == nil {
		t.Fatal(r, err)
	}
	_, err = l.commit(t.Context(), intent(9, nil), func(_ *table.Table, tx *table.Transaction) error {
		if err := tx.SetProperties(iceberg.Properties{table.WriteDeleteModeKey: table.WriteModeMergeOnRead}); err != nil {
			return err
		}
		return tx.Delete(t.Context(), iceberg.LessThan(iceberg.Reference("_offset"), int64(3)), nil)
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Replace(t.Context(), compactIntent(10), r); fault.CodeOf(err) != "inputs_gone" {
		t.Errorf("replacing files that lost rows: %v", err)
	}
	if got := all(t, l); len(got) != 53 {
		t.Errorf("%d rows", len(got))
	}
}

// A rewrite holds no more than its share of columns: what does not fit is sorted in runs.
func TestARewriteOfManyRowsIsWrittenInRuns(t *testing.T) {
	l := testLake(t, t.TempDir(), quickFS{})
	if err := l.EnsureTable(t.Context(), pins()); err != nil {
		t.Fatal(err)
	}
	for n := range int64(8) {
		if _, err := l.Commit(t.Context(), intent(n+1, stage(t, l, rows(int(7-n)*500, 500, 1)))); err != nil {
			t.Fatal(err)
		}
	}
	before := all(t, l)
	some := gathered{}
	for range 2 {
		one := rows(0, 500, 1)
		if err := some.append(&one); err != nil {
			t.Fatal(err)
		}
	}
	r, err := l.Rewrite(t.Context(), "pin", lake.Shape{Target: 1 << 20, MinFiles: 8, MaxBytes: some.bytes()})
	if err != nil || r == nil {
		t.Fatal(r, err)
	}
	landed, err := l.Replace(t.Context(), compactIntent(9), r)
	if err != nil || landed.Files != 1 || landed.Records != 4000 {
		t.Fatalf("landed %+v, %v", landed, err)
	}
	if diff := cmp.Diff(before, all(t, l)); diff != "" {
		t.Error(diff)
	}
	// The newest file was staged first: in order of time, the runs follow each other.
	last := int64(0)
	_, err = l.Scan(t.Context(), lake.Selection{Table: "pin", Columns: []string{"_event_time"}}, func(b *lake.Block) error {
		for _, at := range b.Cols[0].Ints {
			if at < last {
				t.Fatalf("time %d after %d", at, last)
			}
			last = at
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// meteredFS counts the bytes that are read of manifests and their lists.
type meteredFS struct {
	quickFS
	bytes *atomic.Int64
}

type countedFile struct {
	iceio.File
	bytes *atomic.Int64
}

func (f meteredFS) Open(path string) (iceio.File, error) {
	file, err := f.quickFS.Open(path)
	if err != nil || filepath.Ext(path) != ".avro" {
		return file, err
	}
	return countedFile{file, f.bytes}, nil
}

func (f countedFile) Read(p []byte) (int, error) {
	n, err := f.File.Read(p)
	f.bytes.Add(int64(n))
	return n, err
}

func (f countedFile) ReadAt(p []byte, at int64) (int, error) {
	n, err := f.File.ReadAt(p, at)
	f.bytes.Add(int64(n))
	return n, err
}

// L5: what merging a day's files reads of the table's metadata does not grow with the days before.
func TestMergingCostsNoMoreInALargeTable(t *testing.T) {
	const days, daily, snapshots = 36, 4, 10
	read := &atomic.Int64{}
	l := testLake(t, t.TempDir(), meteredFS{bytes: read})
	l.manifestBytes = 6 << 10
	if err := l.EnsureTable(t.Context(), pins()); err != nil {
		t.Fatal(err)
	}
	n, offset := int64(0), 0
	var costs []int64
	for d := range int64(days) {
		for range daily {
			b := rows(offset, 3, 1)
			for i := range b.N {
				b.Cols[b.Index("_event_time")].Ints[i] += d * int64(usPerDay)
			}
			n, offset = n+1, offset+3
			if _, err := l.Commit(t.Context(), intent(n, stage(t, l, b))); err != nil {
				t.Fatal(err)
			}
		}
		before := read.Load()
		// Merged files are large enough to be left alone.
		r, err := l.Rewrite(t.Context(), "pin", lake.Shape{Target: 1 << 20, MinFiles: daily, MaxBytes: 1 << 20})
		if err != nil || r == nil || len(r.Inputs) != daily {
			t.Fatalf("day %d: %+v, %v", d, r, err)
		}
		n++
		if _, err := l.Replace(t.Context(), compactIntent(n), r); err != nil {
			t.Fatal(err)
		}
		n++
		in := &ledger.Intent{Table: "pin", N: n, ID: fmt.Sprint("expire-", n), Kind: lake.Expire, Open: true}
		if _, err := l.Expire(t.Context(), in, lake.Retention{Keep: snapshots}); err != nil {
			t.Fatal(err)
		}
		costs = append(costs, read.Load()-before)
	}
	early, late := slices.Max(costs[12:24]), slices.Max(costs[24:])
	t.Logf("bytes of manifests read by a day's merge and expiry: %v", costs)
	if late > early*3/2 {
		t.Errorf("a merge read at most %d bytes of manifests in a table of 24 days, %d in one of %d", early, late, days)
	}
	head, err := l.Head(t.Context(), "pin")
	if err != nil || head.Files != days || head.Rows != int64(offset) {
		t.Errorf("head %+v, %v", head, err)
	}
	if got := all(t, l); len(got) != offset {
		t.Errorf("%d rows of %d", len(got), offset)
	}
}
