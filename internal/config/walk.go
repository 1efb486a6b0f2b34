package config

import (
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// walker checks a document against its table and makes plain values of it: maps, lists, strings,
// booleans and json.Number. What is wrong is noted and left out of the value.
type walker struct {
	*document
	lookup  func(name string) (string, bool) // of ${VAR}
	visited int
	literal map[string]bool // paths whose text came whole from ${VAR}
}

const (
	maxDepth = 40
	maxNodes = 50_000 // aliases of aliases may not blow a small file up
)

// check walks the whole document. It returns nil if there is nothing to decode.
func (d *document) check(s *shape, lookup func(string) (string, bool)) (map[string]any, *walker) {
	w := &walker{document: d, lookup: lookup, literal: map[string]bool{}}
	if len(d.problems) > 0 {
		return nil, w
	}
	if d.root == nil {
		d.add("version", d.at(1, 1, 1), "the file is empty", strings.Join(s.keyNames(), ", "))
		return nil, w
	}
	d.places[""] = d.nodePlace(d.root)
	v, _ := w.value(d.root, s, "", 0).(map[string]any)
	return v, w
}

// value checks one node. It returns nil for null and for what is wrong.
func (w *walker) value(n ast.Node, s *shape, path string, depth int) any {
	n, ok := w.resolve(n, path, depth)
	if !ok {
		return nil
	}
	if _, seen := w.places[path]; !seen {
		w.places[path] = w.nodePlace(n)
	}
	if _, null := n.(*ast.NullNode); null {
		if n.GetToken().Type == token.NullType && s.kind == word && slices.Contains(s.words, "null") {
			return "null" // the word, as everybody writes it
		}
		return nil
	}
	switch s.kind {
	case object:
		return w.object(n, s, path, depth)
	case list:
		return w.list(n, s, path, depth)
	case dict:
		return w.dict(n, s, path, depth)
	case anything:
		return w.anything(n, path, depth)
	}
	raw, kind, ok := w.scalar(n, path)
	if !ok {
		w.wrong(path, s, describeNode(n))
		return nil
	}
	return w.scalarValue(raw, kind, s, path)
}

// resolve follows tags, anchors and aliases.
func (w *walker) resolve(n ast.Node, path string, depth int) (ast.Node, bool) {
	if w.visited++; w.visited > maxNodes || depth > maxDepth {
		if w.visited == maxNodes+1 || depth == maxDepth+1 {
			w.add(path, w.find(path), "the file is nested too deeply, or its aliases make it too large", "")
		}
		return nil, false
	}
	for range maxDepth {
		switch v := n.(type) {
		case nil:
			return nil, false
		case *ast.TagNode:
			n = v.Value
		case *ast.AnchorNode:
			if v.Name != nil && v.Name.GetToken() != nil {
				w.anchors[v.Name.GetToken().Value] = v.Value
			}
			n = v.Value
		case *ast.AliasNode:
			name := ""
			if v.Value != nil && v.Value.GetToken() != nil {
				name = v.Value.GetToken().Value
			}
			target, ok := w.anchors[name]
			if !ok {
				w.add(path, w.nodePlace(v), fmt.Sprintf("there is no anchor &%s before this", name), "")
				return nil, false
			}
			w.places[path] = w.nodePlace(v)
			n = target
		default:
			return n, true
		}
	}
	return nil, false
}

// entry is one key of a mapping with its value.
type entry struct {
	name  string
	key   place
	value ast.Node
}

// entries lists a mapping's entries with merges (<<) flattened; ok is false for what is no mapping.
func (w *walker) entries(n ast.Node, path string, depth int) (out []entry, ok bool) {
	var values []*ast.MappingValueNode
	switch v := n.(type) {
	case *ast.MappingNode:
		values = v.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{v}
	default:
		return nil, false
	}
	own, merged := map[string]place{}, []entry{}
	for _, v := range values {
		if _, merge := v.Key.(*ast.MergeKeyNode); merge {
			if t, ok := w.resolve(v.Value, path, depth+1); ok {
				more, _ := w.entries(t, path, depth+1)
				merged = append(merged, more...)
			}
			continue
		}
		k, isNode := v.Key.(ast.Node)
		if !isNode || k.GetToken() == nil {
			continue
		}
		e := entry{name: k.GetToken().Value, key: w.nodePlace(k), value: v.Value}
		if first, twice := own[e.name]; twice {
			w.add(join(path, e.name)+"#", e.key, fmt.Sprintf("%q is given twice, first in line %d", e.name, first.line), "")
			continue
		}
		own[e.name] = e.key
		out = append(out, e)
	}
	for _, e := range merged {
		if _, has := own[e.name]; !has {
			own[e.name] = e.key
			out = append(out, e)
		}
	}
	return out, true
}

func (w *walker) object(n ast.Node, s *shape, path string, depth int) any {
	entries, ok := w.entries(n, path, depth)
	if !ok {
		w.wrong(path, s, describeNode(n))
		return nil
	}
	keys := map[string]*shape{}
	for _, k := range s.expand() {
		keys[k.name] = k.shape
	}
	out, given := map[string]any{}, map[string]bool{}
	for _, e := range entries {
		at := join(path, e.name)
		ks, known := keys[e.name]
		if !known {
			w.add(at, e.key, fmt.Sprintf("unknown key %q%s", e.name, didYouMean(e.name, s.keyNames())), strings.Join(s.keyNames(), ", "))
			continue
		}
		given[e.name], w.keys[at] = true, e.key
		if v := w.value(e.value, ks, at, depth+1); v != nil {
			out[e.name] = v
		} else if p, ok := w.places[at]; !ok || p.line == 0 {
			w.places[at] = e.key
		}
	}
	for _, k := range s.keys {
		at := join(path, k.name)
		if _, has := out[k.name]; !k.required || has {
			continue
		}
		if !given[k.name] {
			w.add(at, w.find(path), fmt.Sprintf("%q is missing", k.name)+where(path), allowed(k.shape))
		} else if len(w.problemsUnder(at)) == 0 {
			w.add(at, w.keys[at], fmt.Sprintf("%q is empty", k.name), allowed(k.shape))
		}
	}
	return out
}

func where(path string) string {
	if path == "" {
		return ""
	}
	return " in " + path
}

func (w *walker) problemsUnder(path string) []Problem {
	var out []Problem
	for _, p := range w.problems {
		if strings.HasPrefix(p.path, path) {
			out = append(out, p)
		}
	}
	return out
}

func (w *walker) list(n ast.Node, s *shape, path string, depth int) any {
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		w.wrong(path, s, describeNode(n))
		return nil
	}
	out := []any{}
	for i, v := range seq.Values {
		at := fmt.Sprintf("%s[%d]", path, i)
		e := w.value(v, s.of, at, depth+1)
		if e == nil && len(w.problemsUnder(at)) == 0 {
			w.add(at, w.find(at), "this entry is empty", allowed(s.of))
		}
		if e == nil && s.of.kind == object {
			e = map[string]any{} // keeps the numbers of those that follow
		}
		if e != nil {
			out = append(out, e)
		}
	}
	return out
}

func (w *walker) dict(n ast.Node, s *shape, path string, depth int) any {
	entries, ok := w.entries(n, path, depth)
	if !ok {
		w.wrong(path, s, describeNode(n))
		return nil
	}
	out := map[string]any{}
	for _, e := range entries {
		at := join(path, e.name)
		w.keys[at] = e.key
		if s.names != nil && !contains(s.names, e.name) {
			w.add(at, e.key, fmt.Sprintf("unknown %s %q%s", last(path), e.name, didYouMean(e.name, s.names)), strings.Join(s.names, ", "))
			continue
		}
		v := w.value(e.value, s.of, at, depth+1)
		if v != nil || s.of.kind == anything {
			out[e.name] = v
		}
	}
	return out
}

// anything keeps JSON's types: a text that stands in quotes stays text.
func (w *walker) anything(n ast.Node, path string, depth int) any {
	any_ := &shape{kind: anything}
	switch v := n.(type) {
	case *ast.SequenceNode:
		return w.list(v, &shape{kind: list, of: any_}, path, depth)
	case *ast.MappingNode, *ast.MappingValueNode:
		return w.dict(n, &shape{kind: dict, of: any_}, path, depth)
	}
	raw, kind, ok := w.scalar(n, path)
	if !ok {
		w.add(path, w.find(path), describeNode(n)+" is not allowed here", "")
		return nil
	}
	switch kind {
	case boolean:
		return strings.EqualFold(raw, "true")
	case integer, number:
		if jn, ok := jsonNumber(n, raw); ok {
			return jn
		}
	}
	return raw
}

func jsonNumber(n ast.Node, raw string) (json.Number, bool) {
	if json.Valid([]byte(raw)) {
		return json.Number(raw), true
	}
	switch v := n.(type) {
	case *ast.IntegerNode:
		return json.Number(fmt.Sprint(v.Value)), true
	case *ast.FloatNode:
		if !math.IsInf(v.Value, 0) && !math.IsNaN(v.Value) {
			return json.Number(strconv.FormatFloat(v.Value, 'g', -1, 64)), true
		}
	}
	return "", false
}

// scalar is the text of a scalar and what YAML takes it for.
func (w *walker) scalar(n ast.Node, path string) (raw string, k kind, ok bool) {
	switch v := n.(type) {
	case *ast.StringNode:
		raw, k = v.Value, text
	case *ast.LiteralNode:
		if v.Value == nil {
			return "", text, false
		}
		raw, k = v.Value.Value, text
	case *ast.IntegerNode:
		return v.Token.Value, integer, true
	case *ast.FloatNode:
		return v.Token.Value, number, true
	case *ast.BoolNode:
		return v.Token.Value, boolean, true
	case *ast.MappingNode:
		return w.glued(v)
	default:
		return "", text, false
	}
	return w.expandVars(raw, path), k, true
}

// glued takes back a misreading of the YAML library: in a flow list it splits host:9092 and 06:00 at
// a colon that no space follows, which YAML 1.2 reads as one plain scalar.
func (w *walker) glued(m *ast.MappingNode) (string, kind, bool) {
	if m.IsFlowStyle || len(m.Values) != 1 || m.Values[0].Key == nil || m.Values[0].Value == nil {
		return "", text, false
	}
	k, v, colon := m.Values[0].Key.GetToken(), m.Values[0].Value.GetToken(), m.Values[0].Start
	if k == nil || v == nil || colon == nil || v.Position.Line != colon.Position.Line || v.Position.Column != colon.Position.Column+1 {
		return "", text, false
	}
	return k.Value + ":" + v.Value, text, true
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func last(path string) string { return path[strings.LastIndexAny(path, ".]")+1:] }

func contains(words []string, w string) bool {
	for _, x := range words {
		if x == w {
			return true
		}
	}
	return false
}

var varRE = regexp.MustCompile(`\$?\$\{[^}]*\}`)

// expandVars puts the environment's value for ${VAR}; ${VAR:-default} has a default, $${ is ${.
func (w *walker) expandVars(raw, path string) string {
	if !strings.Contains(raw, "${") {
		return raw
	}
	if varRE.FindString(raw) == raw && !strings.HasPrefix(raw, "$$") {
		w.literal[path] = true
	}
	return varRE.ReplaceAllStringFunc(raw, func(m string) string {
		if strings.HasPrefix(m, "$$") {
			return m[1:]
		}
		name, def, hasDef := strings.Cut(m[2:len(m)-1], ":-")
		if v, ok := w.lookup(name); ok && (v != "" || !hasDef) {
			return v
		}
		if !hasDef {
			at := w.find(path)
			w.add(path, at, fmt.Sprintf("the environment has no %s", name), "set it, or write ${"+name+":-default}; $${ is a plain ${")
		}
		return def
	})
}

func describeNode(n ast.Node) string {
	switch n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	case *ast.IntegerNode, *ast.FloatNode:
		return "a number"
	case *ast.BoolNode:
		return "true or false"
	case *ast.StringNode, *ast.LiteralNode:
		return "text"
	}
	return "this"
}
