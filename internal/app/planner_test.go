package app

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pinflow/pinflow/internal/config"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/httpapi"
	lakedef "github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/plan"
	"github.com/pinflow/pinflow/internal/prove"
	"github.com/pinflow/pinflow/internal/sqlledger"
)

// reading is a ledger that can be read and nothing else.
type reading struct{ db *sqlledger.DB }

func (r reading) Load(ctx context.Context) (*ledger.Snapshot, error) { return r.db.Load(ctx) }
func (r reading) Backfills(ctx context.Context, id int64) ([]ledger.Backfill, error) {
	return r.db.Backfills(ctx, id)
}

type dayList []lakedef.DayFiles

func (d dayList) Days(context.Context, string) ([]lakedef.DayFiles, error) { return d, nil }

// P1: a plan is made of a ledger that can only be read, and leaves it as it was; what it says is what apply
// does, once.
func TestPlanWritesNothing(t *testing.T) {
	prove.Invariant(t, "P1", prove.SQLite)
	led, err := sqlledger.Open(t.Context(), filepath.Join(t.TempDir(), "ledger.db"), quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer led.Close()
	p, err := config.BuiltIn()
	if err != nil {
		t.Fatal(err)
	}
	files := p.Texts()
	planner := &planner{led: reading{led}, lake: dayList{{Day: "2026-11-22", Rows: 5}}}
	load := func() *ledger.Snapshot {
		t.Helper()
		s, err := led.Load(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	before := load()
	doc, err := planner.Plan(t.Context(), httpapi.PlanRequest{Files: files})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, load()); diff != "" {
		t.Errorf("planning changed the ledger:\n%s", diff)
	}
	if len(doc.Changes) != len(p.Streams)+len(p.Views) || len(doc.NewStreams()) != len(p.Streams) {
		t.Errorf("%d changes of %d streams and %d views", len(doc.Changes), len(p.Streams), len(p.Views))
	}
	if err := led.Apply(t.Context(), doc.Ledger(before)...); err != nil {
		t.Fatal(err)
	}
	again, err := planner.Plan(t.Context(), httpapi.PlanRequest{Files: files})
	if err != nil || len(again.Changes) != 0 {
		t.Errorf("after it was applied: %v %v", again.Text(""), err)
	}
	if err := doc.Stale(again, load()); !fault.Is(err, fault.Stale) {
		t.Errorf("the old plan on the new base: %v", err)
	}
}

func TestPlanTellsWhatIsWrong(t *testing.T) {
	planner := &planner{}
	_, err := planner.Plan(t.Context(), httpapi.PlanRequest{Files: map[string]string{"streams/a.yaml": "version: 1\nname: a\nfields: [{name: x, type: lung}]\n"}})
	var problem *httpapi.Problem
	if !errors.As(err, &problem) || problem.Status != 422 || len(problem.Errors) == 0 || problem.Errors[0].Path != "streams/a.yaml" || problem.Errors[0].Line != 3 {
		t.Errorf("%+v", err)
	}
	if _, err := planner.Plan(t.Context(), httpapi.PlanRequest{Files: map[string]string{"../etc/passwd": ""}}); fault.CodeOf(err) != "unknown_file" {
		t.Errorf("%v", err)
	}
	if _, err := planner.Plan(t.Context(), httpapi.PlanRequest{Engine: "flink"}); fault.CodeOf(err) != "unknown_engine" {
		t.Errorf("%v", err)
	}
	if _, err := planner.Plan(t.Context(), httpapi.PlanRequest{Engine: "spark"}); fault.CodeOf(err) != "no_engine" {
		t.Errorf("a Spark that the project does not have: %v", err)
	}
	if _, err := (&applier{}).Apply(t.Context(), &plan.Document{Format: 1}); fault.CodeOf(err) != "bad_plan" {
		t.Errorf("%v", err)
	}
}
