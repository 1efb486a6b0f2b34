package httpapi

import (
	"context"
	"net/http"

	"github.com/pinflow/pinflow/internal/plan"
)

// Planner compares definitions with what runs. It writes nothing.
type Planner interface {
	Plan(ctx context.Context, r PlanRequest) (*plan.Document, error)
}

// Applier does what a plan says.
type Applier interface {
	Apply(ctx context.Context, d *plan.Document) (*Applied, error)
}

// PlanRequest is what a plan is asked of.
type PlanRequest struct {
	Files  map[string]string `json:"files"`            // texts by name, like metrics/pins.yaml
	Vars   map[string]string `json:"vars,omitempty"`   // values of the ${VAR} in them
	Views  []string          `json:"views,omitempty"`  // of these alone, with what their streams need
	Repair []string          `json:"repair,omitempty"` // build these anew as they are; the files are not looked at
	Engine string            `json:"engine,omitempty"`
}

// Applied is what apply did.
type Applied struct {
	Changes   []plan.Change `json:"changes"`
	Backfills []int64       `json:"backfills"` // that began
}

// maxProject is the most bytes of a project's texts.
const maxProject = 8 << 20

func (a *API) plan(w http.ResponseWriter, r *http.Request) error {
	var in PlanRequest
	if err := a.readJSON(w, r, maxProject, &in); err != nil {
		return err
	}
	if len(in.Files) == 0 && len(in.Repair) == 0 {
		return problemf(http.StatusBadRequest, "bad_parameter", `files is missing: send the project's texts, {"files": {"metrics/pins.yaml": "…"}}`)
	}
	if in.Files == nil {
		in.Files = map[string]string{}
	}
	doc, err := a.deps.Planner.Plan(r.Context(), in)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, doc)
}

func (a *API) apply(w http.ResponseWriter, r *http.Request) error {
	var doc plan.Document
	if err := a.readJSON(w, r, 2*maxProject, &doc); err != nil {
		return err
	}
	done, err := a.deps.Applier.Apply(r.Context(), &doc)
	if err != nil {
		return err
	}
	a.log.Info("applied a plan", "request_id", requestID(w), "hash", doc.Hash, "changes", len(done.Changes))
	return writeJSON(w, http.StatusOK, done)
}
