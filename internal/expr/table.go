package expr

import (
	"strings"

	"github.com/pinflow/pinflow/internal/calendar"
	"github.com/pinflow/pinflow/internal/column"
)

// Row is a row of the table of functions, for people. Operands are a, b and c.
type Row struct {
	Name, Takes, Gives, Semantics string
	DuckDB, Spark                 string // "": only the kernel has it
	Fails                         bool   // it may fail on a row
}

// Table lists the functions.
func Table() []Row {
	zone, _ := calendar.Load("Europe/London")
	var out []Row
	for i := range functions {
		f := &functions[i]
		r := Row{Name: f.name, Takes: describe(f), Gives: "any", Semantics: f.semantics, Fails: f.fails}
		if f.result != anyKind {
			r.Gives = f.result.String()
		}
		if f.kernelOnly {
			r.Fails = strings.Contains(f.semantics, "fail") || f.params[0] == json && f.result != text
		} else {
			r.DuckDB, r.Spark = f.example(DuckDB, zone), f.example(Spark, zone)
		}
		out = append(out, r)
	}
	return out
}

// example is the form with operands a, b and c; of units it shows hour and month.
func (f *function) example(d Dialect, zone *calendar.Zone) string {
	w := &sqlWriter{dialect: d, zone: zone}
	if f.form == nil {
		return operandsIn(f.sql.of(d), []string{"a", "b"})
	}
	switch f.name {
	case "date_trunc", "extract":
		units := []string{"hour", "month"}
		if f.params[1] == date {
			units = units[1:]
		}
		var forms []string
		for _, unit := range units {
			n := &node{fn: f, args: []*node{{form: nodeLiteral, kind: text, s: unit}, {kind: f.params[1]}}}
			forms = append(forms, unit+": "+f.form(w, n, []string{"", "a"}))
		}
		return strings.Join(forms, "; ")
	case "case":
		return f.form(w, nil, []string{"a", "b", "c"})
	}
	return f.form(w, &node{fn: f, args: []*node{{kind: column.Long}, {kind: column.Long}}}, []string{"a", "b"})
}
