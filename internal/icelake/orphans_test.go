package icelake

import (
	"context"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/testbed"
)

// Orphans are the data files that nobody knows: not those of a snapshot, also an older one or a tagged one, not
// those that the ledger names, and no young ones. The folder's name is one that needs escaping.
func TestOrphansAreTheFilesThatNobodyKnows(t *testing.T) {
	t.Run("local", func(t *testing.T) { orphans(t, testbed.Local(filepath.Join(t.TempDir(), "a b%20é#?"))) })
	t.Run("servers", func(t *testing.T) { orphans(t, testbed.Servers(t)) })
}

func orphans(t *testing.T, p testbed.Place) {
	l := placed(t, p)
	if err := l.EnsureTable(t.Context(), pins()); err != nil {
		t.Fatal(err)
	}
	grow(t, l) // appends, merges, expiry
	staged := stage(t, l, rows(100, 5, 1))
	lost := stage(t, l, rows(200, 5, 2))
	known := func(context.Context) ([]string, error) { return paths(staged), nil }
	find := func(before time.Time) []lake.Orphan {
		t.Helper()
		found, err := l.Orphans(t.Context(), "pin", before, known)
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	if young := find(time.Now().Add(-time.Hour)); len(young) > 0 {
		t.Errorf("files just written are orphans: %v", young)
	}
	soon := time.Now().Add(time.Hour)
	found := find(soon)
	var got []string
	for _, f := range found {
		got = append(got, plain(f.Path))
		if f.Bytes <= 0 || f.Modified.IsZero() {
			t.Errorf("%+v", f)
		}
	}
	var want []string
	for _, at := range paths(lost) {
		want = append(want, plain(at))
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Fatalf("orphans %v, want %v", got, want)
	}
	before := all(t, l)
	if err := l.RemoveOrphans(t.Context(), found); err != nil {
		t.Fatal(err)
	}
	if rest := find(soon); len(rest) > 0 {
		t.Errorf("left are %v", rest)
	}
	if after := all(t, l); len(after) != len(before) {
		t.Errorf("%d rows, were %d", len(after), len(before))
	}
	if _, err := l.Commit(t.Context(), intent(13, staged)); err != nil {
		t.Error(err)
	}
	if n := len(all(t, l)); n != len(before)+5 {
		t.Errorf("%d rows after the commit of what was staged, want %d", n, len(before)+5)
	}
}

func paths(files []ledger.LakeFile) (all []string) {
	for _, f := range files {
		all = append(all, f.Path)
	}
	return all
}
