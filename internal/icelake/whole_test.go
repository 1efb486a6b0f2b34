package icelake

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/prove"
	"github.com/pinflow/pinflow/internal/testbed"
)

// D1: a table whose files are there is whole, also when files were merged and expired; one that lacks a file, or has
// it in another length, says which.
func TestWhole(t *testing.T) { testbed.Everywhere(t, whole) }

func whole(t *testing.T, p testbed.Place) {
	prove.Invariant(t, "D1", p.On...)
	l := placed(t, p)
	if err := l.EnsureTable(t.Context(), pins()); err != nil {
		t.Fatal(err)
	}
	fine := func() {
		t.Helper()
		if err := l.Whole(t.Context(), "pin"); err != nil {
			t.Error(err)
		}
	}
	fine()
	n := int64(0)
	for range 9 {
		n++
		if _, err := l.Commit(t.Context(), intent(n, stage(t, l, rows(int(n)*5, 5, 1)))); err != nil {
			t.Fatal(err)
		}
	}
	fine()
	r, err := l.Rewrite(t.Context(), "pin", shape)
	if err != nil || r == nil {
		t.Fatalf("%v, %v", r, err)
	}
	n++
	merge := intent(n, nil)
	merge.Kind = lake.Compact
	if _, err := l.Replace(t.Context(), merge, r); err != nil {
		t.Fatal(err)
	}
	n++
	expire := intent(n, nil)
	expire.Kind = lake.Expire
	if _, err := l.Expire(t.Context(), expire, lake.Retention{Keep: 1}); err != nil {
		t.Fatal(err)
	}
	fine()
	at := r.Files[0].Path
	body, err := l.files.ReadFile(at)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.files.Remove(at); err != nil {
		t.Fatal(err)
	}
	harmed := func(how string) {
		t.Helper()
		err := l.Whole(t.Context(), "pin")
		if !fault.Is(err, fault.Corrupt) || fault.CodeOf(err) != "lake_file" || !strings.Contains(err.Error(), how) || !strings.Contains(err.Error(), filepath.Base(at)) {
			t.Errorf("%s: %v", how, err)
		}
	}
	harmed("is gone")
	_, err = l.Scan(t.Context(), lake.Selection{Table: "pin"}, func(*lake.Block) error { return nil })
	if !fault.Is(err, fault.Corrupt) || fault.CodeOf(err) != "lake_file" || !strings.Contains(err.Error(), filepath.Base(at)) {
		t.Errorf("reading it: %v", err)
	}
	if err := l.files.WriteFile(at, body[:len(body)-1]); err != nil {
		t.Fatal(err)
	}
	harmed("bytes")
}

// Whoever asks whether the lake answers is told at once that its files' place does not, though the catalog does.
func TestLakeThatDoesNotAnswer(t *testing.T) {
	dir := t.TempDir()
	local := testLake(t, dir, quickFS{})
	if err := local.Answers(t.Context()); err != nil {
		t.Error(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "warehouse")); err != nil {
		t.Fatal(err)
	}
	if err := local.Answers(t.Context()); err == nil {
		t.Error("it answers without a folder")
	}
	place := testbed.Servers(t)
	proxy := testbed.NewProxy(t, place.S3.Endpoint)
	place.S3.Endpoint = proxy.URL
	l := placed(t, place)
	if err := l.Answers(t.Context()); err != nil {
		t.Error(err)
	}
	asked := 0
	proxy.Make(func(k int, _ *http.Request) testbed.Trouble {
		asked = k
		return testbed.SlowDown
	})
	if err := l.Answers(t.Context()); !fault.Is(err, fault.Transient) || asked != 1 {
		t.Errorf("after %d requests: %v", asked, err)
	}
}
