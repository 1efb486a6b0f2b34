package status

import (
	"fmt"

	"github.com/pinflow/pinflow/internal/ledger"
)

func (f *facts) view(in *ledger.View) View {
	v := View{Name: in.Name, Versions: []Version{}}
	for _, x := range in.Versions {
		if x.State == ledger.Dropped {
			continue
		}
		v.Versions = append(v.Versions, Version{ID: x.ID, Hash: x.Hash, State: x.State})
		if sum, ok := f.audits[x.ID]; ok && x.State == ledger.Serving {
			v.Audit = AuditOf(&sum)
		}
	}
	return v
}

// AuditOf is a sum as it is told.
func AuditOf(s *ledger.AuditSum) *Audit {
	a := &Audit{
		At: s.At, From: s.From, To: s.To, Days: s.Days, Uncovered: s.Uncovered, Rows: s.Rows, Differences: s.Differences,
		WrongDays: s.WrongDays, Wrong: []WrongDay{},
	}
	for _, w := range s.Wrong {
		a.Wrong = append(a.Wrong, WrongDay{Day: w.Day, At: w.At, Result: w.Result, Differences: w.Differences, First: w.First})
	}
	return a
}

// wrongNumbers are the views of which the background audit found something wrong, a line each, by the newest day.
func (r *Report) wrongNumbers() []string {
	var all []string
	for i := range r.Streams {
		for _, v := range r.Streams[i].Views {
			if v.Audit != nil && len(v.Audit.Wrong) > 0 {
				all = append(all, v.wrong())
			}
		}
	}
	return all
}

func (v *View) wrong() string {
	w := &v.Audit.Wrong[0]
	more := ""
	switch n := v.Audit.WrongDays - 1; n {
	case 0:
	case 1:
		more = " (and 1 more day)"
	default:
		more = fmt.Sprintf(" (and %d more days)", n)
	}
	build := fmt.Sprintf("all of it: pinflow audit %s --range %s; if the lake is right, build the view anew: pinflow backfill start %s", v.Name, w.Day, v.Name)
	switch w.Result {
	case ledger.AuditDamaged:
		return fmt.Sprintf("view %s has %d segments of %s that cannot be read%s: %s: %s", v.Name, w.Differences, w.Day, more, w.First, build)
	case ledger.AuditFailed:
		return fmt.Sprintf("view %s could not be compared with the lake on %s%s: %s: set it right; it is tried again each hour, or now: pinflow audit %s --range %s",
			v.Name, w.Day, more, w.First, v.Name, w.Day)
	}
	return fmt.Sprintf("view %s differs from the lake on %s%s in %d numbers, first %s: %s", v.Name, w.Day, more, w.Differences, w.First, build)
}
