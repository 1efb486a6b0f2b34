package expr

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/pinflow/pinflow/internal/calendar"
	"github.com/pinflow/pinflow/internal/column"
)

// Dialect is the SQL of an engine.
type Dialect uint8

// The dialects.
const (
	DuckDB Dialect = iota
	Spark
)

func (d Dialect) String() string { return [...]string{"duckdb", "spark"}[d] }

// DialectNamed returns the dialect with that name.
func DialectNamed(name string) (Dialect, bool) {
	for _, d := range []Dialect{DuckDB, Spark} {
		if d.String() == name {
			return d, true
		}
	}
	return 0, false
}

// SQL is an expression in the words of an engine. Instants are microseconds and dates are days since
// 1970-01-01, both bigint, so that an answer depends on no session's time zone.
type SQL struct {
	Value  string // NaN and infinities are NULL in it, −0.0 is 0.0
	Failed string // boolean, never NULL: an operation failed on the row; "" when none can
}

// KernelOnlyError says why no other engine can evaluate an expression.
type KernelOnlyError struct{ Reasons []string }

func (e *KernelOnlyError) Error() string {
	return "only the kernel has " + strings.Join(e.Reasons, ", ")
}

// maxSQL bounds an emitted expression: operands that a form names twice can double it at each level.
const maxSQL = 1 << 18

// SQL emits the expression. The error is a *KernelOnlyError, or says that the expression is too large.
func (e *Expr) SQL(d Dialect) (SQL, error) {
	if reasons := e.KernelOnly(); len(reasons) > 0 {
		return SQL{}, &KernelOnlyError{reasons}
	}
	w := &sqlWriter{dialect: d, zone: e.zone}
	out := SQL{Value: w.value(e.root), Failed: w.failed(e.root)}
	if e.root.kind == double {
		out.Value = w.finite(out.Value)
	}
	if w.large || len(out.Value)+len(out.Failed) > maxSQL {
		return SQL{}, fmt.Errorf("the SQL of an expression is longer than %d bytes: %.60s…", maxSQL, e.Canonical())
	}
	return out, nil
}

// Identifier quotes a name.
func (d Dialect) Identifier(name string) string {
	if d == Spark {
		return "`" + strings.ReplaceAll(name, "`", "``") + "`"
	}
	return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
}

// Column is the value of a column: of an instant its microseconds, of a date its days.
func (d Dialect) Column(name string, kind column.Kind) string {
	id := d.Identifier(name)
	switch {
	case kind == instant && d == Spark:
		return "unix_micros(" + id + ")"
	case kind == instant:
		return "epoch_us(" + id + ")"
	case kind == date && d == Spark:
		return "CAST(unix_date(" + id + ") AS BIGINT)"
	case kind == date:
		return "(" + id + " - DATE '1970-01-01')"
	}
	return id
}

// Text is a literal.
func (d Dialect) Text(s string) string {
	if d == Spark { // backslashes are escapes there, and two quotes are none
		s = strings.NewReplacer(`\`, `\\`, `'`, `\'`, "\x00", `\u0000`).Replace(s)
		return "'" + s + "'"
	}
	s = "'" + strings.ReplaceAll(s, "'", "''") + "'"
	if strings.Contains(s, "\x00") {
		s = "(" + strings.ReplaceAll(s, "\x00", "' || chr(0) || '") + ")"
	}
	return s
}

// Mod is x modulo a unit, never negative.
func (d Dialect) Mod(x string, unit int64) string {
	if d == Spark {
		return fmt.Sprintf("pmod(%s, %dL)", x, unit)
	}
	return fmt.Sprintf("((%s %% %d + %d) %% %d)", x, unit, unit, unit)
}

// Div is x divided by a unit, rounded down.
func (d Dialect) Div(x string, unit int64) string {
	if d == Spark {
		return fmt.Sprintf("((%s - %s) div %dL)", x, d.Mod(x, unit), unit)
	}
	return fmt.Sprintf("((%s - %s) // %d)", x, d.Mod(x, unit), unit)
}

// Local is the wall clock of the zone at an instant, in microseconds.
func (d Dialect) Local(us string, zone *calendar.Zone) string {
	switch {
	case zone.UTC():
		return us
	case d == Spark:
		return fmt.Sprintf("unix_micros(from_utc_timestamp(timestamp_micros(%s), %s))", us, d.Text(zone.Name()))
	}
	return fmt.Sprintf("epoch_us(timezone(%s, make_timestamptz(%s)))", d.Text(zone.Name()), us)
}

// Midnight is the instant at which a date, in days, begins in the zone.
func (d Dialect) Midnight(days string, zone *calendar.Zone) string {
	local := fmt.Sprintf("(%s * %d)", days, dayMicros)
	switch {
	case zone.UTC():
		return local
	case d == Spark:
		return fmt.Sprintf("unix_micros(to_utc_timestamp(timestamp_micros(%s), %s))", local, d.Text(zone.Name()))
	}
	return fmt.Sprintf("epoch_us(timezone(%s, make_timestamp(%s)))", d.Text(zone.Name()), local)
}

// Start is the start of the bucket of an instant.
func (d Dialect) Start(g calendar.Grain, us string, zone *calendar.Zone) string {
	local := d.Local(us, zone)
	switch g {
	case calendar.None:
		return "0"
	case calendar.Minute:
		return fmt.Sprintf("(%s - %s)", us, d.Mod(local, minuteMicros))
	case calendar.Hour:
		return fmt.Sprintf("(%s - %s)", us, d.Mod(local, hourMicros))
	default:
		return d.Midnight(d.FirstDay(g, d.Div(local, dayMicros)), zone)
	}
}

// End is the start of the bucket after the one that starts at us.
func (d Dialect) End(g calendar.Grain, us string, zone *calendar.Zone) string {
	start := d.Start(g, us, zone)
	switch g {
	case calendar.None, calendar.Minute:
		return fmt.Sprintf("(%s + %d)", start, minuteMicros)
	case calendar.Hour:
		return fmt.Sprintf("(%s + %d)", start, hourMicros)
	default:
		first := d.FirstDay(g, d.Div(d.Local(us, zone), dayMicros))
		longest := map[calendar.Grain]int{calendar.Day: 1, calendar.Week: 7, calendar.Month: 31, calendar.Year: 366}[g]
		return d.Midnight(d.FirstDay(g, fmt.Sprintf("(%s + %d)", first, longest)), zone)
	}
}

// FirstDay is the first day of the week, month or year of a date in days.
func (d Dialect) FirstDay(g calendar.Grain, days string) string {
	switch g {
	case calendar.Week:
		return fmt.Sprintf("(%s - %s)", days, d.Mod(fmt.Sprintf("(%s + 3)", days), 7))
	case calendar.Month, calendar.Year:
		if d == Spark {
			return fmt.Sprintf("CAST(unix_date(trunc(%s, '%s')) AS BIGINT)", d.date(days), g)
		}
		return fmt.Sprintf("(CAST(date_trunc('%s', %s) AS DATE) - DATE '1970-01-01')", g, d.date(days))
	default:
		return days
	}
}

// date makes the engine's date of days.
func (d Dialect) date(days string) string {
	if d == Spark {
		return fmt.Sprintf("date_from_unix_date(CAST(%s AS INT))", days)
	}
	return fmt.Sprintf("(DATE '1970-01-01' + TRY_CAST(%s AS INTEGER))", days)
}

const (
	minuteMicros = 60 * calendar.Second
	hourMicros   = 60 * minuteMicros
	dayMicros    = 24 * hourMicros
)

type sqlWriter struct {
	dialect Dialect
	zone    *calendar.Zone
	large   bool
}

// forms are what a function is in the engines.
type forms struct{ duck, spark string }

func same(form string) forms { return forms{form, form} }

func (f forms) of(d Dialect) string {
	if d == Spark {
		return f.spark
	}
	return f.duck
}

// formOf writes a call whose operands are written already.
type formOf func(w *sqlWriter, n *node, args []string) string

func (w *sqlWriter) value(n *node) string {
	switch n.form {
	case nodeColumn:
		return w.dialect.Column(n.name, n.kind)
	case nodeLiteral:
		return w.literal(n)
	case nodeCall:
	}
	args := make([]string, len(n.args))
	size := 0
	for i, a := range n.args {
		args[i] = w.value(a)
		size += len(args[i])
	}
	if w.large = w.large || size > maxSQL; w.large {
		return "NULL"
	}
	if n.fn.form != nil {
		return n.fn.form(w, n, args)
	}
	return operandsIn(n.fn.sql.of(w.dialect), args)
}

// operandsIn puts operands in the places of {0} and {1}, in one pass: what stands in them is left alone.
func operandsIn(form string, args []string) string {
	pairs := make([]string, 0, 4)
	for i, a := range args[:min(len(args), 2)] {
		pairs = append(pairs, "{"+strconv.Itoa(i)+"}", a)
	}
	return strings.NewReplacer(pairs...).Replace(form)
}

func (w *sqlWriter) finite(x string) string {
	if w.dialect == Spark {
		return fmt.Sprintf("CASE WHEN %s = 0 THEN CAST('0.0' AS DOUBLE) WHEN abs(%s) < CAST('Infinity' AS DOUBLE) THEN %s END", x, x, x)
	}
	return fmt.Sprintf("CASE WHEN %s = 0 THEN CAST('0.0' AS DOUBLE) WHEN isfinite(%s) THEN %s END", x, x, x)
}

// typeName is what the engine calls the type in which values of the kind are emitted.
func (d Dialect) typeName(kind column.Kind) string {
	switch kind {
	case double:
		return "DOUBLE"
	case boolean:
		return "BOOLEAN"
	case text, json:
		return forms{"VARCHAR", "STRING"}.of(d)
	case list:
		return forms{"VARCHAR[]", "ARRAY<STRING>"}.of(d)
	default:
		return "BIGINT"
	}
}

func (w *sqlWriter) literal(n *node) string {
	d := w.dialect
	switch {
	case n.null:
		return "CAST(NULL AS " + d.typeName(n.kind) + ")"
	case n.kind == double:
		return "CAST('" + strconv.FormatFloat(n.f, 'g', -1, 64) + "' AS DOUBLE)"
	case n.kind == boolean:
		return strconv.FormatBool(n.i != 0)
	case n.kind == text:
		return d.Text(n.s)
	}
	return "CAST('" + strconv.FormatInt(n.i, 10) + "' AS BIGINT)"
}

// failed is a condition that is never NULL: some operation of the tree fails on the row, as far as the
// kernel would evaluate it there. "" is never.
func (w *sqlWriter) failed(n *node) string {
	if n.form != nodeCall || w.large {
		return ""
	}
	switch n.fn.name {
	case "and":
		return either(w.failed(n.args[0]), both(w.value(n.args[0])+" IS NOT FALSE", w.failed(n.args[1])))
	case "or":
		return either(w.failed(n.args[0]), both(w.value(n.args[0])+" IS NOT TRUE", w.failed(n.args[1])))
	case "coalesce":
		out := ""
		for _, a := range slices.Backward(n.args) {
			out = either(w.failed(a), both(w.value(a)+" IS NULL", out))
		}
		return out
	case "case":
		out := w.failed(n.args[len(n.args)-1])
		for i := len(n.args) - 3; i >= 0; i -= 2 {
			when := w.value(n.args[i])
			then := both("("+when+") IS TRUE", w.failed(n.args[i+1]))
			out = either(w.failed(n.args[i]), then, both("("+when+") IS NOT TRUE", out))
		}
		return out
	}
	out := ""
	for _, a := range n.args {
		out = either(out, w.failed(a))
	}
	if n.fn.fails {
		self := "(" + w.value(n) + ") IS NULL"
		for _, a := range n.args {
			if a.form != nodeLiteral {
				self = "(" + w.value(a) + ") IS NOT NULL AND " + self
			}
		}
		out = either(out, "("+self+")")
	}
	w.large = w.large || len(out) > maxSQL
	return out
}

func either(conditions ...string) string {
	conditions = slices.DeleteFunc(conditions, func(c string) bool { return c == "" })
	if len(conditions) < 2 {
		return strings.Join(conditions, "")
	}
	return "(" + strings.Join(conditions, " OR ") + ")"
}

// both is "" where the second cannot be.
func both(when, then string) string {
	if then == "" {
		return ""
	}
	return "(" + when + " AND " + then + ")"
}

func inForm(w *sqlWriter, n *node, args []string) string {
	in := "(" + args[0] + " IN (" + strings.Join(args[1:], ", ") + "))"
	if n.args[0].kind != double {
		return in
	}
	if w.dialect == Spark {
		return fmt.Sprintf("CASE WHEN abs(%s) < CAST('Infinity' AS DOUBLE) THEN %s END", args[0], in)
	}
	return fmt.Sprintf("CASE WHEN isfinite(%s) THEN %s END", args[0], in)
}

func caseForm(_ *sqlWriter, _ *node, args []string) string {
	var b strings.Builder
	b.WriteString("CASE")
	for i := 0; i+1 < len(args); i += 2 {
		b.WriteString(" WHEN " + args[i] + " THEN " + args[i+1])
	}
	return b.String() + " ELSE " + args[len(args)-1] + " END"
}

func coalesceForm(_ *sqlWriter, _ *node, args []string) string {
	return "coalesce(" + strings.Join(args, ", ") + ")"
}

// within guards a form of times against years that a calendar cannot be asked about.
func within(x string, least, most int64, form string) string {
	return fmt.Sprintf("CASE WHEN %s BETWEEN %d AND %d THEN %s END", x, least, most, form)
}

func truncForm(w *sqlWriter, n *node, args []string) string {
	grain := grainOf(n.args[0].s)
	if n.args[1].kind == date {
		return within(args[1], minDate, maxDate, w.dialect.FirstDay(grain, args[1]))
	}
	return within(args[1], minInstant, maxInstant, w.dialect.Start(grain, args[1], w.zone))
}

func extractForm(w *sqlWriter, n *node, args []string) string {
	d, unit := w.dialect, n.args[0].s
	days, least, most := args[1], int64(minDate), int64(maxDate)
	if n.args[1].kind == instant {
		least, most = minInstant, maxInstant
		local := d.Local(args[1], w.zone)
		if unit == "hour" {
			return within(args[1], least, most, d.Mod(d.Div(local, hourMicros), 24))
		}
		days = d.Div(local, dayMicros)
	}
	return within(args[1], least, most, fmt.Sprintf("CAST(%s(%s) AS BIGINT)", unit, d.date(days)))
}

func instantDateForm(w *sqlWriter, _ *node, args []string) string {
	return within(args[0], minInstant, maxInstant, w.dialect.Div(w.dialect.Local(args[0], w.zone), dayMicros))
}

func midnightForm(w *sqlWriter, _ *node, args []string) string {
	return within(args[0], minDate, maxDate, w.dialect.Midnight(args[0], w.zone))
}
