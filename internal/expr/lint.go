package expr

import (
	"slices"
	"strconv"
)

// Hundred finds a factor of 100 that scales the whole value of an expression, as in clicks / views * 100:
// bytes [from, to) of the text.
func Hundred(src string) (from, to int, found bool) {
	s, err := parse(src)
	if err != nil {
		return 0, 0, false
	}
	if at := hundred(s); at != nil {
		return at.pos, at.end, true
	}
	return 0, 0, false
}

func hundred(s *syntax) *syntax {
	switch {
	case s.form == formCast:
		return hundred(s.args[0])
	case s.form != formCall || len(s.args) == 0:
		return nil
	case s.name == "*":
		for _, a := range s.args {
			if x, err := strconv.ParseFloat(a.name, 64); a.form == formNumber && err == nil && x == 100 {
				return a
			}
		}
		for _, a := range s.args {
			if at := hundred(a); at != nil {
				return at
			}
		}
	case s.name == "/" || s.name == "-" && len(s.args) == 1:
		return hundred(s.args[0])
	case s.name == "coalesce" || s.name == "nullif":
		return hundred(s.args[0])
	}
	return nil
}

// Passed is a column, or the last member of a path, whose values come through an expression as they
// are or nearly so.
type Passed struct {
	Name string // of the column, or of the member
	Kind string // type of the column
	Path bool   // a member of json
}

// Passed lists them: what is only compared or counted is not among them.
func (e *Expr) Passed() []Passed {
	var out []Passed
	var walk func(n *node)
	walk = func(n *node) {
		switch {
		case n.form == nodeColumn && len(n.path) > 0:
			out = append(out, Passed{n.path[len(n.path)-1], n.kind.String(), true})
		case n.form == nodeColumn:
			out = append(out, Passed{n.name, n.kind.String(), false})
		case n.form == nodeLiteral:
		case slices.Contains([]string{"coalesce", "trim", "lower", "upper", "+", "-", "*", "/"}, n.fn.name):
			for _, a := range n.args {
				walk(a)
			}
		case n.fn.name == "cast" && n.kind != date && n.kind != boolean:
			walk(n.args[0])
		case n.fn.name == "case":
			for i, a := range n.args {
				if i%2 == 1 || i == len(n.args)-1 {
					walk(a)
				}
			}
		}
	}
	walk(e.root)
	return out
}
