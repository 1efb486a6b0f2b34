package httpapi

import (
	"net/http"
	"strings"

	"github.com/pinflow/pinflow/internal/fault"
)

// Dashboard is a page of panels, as its file says. Measures are written VIEW.MEASURE.
type Dashboard struct {
	Name        string    `json:"name"`
	DisplayName string    `json:"display_name,omitempty"`
	Description string    `json:"description,omitempty"`
	Defaults    Defaults  `json:"defaults"`
	Rows        []DashRow `json:"rows,omitempty"`
}

// Defaults say where a visit begins.
type Defaults struct {
	From  string `json:"from"`
	To    string `json:"to"`
	Grain string `json:"grain,omitempty"`
}

// DashRow is one row of panels.
type DashRow struct {
	Panels []DashPanel `json:"panels"`
}

// DashPanel draws one measure.
type DashPanel struct {
	Measure string `json:"measure"`
	Title   string `json:"title,omitempty"`
	By      string `json:"by,omitempty"`
	Chart   string `json:"chart"` // line | bar | number | table
	Top     int    `json:"top,omitempty"`
	Compare string `json:"compare,omitempty"` // prev
	Grain   string `json:"grain,omitempty"`
	From    string `json:"from,omitempty"`
	To      string `json:"to,omitempty"`
}

func (a *API) dashboards() []Dashboard {
	if a.cfg.Dashboards == nil {
		return nil
	}
	return a.cfg.Dashboards()
}

func (a *API) listDashboards(w http.ResponseWriter, r *http.Request) error {
	out := []Dashboard{}
	for _, d := range a.dashboards() {
		if a.mayDashboard(w, r, &d) == nil {
			d.Rows = nil
			out = append(out, d)
		}
	}
	w.Header().Set("Cache-Control", "no-cache")
	return writeJSON(w, http.StatusOK, map[string]any{"dashboards": out})
}

func (a *API) showDashboard(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("dashboard")
	var names []string
	for _, d := range a.dashboards() {
		may := a.mayDashboard(w, r, &d)
		if d.Name == name {
			if may != nil {
				return may
			}
			w.Header().Set("Cache-Control", "no-cache")
			return writeJSON(w, http.StatusOK, d)
		}
		if may == nil {
			names = append(names, d.Name)
		}
	}
	err := fault.New(fault.Record, "unknown_dashboard", "there is no dashboard %q", name)
	if len(names) > 0 {
		return err.WithAdvice("use one of: %s", strings.Join(names, ", "))
	}
	return err
}

// mayDashboard refuses a dashboard with a view that the request's key is not for.
func (a *API) mayDashboard(w http.ResponseWriter, r *http.Request, d *Dashboard) error {
	if !limited(w) {
		return nil
	}
	for _, row := range d.Rows {
		for _, p := range row.Panels {
			view, _, _ := strings.Cut(p.Measure, ".")
			if err := a.mayView(w, r, view); err != nil {
				return err
			}
		}
	}
	return nil
}
