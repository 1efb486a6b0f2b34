package ledgertest

import (
	"fmt"
	"testing"
	"time"

	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/ledger"
)

// What was found of a day is kept until it is looked at again, and summed up by version.
func audits(_ *testing.T, w *world) {
	w.setup()
	old := w.version
	lease := w.lease("audit")
	note := func(a ledger.DayAudit) {
		w.Helper()
		w.ok(w.l.NoteAudit(w.ctx, lease, a))
	}
	days := w.dayAudits
	sum := func() map[int64]ledger.AuditSum {
		w.Helper()
		all := must(w.l.AuditSums(w.ctx))(w)
		for v, s := range all {
			if time.Since(s.At).Abs() > time.Hour {
				w.Fatalf("looked at %v", s.At)
			}
			s.At = time.Time{}
			for i := range s.Wrong {
				s.Wrong[i].At = time.Time{}
			}
			all[v] = s
		}
		return all
	}
	w.same(map[int64]ledger.AuditSum{}, sum())
	w.same(0, len(days(old)))
	right := ledger.DayAudit{Version: old, Day: "2026-11-20", Result: ledger.AuditRight, Rows: 7}
	bare := ledger.DayAudit{Version: old, Day: "2026-11-19", Result: ledger.AuditUncovered}
	wrong := ledger.DayAudit{Version: old, Day: "2026-11-21", Result: ledger.AuditDifferent, Rows: 5, Differences: 3, First: "category=\x00a posted"}
	for _, a := range []ledger.DayAudit{right, bare, wrong} {
		note(a)
	}
	w.same([]ledger.DayAudit{wrong, right, bare}, days(old))
	w.same(map[int64]ledger.AuditSum{old: {
		From: bare.Day, To: wrong.Day, Days: 3, Uncovered: 1, Rows: 12, Differences: 3, Wrong: []ledger.DayAudit{wrong}, WrongDays: 1,
	}}, sum())
	// It is looked at again: only the newest look counts.
	wrong.Result, wrong.Differences, wrong.First = ledger.AuditRight, 0, ""
	note(wrong)
	w.same(map[int64]ledger.AuditSum{old: {From: bare.Day, To: wrong.Day, Days: 3, Uncovered: 1, Rows: 12}}, sum())
	for i := range ledger.MaxWrong + 2 {
		note(ledger.DayAudit{Version: old, Day: fmt.Sprintf("2026-10-%02d", i+1), Result: ledger.AuditFailed, First: "no file"})
	}
	s := sum()[old]
	w.same([]any{ledger.MaxWrong, int64(ledger.MaxWrong + 2), "2026-10-12", "2026-10-01"}, []any{len(s.Wrong), s.WrongDays, s.Wrong[0].Day, s.From})
	// Another version begins anew; what was found of one that is gone is forgotten.
	def := []byte("{}")
	w.ok(w.applyView(ledger.ViewChange{Hash: "h2", Definition: def, State: ledger.Serving}))
	w.ok(w.applyView(ledger.ViewChange{Hash: "h3", Definition: def, State: ledger.Serving}))
	w.same(map[string]string{"h1": ledger.Dropped, "h2": ledger.Standby, "h3": ledger.Serving}, w.states())
	w.same(map[int64]ledger.AuditSum{}, sum())
	versions := w.load().Views[0].Versions
	serving := versions[len(versions)-1].ID
	note(ledger.DayAudit{Version: serving, Day: right.Day, Result: ledger.AuditRight, Rows: 7})
	w.same(0, len(days(old)))
	w.same(1, len(days(serving)))
	// Whoever lost the lease notes nothing.
	must(w.l.Acquire(w.ctx, "audit", "job", time.Hour))(w)
	w.fails(w.l.NoteAudit(w.ctx, lease, wrong), fault.Lost, "lease_lost")
	w.same(1, len(sum()))
}

// dayAudits are those of a version, without their moments.
func (w *world) dayAudits(version int64) []ledger.DayAudit {
	w.Helper()
	all := must(w.l.DayAudits(w.ctx, version))(w)
	for i := range all {
		if time.Since(all[i].At).Abs() > time.Hour {
			w.Fatalf("looked at %v", all[i].At)
		}
		all[i].At = time.Time{}
	}
	return all
}

// prepareAudit has a day that was right looked at again.
func prepareAudit(w *world) func() error {
	lease := w.lease("audit")
	a := ledger.DayAudit{Version: w.version, Day: "2025-01-01", Result: ledger.AuditRight}
	w.ok(w.l.NoteAudit(w.ctx, lease, a))
	a.Result, a.Differences, a.First = ledger.AuditDifferent, 2, "posted"
	return func() error { return w.l.NoteAudit(w.ctx, lease, a) }
}
