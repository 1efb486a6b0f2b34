package config

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// document is one file read: its text, its tree, and where each path of it stands.
type document struct {
	name     string // as the user named it
	lines    []string
	root     ast.Node
	anchors  map[string]ast.Node
	places   map[string]place // by path: fields[3].type
	keys     map[string]place // by path of the value
	problems []Problem
	secrets  []string // texts of the file that may not be shown
}

// place is where something stands in a document: characters from 1.
type place struct {
	line, col, span int
	text            string // of a scalar, as read; offsets into it can be found again
	first           int    // line on which the text begins (after the | of a block)
}

// Bounds of one file, far beyond what people write: the YAML library's time grows with the square of
// the lines and faster with the nesting.
const (
	maxFile    = 256 << 10
	maxLines   = 20_000
	maxNesting = 100
)

// parse reads YAML. A text that is no YAML gives one problem and no tree.
func parse(name string, src []byte) *document {
	d := &document{name: name, anchors: map[string]ast.Node{}, places: map[string]place{}, keys: map[string]place{}}
	if len(src) > maxFile || bytes.Count(src, []byte("\n")) > maxLines {
		d.problems = append(d.problems, Problem{
			File: name, Severity: SeverityError, Message: fmt.Sprintf("the file is larger than %s or %d lines", formatSize(maxFile), maxLines),
		})
		return d
	}
	src = bytes.TrimPrefix(src, []byte("\ufeff")) // some editors begin a file with a byte order mark
	d.lines = strings.Split(strings.ReplaceAll(string(src), "\r\n", "\n"), "\n")
	if at, deep := d.tooDeep(); deep {
		d.add("", at, fmt.Sprintf("lists and mappings are nested more than %d deep", maxNesting), "")
		return d
	}
	if !utf8.Valid(src) {
		d.add("", d.at(1, 1, 1), "the file is not UTF-8 text", "")
		return d
	}
	file, err := safeParse(src)
	if err != nil {
		d.syntax(err)
		return d
	}
	for _, doc := range file.Docs {
		if doc.Body == nil || doc.Body.Type() == ast.DirectiveType {
			continue
		}
		if d.root != nil {
			d.add("", d.nodePlace(doc.Body), "a file holds one document: remove what follows ---", "")
			break
		}
		d.root = doc.Body
	}
	return d
}

// tooDeep finds where brackets, or the dashes of one line, are nested beyond the bound. It does not
// look for quotes: a text with a hundred open brackets is as strange.
func (d *document) tooDeep() (place, bool) {
	depth := 0
	for i, line := range d.lines {
		if rest := strings.TrimLeft(line, "- "); strings.Count(line[:len(line)-len(rest)], "-") > maxNesting {
			return d.at(i+1, 1, 1), true
		}
		for j, b := range []byte(line) {
			switch b {
			case '[', '{':
				depth++
			case ']', '}':
				depth = max(0, depth-1)
			}
			if depth > maxNesting {
				return d.at(i+1, utf8.RuneCountInString(line[:j])+1, 1), true
			}
		}
	}
	return place{}, false
}

// safeParse keeps a panic of the parser from reaching the user: a strange file is a problem of the file.
func safeParse(src []byte) (file *ast.File, err error) {
	defer func() {
		if recover() != nil {
			file, err = nil, errors.New("this is not YAML")
		}
	}()
	return parser.ParseBytes(src, 0, parser.AllowDuplicateMapKey())
}

func (d *document) syntax(err error) {
	var se *yaml.SyntaxError
	if errors.As(err, &se) && se.Token != nil {
		d.add("", d.tokenPlace(se.Token), "this is not YAML: "+se.Message, "")
		return
	}
	message := strings.TrimPrefix(strings.SplitN(err.Error(), "\n", 2)[0], "this is not YAML: ")
	d.add("", d.at(1, 1, 1), "this is not YAML: "+message, "")
}

// add notes an error at a place.
func (d *document) add(path string, at place, message, allowed string) {
	d.note(SeverityError, path, at, message, allowed)
}

func (d *document) note(severity, path string, at place, message, allowed string) {
	p := Problem{
		File: d.name, Line: at.line, Col: at.col, Severity: severity,
		Message: clip(message, maxMessage), Allowed: allowed, path: path, Span: at.span,
	}
	if at.line >= 1 && at.line <= len(d.lines) {
		p.Snippet = strings.TrimRight(d.lines[at.line-1], " \t\r")
		p.Span = max(1, min(at.span, utf8.RuneCountInString(p.Snippet)-at.col+1))
	}
	d.problems = append(d.problems, p)
}

// at is a place clamped into the document.
func (d *document) at(line, col, span int) place {
	line = max(1, min(line, len(d.lines)))
	if line > 1 && line == len(d.lines) && d.lines[line-1] == "" {
		line--
	}
	return place{line: line, col: max(1, col), span: max(1, span), first: line}
}

// maxMessage is the most characters of a message: a value may be as long as its file.
const maxMessage = 300

func clip(s string, most int) string {
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	return string([]rune(s)[:most]) + "…"
}

func (d *document) tokenPlace(t *token.Token) place {
	if t == nil || t.Position == nil {
		return d.at(1, 1, 1)
	}
	raw := strings.Trim(t.Origin, " \t\r\n")
	raw, _, _ = strings.Cut(raw, "\n")
	raw, _, _ = strings.Cut(raw, " #")
	p := d.at(t.Position.Line, t.Position.Column, utf8.RuneCountInString(strings.TrimRight(raw, " \t\r")))
	p.text = t.Value
	return p
}

// nodePlace is where a value begins: the first key of a mapping, the text of a scalar.
func (d *document) nodePlace(n ast.Node) place {
	switch v := n.(type) {
	case *ast.MappingNode:
		if !v.IsFlowStyle && len(v.Values) > 0 {
			return d.nodePlace(v.Values[0])
		}
	case *ast.MappingValueNode:
		if k, ok := v.Key.(ast.Node); ok {
			return d.nodePlace(k)
		}
	case *ast.LiteralNode:
		p := d.tokenPlace(v.Start)
		if v.Value != nil {
			p.text = v.Value.Value
		}
		p.first = p.line + 1
		return p
	case *ast.TagNode:
		if v.Value != nil {
			return d.nodePlace(v.Value)
		}
	case *ast.AnchorNode:
		if v.Value != nil {
			return d.nodePlace(v.Value)
		}
	case *ast.AliasNode:
		p := d.tokenPlace(v.Start)
		if v.Value != nil && v.Value.GetToken() != nil {
			p.span = 1 + utf8.RuneCountInString(v.Value.GetToken().Value)
		}
		return p
	}
	return d.tokenPlace(n.GetToken())
}

// find is the place of a path, or of the nearest thing above it that the file holds.
func (d *document) find(path string) place {
	for p := path; p != ""; p = parent(p) {
		if at, ok := d.places[p]; ok {
			return at
		}
	}
	if at, ok := d.places[""]; ok {
		return at
	}
	return d.at(1, 1, 1)
}

// parent of "a.b[3].c" is "a.b[3]", of that "a.b", of that "a", of that "".
func parent(path string) string {
	return path[:max(strings.LastIndexAny(path, ".["), 0)]
}

// within is the place of the bytes [offset, offset+length) of the text that stands at path;
// the whole text when they cannot be found again in the file.
func (d *document) within(path string, offset, length int) place {
	at := d.find(path)
	if offset < 0 || length < 0 || offset > len(at.text) || offset == 0 && length == 0 {
		return at
	}
	want := at.text[offset:min(offset+max(length, 1), len(at.text))]
	want, _, _ = strings.Cut(want, "\n")
	// Block and folded texts keep their characters but not their white space, so the characters
	// that are not white space are counted.
	skip, quote := countInk(at.text[:offset]), ' '
	for line := at.first; line <= len(d.lines) && line-at.first < 1000; line++ {
		s := []rune(d.lines[line-1])
		col := 0
		if line == at.line {
			col = at.col - 1
			if col < len(s) && (s[col] == '"' || s[col] == '\'') {
				quote = s[col]
				col++
			}
		}
		for ; col < len(s); col++ {
			if escaped(quote, s[col:]) {
				col++ // two characters stand for one
			}
			ink := countInk(string(s[col]))
			if skip == 0 && (ink > 0 || want == "") {
				if want != "" && !strings.HasPrefix(string(s[col:]), strings.TrimRight(want, " \t")) {
					return at
				}
				return place{line: line, col: col + 1, span: max(1, utf8.RuneCountInString(want)), first: line}
			}
			skip -= ink
		}
		if skip == 0 && want == "" {
			return place{line: line, col: len(s) + 1, span: 1, first: line}
		}
	}
	return at
}

// escaped tells whether a quoted text goes on with two characters that stand for the second of them.
func escaped(quote rune, s []rune) bool {
	if len(s) < 2 {
		return false
	}
	return quote == '\'' && s[0] == '\'' && s[1] == '\'' || quote == '"' && s[0] == '\\' && (s[1] == '"' || s[1] == '\\' || s[1] == '/')
}

func countInk(s string) int {
	n := 0
	for _, r := range s {
		if r != ' ' && r != '\t' && r != '\n' && r != '\r' {
			n++
		}
	}
	return n
}

// hide takes the file's secrets out of what its problems show, keeping every column in place.
func (d *document) hide() {
	for i := range d.problems {
		p := &d.problems[i]
		for _, secret := range d.secrets {
			p.Snippet = strings.ReplaceAll(p.Snippet, secret, strings.Repeat("*", utf8.RuneCountInString(secret)))
			p.Message = strings.ReplaceAll(p.Message, secret, mask)
		}
	}
}
