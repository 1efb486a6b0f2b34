package icelake

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"
	"github.com/google/go-cmp/cmp"

	"github.com/pinflow/pinflow/internal/column"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/prove"
	"github.com/pinflow/pinflow/internal/span"
)

// unnumbered is the catalog as another engine uses it.
type unnumbered struct{ *catalog }

func (c unnumbered) LoadTable(ctx context.Context, id table.Identifier) (*table.Table, error) {
	return c.load(ctx, id[len(id)-1])
}

func (c unnumbered) CommitTable(ctx context.Context, id table.Identifier, reqs []table.Requirement, updates []table.Update) (table.Metadata, string, error) {
	return c.update(ctx, id[len(id)-1], reqs, updates)
}

// meddle commits as another engine does and returns the snapshot.
func meddle(t *testing.T, l *Lake, change func(*table.Transaction) error) int64 {
	t.Helper()
	tbl, err := l.cat.load(t.Context(), "pin")
	if err != nil {
		t.Fatal(err)
	}
	tx := table.New(ident("pin"), tbl.Metadata(), tbl.MetadataLocation(), l.cat.io, unnumbered{l.cat}).NewTransaction()
	if err := change(tx); err != nil {
		t.Fatal(err)
	}
	after, err := tx.Commit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return after.CurrentSnapshot().SnapshotID
}

// located are rows of partition 1/p with offsets from on, two days.
func located(p int64, from, n int) lake.Block {
	b := rows(from, n, 2)
	for _, name := range []string{"_log", "_partition"} {
		v := column.Vec{Kind: column.Long, Len: n, Ints: make([]int64, n)}
		for i := range v.Ints {
			if v.Ints[i] = 1; name == "_partition" {
				v.Ints[i] = p
			}
		}
		b.Columns, b.Cols = append(b.Columns, lake.Column{Name: name, Kind: column.Long, Required: true}), append(b.Cols, v)
	}
	return b
}

func locatedTable(t *testing.T) *Lake {
	t.Helper()
	l := testLake(t, t.TempDir(), quickFS{})
	def := pins()
	def.Columns = located(0, 0, 1).Columns
	if err := l.EnsureTable(t.Context(), def); err != nil {
		t.Fatal(err)
	}
	return l
}

// D1: what another engine did to rows is told by snapshot, engine, partition and file, whether it wrote files anew, added
// some or put the table back; nothing is committed on it by whoever looked before, and it can be undone.
func TestAlteredIsToldAndUndone(t *testing.T) {
	prove.Invariant(t, "D1", prove.Disk)
	l := locatedTable(t)
	landed := lake.Landed{}
	var first int64
	for n := range int64(2) {
		var err error
		if landed, err = l.Commit(t.Context(), intent(n+1, stage(t, l, located(n, 0, 100)))); err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			first = landed.Snapshot
		}
	}
	if a, err := l.Altered(t.Context(), "pin"); a != nil || err != nil {
		t.Fatalf("%+v, %v", a, err)
	}
	key := func(p int32) span.Key { return span.Key{Log: 1, Partition: p} }
	for name, c := range map[string]struct {
		by     func() int64
		rows   map[span.Key]int64
		says   []string
		lacks  int
		brings int
	}{
		"deleted": {func() int64 {
			return meddle(t, l, func(tx *table.Transaction) error {
				return tx.Delete(t.Context(), iceberg.LessThan(iceberg.Reference("_offset"), int64(30)), iceberg.Properties{"engine-name": "spark", "engine-version": "3.5.7"})
			})
		}, map[span.Key]int64{key(0): -30, key(1): -30}, []string{" by spark 3.5.7, ", "missing are 30 of partition 1/0, 30 of partition 1/1", "pinflow lake undo pin"}, 4, 4},
		"added": {func() int64 {
			files := stage(t, l, located(2, 0, 5))
			return meddle(t, l, func(tx *table.Transaction) error {
				tbl, err := l.cat.load(t.Context(), "pin")
				if err != nil {
					return err
				}
				return l.add(t.Context(), tbl, tx, &ledger.Intent{Files: files})
			})
		}, map[span.Key]int64{key(2): 5}, nil, 0, 2},
		"put back": {func() int64 {
			if err := l.tag(t.Context(), "pin", func(*table.Table) ([]table.Update, error) {
				return []table.Update{table.NewSetSnapshotRefUpdate(table.MainBranch, first, table.BranchRef, 0, 0, 0)}, nil
			}); err != nil {
				t.Fatal(err)
			}
			return first
		}, map[span.Key]int64{key(1): -100}, []string{fmt.Sprintf("put back on its older snapshot %d", first)}, 2, 0},
	} {
		t.Run(name, func(t *testing.T) {
			now := c.by()
			a, err := l.Altered(t.Context(), "pin")
			if err != nil || a == nil || a.Unread != nil {
				t.Fatalf("%+v, %v", a, err)
			}
			if a.Base != landed.Snapshot || a.Seq != 2 || a.Now != now || len(a.Lacks) != c.lacks || len(a.Brings) != c.brings {
				t.Errorf("%+v", a)
			}
			if diff := cmp.Diff(c.rows, a.Rows); diff != "" {
				t.Error(diff)
			}
			alarm := a.Fault(140, 200)
			for _, s := range c.says {
				if !strings.Contains(alarm.Error(), s) || fault.CodeOf(alarm) != "lake_altered" {
					t.Errorf("no %q in: %v", s, alarm)
				}
			}
			in := intent(3, nil)
			in.Kind, in.Base = lake.Skip, landed.Snapshot
			if _, err := l.Commit(t.Context(), in); !fault.Is(err, fault.Transient) || fault.CodeOf(err) != "table_moved" {
				t.Errorf("a commit on it: %v", err)
			}
			for range 2 { // it is right from now on, and what comes after is not
				if err := l.Accept(t.Context(), "pin"); err != nil {
					t.Fatal(err)
				}
			}
			if a, err := l.Altered(t.Context(), "pin"); a != nil || err != nil {
				t.Errorf("after it was accepted: %+v, %v", a, err)
			}
			later := meddle(t, l, func(tx *table.Transaction) error {
				return tx.Delete(t.Context(), iceberg.GreaterThan(iceberg.Reference("_offset"), int64(90)), nil)
			})
			if b, err := l.Altered(t.Context(), "pin"); err != nil || b == nil || b.Base != now || b.Now != later || b.Seq != 2 || len(b.Made) != 1 {
				t.Errorf("after it was accepted and changed again: %+v, %v", b, err)
			}
			if err := l.tag(t.Context(), "pin", func(*table.Table) ([]table.Update, error) {
				return []table.Update{table.NewRemovePropertiesUpdate([]string{propAccepted}), table.NewSetSnapshotRefUpdate(table.MainBranch, now, table.BranchRef, 0, 0, 0)}, nil
			}); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if err := l.Undo(t.Context(), a); err != nil {
					t.Fatal(err)
				}
			}
			if a, err := l.Altered(t.Context(), "pin"); a != nil || err != nil {
				t.Errorf("after it was undone: %+v, %v", a, err)
			}
			if n, err := l.LiveRows(t.Context(), "pin", landed.Snapshot); n != 200 || err != nil {
				t.Errorf("%d rows, %v", n, err)
			}
		})
	}
}

// D1: rows that another engine marks as deleted in files of their own are no longer counted; those files are no data.
func TestRowsMarkedAsDeleted(t *testing.T) {
	prove.Invariant(t, "D1", prove.Disk)
	l := locatedTable(t)
	landed, err := l.Commit(t.Context(), intent(1, stage(t, l, located(0, 0, 100))))
	if err != nil {
		t.Fatal(err)
	}
	merge := iceberg.Properties{table.WriteDeleteModeKey: table.WriteModeMergeOnRead}
	if err := l.tag(t.Context(), "pin", func(*table.Table) ([]table.Update, error) {
		return []table.Update{table.NewSetPropertiesUpdate(merge)}, nil
	}); err != nil {
		t.Fatal(err)
	}
	now := meddle(t, l, func(tx *table.Transaction) error {
		return tx.Delete(t.Context(), iceberg.LessThan(iceberg.Reference("_offset"), int64(30)), nil)
	})
	head, err := l.Head(t.Context(), "pin")
	if err != nil || head.Rows != 100 || head.Deletes == 0 || !head.Foreign {
		t.Fatalf("%+v, %v: another case is to be tested", head, err)
	}
	if n, err := l.LiveRows(t.Context(), "pin", now); n != 70 || err != nil {
		t.Errorf("%d live rows, %v", n, err)
	}
	if err := l.Whole(t.Context(), "pin"); err != nil {
		t.Error(err)
	}
	a, err := l.Altered(t.Context(), "pin")
	if err != nil || a == nil || a.Unread != nil {
		t.Fatalf("%+v, %v", a, err)
	}
	if diff := cmp.Diff(map[span.Key]int64{{Log: 1}: -30}, a.Rows); diff != "" || len(a.Lacks)+len(a.Brings) > 0 {
		t.Errorf("%s %+v", diff, a)
	}
	if err := l.Undo(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	if head, err := l.Head(t.Context(), "pin"); err != nil || head.Snapshot != landed.Snapshot || head.Deletes != 0 {
		t.Errorf("%+v, %v", head, err)
	}
}
