package plan

import (
	"github.com/pinflow/pinflow/internal/expr"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/metric"
)

// FillBy has an engine ("": the kernel) fill in the histories of the changes. A change that the engine cannot fill in
// is refused with the reason.
func FillBy(changes []Change, engine string) {
	for i := range changes {
		c := &changes[i]
		if !c.fills() {
			continue
		}
		c.change.Engine = engine
		if engine != ledger.EngineSpark || c.compiled == nil {
			continue
		}
		if _, err := c.compiled.SQL(expr.Spark, metric.Rows{Table: "rows"}); err != nil {
			c.Category, c.Auto, c.change = Refused, false, nil
			c.Key, c.Measures, c.Dashboards = "", nil, nil
			c.reason = "engine spark cannot fill in its history: " + err.Error()
			c.Detail = c.reason + ": run plan and apply with --engine kernel"
		}
	}
}

// fills tells whether the change has a history to be filled in.
func (c *Change) fills() bool {
	return c.change != nil && c.change.State == ledger.Building && (c.change.Anew || c.Category == Add)
}

// fillable refuses repairs that the engine cannot do.
func fillable(changes []Change) error {
	for _, c := range changes {
		if c.Category == Refused {
			return fault.New(fault.Record, "kernel_only", "%s", c.reason).
				WithAdvice("let the kernel do it: pinflow backfill start %s --engine kernel", c.View).WithExit(fault.ExitConflict)
		}
	}
	return nil
}
