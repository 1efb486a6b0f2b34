package httpapi

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pinflow/pinflow/internal/ledger"
)

func TestDashboards(t *testing.T) {
	growth := Dashboard{
		Name: "growth", DisplayName: "Growth", Defaults: Defaults{From: "now-7d/d", To: "now"},
		Rows: []DashRow{{Panels: []DashPanel{{Measure: "pins.posted", Chart: "line", By: "category", Top: 5, Compare: "prev"}}}},
	}
	now := []Dashboard{growth}
	a := newAPI(t, &world{snap: pins(t, ledger.Serving)}, Config{Dashboards: func() []Dashboard { return now }})

	var list struct{ Dashboards []Dashboard }
	if err := json.Unmarshal(ask(a, "GET", "/v1/dashboards", nil).Body.Bytes(), &list); err != nil {
		t.Fatal(err)
	}
	short := growth
	short.Rows = nil
	if diff := cmp.Diff([]Dashboard{short}, list.Dashboards); diff != "" {
		t.Error(diff)
	}
	var one Dashboard
	if err := json.Unmarshal(ask(a, "GET", "/v1/dashboards/growth", nil).Body.Bytes(), &one); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(growth, one); diff != "" {
		t.Error(diff)
	}
	if got := ask(a, "GET", "/v1/dashboards/grwth", nil); got.Code != http.StatusNotFound || !strings.Contains(got.Body.String(), "use one of: growth") {
		t.Errorf("%d %s", got.Code, got.Body)
	}
	now = nil
	if got := ask(a, "GET", "/v1/dashboards/growth", nil); got.Code != http.StatusNotFound {
		t.Errorf("one that is gone: %d %s", got.Code, got.Body)
	}
	if got := ask(newAPI(t, &world{}, Config{}), "GET", "/v1/dashboards", nil); strings.TrimSpace(got.Body.String()) != `{"dashboards":[]}` {
		t.Errorf("none: %s", got.Body)
	}
}
