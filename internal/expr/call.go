package expr

import (
	"fmt"
	"math"
	"slices"
	"sort"
	"strings"

	"github.com/pinflow/pinflow/internal/calendar"
	"github.com/pinflow/pinflow/internal/column"
	"github.com/pinflow/pinflow/internal/nearest"
)

// call checks a call: it finds the row of the table that takes these types.
func (c *checker) call(s *syntax) *node {
	args := make([]*node, len(s.args))
	for i, a := range s.args {
		args[i] = c.check(a)
	}
	if c.err != nil {
		return &node{form: nodeLiteral, null: true}
	}
	switch s.name {
	case "nullif":
		return c.nullif(s, args)
	case "case":
		return c.caseOf(s, args)
	case "coalesce":
		return c.coalesce(s, args)
	case "in":
		return c.in(s, args)
	case ">": // the table has < and <= only
		return c.swap(s, "<", args)
	case ">=":
		return c.swap(s, "<=", args)
	}
	return c.simple(s, args)
}

// simple checks a call whose row of the table says all there is to say.
func (c *checker) simple(s *syntax, args []*node) *node {
	if n := negated(s, args); n != nil {
		return n
	}
	fn, out := c.overload(s, args)
	if fn == nil {
		return c.noOverload(s, args)
	}
	n := &node{form: nodeCall, kind: fn.result, fn: fn, args: out}
	c.literals(s, n)
	return n
}

// negated is the literal that minus makes of a literal, as the parser does of -5; nil otherwise.
func negated(s *syntax, args []*node) *node {
	if s.name != "-" || len(args) != 1 || args[0].form != nodeLiteral || args[0].null {
		return nil
	}
	switch x := args[0]; {
	case x.kind == long && x.i != math.MinInt64:
		return &node{form: nodeLiteral, kind: long, i: -x.i}
	case x.kind == double:
		return &node{form: nodeLiteral, kind: double, f: 0 - x.f}
	}
	return nil
}

func (c *checker) swap(s *syntax, name string, args []*node) *node {
	if len(args) != 2 {
		return c.fail(s, fmt.Sprintf("%s takes two values", s.name), "")
	}
	swapped := *s
	swapped.name, swapped.args = name, []*syntax{s.args[1], s.args[0]}
	turned := []*node{args[1], args[0]}
	if fn, _ := c.overload(&swapped, turned); fn == nil {
		return c.noOverload(s, args) // says what was written
	}
	return c.simple(&swapped, turned)
}

// overload picks the row of that name with the fewest conversions.
func (c *checker) overload(s *syntax, args []*node) (*function, []*node) {
	var best *function
	var bestArgs []*node
	bestCost := len(args) + 1
	for i := range functions {
		f := &functions[i]
		if f.name != s.name || f.name == "cast" || len(f.params) != len(args) {
			continue
		}
		cost, out := 0, make([]*node, len(args))
		for j, a := range args {
			if a.kind != f.params[j] && f.params[j] != anyKind {
				cost++
			}
			if out[j] = c.coerce(a, f.params[j]); out[j] == nil {
				cost = len(args) + 1
				break
			}
		}
		if cost < bestCost {
			best, bestArgs, bestCost = f, out, cost
		}
	}
	return best, bestArgs
}

func (c *checker) noOverload(s *syntax, args []*node) *node {
	var names, takes []string
	row := s.name
	if s.name == ">" || s.name == ">=" {
		row = strings.Replace(s.name, ">", "<", 1)
	}
	for i := range functions {
		f := &functions[i]
		names = append(names, f.name)
		if f.name == row {
			takes = append(takes, describe(f))
		}
	}
	if len(takes) == 0 {
		hint := ""
		if near := nearest.Name(s.name, append(names, "nullif", "extract")); near != "" {
			hint = fmt.Sprintf("did you mean %q?", near)
		} else {
			hint = "functions: " + strings.Join(functionNames(), ", ")
		}
		return c.fail(s, fmt.Sprintf("unknown function %q", s.name), hint)
	}
	got := make([]string, len(args))
	for i, a := range args {
		got[i] = a.kind.String()
		if a.kind == column.Invalid {
			got[i] = "null"
		}
		if a.kind == json {
			return c.fail(s.args[i], "a member of json has no type of its own",
				fmt.Sprintf("write cast(%s as string), or another type", a.canonical()))
		}
		if a.form == nodeLiteral && a.kind == text && len(args) == 2 {
			if other := args[1-i].kind; other == instant || other == date {
				return c.fail(s.args[i], fmt.Sprintf("%q is no %s", a.s, other), "write '2006-01-02' or '2006-01-02T15:04:05Z'")
			}
		}
	}
	hint := "it takes " + strings.Join(takes, " or ")
	if slices.Contains(comparisons, s.name) && len(args) == 2 {
		hint = mixed(args, hint)
	}
	return c.fail(s, fmt.Sprintf("%q does not take (%s)", s.name, strings.Join(got, ", ")), hint)
}

// mixed says how to compare a text with a number that stands there.
func mixed(args []*node, hint string) string {
	for i, a := range args {
		if other := args[1-i]; other.kind == text && a.form == nodeLiteral && (a.kind == long || a.kind == double) {
			return fmt.Sprintf("%s is text: compare it with '%s', or write cast(%s as %s)", other.canonical(), a.canonical(), other.canonical(), a.kind)
		}
		if other := args[1-i]; a.form == nodeLiteral && a.kind == text && (other.kind == long || other.kind == double) {
			return fmt.Sprintf("%s is %s: compare it with a number", other.canonical(), other.kind)
		}
	}
	return hint
}

func describe(f *function) string {
	p := make([]string, len(f.params))
	for i, k := range f.params {
		p[i] = "any"
		if k != anyKind {
			p[i] = k.String()
		}
	}
	return "(" + strings.Join(p, ", ") + ")"
}

func functionNames() []string {
	out := []string{"nullif"}
	for i := range functions {
		if name := functions[i].name; name[0] >= 'a' && !strings.Contains(name, " ") && !slices.Contains(keywords, name) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func find(name string) *function {
	for i := range functions {
		if functions[i].name == name {
			return &functions[i]
		}
	}
	return nil
}

// unify converts values to one kind: the first that has one, or double if longs and doubles mix.
func (c *checker) unify(s *syntax, values []*node, at []*syntax) ([]*node, column.Kind) {
	kind := column.Invalid
	for _, v := range values {
		if kind == column.Invalid || (kind == long && v.kind == double) || (kind == text && (v.kind == instant || v.kind == date)) {
			kind = v.kind
		}
	}
	if kind == column.Invalid {
		c.fail(s, "every value is null", "")
		return nil, kind
	}
	out := make([]*node, len(values))
	for i, v := range values {
		if out[i] = c.coerce(v, kind); out[i] == nil {
			hint := fmt.Sprintf("cast it: cast(… as %s)", kind)
			c.fail(at[i], fmt.Sprintf("%s among values of type %s", v.kind, kind), hint)
			return nil, kind
		}
	}
	return out, kind
}

func (c *checker) caseOf(s *syntax, args []*node) *node {
	var values []*node
	var at []*syntax
	for i, a := range args {
		if i%2 == 0 && i < len(args)-1 {
			if args[i] = c.coerce(a, boolean); args[i] == nil {
				return c.fail(s.args[i], fmt.Sprintf("when takes a boolean, not %s", a.kind), "")
			}
			continue
		}
		values, at = append(values, a), append(at, s.args[i])
	}
	values, kind := c.unify(s, values, at)
	if c.err != nil {
		return &node{form: nodeLiteral, null: true}
	}
	for i := range values {
		j := 2*i + 1
		if i == len(values)-1 {
			j = len(args) - 1
		}
		args[j] = values[i]
	}
	return &node{form: nodeCall, kind: kind, fn: find("case"), args: args}
}

func (c *checker) coalesce(s *syntax, args []*node) *node {
	if len(args) == 0 {
		return c.fail(s, "coalesce takes one or more values", "")
	}
	values, kind := c.unify(s, args, s.args)
	if c.err != nil {
		return &node{form: nodeLiteral, null: true}
	}
	return &node{form: nodeCall, kind: kind, fn: find("coalesce"), args: values}
}

// nullif(a, b) is case when a = b then null else a end.
func (c *checker) nullif(s *syntax, args []*node) *node {
	if len(args) != 2 {
		return c.fail(s, "nullif takes two values", "")
	}
	equal := *s
	equal.name = "="
	when := c.simple(&equal, args)
	if c.err != nil {
		return when
	}
	null := &node{form: nodeLiteral, kind: args[0].kind, null: true}
	return &node{form: nodeCall, kind: args[0].kind, fn: find("case"), args: []*node{when, null, args[0]}}
}

func (c *checker) in(s *syntax, args []*node) *node {
	for i, a := range args[1:] {
		if a.form != nodeLiteral {
			return c.fail(s.args[i+1], "in takes literals", "write x = a or x = b")
		}
	}
	values, kind := c.unify(s, args, s.args)
	if c.err != nil {
		return &node{form: nodeLiteral, null: true}
	}
	if kind == json || kind == list {
		return c.fail(s.args[0], fmt.Sprintf("%s cannot be compared", kind), fmt.Sprintf("write cast(%s as string)", args[0].canonical()))
	}
	items := values[1:]
	sort.SliceStable(items, func(i, j int) bool { return items[i].canonical() < items[j].canonical() })
	items = slices.CompactFunc(items, func(a, b *node) bool { return a.canonical() == b.canonical() })
	return &node{form: nodeCall, kind: boolean, fn: find("in"), args: append([]*node{values[0]}, items...)}
}

// literals checks arguments that have to be literals: units and patterns.
func (c *checker) literals(s *syntax, n *node) {
	if n.fn.name != "date_trunc" && n.fn.name != "extract" && n.fn.name != "like" {
		return
	}
	at := 0
	if n.fn.name == "like" {
		at = 1
	}
	lit := n.args[at]
	if lit.form != nodeLiteral || lit.null {
		c.fail(s.args[at], fmt.Sprintf("%s takes a literal here", n.fn.name), "")
		return
	}
	if n.fn.name == "like" {
		if strings.Contains(lit.s, `\`) {
			c.fail(s.args[at], "a pattern cannot hold a backslash: engines do not agree on it", "use starts_with or contains")
		}
		return
	}
	allowed := []string{"year", "month", "day", "hour"}
	if n.fn.name == "date_trunc" {
		allowed = []string{"minute", "hour", "day", "week", "month", "year"}
	}
	if n.args[1].kind == date {
		allowed = slices.DeleteFunc(allowed, func(u string) bool { return u == "minute" || u == "hour" })
	}
	unit := strings.ToLower(lit.s)
	if !slices.Contains(allowed, unit) {
		hint := "allowed: " + strings.Join(allowed, ", ")
		c.fail(s.args[at], fmt.Sprintf("unknown unit %q of %s", lit.s, n.args[1].kind), hint)
		return
	}
	n.args[at] = &node{form: nodeLiteral, kind: text, s: unit}
}

func grainOf(unit string) calendar.Grain {
	g, _ := calendar.GrainOf(unit)
	return g
}
