package app

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pinflow/pinflow/internal/testbed"
)

// A day is not complete while a file is being imported that may have rows of it.
func TestExportBesideAnImport(t *testing.T) {
	w := newImporting(t, testbed.Local(t.TempDir()))
	first := w.file("first", 50)
	if _, err := w.bring(first); err != nil {
		t.Fatal(err)
	}
	export := func() *Exported {
		t.Helper()
		e, err := w.Export(t.Context(), "pin", time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), JSONL, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	if e := export(); e.Rows != 10 || e.Importing != nil {
		t.Errorf("%+v", e)
	}
	w.asleep(w.file("second", 50))
	if e := export(); e.Rows != 10 || e.Complete || cmp.Diff([]string{"second.jsonl"}, e.Importing) != "" {
		t.Errorf("%+v", e)
	}
}
