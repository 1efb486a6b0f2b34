package expr

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Error is a fault of an expression's text, at bytes [Pos, End).
type Error struct {
	Pos, End   int
	Message    string
	Suggestion string
}

func (e *Error) Error() string {
	s := e.Message
	if e.Suggestion != "" {
		s += ": " + e.Suggestion
	}
	return s
}

type tokenKind uint8

const (
	tokEnd    tokenKind = iota
	tokName             // identifier or keyword
	tokQuoted           // "identifier"
	tokNumber
	tokText // 'text'
	tokSymbol
)

type token struct {
	kind     tokenKind
	text     string // unquoted
	pos, end int
}

// is tells whether the token is that keyword or symbol.
func (t token) is(word string) bool {
	return (t.kind == tokName && strings.EqualFold(t.text, word)) || (t.kind == tokSymbol && t.text == word)
}

const maxText = 64 << 10

// lex splits the text into tokens, the last of which is tokEnd.
func lex(src string) ([]token, *Error) {
	if len(src) > maxText {
		return nil, &Error{Pos: 0, End: len(src), Message: fmt.Sprintf("expression longer than %d bytes", maxText)}
	}
	if !utf8.ValidString(src) {
		return nil, &Error{Pos: 0, End: len(src), Message: "expression is not UTF-8"}
	}
	var out []token
	for i := 0; ; {
		for i < len(src) && strings.IndexByte(" \t\r\n", src[i]) >= 0 {
			i++
		}
		if i == len(src) {
			return append(out, token{kind: tokEnd, pos: i, end: i}), nil
		}
		t, err := next(src, i)
		if err != nil {
			return nil, err
		}
		out = append(out, t)
		i = t.end
	}
}

func next(src string, i int) (token, *Error) {
	c := src[i]
	switch {
	case isLetter(c):
		j := i + 1
		for j < len(src) && (isLetter(src[j]) || isDigit(src[j])) {
			j++
		}
		return token{tokName, src[i:j], i, j}, nil
	case isDigit(c), c == '.' && i+1 < len(src) && isDigit(src[i+1]):
		j := number(src, i)
		return token{tokNumber, src[i:j], i, j}, nil
	case c == '\'':
		return quoted(src, i, '\'', tokText, "text")
	case c == '"':
		return quoted(src, i, '"', tokQuoted, "quoted name")
	}
	for _, s := range [...]string{"<=", ">=", "<>", "!=", "=="} {
		if strings.HasPrefix(src[i:], s) {
			return token{tokSymbol, s, i, i + 2}, nil
		}
	}
	if strings.IndexByte("()+-*/=<>,.", c) >= 0 {
		return token{tokSymbol, src[i : i+1], i, i + 1}, nil
	}
	r, n := utf8.DecodeRuneInString(src[i:])
	e := &Error{Pos: i, End: i + n, Message: fmt.Sprintf("unexpected character %q", r)}
	switch r {
	case '&', '|', '‘', '’', '“', '”':
		e.Suggestion = `use and, or, and straight quotes '…'`
	case '[':
		e.Suggestion = `a member of json is written column.member`
	}
	return token{}, e
}

func isLetter(c byte) bool { return c == '_' || c|0x20 >= 'a' && c|0x20 <= 'z' }
func isDigit(c byte) bool  { return c >= '0' && c <= '9' }

// number returns the end of the number that begins at i: digits, a fraction, an exponent.
func number(src string, i int) int {
	digits := func() {
		for i < len(src) && isDigit(src[i]) {
			i++
		}
	}
	digits()
	if i < len(src) && src[i] == '.' {
		i++
		digits()
	}
	if i < len(src) && src[i]|0x20 == 'e' {
		mark := i
		i++
		if i < len(src) && (src[i] == '+' || src[i] == '-') {
			i++
		}
		from := i
		digits()
		if i == from {
			return mark
		}
	}
	return i
}

func quoted(src string, i int, q byte, kind tokenKind, what string) (token, *Error) {
	var b strings.Builder
	for j := i + 1; j < len(src); j++ {
		if src[j] != q {
			b.WriteByte(src[j])
			continue
		}
		if j+1 < len(src) && src[j+1] == q {
			b.WriteByte(q)
			j++
			continue
		}
		return token{kind, b.String(), i, j + 1}, nil
	}
	return token{}, &Error{Pos: i, End: len(src), Message: what + " without an end", Suggestion: fmt.Sprintf("close it with %c", q)}
}
