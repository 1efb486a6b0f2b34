package plan_test

import (
	"strings"
	"testing"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/metric"
	"github.com/pinflow/pinflow/internal/plan"
)

// What a new version's history is filled in by is what was asked for; what that engine cannot do is refused with the
// reason, and what has no history to be filled in is not.
func TestFillBy(t *testing.T) {
	deep := func(v *metric.View) { v.Measures[1].Expr = "cast(_extra.score as long)" }
	none := func(v *metric.View) { deep(v); v.Backfill.From = "none" }
	for name, tc := range map[string]struct {
		change *func(*metric.View)
		views  []ledger.View
		engine string
		want   string // category and engine
	}{
		"kernel":                 {engine: "", want: "add "},
		"spark":                  {engine: ledger.EngineSpark, want: "add spark"},
		"only the kernel":        {change: &deep, engine: ledger.EngineSpark, want: "refused"},
		"the kernel for it":      {change: &deep, engine: ledger.EngineKernel, want: "add kernel"},
		"no history":             {change: &none, engine: ledger.EngineSpark, want: "add "},
		"changed":                {change: &deep, engine: ledger.EngineSpark, views: running(t).Views, want: "refused"},
		"changed for the kernel": {change: &deep, engine: ledger.EngineKernel, views: running(t).Views, want: "rebuild kernel"},
		"from now on":            {change: &none, engine: ledger.EngineSpark, views: running(t).Views, want: "forward "},
	} {
		t.Run(name, func(t *testing.T) {
			snap := running(t)
			snap.Views = tc.views
			v := pins(nil)
			if tc.change != nil {
				v = pins(*tc.change)
			}
			changes := compared(t, project([]event.Stream{pin(nil)}, v), snap)
			plan.FillBy(changes, tc.engine)
			got := string(changes[0].Category)
			if all := plan.Compose(changes, snap, false); len(all) > 0 {
				got += " " + all[0].Views[0].Engine
			}
			equal(t, tc.want, got)
			if c := changes[0]; c.Category == plan.Refused && (!strings.Contains(c.Detail, "only the kernel has") || !strings.Contains(c.Detail, "--engine kernel") || c.Auto) {
				t.Errorf("it is refused without the reason, or applied by itself: %+v", c)
			}
		})
	}
}

func TestRepairByAnEngine(t *testing.T) {
	deep := as(t, ledger.Serving, func(v *metric.View) { v.Measures[1].Expr = "cast(_extra.score as long)" })
	for engine, code := range map[string]string{"": "", ledger.EngineKernel: "", ledger.EngineSpark: "kernel_only"} {
		d, err := plan.Make(plan.Input{Project: &plan.Project{}, Repair: []string{"pins"}, Engine: engine, Snap: running(t, deep)})
		if fault.CodeOf(err) != code || err == nil && d.Changes[0].Backfill.Engine == "" {
			t.Errorf("%q: %+v %v", engine, d, err)
		}
		if err != nil && !strings.Contains(err.Error(), "--engine kernel") {
			t.Errorf("%q: %v", engine, err)
		}
	}
	d, err := plan.Make(plan.Input{Project: &plan.Project{}, Repair: []string{"pins"}, Engine: ledger.EngineSpark, Snap: running(t)})
	if err != nil || d.Changes[0].Backfill.Engine != ledger.EngineSpark {
		t.Errorf("%+v %v", d, err)
	}
}
