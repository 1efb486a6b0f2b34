package expr

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/pinflow/pinflow/internal/calendar"
	"github.com/pinflow/pinflow/internal/column"
	"github.com/pinflow/pinflow/internal/nearest"
)

// Env is what an expression may speak of.
type Env struct {
	Columns []Column
	Zone    *calendar.Zone // nil: UTC
}

// Column is a column's name and type.
type Column struct {
	Name string
	Kind column.Kind
}

// Expr is a checked expression. It is immutable; NewProgram makes something that runs.
type Expr struct {
	root *node
	zone *calendar.Zone
}

// node is a typed operation, literal or column.
type node struct {
	form nodeForm
	kind column.Kind
	fn   *function
	args []*node

	name string   // of a column
	path []string // members, of a column of json

	null bool // literal
	i    int64
	f    float64
	s    string
}

type nodeForm uint8

const (
	nodeCall nodeForm = iota
	nodeColumn
	nodeLiteral
)

const maxNodes = 10_000

// Compile parses and checks an expression. The error is an *Error.
func Compile(src string, env Env) (*Expr, error) {
	s, err := parse(src)
	if err != nil {
		return nil, err
	}
	zone := env.Zone
	if zone == nil {
		zone, _ = calendar.Load("UTC")
	}
	c := &checker{env: env, zone: zone}
	root := c.check(s)
	if c.err == nil && root.kind == column.Invalid {
		c.fail(s, "the expression is always null", "")
	}
	if c.err != nil {
		return nil, c.err
	}
	return &Expr{root: root, zone: zone}, nil
}

// ColumnRef returns the expression that is just a column.
func ColumnRef(name string, kind column.Kind) *Expr {
	zone, _ := calendar.Load("UTC")
	return &Expr{root: &node{form: nodeColumn, kind: kind, name: name}, zone: zone}
}

// Kind is the type of the expression's value.
func (e *Expr) Kind() column.Kind { return e.root.kind }

// Columns returns the columns the expression reads, each once, by name.
func (e *Expr) Columns() []Column {
	var out []Column
	var walk func(n *node)
	walk = func(n *node) {
		if n.form == nodeColumn {
			kind := n.kind
			if n.path != nil {
				kind = json
			}
			out = append(out, Column{n.name, kind})
		}
		for _, a := range n.args {
			walk(a)
		}
	}
	walk(e.root)
	slices.SortFunc(out, func(a, b Column) int { return strings.Compare(a.Name, b.Name) })
	return slices.Compact(out)
}

// KernelOnly names the operations of the expression that no other engine does the same way.
func (e *Expr) KernelOnly() []string {
	var out []string
	var walk func(n *node)
	walk = func(n *node) {
		if n.form == nodeColumn && n.path != nil {
			out = append(out, "members of json ("+n.canonical()+")")
		}
		if n.fn != nil && n.fn.kernelOnly {
			out = append(out, fmt.Sprintf("%s of %s to %s", n.fn.name, n.args[0].kind, n.fn.result))
		}
		for _, a := range n.args {
			walk(a)
		}
	}
	walk(e.root)
	slices.Sort(out)
	return slices.Compact(out)
}

type checker struct {
	env   Env
	zone  *calendar.Zone
	err   *Error
	nodes int
}

func (c *checker) fail(s *syntax, message, suggestion string) *node {
	if c.err == nil {
		c.err = &Error{Pos: s.pos, End: s.end, Message: message, Suggestion: suggestion}
	}
	return &node{form: nodeLiteral, null: true}
}

func (c *checker) check(s *syntax) *node {
	if c.nodes++; c.nodes > maxNodes {
		return c.fail(s, "expression too large", "")
	}
	if c.err != nil {
		return &node{form: nodeLiteral, null: true}
	}
	switch s.form {
	case formNull:
		return &node{form: nodeLiteral, null: true}
	case formBool:
		n := &node{form: nodeLiteral, kind: boolean}
		if s.name == "true" {
			n.i = 1
		}
		return n
	case formText:
		return &node{form: nodeLiteral, kind: text, s: s.name}
	case formNumber:
		return c.number(s)
	case formTyped:
		return c.typed(s)
	case formColumn:
		return c.column(s)
	case formCast:
		return c.cast(s)
	case formCall:
	}
	return c.call(s)
}

func (c *checker) number(s *syntax) *node {
	if !strings.ContainsAny(s.name, ".eE") {
		i, err := strconv.ParseInt(s.name, 10, 64)
		if err != nil {
			return c.fail(s, "integer beyond 64 bits", "write it with a fraction to get a double")
		}
		return &node{form: nodeLiteral, kind: long, i: i}
	}
	f, err := strconv.ParseFloat(s.name, 64)
	if err != nil {
		return c.fail(s, "number beyond the range of double", "")
	}
	return &node{form: nodeLiteral, kind: double, f: f + 0}
}

func (c *checker) typed(s *syntax) *node {
	n := c.coerce(&node{form: nodeLiteral, kind: text, s: s.path[0]}, column.KindOf(s.name))
	if n == nil {
		return c.fail(s, fmt.Sprintf("%q is no %s", s.path[0], s.name), "write date '2006-01-02' or timestamp '2006-01-02T15:04:05Z'")
	}
	return n
}

func (c *checker) column(s *syntax) *node {
	i := slices.IndexFunc(c.env.Columns, func(x Column) bool { return x.Name == s.name })
	if i < 0 {
		return c.unknownColumn(s)
	}
	col := c.env.Columns[i]
	if len(s.path) > 0 && col.Kind != json {
		return c.fail(s, fmt.Sprintf("%s is %s and has no members", col.Name, col.Kind), "")
	}
	return &node{form: nodeColumn, kind: col.Kind, name: col.Name, path: s.path}
}

func (c *checker) unknownColumn(s *syntax) *node {
	names := make([]string, 0, len(c.env.Columns))
	for _, x := range c.env.Columns {
		if strings.EqualFold(x.Name, s.name) {
			return c.fail(s, fmt.Sprintf("unknown column %q", s.name), fmt.Sprintf("did you mean %q?", x.Name))
		}
		names = append(names, x.Name)
	}
	hint := fmt.Sprintf("declare it in the stream's fields, or read the undeclared member: cast(_extra.%s as string)", identifier(s.name))
	if near := nearest.Name(s.name, names); near != "" {
		hint = fmt.Sprintf("did you mean %q?", near)
	}
	return c.fail(s, fmt.Sprintf("unknown column %q", s.name), hint)
}

var typeAliases = map[string]string{
	"bigint": "long", "int": "long", "integer": "long", "varchar": "string", "text": "string", "float": "double",
	"bool": "boolean", "timestamp": "timestamptz",
}

func (c *checker) cast(s *syntax) *node {
	x := c.check(s.args[0])
	name := s.name
	if a, ok := typeAliases[name]; ok {
		name = a
	}
	to := column.KindOf(name)
	if to == column.Invalid || to == list || to == json {
		allowed := []string{"long", "double", "boolean", "timestamptz", "date", "string"}
		hint := "allowed: " + strings.Join(allowed, ", ")
		if near := nearest.Name(name, allowed); near != "" {
			hint = fmt.Sprintf("did you mean %q?", near)
		}
		return c.fail(s, fmt.Sprintf("cannot cast to %q", s.name), hint)
	}
	// A text literal is cast to a time as any other text: on the row, not here.
	if n := c.coerce(x, to); n != nil && (x.kind != text || to == text) {
		return n
	}
	if fn := castOf(x.kind, to); fn != nil {
		return &node{form: nodeCall, kind: to, fn: fn, args: []*node{x}}
	}
	return c.fail(s, fmt.Sprintf("cannot cast %s to %s", x.kind, to), "")
}

func castOf(from, to column.Kind) *function {
	for i := range functions {
		if f := &functions[i]; f.name == "cast" && f.params[0] == from && f.result == to {
			return f
		}
	}
	return nil
}

// coerce returns n as a value of the kind where that loses nothing, else nil: NULL is of every
// kind, a long is a double, a text literal is a time.
func (c *checker) coerce(n *node, to column.Kind) *node {
	switch {
	case n.kind == to || to == anyKind:
		return n
	case n.form == nodeLiteral && n.null && n.kind == column.Invalid:
		return &node{form: nodeLiteral, kind: to, null: true}
	case n.kind == long && to == double:
		if n.form == nodeLiteral {
			return &node{form: nodeLiteral, kind: double, null: n.null, f: float64(n.i)}
		}
		return &node{form: nodeCall, kind: double, fn: castOf(long, double), args: []*node{n}}
	case n.form == nodeLiteral && n.kind == text && !n.null && to == instant:
		if us, ok := parseInstant(n.s, c.zone); ok {
			return &node{form: nodeLiteral, kind: instant, i: us}
		}
	case n.form == nodeLiteral && n.kind == text && !n.null && to == date:
		if d, ok := parseDate(n.s); ok {
			return &node{form: nodeLiteral, kind: date, i: d}
		}
	}
	return nil
}
