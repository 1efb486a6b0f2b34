package audit

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pinflow/pinflow/internal/ledger"
)

// outcome is what the background check keeps of a day.
type outcome struct {
	ledger.DayAudit
	view    string
	numbers int // that differ
}

func (o *outcome) fails(err error) {
	o.Result, o.First = ledger.AuditFailed, err.Error()
}

// says sums a report up. It is of the version that served then, which may be a newer one.
func (o *outcome) says(r *Report) {
	o.Version, o.Rows, o.numbers = r.VersionID, r.Rows, len(r.Differences)+r.More
	switch {
	case len(r.Damaged) > 0:
		d := r.Damaged[0]
		o.Result, o.Differences = ledger.AuditDamaged, int64(len(r.Damaged))
		o.First = fmt.Sprintf("segment %d of the buckets %s … %s: %s", d.Segment, d.From, d.To, d.Detail)
	case !r.OK:
		o.Result, o.Differences, o.First = ledger.AuditDifferent, int64(o.numbers), r.Differences[0].String()
	case len(r.Uncovered) > 0:
		o.Result = ledger.AuditUncovered
	default:
		o.Result = ledger.AuditRight
	}
}

// String is the difference in a line.
func (d Difference) String() string {
	of := d.Bucket
	if g := GroupText(d.Group); g != "" {
		of += " " + g
	}
	number := func(s *string) string {
		if s == nil {
			return "nothing"
		}
		return *s
	}
	text := fmt.Sprintf("%s of %s: %s in the view, %s in the lake", d.Measure, of, number(d.Answer), number(d.Lake))
	if d.Detail != "" {
		text += " (" + d.Detail + ")"
	}
	return text
}

// GroupText is the dimensions' values by name, in order.
func GroupText(group map[string]*string) string {
	var parts []string
	for name, v := range group {
		if v == nil {
			parts = append(parts, name+" is null")
		} else {
			parts = append(parts, name+"="+*v)
		}
	}
	slices.Sort(parts)
	return strings.Join(parts, " ")
}
