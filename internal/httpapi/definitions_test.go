package httpapi

import (
	"context"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pinflow/pinflow/internal/audit"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/plan"
)

// changes stands in for plans, back-fills and audits.
type changes struct {
	asked    []PlanRequest
	applied  []*plan.Document
	steered  []string
	backfill ledger.Backfill
	audited  []audit.Request
}

func (c *changes) Plan(_ context.Context, r PlanRequest) (*plan.Document, error) {
	c.asked = append(c.asked, r)
	if _, bad := r.Files["streams/bad.yaml"]; bad {
		return nil, &Problem{Status: 422, Code: "invalid_config", Detail: "1 error", Errors: []ProblemError{{Path: "streams/bad.yaml", Line: 3, Message: "no such type"}}}
	}
	return &plan.Document{
		Format: plan.Format, Hash: "h", Base: map[string]int64{"pin": 3}, Files: r.Files,
		Changes: []plan.Change{{Category: plan.Rebuild, Stream: "pin", View: "pins", Line: 7, Detail: "filter", Backfill: &plan.Estimate{Days: 2}}},
	}, nil
}

func (c *changes) Apply(_ context.Context, d *plan.Document) (*Applied, error) {
	if d.Base["pin"] != 3 {
		return nil, fault.New(fault.Stale, "plan_stale", "the catalogue moved").WithAdvice("run pinflow plan again")
	}
	c.applied = append(c.applied, d)
	return &Applied{Changes: d.Changes, Backfills: []int64{4}}, nil
}

func (c *changes) Backfills(_ context.Context, id int64) ([]ledger.Backfill, error) {
	if c.backfill.ID != 0 && (id == 0 || id == c.backfill.ID) {
		return []ledger.Backfill{c.backfill}, nil
	}
	return nil, nil
}

func (c *changes) BackfillTasks(context.Context, int64) ([]ledger.Task, error) {
	return []ledger.Task{{Day: "2026-11-22", State: ledger.Done, Rows: 5, Expect: 6, Started: time.UnixMicro(1), Finished: time.UnixMicro(2)}, {Day: "2026-11-21", State: ledger.Failed, Error: "no disk", Tries: 5}}, nil
}

func (c *changes) Steer(_ context.Context, id int64, action string) error {
	if id != c.backfill.ID {
		return unknownBackfill("9")
	}
	if action == ledger.Rollback {
		return fault.New(fault.Record, "backfill_state", "there is nothing to roll back")
	}
	c.steered = append(c.steered, action)
	return nil
}

func (c *changes) Audit(_ context.Context, r audit.Request) (*audit.Report, error) {
	c.audited = append(c.audited, r)
	return &audit.Report{View: r.View, Version: "8f3c", From: "2026-11-22T00:00:00Z", To: "2026-11-23T00:00:00Z", Rows: 7, Groups: 2, OK: true, Uncovered: []audit.Uncovered{}, Differences: []audit.Difference{}, Damaged: []audit.Damaged{}}, nil
}

func newChanges(t *testing.T) (*API, *changes) {
	t.Helper()
	c := &changes{backfill: ledger.Backfill{
		ID: 4, View: "pins", Stream: "pin", Hash: "8f3c", VersionIs: ledger.Building, Engine: "kernel", State: ledger.Running,
		CreatedAt: time.UnixMicro(1), ListedAt: time.Now().Add(-10 * time.Second), Plan: []byte(`{"detail":"filter"}`),
		Tasks: map[string]int64{ledger.Done: 1, ledger.Queued: 3}, Read: 1000, Expect: 4000, Rows: 900,
	}}
	w := &world{}
	a, err := New(Config{}, quiet(), Deps{Catalogue: w, Planner: c, Applier: c, Backfills: c, Auditor: c, Registry: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a, c
}

func TestPlanAndApply(t *testing.T) {
	a, c := newChanges(t)
	got := ask(a, "POST", "/v1/plan", strings.NewReader(`{"files":{"metrics/pins.yaml":"text"},"views":["pins"]}`), "Content-Type", "application/json")
	var doc plan.Document
	if err := json.Unmarshal(got.Body.Bytes(), &doc); got.Code != 200 || err != nil || doc.Hash != "h" || c.asked[0].Views[0] != "pins" {
		t.Fatalf("%d %s: %v", got.Code, got.Body, err)
	}
	done := ask(a, "POST", "/v1/apply", strings.NewReader(got.Body.String()), "Content-Type", "application/json")
	if done.Code != 200 || !strings.Contains(done.Body.String(), `"backfills":[4]`) || len(c.applied) != 1 {
		t.Fatalf("%d %s", done.Code, done.Body)
	}
	doc.Base["pin"] = 2
	old, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	wantProblem(t, ask(a, "POST", "/v1/apply", strings.NewReader(string(old))), 409, "plan_stale")
	wantProblem(t, ask(a, "POST", "/v1/plan", strings.NewReader(`{"files":{"streams/bad.yaml":"x"}}`)), 422, "invalid_config")
	wantProblem(t, ask(a, "POST", "/v1/plan", strings.NewReader(`{}`)), 400, "bad_parameter")
	wantProblem(t, ask(a, "POST", "/v1/plan", strings.NewReader(`{"file":{}}`)), 400, "malformed_body")
	wantProblem(t, ask(a, "POST", "/v1/plan", strings.NewReader(`[`)), 400, "malformed_body")
	wantProblem(t, ask(a, "POST", "/v1/plan", strings.NewReader(`{} {}`)), 400, "malformed_body")
	wantProblem(t, ask(a, "POST", "/v1/apply", strings.NewReader(`x`), "Content-Type", "text/plain"), 415, "unsupported_type")
	if len(c.applied) != 1 {
		t.Errorf("applied %d times", len(c.applied))
	}
}

func TestBackfillRoutes(t *testing.T) {
	a, c := newChanges(t)
	var list struct{ Backfills []backfillBody }
	got := ask(a, "GET", "/v1/backfills", nil)
	if err := json.Unmarshal(got.Body.Bytes(), &list); got.Code != 200 || err != nil || len(list.Backfills) != 1 {
		t.Fatalf("%d %s: %v", got.Code, got.Body, err)
	}
	if b := list.Backfills[0]; b.Days["total"] != 4 || b.Rate < 50 || b.Rate > 100 || b.ETA == nil || *b.ETA < 25 || len(b.Tasks) != 0 {
		t.Errorf("%+v", b)
	}
	var b backfillBody
	got = ask(a, "GET", "/v1/backfills/4", nil)
	if err := json.Unmarshal(got.Body.Bytes(), &b); err != nil || len(b.Tasks) != 2 || b.Tasks[1].Error != "no disk" || string(b.Plan) != `{"detail":"filter"}` {
		t.Errorf("%s: %v", got.Body, err)
	}
	for _, action := range []string{"pause", "resume", "retry", "cancel"} {
		if got := ask(a, "POST", "/v1/backfills/4/"+action, nil); got.Code != 200 {
			t.Errorf("%s: %d %s", action, got.Code, got.Body)
		}
	}
	if strings.Join(c.steered, " ") != "pause resume retry cancel" {
		t.Errorf("steered %v", c.steered)
	}
	wantProblem(t, ask(a, "POST", "/v1/backfills/4/rollback", nil), 409, "backfill_state")
	wantProblem(t, ask(a, "POST", "/v1/backfills/9/pause", nil), 404, "unknown_backfill")
	wantProblem(t, ask(a, "GET", "/v1/backfills/9", nil), 404, "unknown_backfill")
	wantProblem(t, ask(a, "GET", "/v1/backfills/x", nil), 404, "unknown_backfill")
	wantProblem(t, ask(a, "POST", "/v1/backfills/4/dance", nil), 404, "no_such_path")
}

func TestAuditRoute(t *testing.T) {
	a, c := newChanges(t)
	got := ask(a, "GET", "/v1/audit?view=pins&from=2026-11-22&to=2026-11-23&measures=posted,video", nil)
	if got.Code != 200 || !strings.Contains(got.Body.String(), `"ok":true`) || len(c.audited) != 1 || !reflect.DeepEqual(c.audited[0], audit.Request{View: "pins", From: "2026-11-22", To: "2026-11-23", Measures: []string{"posted", "video"}}) {
		t.Errorf("%d %s, asked %v", got.Code, got.Body, c.audited)
	}
	for _, q := range []string{"", "?view=pins", "?from=2026-11-22", "?view=pins&from=2026-11-22&grain=day"} {
		wantProblem(t, ask(a, "GET", "/v1/audit"+q, nil), 400, "bad_parameter")
	}
}

// How long the rest takes is told when enough is done to know, and nothing waits for another try.
func TestWhatIsLeftOfABackfill(t *testing.T) {
	now := time.Now()
	b := ledger.Backfill{State: ledger.Running, ListedAt: now.Add(-10 * time.Second), Expect: 1000, Working: 100, Read: 100, Tasks: map[string]int64{ledger.Queued: 1}}
	if got := backfillBodyOf(&b, now); got.Rate != 20 || got.ETA == nil || *got.ETA != 40 {
		t.Errorf("%+v", got)
	}
	early, waits := b, b
	early.Expect, waits.Waiting = 100_000, 1
	for _, b := range []ledger.Backfill{early, waits} {
		if got := backfillBodyOf(&b, now); got.ETA != nil {
			t.Errorf("%+v", got)
		}
	}
}
