package history

import (
	"maps"
	"math"
	"slices"

	"github.com/pinflow/pinflow/internal/expr"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/metric"
)

// RowsTable is what the statements of a job call the rows of its files.
const RowsTable = "pinflow_rows"

// Job is a part of a task that another engine than the kernel does: statements over data files.
type Job struct {
	Name       string   // own to this try of the task; letters, digits and -
	Before     []string // names of earlier tries, of which something may be left where a worker was killed
	About      string   // for people
	Files      []lake.DataFile
	Columns    []lake.FileColumn // of RowsTable; a file that lacks one has NULL in it
	Statements []Statement
	Progress   func(done, all int) // told now and then, in steps of the engine; nil: nobody asks
}

// Statement computes the states of some of the rows.
type Statement struct {
	Compiled *metric.Compiled // whose states they are
	SQL      string           // as metric.Compiled.SQL
	Count    string           // one row of one bigint: how many rows it is about
}

// OlderBelow is the least version of the schema whose rows have all that the version of the view reads in columns.
// Rows that an earlier one judged need a value that only their original members hold, which the kernel restores.
func (r *Reader) OlderBelow() int32 {
	least := int32(math.MaxInt32)
	for v, l := range r.lanes {
		if !l.older {
			least = min(least, v)
		}
	}
	return least
}

// Statements are what another engine has to be asked of the rows within the limits, so that with AddOlder of the
// kernel all are folded. fault.Record kernel_only: the version has what only the kernel can do.
func (r *Reader) Statements(d expr.Dialect, rows metric.Rows) ([]Statement, error) {
	rows.Table = RowsTable
	var out []Statement
	var schemas [][]int32
	at := map[string]int{}
	for _, v := range slices.Sorted(maps.Keys(r.lanes)) {
		l := r.lanes[v]
		if l.older {
			continue
		}
		text, err := l.to.c.SQL(d, metric.Rows{Table: RowsTable})
		if err != nil {
			return nil, kernelOnly(r.View.Name, err)
		}
		i, known := at[text]
		if !known {
			i = len(out)
			at[text] = i
			out, schemas = append(out, Statement{Compiled: l.to.c}), append(schemas, nil)
		}
		schemas[i] = append(schemas[i], v)
	}
	for i := range out {
		rows.Schemas = schemas[i]
		var err error
		if out[i].SQL, err = out[i].Compiled.SQL(d, rows); err != nil {
			return nil, kernelOnly(r.View.Name, err)
		}
		out[i].Count = rows.Count(d)
	}
	return out, nil
}

func kernelOnly(view string, err error) error {
	return fault.New(fault.Record, "kernel_only", "no other engine can fill in the history of view %s: %w", view, err).
		WithAdvice("let the kernel do it: pinflow plan %s --engine kernel, or backfill.engine: kernel", view)
}
