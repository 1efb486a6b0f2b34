package icelake

import (
	"slices"
	"strings"
	"testing"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"

	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/prove"
	"github.com/pinflow/pinflow/internal/span"
)

// D1: rows that another engine puts in the place of as many are told from those that were there by any of their values, and
// the same rows in other files and in another order from changed ones.
func TestRowsChangedInPlace(t *testing.T) {
	prove.Invariant(t, "D1", prove.Disk)
	l := locatedTable(t)
	landed := lake.Landed{}
	for n := range int64(2) {
		var err error
		if landed, err = l.Commit(t.Context(), intent(n+1, stage(t, l, located(n, 0, 100)))); err != nil {
			t.Fatal(err)
		}
	}
	for name, change := range map[string]func(b *lake.Block){
		"":            func(*lake.Block) {},
		"order":       func(b *lake.Block) { *b = *b.Pick([]int32{3, 2, 1, 0, 9, 8, 7, 6, 5, 4}) },
		"a long":      func(b *lake.Block) { b.Cols[b.Index("followers")].Ints[1]++ },
		"a double":    func(b *lake.Block) { b.Cols[b.Index("score")].Floats[2] = -1 },
		"a text":      func(b *lake.Block) { b.Cols[b.Index("title")].Bytes[0]++ },
		"an element":  func(b *lake.Block) { b.Cols[b.Index("tags")].Bytes[1]++ },
		"a list":      func(b *lake.Block) { v := &b.Cols[b.Index("tags")]; v.ListOffs[2], v.ListOffs[3] = 2, 2 },
		"a NULL":      func(b *lake.Block) { b.Cols[1].Valid[0] = true },
		"an offset":   func(b *lake.Block) { b.Cols[b.Index("_offset")].Ints[9] = 8 },
		"two swapped": func(b *lake.Block) { v := b.Cols[b.Index("followers")].Ints; v[1], v[4] = v[4], v[1] },
	} {
		t.Run(name, func(t *testing.T) {
			same := name == "" || name == "order"
			b := located(0, 0, 10)
			change(&b)
			meddle(t, l, func(tx *table.Transaction) error {
				if err := tx.Delete(t.Context(), iceberg.NewAnd(iceberg.EqualTo(iceberg.Reference("_partition"), int64(0)), iceberg.LessThan(iceberg.Reference("_offset"), int64(10))), nil); err != nil {
					return err
				}
				tbl, err := l.cat.load(t.Context(), "pin")
				if err != nil {
					return err
				}
				return l.add(t.Context(), tbl, tx, &ledger.Intent{Files: stage(t, l, b)})
			})
			a, err := l.Altered(t.Context(), "pin")
			if err != nil || a == nil || a.Unread != nil || a.Replaced() {
				t.Fatalf("%+v, %v", a, err)
			}
			if a.Same() != same || (slices.Equal(a.Changed, []span.Key{{Log: 1}}) == same) {
				t.Errorf("%+v", a)
			}
			if alarm := a.Fault(200, 200); !same && (fault.CodeOf(alarm) != "lake_altered" || !strings.Contains(alarm.Error(), "still has 200 rows, but not the same: changed are rows of partition 1/0; ")) {
				t.Error(alarm)
			}
			if err := l.Undo(t.Context(), a); err != nil {
				t.Fatal(err)
			}
			if now, err := l.Head(t.Context(), "pin"); err != nil || now.Snapshot != landed.Snapshot {
				t.Errorf("%+v, %v", now, err)
			}
		})
	}
}
