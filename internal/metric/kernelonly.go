package metric

import (
	"fmt"
	"strings"

	"github.com/pinflow/pinflow/internal/calendar"
	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/expr"
)

// KernelOnlyIn says what of a view as it is written no other engine can do, and where. The view compiles.
func KernelOnlyIn(v View, s *event.Schema) []Problem {
	zone, err := calendar.Load(v.TimeZone)
	if err != nil {
		return nil
	}
	const advice = "leave backfill.engine at kernel, or write it otherwise: docs/functions.md"
	var out []Problem
	add := func(path, src string) {
		e, err := expr.Compile(src, expr.Env{Columns: columnsOf(s), Zone: zone})
		if err != nil || len(e.KernelOnly()) == 0 {
			return
		}
		out = append(out, Problem{Path: path, Length: len(src), Message: "spark cannot fill in its history: only the kernel has " + strings.Join(e.KernelOnly(), ", "), Suggestion: advice})
	}
	add("filter", v.Filter)
	for i, d := range v.Dimensions {
		add(fmt.Sprintf("dimensions[%d].expr", i), d.Expr)
	}
	for i, m := range v.Measures {
		add(fmt.Sprintf("measures[%d].expr", i), m.Expr)
		add(fmt.Sprintf("measures[%d].filter", i), m.Filter)
	}
	if zone.Irregular() {
		out = append(out, Problem{Path: "time_zone", Message: "spark cannot fill in its history: the clocks of " + zone.Name() + " change at midnight or within an hour", Suggestion: advice})
	}
	return out
}
