package oracle

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/pinflow/pinflow/internal/column"
	"github.com/pinflow/pinflow/internal/event"
)

// grammar draws expressions of a kind over a schema's columns.
type grammar struct {
	Gen
	s *event.Schema
}

// rule writes an expression of a kind from expressions of other kinds.
type rule struct {
	form string // %s for each operand
	of   []column.Kind
}

const (
	long    = column.Long
	double  = column.Double
	boolean = column.Boolean
	instant = column.Timestamptz
	date    = column.Date
	text    = column.String
	list    = column.List
)

type kinds = []column.Kind

// rules are all that an expression can be, but for what kernel alone has.
var rules = map[column.Kind][]rule{
	long: {
		{"(%s + %s)", kinds{long, long}},
		{"(%s - %s)", kinds{long, long}},
		{"(%s * %s)", kinds{long, long}},
		{"(-%s)", kinds{long}},
		{"length(%s)", kinds{text}},
		{"cardinality(%s)", kinds{list}},
		{"cast(%s as long)", kinds{double}},
		{"cast(%s as long)", kinds{text}},
		{"cast(%s as long)", kinds{boolean}},
		{"extract(%U from %s)", kinds{instant}},
		{"extract(%D from %s)", kinds{date}},
	},
	double: {
		{"(%s + %s)", kinds{double, double}},
		{"(%s - %s)", kinds{double, long}},
		{"(%s * %s)", kinds{double, double}},
		{"(%s / %s)", kinds{double, double}},
		{"(%s / %s)", kinds{long, long}},
		{"(-%s)", kinds{double}},
		{"cast(%s as double)", kinds{long}},
		{"cast(%s as double)", kinds{text}},
	},
	boolean: {
		{"(%s and %s)", kinds{boolean, boolean}},
		{"(%s or %s)", kinds{boolean, boolean}},
		{"(not %s)", kinds{boolean}},
		{"(%s = %s)", kinds{long, long}},
		{"(%s < %s)", kinds{long, double}},
		{"(%s >= %s)", kinds{double, double}},
		{"(%s <> %s)", kinds{double, double}},
		{"(%s = %s)", kinds{double, double}},
		{"(%s < %s)", kinds{text, text}},
		{"(%s <= %s)", kinds{text, text}},
		{"(%s = %s)", kinds{text, text}},
		{"(%s = %s)", kinds{boolean, boolean}},
		{"(%s > %s)", kinds{instant, instant}},
		{"(%s <> %s)", kinds{date, date}},
		{"(%s <= %s)", kinds{date, date}},
		{"(%s between %s and %s)", kinds{long, long, long}},
		{"(%s is null)", kinds{text}},
		{"(%s is not null)", kinds{double}},
		{"(%s is null)", kinds{list}},
		{"(%s is true)", kinds{boolean}},
		{"(%s is not false)", kinds{boolean}},
		{"(%s like '%%a%%')", kinds{text}},
		{"(%s not like '_')", kinds{text}},
		{"(%s like '_%%x_')", kinds{text}},
		{"starts_with(%s, %s)", kinds{text, text}},
		{"contains(%s, %s)", kinds{text, text}},
		{"contains(%s, %s)", kinds{list, text}},
		{"cast(%s as boolean)", kinds{text}},
		{"(%s in (1, 7, null, -1))", kinds{long}},
		{"(%s in (1, 7))", kinds{long}},
		{"(%s in ('a', 'art', 'it''s'))", kinds{text}},
		{"(%s not in (0.5, 1, -1.5))", kinds{double}},
	},
	instant: {
		{"date_trunc('%T', %s)", kinds{instant}}, {"cast(%s as timestamptz)", kinds{date}},
	},
	date: {
		{"date_trunc('%S', %s)", kinds{date}}, {"cast(%s as date)", kinds{instant}}, {"cast(%s as date)", kinds{text}},
	},
	text: {
		{"trim(%s)", kinds{text}},
		{"lower(%s)", kinds{text}},
		{"upper(%s)", kinds{text}},
		{"cast(%s as string)", kinds{long}},
		{"cast(%s as string)", kinds{boolean}},
		{"cast(%s as string)", kinds{date}},
	},
	list: {},
}

// expression draws one of at most that depth.
func (g grammar) expression(kind column.Kind, depth int) string {
	if depth <= 0 || g.chance(15) {
		return g.leaf(kind)
	}
	all := rules[kind]
	switch k := g.IntN(len(all) + 4); {
	case k < len(all):
		return g.apply(all[k], depth)
	case k == len(all):
		return fmt.Sprintf("(case when %s then %s when %s then %s else %s end)", g.expression(boolean, depth-1), g.expression(kind, depth-1),
			g.expression(boolean, depth-2), g.expression(kind, depth-2), g.expression(kind, depth-1))
	case k == len(all)+1:
		return fmt.Sprintf("coalesce(%s, %s)", g.expression(kind, depth-1), g.expression(kind, depth-1))
	case k == len(all)+2 && kind != list:
		return fmt.Sprintf("nullif(%s, %s)", g.expression(kind, depth-1), g.expression(kind, depth-1))
	}
	return g.leaf(kind)
}

func (g grammar) apply(r rule, depth int) string {
	form := strings.NewReplacer("%U", pick(g.Gen, "year", "month", "day", "hour"), "%D", pick(g.Gen, "year", "month", "day"),
		"%T", pick(g.Gen, "minute", "hour", "day", "week", "month", "year"), "%S", pick(g.Gen, "day", "week", "month", "year")).Replace(r.form)
	args := make([]any, len(r.of))
	for i, k := range r.of {
		args[i] = g.expression(k, depth-1)
	}
	return fmt.Sprintf(form, args...)
}

// leaf is a column or a literal.
func (g grammar) leaf(kind column.Kind) string {
	if kind == list || g.chance(70) {
		var names []string
		for _, c := range g.s.Columns() {
			if c.Kind == kind && c.Name != event.ColumnExtra {
				names = append(names, c.Name)
			}
		}
		return pick(g.Gen, names...)
	}
	switch kind {
	case long:
		return strconv.FormatInt(pick[int64](g.Gen, 0, 1, -1, 2, 100, 9223372036854775807, -9223372036854775808), 10)
	case double:
		return pick(g.Gen, "0.0", "0.5", "-1.5", "1e308", "100.0", "3.25")
	case boolean:
		return pick(g.Gen, "true", "false")
	case instant:
		return pick(g.Gen, "timestamp '2026-03-29T01:30:00Z'", "timestamp '1969-12-31T23:59:59.5Z'")
	case date:
		return pick(g.Gen, "date '2026-02-28'", "date '0001-01-01'", "date '9999-12-31'", "date '1969-12-31'")
	}
	return pick(g.Gen, "''", "'a'", "'it''s'", "'Ünï'", `'a\b'`, "'{0} {1}'", "' 12 '", "'2026-01-31'")
}
