package ledger_test

import (
	"testing"

	"github.com/pinflow/pinflow/internal/ledger"
)

// A day that an imported file lacks is not one that lies below the cut, and the other way round.
func TestDaysOfAFilling(t *testing.T) {
	f := &ledger.Filling{
		Backfill: 1, Listed: true, First: "2026-01-01",
		Missing: []ledger.TaskDay{{Day: "2026-01-02", State: ledger.Queued}, {Day: "2026-01-03", State: ledger.Running, Log: 7}},
	}
	for _, c := range []struct {
		f    *ledger.Filling
		day  string
		want bool
	}{
		{f, "2026-01-01", true},
		{f, "2026-01-02", false},
		{f, "2026-01-03", true},
		{f, "", false},
		{&ledger.Filling{Backfill: 1, Listed: true, Missing: f.Missing[1:]}, "", true},
		{&ledger.Filling{Backfill: 1, Missing: f.Missing[1:]}, "2026-01-01", false}, // its days are not known yet
		{&ledger.Filling{Listed: true}, "2026-01-01", false},                        // of imported files alone
		{nil, "2026-01-01", false},
	} {
		if got := c.f.Has(c.day); got != c.want {
			t.Errorf("%+v has %q: %v", c.f, c.day, got)
		}
	}
	if f.Lacks(7, "2026-01-02") || !f.Lacks(7, "2026-01-03") || !f.Lacks(7, "") || f.Lacks(8, "") {
		t.Error("days of imported files are taken for those of others")
	}
}
