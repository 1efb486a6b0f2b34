package httpapi

import (
	"context"
	"net/http"
	"strings"

	"github.com/pinflow/pinflow/internal/audit"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/status"
)

// Auditor compares answers with the lake.
type Auditor interface {
	Audit(ctx context.Context, r audit.Request) (*audit.Report, error)
}

// Audits is what the background audit found.
type Audits interface {
	AuditSums(ctx context.Context) (map[int64]ledger.AuditSum, error)
}

// audited is what was found of the version of a view that serves, nil for nothing yet.
func (a *API) audited(ctx context.Context, v *ledger.View) (*status.Audit, error) {
	at := answering(v)
	if a.deps.Audits == nil || at == nil || at.State != ledger.Serving {
		return nil, nil
	}
	sums, err := a.deps.Audits.AuditSums(ctx)
	if err != nil {
		return nil, err
	}
	if sum, ok := sums[at.ID]; ok {
		return status.AuditOf(&sum), nil
	}
	return nil, nil
}

// audit compares a view's days with the lake. It takes as long as folding them does, so a client asks for
// a day at a time.
func (a *API) audit(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	for key := range q {
		if key != "view" && key != "from" && key != "to" && key != "measures" {
			return unknownParameter(key, "view", "from", "to", "measures")
		}
	}
	in := audit.Request{View: q.Get("view"), From: q.Get("from"), To: q.Get("to")}
	if text := q.Get("measures"); text != "" {
		in.Measures = strings.Split(text, ",")
	}
	if in.View == "" || in.From == "" {
		return problemf(http.StatusBadRequest, "bad_parameter", "write view=pins&from=2026-11-22")
	}
	report, err := a.deps.Auditor.Audit(r.Context(), in)
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	return writeJSON(w, http.StatusOK, report)
}
