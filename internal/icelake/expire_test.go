package icelake

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"

	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/prove"
)

// manifests counts the manifests and manifest lists of a table.
func manifests(t *testing.T, dir string) (n int, size int64) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "warehouse", "pin", "metadata", "*.avro"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
	}
	return len(files), size
}

// L5: metadata stays bounded however many commits there were.
func TestMetadataDoesNotGrowWithCommits(t *testing.T) {
	prove.Invariant(t, "L5", prove.Disk)
	dir := t.TempDir()
	l := testLake(t, dir, quickFS{})
	if err := l.EnsureTable(t.Context(), pins()); err != nil {
		t.Fatal(err)
	}
	n := int64(0)
	var most []int
	var sizes []int64
	for range 4 {
		for range 39 {
			n++
			if _, err := l.Commit(t.Context(), intent(n, stage(t, l, rows(int(n)*2, 2, 1)))); err != nil {
				t.Fatal(err)
			}
		}
		files, _ := manifests(t, dir)
		most = append(most, files)
		n++
		in := &ledger.Intent{Table: "pin", N: n, ID: fmt.Sprint("expire-", n), Kind: lake.Expire, Open: true}
		if _, err := l.Expire(t.Context(), in, lake.Retention{Keep: 10, Age: 0}); err != nil {
			t.Fatal(err)
		}
		_, size := manifests(t, dir)
		sizes = append(sizes, size)
	}
	if most[3] > most[1]+10 || sizes[3] > 2*sizes[0] {
		t.Errorf("manifests before each expiry %v, their bytes after it %v", most, sizes)
	}
	if files, err := filepath.Glob(filepath.Join(dir, "warehouse", "pin", "metadata", "*.json")); err != nil || len(files) > 101 {
		t.Errorf("%d metadata files, %v", len(files), err)
	}
	if got := all(t, l); len(got) != 156*2 {
		t.Errorf("%d rows", len(got))
	}
	if h, err := l.Head(t.Context(), "pin"); err != nil || h.Rows != 156*2 || h.Seq != 160 {
		t.Errorf("head %+v, %v", h, err)
	}
}

func TestExpiryKeepsYoungSnapshots(t *testing.T) {
	l := testLake(t, t.TempDir(), quickFS{})
	if err := l.EnsureTable(t.Context(), pins()); err != nil {
		t.Fatal(err)
	}
	first, err := l.Commit(t.Context(), intent(1, stage(t, l, rows(0, 2, 1))))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Commit(t.Context(), intent(2, stage(t, l, rows(2, 2, 1)))); err != nil {
		t.Fatal(err)
	}
	in := &ledger.Intent{Table: "pin", N: 3, ID: "expire", Kind: lake.Expire, Open: true}
	if _, err := l.Expire(t.Context(), in, lake.Retention{Keep: 1, Age: time.Hour}); err != nil {
		t.Fatal(err)
	}
	seen := 0
	count := func(b *lake.Block) error { seen += b.N; return nil }
	if _, err := l.Scan(t.Context(), lake.Selection{Table: "pin", Snapshot: first.Snapshot}, count); err != nil || seen != 2 {
		t.Errorf("scan of a young snapshot: %d rows, %v", seen, err)
	}
}

// Spark and others that use Hadoop's paths write file:/DIR where we write file:///DIR. What they wrote is the table's all the
// same: an expiry leaves it, and a lake of which they wrote the newest metadata opens.
func TestExpiryKeepsWhatIsNamedOtherwise(t *testing.T) {
	prove.Invariant(t, "L6", prove.Disk)
	dir := t.TempDir()
	l := testLake(t, dir, quickFS{})
	if err := l.EnsureTable(t.Context(), pins()); err != nil {
		t.Fatal(err)
	}
	n := int64(0)
	commit := func() {
		t.Helper()
		n++
		if _, err := l.Commit(t.Context(), intent(n, stage(t, l, rows(int(n)*2, 2, 1)))); err != nil {
			t.Fatal(err)
		}
	}
	commit()
	place := func(at string) {
		t.Helper()
		if err := l.tag(t.Context(), "pin", func(*table.Table) ([]table.Update, error) {
			return []table.Update{table.NewSetLocationUpdate(at)}, nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	tbl, err := l.cat.load(t.Context(), "pin")
	if err != nil {
		t.Fatal(err)
	}
	ours := tbl.Location()
	place(strings.Replace(ours, "file://", "file:", 1))
	meddle(t, l, func(tx *table.Transaction) error {
		tbl, err := l.cat.load(t.Context(), "pin")
		if err != nil {
			return err
		}
		return l.add(t.Context(), tbl, tx, &ledger.Intent{Files: stage(t, l, rows(100, 2, 1))})
	})
	place(ours)
	if _, err := l.cat.db.ExecContext(t.Context(), "UPDATE iceberg_tables SET metadata_location = replace(metadata_location, 'file://', 'file:')"); err != nil {
		t.Fatal(err)
	}
	if err := l.checkPlace(t.Context()); err != nil {
		t.Error(err)
	}
	commit()
	for range 2 { // what the first one dropped, the second one deletes
		n++
		in := &ledger.Intent{Table: "pin", N: n, ID: fmt.Sprint("expire-", n), Kind: lake.Expire, Open: true}
		if _, err := l.Expire(t.Context(), in, lake.Retention{Keep: 1, Age: 0}); err != nil {
			t.Fatal(err)
		}
	}
	tbl, err = l.cat.load(t.Context(), "pin")
	if err != nil {
		t.Fatal(err)
	}
	list, err := tbl.CurrentSnapshot().Manifests(l.files)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(list, func(m iceberg.ManifestFile) bool {
		return strings.HasPrefix(m.FilePath(), "file:/") && !strings.HasPrefix(m.FilePath(), "file://")
	}) {
		t.Fatal("no manifest is named otherwise: another case is to be tested")
	}
	if got := all(t, l); len(got) != 6 {
		t.Errorf("%d rows", len(got))
	}
	if err := l.Whole(t.Context(), "pin"); err != nil {
		t.Error(err)
	}
}
