package batch

import (
	"context"
	"testing"

	"github.com/pinflow/pinflow/internal/lake"
)

// lookedAt is a lake that tells when it is asked for a rewrite, and has nothing to merge.
type lookedAt struct {
	Tables
	tables chan string
}

func (l lookedAt) Rewrite(_ context.Context, table string, _ lake.Shape) (*lake.Rewrite, error) {
	l.tables <- table
	return nil, nil //nolint:nilnil // nothing is worth it
}

// While the reader is behind, merging waits: for many more files, so that a reader that never catches up does not
// fill the table with small ones, or until the reader has caught up, though nothing more may be committed then.
func TestMergingWaitsForAReaderThatIsBehind(t *testing.T) {
	const least = 8
	behind := true
	l := lookedAt{tables: make(chan string, 1)}
	w := newRewriter(l, lake.Shape{MinFiles: least}, func(context.Context) string { return "" }, func() bool { return behind })
	defer w.stop()
	runs := func() bool { return w.cancel != nil }
	ends := func() {
		t.Helper()
		if got := <-l.tables; got != "pin" {
			t.Errorf("table %s was looked at", got)
		}
		if err := w.take(<-w.out); err != nil {
			t.Fatal(err)
		}
	}
	w.appended(t.Context(), "pin", least)
	if runs() {
		t.Fatal("files are merged while the reader is behind")
	}
	behind = false
	w.consider(t.Context(), "pin")
	if !runs() {
		t.Fatal("nothing is merged after the reader has caught up")
	}
	ends()
	behind = true
	w.appended(t.Context(), "pin", patience*least-1)
	if runs() {
		t.Fatal("files are merged too early")
	}
	w.appended(t.Context(), "pin", 1)
	if !runs() {
		t.Fatalf("nothing is merged with %d new files", patience*least)
	}
	ends()
}
