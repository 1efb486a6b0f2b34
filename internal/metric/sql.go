package metric

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pinflow/pinflow/internal/column"
	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/expr"
)

// Input is a value under a filter that some states keep something of; rows are evaluated once for each.
type Input struct {
	Expr, Filter *expr.Expr // nil: the row itself; every row of the view
	States       []int
}

// Inputs lists the distinct inputs of the stored states, in their order.
func (c *Compiled) Inputs() []Input {
	var out []Input
	at := map[[2]string]int{}
	for i, s := range c.States {
		if s.Op == OpErrors || s.Op == OpLate || s.Op == OpLateDropped {
			continue
		}
		key := [2]string{canonical(s.Expr), canonical(s.Filter)}
		j, ok := at[key]
		if !ok {
			j = len(out)
			at[key] = j
			out = append(out, Input{Expr: s.Expr, Filter: s.Filter})
		}
		out[j].States = append(out[j].States, i)
	}
	return out
}

func canonical(e *expr.Expr) string {
	if e == nil {
		return ""
	}
	return e.Canonical()
}

// SQL is one statement that computes the states of the rows as fold does: the same groups, counts,
// sums, limits, registers and buckets (sums of doubles within rounding). Its columns are
//
//	whole     boolean, only with an unnested dimension: the group counts whole events, else elements
//	bucket    bigint, start in microseconds
//	d0, d1, … the stored dimensions: instants in microseconds, dates in days; of the unnested one an element
//	s0, s1, … the states: bigint; sums of longs hugeint or decimal(38, 0); sums and limits of doubles
//	          double; limits of no value NULL; a distinct count a list of register · 64 + rank; a
//	          quantile a list of structs (bin, n)
//
// A view with something that only the kernel has is refused with the reasons.
func (c *Compiled) SQL(d expr.Dialect, rows Rows) (string, error) {
	w := &statement{c: c, d: d, programs: map[string]int{}}
	judged, err := w.judged(rows)
	if err != nil {
		return "", err
	}
	return w.join(judged), nil
}

// KernelOnly says what of the view no other engine can do; nothing if all of it can be.
func (c *Compiled) KernelOnly() []string {
	var out []string
	add := func(what string, e *expr.Expr) {
		if e != nil && len(e.KernelOnly()) > 0 {
			out = append(out, fmt.Sprintf("%s: %s", what, strings.Join(e.KernelOnly(), ", ")))
		}
	}
	add("filter", c.Filter)
	for _, x := range c.Dims {
		add("dimension "+x.Expr.Canonical(), x.Expr)
	}
	for _, x := range c.Inputs() {
		add("measure of "+canonical(x.Expr), x.Expr)
		add("filter "+canonical(x.Filter), x.Filter)
	}
	if c.Zone.Irregular() {
		out = append(out, fmt.Sprintf("time zone %s: its clocks change at midnight or within an hour", c.Zone.Name()))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// statement is a statement in the making.
type statement struct {
	c        *Compiled
	d        expr.Dialect
	programs map[string]int // canonical text → number
	exprs    []expr.SQL
	inputs   []Input
}

// program numbers an expression; its columns are pN and, if it can fail, xN.
func (w *statement) program(e *expr.Expr) (int, error) {
	if e == nil {
		return -1, nil
	}
	if n, ok := w.programs[e.Canonical()]; ok {
		return n, nil
	}
	sql, err := e.SQL(w.d)
	if err != nil {
		return 0, err
	}
	n := len(w.exprs)
	w.programs[e.Canonical()], w.exprs = n, append(w.exprs, sql)
	return n, nil
}

func (w *statement) value(e *expr.Expr) string { return fmt.Sprintf("p%d", w.programs[e.Canonical()]) }

// bad is the condition that an expression failed; "" if it cannot.
func (w *statement) bad(e *expr.Expr) string {
	if e == nil || w.exprs[w.programs[e.Canonical()]].Failed == "" {
		return ""
	}
	return fmt.Sprintf("x%d", w.programs[e.Canonical()])
}

// judged is the part that gives every row its values, fate, bucket and failures; rows that are not of
// the view are gone.
func (w *statement) judged(rows Rows) (string, error) {
	c := w.c
	if reasons := c.KernelOnly(); len(reasons) > 0 {
		return "", fmt.Errorf("view %s: only the kernel has %s", c.Name, strings.Join(reasons, "; "))
	}
	w.inputs = c.Inputs()
	all := []*expr.Expr{c.Filter}
	for _, x := range c.Dims {
		all = append(all, x.Expr)
	}
	for _, x := range w.inputs {
		all = append(all, x.Expr, x.Filter)
	}
	for _, e := range all {
		if _, err := w.program(e); err != nil {
			return "", fmt.Errorf("view %s: %w", c.Name, err)
		}
	}
	cols := []string{
		w.d.Column(c.Time, column.Timestamptz) + " AS t",
		w.d.Column(event.ColumnEventTime, column.Timestamptz) + " AS e",
		w.d.Column(event.ColumnReceivedAt, column.Timestamptz) + " AS r",
	}
	for n, sql := range w.exprs {
		cols = append(cols, fmt.Sprintf("%s AS p%d", sql.Value, n))
		if sql.Failed != "" {
			cols = append(cols, fmt.Sprintf("%s AS x%d", sql.Failed, n))
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "WITH evaluated AS (\n  SELECT %s\n  FROM %s%s\n), ", strings.Join(cols, ",\n    "), rows.Table, rows.where(w.d))
	fmt.Fprintf(&b, "judged AS ( -- fate: 0 not of the view, 1 counted, 2 left out by late, 3 failed\n  SELECT *, %s AS fate,\n    %s AS bucket\n  FROM evaluated\n), ",
		w.fate(), w.d.Start(c.Grain, "coalesce(t, e)", c.Zone))
	fmt.Fprintf(&b, "counted AS (\n  SELECT *, %s AS errors\n  FROM judged WHERE fate <> 0\n)", w.errors())
	if c.Unnest >= 0 {
		b.WriteString(w.unnest())
	}
	return b.String(), nil
}

func (w *statement) fate() string {
	c := w.c
	in := "1"
	if c.Late >= 0 {
		in = fmt.Sprintf("CASE WHEN r - e > %d THEN 2 ELSE 1 END", c.Late)
	}
	in = fmt.Sprintf("CASE WHEN t IS NULL THEN 3 ELSE %s END", in)
	out := "CASE"
	if c.From > -1<<62 {
		out += fmt.Sprintf(" WHEN t < %d THEN 0", c.From)
	}
	if c.Filter == nil {
		return out + " WHEN true THEN " + in + " END"
	}
	out += fmt.Sprintf(" WHEN %s THEN %s", w.value(c.Filter), in)
	if bad := w.bad(c.Filter); bad != "" {
		out += fmt.Sprintf(" WHEN %s THEN 3", bad)
	}
	return out + " ELSE 0 END"
}

// errors adds up what failed on a row, each expression as often as fold evaluates it.
func (w *statement) errors() string {
	c := w.c
	terms := []string{"CASE WHEN t IS NULL THEN 1 ELSE 0 END"}
	add := func(conditions ...string) {
		if !slices.Contains(conditions, "") {
			terms = append(terms, "CASE WHEN "+strings.Join(conditions, " AND ")+" THEN 1 ELSE 0 END")
		}
	}
	if c.Filter != nil {
		add(w.value(c.Filter)+" IS NOT TRUE", w.bad(c.Filter))
	}
	for _, x := range c.Dims {
		add(w.bad(x.Expr))
	}
	for _, x := range w.inputs {
		add("fate = 1", w.bad(x.Filter))
		add(w.passes(x), w.bad(x.Expr))
	}
	return strings.Join(terms, " + ")
}

// passes is the condition that a row is counted and passes the input's filter.
func (w *statement) passes(x Input) string {
	if x.Filter == nil {
		return "fate = 1"
	}
	return "fate = 1 AND " + w.value(x.Filter)
}
