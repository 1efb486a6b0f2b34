package icelake

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
)

// A pinned snapshot outlives the merging of its files and every expiry, and goes once nothing pins it.
func TestPinnedSnapshotStays(t *testing.T) {
	l := testLake(t, t.TempDir(), quickFS{})
	ctx := t.Context()
	if err := l.EnsureTable(ctx, pins()); err != nil {
		t.Fatal(err)
	}
	if at, err := l.Pin(ctx, "pin", "early", 0); err != nil || at != 0 {
		t.Errorf("an empty table has snapshot %d, %v", at, err)
	}
	n := int64(0)
	put := func(from, rowsEach int) {
		n++
		if _, err := l.Commit(ctx, intent(n, stage(t, l, rows(from, rowsEach, 1)))); err != nil {
			t.Fatal(err)
		}
	}
	for range 8 {
		put(int(n)*3, 3)
	}
	pinned, err := l.Pin(ctx, "pin", "pinflow-backfill-1", 0)
	if err != nil {
		t.Fatal(err)
	}
	expire := func() {
		n++
		in := &ledger.Intent{Table: "pin", N: n, ID: fmt.Sprint("expire-", n), Kind: lake.Expire, Open: true}
		if _, err := l.Expire(ctx, in, lake.Retention{Keep: 1}); err != nil {
			t.Fatal(err)
		}
	}
	r, err := l.Rewrite(ctx, "pin", lake.Shape{Target: 1 << 20, MinFiles: 2, MaxBytes: 1 << 20})
	if err != nil || r == nil {
		t.Fatalf("nothing to rewrite: %v", err)
	}
	n++
	in := &ledger.Intent{Table: "pin", N: n, ID: fmt.Sprint("compact-", n), Kind: lake.Compact, Open: true}
	if _, err := l.Replace(ctx, in, r); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		put(int(n)*10, 3)
		expire()
	}
	count := func() (int, error) {
		rows := 0
		_, err := l.Scan(ctx, lake.Selection{Table: "pin", Snapshot: pinned}, func(b *lake.Block) error { rows += b.N; return nil })
		return rows, err
	}
	if got, err := count(); err != nil || got != 24 {
		t.Errorf("the pinned snapshot has %d rows, want 24: %v", got, err)
	}
	if tags, err := l.Pins(ctx, "pin", "pinflow-"); err != nil || !slices.Equal(tags, []string{"pinflow-backfill-1"}) {
		t.Errorf("tags %v, %v", tags, err)
	}
	if err := l.Unpin(ctx, "pin", "pinflow-backfill-1", "never there"); err != nil {
		t.Fatal(err)
	}
	put(1000, 3)
	expire()
	if _, err := count(); err == nil {
		t.Error("the snapshot is still there, nothing pins it")
	}
	if got := all(t, l); len(got) != 8*3+3*3+3 {
		t.Errorf("%d rows are left", len(got))
	}
}

// Tags and commits that race with each other all land.
func TestPinsRaceWithCommits(t *testing.T) {
	l := testLake(t, t.TempDir(), quickFS{})
	ctx := t.Context()
	if err := l.EnsureTable(ctx, pins()); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Commit(ctx, intent(1, stage(t, l, rows(0, 3, 1)))); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for w := range 3 {
		wg.Go(func() {
			for i := range 5 {
				if _, err := l.Pin(ctx, "pin", fmt.Sprintf("t%d-%d", w, i), 0); err != nil {
					t.Error(err)
				}
			}
			if err := l.Unpin(ctx, "pin", fmt.Sprintf("t%d-0", w)); err != nil {
				t.Error(err)
			}
		})
	}
	for n := int64(2); n <= 8; n++ {
		in := intent(n, stage(t, l, rows(int(n)*3, 3, 1)))
		var err error
		for range 50 { // a tag that was faster has it made again, under the same number
			if _, err = l.Commit(ctx, in); err == nil {
				break
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
	tags, err := l.Pins(ctx, "pin", "t")
	if err != nil || len(tags) != 12 {
		t.Errorf("tags %v, %v", tags, err)
	}
	if got := all(t, l); len(got) != 24 {
		t.Errorf("%d rows, want 24", len(got))
	}
}

func TestDaysAreThoseOfTheFiles(t *testing.T) {
	l := testLake(t, t.TempDir(), quickFS{})
	ctx := t.Context()
	if err := l.EnsureTable(ctx, pins()); err != nil {
		t.Fatal(err)
	}
	if days, err := l.Days(ctx, "pin"); err != nil || len(days) != 0 {
		t.Errorf("an empty table has days %v, %v", days, err)
	}
	for n := int64(1); n <= 2; n++ {
		if _, err := l.Commit(ctx, intent(n, stage(t, l, rows(int(n)*10, 6, 3)))); err != nil {
			t.Fatal(err)
		}
	}
	days, err := l.Days(ctx, "pin")
	if err != nil {
		t.Fatal(err)
	}
	digest, err := l.Digest(ctx, "pin")
	if err != nil {
		t.Fatal(err)
	}
	want, got := map[string]int64{}, map[string]int64{}
	for _, d := range digest {
		want[d.Day] = d.Rows
	}
	for _, d := range days {
		got[d.Day] = d.Rows
		if d.Files != 2 || d.Bytes == 0 {
			t.Errorf("%+v", d)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" || len(got) != 3 {
		t.Errorf("%d days: %s", len(got), diff)
	}
}

// A pin that its maker forgets, killed, goes with an expiry once it is too old, though the snapshot was old when it was
// pinned; until then it stays.
func TestForgottenPinGoes(t *testing.T) {
	l := testLake(t, t.TempDir(), quickFS{})
	if err := l.EnsureTable(t.Context(), pins()); err != nil {
		t.Fatal(err)
	}
	n := int64(0)
	step := func(kind string) {
		t.Helper()
		n++
		in := intent(n, nil)
		in.Kind = kind
		var err error
		if kind == lake.Append {
			in.Files = stage(t, l, rows(int(n)*3, 3, 1))
			_, err = l.Commit(t.Context(), in)
		} else {
			_, err = l.Expire(t.Context(), in, lake.Retention{Keep: 1})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	step(lake.Append)
	for tag, most := range map[string]time.Duration{"short": time.Millisecond, "long": time.Hour, "ever": 0} {
		if _, err := l.PinFor(t.Context(), "pin", tag, 0, most); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(3 * time.Millisecond) // so that the short one is over
	step(lake.Append)
	step(lake.Expire)
	if tags, err := l.Pins(t.Context(), "pin", ""); err != nil || !slices.Equal(tags, []string{"ever", "long"}) {
		t.Errorf("tags %v, %v", tags, err)
	}
}
