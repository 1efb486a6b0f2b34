package expr

import (
	"fmt"
	"slices"
	"strings"
)

// syntax is an expression as written. Operators are calls by their symbol; not in, is not, between
// and the like are written out in simpler ones.
type syntax struct {
	form     form
	name     string    // of a call, column or type; text of a literal
	path     []string  // members, of a column
	args     []*syntax // of a call or cast
	pos, end int
}

type form uint8

const (
	formCall form = iota
	formColumn
	formCast // args[0] as name
	formNull
	formBool
	formNumber
	formText
	formTyped // date '…', timestamp '…': name is the type, path[0] the text
)

const maxDepth = 100

var keywords = []string{
	"and", "as", "between", "case", "cast", "else", "end", "extract", "false", "from", "in", "is", "like", "not", "null",
	"or", "then", "true", "when",
}

type parser struct {
	toks  []token
	i     int
	depth int
	err   *Error
}

// parse reads a whole expression.
func parse(src string) (*syntax, *Error) {
	toks, err := lex(src)
	if err != nil {
		return nil, err
	}
	p := &parser{toks: toks}
	if toks[0].kind == tokEnd {
		return nil, &Error{Pos: 0, End: len(src), Message: "empty expression"}
	}
	s := p.or()
	if t := p.peek(); p.err == nil && t.kind != tokEnd {
		p.fail(t, fmt.Sprintf("unexpected %q", t.text), "")
	}
	if p.err != nil {
		return nil, p.err
	}
	return s, nil
}

func (p *parser) peek() token { return p.toks[p.i] }

func (p *parser) take() token {
	t := p.toks[p.i]
	if t.kind != tokEnd {
		p.i++
	}
	return t
}

func (p *parser) accept(word string) bool {
	if p.peek().is(word) {
		p.i++
		return true
	}
	return false
}

func (p *parser) expect(word string) token {
	t := p.peek()
	if !t.is(word) {
		got := fmt.Sprintf("got %q", t.text)
		if t.kind == tokEnd {
			got = "the expression ends"
		}
		p.fail(t, fmt.Sprintf("expected %q, %s", word, got), "")
		return t
	}
	return p.take()
}

// fail keeps the first error and moves to the end, so that every loop ends.
func (p *parser) fail(t token, message, suggestion string) {
	if p.err == nil {
		p.err = &Error{Pos: t.pos, End: t.end, Message: message, Suggestion: suggestion}
	}
	p.i = len(p.toks) - 1
}

func (p *parser) nest() bool {
	p.depth++
	if p.depth > maxDepth {
		p.fail(p.peek(), fmt.Sprintf("nested deeper than %d", maxDepth), "")
		return false
	}
	return true
}

var nothing = &syntax{form: formNull}

func call(name string, args ...*syntax) *syntax {
	s := &syntax{form: formCall, name: name, args: args}
	if len(args) > 0 {
		s.pos, s.end = args[0].pos, args[len(args)-1].end
	}
	return s
}

func (p *parser) binary(sub func() *syntax, ops ...string) *syntax {
	left := sub()
	for n := 0; ; n++ {
		i := slices.IndexFunc(ops, p.peek().is)
		if i < 0 || p.err != nil {
			return left
		}
		if n > maxDepth*10 {
			p.fail(p.peek(), "too many operators in a row", "")
			return left
		}
		p.take()
		left = call(ops[i], left, sub())
	}
}

func (p *parser) or() *syntax {
	if !p.nest() {
		return nothing
	}
	defer func() { p.depth-- }()
	return p.binary(p.and, "or")
}

func (p *parser) and() *syntax { return p.binary(p.not, "and") }

func (p *parser) not() *syntax {
	t := p.peek()
	if !p.accept("not") {
		return p.comparison()
	}
	if !p.nest() {
		return nothing
	}
	defer func() { p.depth-- }()
	s := call("not", p.not())
	s.pos = t.pos
	return s
}

var comparisons = []string{"=", "==", "!=", "<>", "<=", ">=", "<", ">"}

func (p *parser) comparison() *syntax {
	left := p.sum()
	for n := 0; p.err == nil; n++ {
		t := p.peek()
		if n > maxDepth*10 {
			p.fail(t, "too many operators in a row", "")
			break
		}
		if i := slices.IndexFunc(comparisons, t.is); i >= 0 {
			p.take()
			op := comparisons[i]
			switch op {
			case "==":
				op = "="
			case "!=":
				op = "<>"
			}
			left = call(op, left, p.sum())
			continue
		}
		if p.accept("is") {
			left = p.is(left)
			continue
		}
		negate := t.is("not")
		if negate {
			p.take()
		}
		s := p.suffix(left)
		if s == nil {
			if negate {
				p.fail(p.peek(), "expected in, between or like after not", "")
			}
			break
		}
		if negate {
			s = call("not", s)
		}
		left = s
	}
	return left
}

func (p *parser) is(left *syntax) *syntax {
	negate := p.accept("not")
	t := p.take()
	var s *syntax
	switch {
	case t.is("null"):
		s = call("is null", left)
	case t.is("true"):
		s = call("is true", left)
	case t.is("false"):
		s = call("is false", left)
	default:
		p.fail(t, "expected null, true or false after is", "")
		return left
	}
	s.end = t.end
	if negate {
		s = call("not", s)
	}
	return s
}

// suffix reads in (…), between … and …, like '…'; nil if there is none.
func (p *parser) suffix(left *syntax) *syntax {
	switch {
	case p.accept("in"):
		p.expect("(")
		args := []*syntax{left}
		for p.err == nil {
			args = append(args, p.or())
			if !p.accept(",") {
				break
			}
		}
		s := call("in", args...)
		s.end = p.expect(")").end
		return s
	case p.accept("between"):
		low := p.sum()
		p.expect("and")
		high := p.sum()
		return call("and", call(">=", left, low), call("<=", left, high))
	case p.accept("like"):
		return call("like", left, p.sum())
	}
	return nil
}

func (p *parser) sum() *syntax     { return p.binary(p.product, "+", "-") }
func (p *parser) product() *syntax { return p.binary(p.unary, "*", "/") }

func (p *parser) unary() *syntax {
	t := p.peek()
	if !p.accept("-") {
		if p.accept("+") {
			return p.unaryOperand()
		}
		return p.primary()
	}
	s := p.unaryOperand()
	if s.form == formNumber && !strings.HasPrefix(s.name, "-") {
		return &syntax{form: formNumber, name: "-" + s.name, pos: t.pos, end: s.end}
	}
	s = call("-", s)
	s.pos = t.pos
	return s
}

func (p *parser) unaryOperand() *syntax {
	if !p.nest() {
		return nothing
	}
	defer func() { p.depth-- }()
	return p.unary()
}

func (p *parser) primary() *syntax {
	t := p.take()
	switch t.kind {
	case tokNumber:
		return &syntax{form: formNumber, name: t.text, pos: t.pos, end: t.end}
	case tokText:
		return &syntax{form: formText, name: t.text, pos: t.pos, end: t.end}
	case tokQuoted:
		return p.column(t)
	case tokSymbol:
		if t.text == "(" {
			s := p.or()
			p.expect(")")
			return s
		}
		p.fail(t, fmt.Sprintf("unexpected %q", t.text), "")
	case tokEnd:
		p.fail(t, "the expression ends where a value is expected", "")
	case tokName:
		return p.name(t)
	}
	return nothing
}

func (p *parser) name(t token) *syntax {
	word := strings.ToLower(t.text)
	after := p.peek()
	switch {
	case word == "null":
		return &syntax{form: formNull, pos: t.pos, end: t.end}
	case word == "true", word == "false":
		return &syntax{form: formBool, name: word, pos: t.pos, end: t.end}
	case word == "case":
		return p.caseOf(t)
	case word == "cast":
		return p.cast(t)
	case word == "extract":
		return p.extract(t)
	case (word == "date" || word == "timestamp") && after.kind == tokText:
		p.take()
		kind := map[string]string{"date": "date", "timestamp": "timestamptz"}[word]
		return &syntax{form: formTyped, name: kind, path: []string{after.text}, pos: t.pos, end: after.end}
	case slices.Contains(keywords, word):
		p.fail(t, fmt.Sprintf("unexpected %q", t.text), "a column of that name is written \""+t.text+"\"")
		return nothing
	case after.is("("):
		p.take()
		return p.call(t, word)
	}
	return p.column(t)
}

func (p *parser) column(t token) *syntax {
	s := &syntax{form: formColumn, name: t.text, pos: t.pos, end: t.end}
	for p.accept(".") {
		m := p.take()
		if m.kind != tokName && m.kind != tokQuoted {
			p.fail(m, "expected a member's name after the dot", `write odd names in quotes: _extra."my member"`)
			return s
		}
		s.path = append(s.path, m.text)
		s.end = m.end
	}
	return s
}

func (p *parser) call(t token, name string) *syntax {
	s := &syntax{form: formCall, name: name, pos: t.pos, end: t.end}
	if p.peek().is("*") && name == "count" {
		p.fail(t, "aggregates are chosen by agg, not in the expression", "write agg: count")
		return s
	}
	for !p.peek().is(")") && p.err == nil {
		s.args = append(s.args, p.or())
		if !p.accept(",") {
			break
		}
	}
	s.end = p.expect(")").end
	return s
}

func (p *parser) cast(t token) *syntax {
	p.expect("(")
	x := p.or()
	p.expect("as")
	kind := p.take()
	if kind.kind != tokName {
		p.fail(kind, "expected a type after as", "")
		return nothing
	}
	s := &syntax{form: formCast, name: strings.ToLower(kind.text), args: []*syntax{x}, pos: t.pos}
	s.end = p.expect(")").end
	return s
}

func (p *parser) extract(t token) *syntax {
	p.expect("(")
	unit := p.take()
	if unit.kind != tokName {
		p.fail(unit, "expected year, month, day or hour", "")
		return nothing
	}
	p.expect("from")
	u := &syntax{form: formText, name: strings.ToLower(unit.text), pos: unit.pos, end: unit.end}
	s := call("extract", u, p.or())
	s.pos, s.end = t.pos, p.expect(")").end
	return s
}

// caseOf reads case [x] when … then … [else …] end; the args are condition, value, …, else.
func (p *parser) caseOf(t token) *syntax {
	var subject *syntax
	if !p.peek().is("when") {
		subject = p.or()
	}
	s := &syntax{form: formCall, name: "case", pos: t.pos}
	for p.err == nil && p.accept("when") {
		when := p.or()
		if subject != nil {
			when = call("=", subject, when)
		}
		p.expect("then")
		s.args = append(s.args, when, p.or())
	}
	if len(s.args) == 0 {
		p.fail(p.peek(), "case without when", "")
		return nothing
	}
	otherwise := &syntax{form: formNull, pos: p.peek().pos, end: p.peek().pos}
	if p.accept("else") {
		otherwise = p.or()
	}
	s.args = append(s.args, otherwise)
	s.end = p.expect("end").end
	return s
}
