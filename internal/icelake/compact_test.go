package icelake

import (
	"fmt"
	"path/filepath"
	"testing"

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
