package icelake

import (
	"encoding/json"
	"maps"
	"os"
	"slices"
	"testing"

	"github.com/pinflow/pinflow/internal/column"
	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/span"
	"github.com/pinflow/pinflow/internal/testbed"
)

// A catalog that was lost is made again from what is in the warehouse, on disk and on S3; rows beyond a
// position are counted, and taken out by a commit of the next number.
func TestLostCatalogAndRowsBeyond(t *testing.T) {
	testbed.Everywhere(t, func(t *testing.T, p testbed.Place) {
		l := placed(t, p)
		if err := l.EnsureTable(t.Context(), logged()); err != nil {
			t.Fatal(err)
		}
		for n := range int64(2) {
			in := intent(n+1, stage(t, l, loggedRows(int(n)*10, 10, 2)))
			in.Memo, _ = json.Marshal(ledger.NewMemo(nil, 0))
			if _, err := l.Commit(t.Context(), in); err != nil {
				t.Fatal(err)
			}
		}
		cfg := configOf(p)
		cfg.Catalog = t.TempDir() + "/other.db"
		if named := look(t, cfg).Named; len(named) > 0 {
			t.Fatalf("a catalog that is not there names %v", named)
		}
		if _, err := os.Stat(cfg.Catalog); err == nil {
			t.Error("looking made a catalog")
		}
		if real := look(t, configOf(p)); !maps.Equal(real.Named, real.Found()) {
			t.Errorf("found %v, the catalog names %v", real.Found(), real.Named)
		}
		again, err := Open(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer again.Close()
		if err := again.Register(t.Context(), "pin", look(t, cfg).Found()["pin"]); err != nil {
			t.Fatal(err)
		}
		head, err := again.Head(t.Context(), "pin")
		if err != nil || head.Seq != 2 || head.Rows != 20 || string(head.Memo) != `{"version":2,"streams":null}` {
			t.Fatalf("%+v, %v", head, err)
		}
		withdraw(t, again)
		if err := l.CheckAge(t.Context()); err != nil { // one newer: an attempt may have left it
			t.Error(err)
		}
		if _, err := again.Commit(t.Context(), intent(4, stage(t, again, loggedRows(30, 5, 1)))); err != nil {
			t.Fatal(err)
		}
		if err := l.CheckAge(t.Context()); fault.CodeOf(err) != "catalog_behind" {
			t.Errorf("a catalog two commits behind its warehouse: %v", err)
		}
	})
}

// logged is the usual table with what tells where a row came from.
func logged() lake.Table {
	t := pins()
	for _, name := range []string{event.ColumnLog, event.ColumnPartition} {
		t.Columns = append(slices.Clone(t.Columns), lake.Column{Name: name, Kind: column.Long, Required: true})
	}
	return t
}

func loggedRows(from, n, days int) lake.Block {
	b := rows(from, n, days)
	b.Columns = logged().Columns
	for range 2 {
		b.Cols = append(b.Cols, column.Vec{Kind: column.Long, Len: n, Ints: slices.Repeat([]int64{1}, n)})
	}
	return b
}

func look(t *testing.T, cfg Config) *Remains {
	t.Helper()
	r, err := Look(t.Context(), cfg, true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

func withdraw(t *testing.T, l *Lake) {
	t.Helper()
	key := slices.Collect(maps.Keys(counted(t, l, nil).Beyond))
	if len(key) != 1 {
		t.Fatalf("partitions %v", key)
	}
	at := span.Vector{key[0]: 13}
	o := counted(t, l, at)
	if o.Below[key[0]] != 13 || o.Beyond[key[0]] != 7 {
		t.Fatalf("counted %+v", o)
	}
	in := intent(3, nil)
	for range 2 { // it may be repeated
		if err := l.Withdraw(t.Context(), in, at, key); err != nil {
			t.Fatal(err)
		}
	}
	if left := slices.Sorted(maps.Keys(all(t, l))); len(left) != 13 || left[12] != 12 {
		t.Errorf("left are %v", left)
	}
}

func counted(t *testing.T, l *Lake, at span.Vector) *Offsets {
	t.Helper()
	o, err := l.CountOffsets(t.Context(), "pin", at)
	if err != nil {
		t.Fatal(err)
	}
	return o
}
