package metric

import (
	"fmt"
	"regexp"
	"slices"

	"github.com/pinflow/pinflow/internal/column"
	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/expr"
)

// What is legal but most likely a mistake: the warnings of lint.

func (c *compiler) warn(path string, offset, length int, message, suggestion string) {
	c.problems = append(c.problems, Problem{Path: path, Offset: offset, Length: length, Message: message, Suggestion: suggestion, Warning: true})
}

// percents warns of values that are scaled by 100 and then shown as percent, which scales them again.
func (c *compiler) percents() {
	for i, m := range c.v.Measures {
		if m.Format != "percent" {
			continue
		}
		c.hundred(i)
		if m.Type == typeRatio {
			k := slices.IndexFunc(c.v.Measures, func(o Measure) bool { return o.Name == m.Numerator })
			if k >= 0 && c.v.Measures[k].Format != "percent" {
				c.hundred(k)
			}
		}
	}
}

func (c *compiler) hundred(i int) {
	if from, to, ok := expr.Hundred(c.v.Measures[i].Expr); ok {
		c.warn(fmt.Sprintf("measures[%d].expr", i), from, to-from,
			"format percent shows 0.5 as 50 %: a value times 100 is shown a hundred times too large", "leave out * 100")
	}
}

// unique matches names of columns that have a value of their own for nearly every event.
var unique = regexp.MustCompile(`(?i)^(.*_)?(id|uuid|guid|url|uri|src|email|ip|token|hash|session|title|description|text|message|comment|latitude|longitude|lat|lon|offset|timestamp)$`)

// cardinality warns of a dimension that makes a group of nearly every event.
func (c *compiler) cardinality(path string, d Dimension, e *expr.Expr) {
	kind := e.Kind()
	for _, p := range e.Passed() {
		var why string
		switch {
		case c.isKey(p):
			why = "it tells events apart"
		case kind == column.Timestamptz:
			why = "every instant is another value; write date_trunc('hour', …)"
		case kind == column.Double:
			why = "every number is another value; write case when … then … end"
		case unique.MatchString(p.Name):
			why = "its name says so"
		default:
			continue
		}
		c.warn(path, 0, 0, fmt.Sprintf("dimension %q may have a value of its own for nearly every event (%s: %s), and each value is a group in every bucket",
			d.Name, p.Name, why), "count them instead: agg: count_distinct_approx")
		return
	}
}

// isKey tells whether the column reads what names the event.
func (c *compiler) isKey(p expr.Passed) bool {
	s := c.schema.Stream
	if p.Path {
		return p.Name == s.Key && s.Key != ""
	}
	if p.Name == event.ColumnEventID || p.Name == event.ColumnOffset {
		return true
	}
	for _, f := range s.Fields {
		from := f.From
		if from == "" {
			from = f.Name
		}
		if f.Name == p.Name && from != "" && (from == s.EventID || from == s.Key) {
			return true
		}
	}
	return false
}
