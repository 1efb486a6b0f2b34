package fault_test

import (
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// takers are the functions that are given a code, by name, and which argument it is. The first
// argument of New is the kind.
var takers = map[string]int{"New": 1, "NewLost": 0, "truncated": 1, "problemf": 1}

// elsewhere are codes that no taker is given: HTTP's words for faults without a code of their own.
var elsewhere = []string{"unavailable", "conflict", "bad_request", "internal"}

// inside are codes that nobody sees.
var inside = map[string]string{"said": "the command has printed what is wrong and only the exit code is left"}

// codes finds the codes of the tree and, where a fault is made of them, its kinds.
type codes struct {
	t     *testing.T
	fset  *token.FileSet
	kinds map[string][]string
}

func (c *codes) add(code string, kind string) {
	if _, hidden := inside[code]; hidden || code == "" {
		return
	}
	have := c.kinds[code]
	if kind != "" && !slices.Contains(have, kind) {
		have = append(have, kind)
		slices.Sort(have)
	}
	c.kinds[code] = have
}

// folder looks at the Go files of one folder, which may use each other's constants.
func (c *codes) folder(dir string, names []string) {
	var files []*ast.File
	texts := map[string]string{}
	for _, name := range names {
		f, err := parser.ParseFile(c.fset, filepath.Join(dir, name), nil, 0)
		if err != nil {
			c.t.Fatal(err)
		}
		files = append(files, f)
		for _, d := range f.Decls {
			if g, ok := d.(*ast.GenDecl); ok && g.Tok == token.CONST {
				for _, s := range g.Specs {
					v := s.(*ast.ValueSpec)
					for i, x := range v.Values {
						if lit, ok := x.(*ast.BasicLit); ok && lit.Kind == token.STRING {
							texts[v.Names[i].Name] = text(lit)
						}
					}
				}
			}
		}
	}
	if filepath.Base(dir) == "event" {
		for name, code := range texts {
			if strings.HasPrefix(name, "Code") {
				c.add(code, "")
			}
		}
	}
	for _, f := range files {
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok {
				c.function(fn, filepath.Base(dir), texts)
			}
		}
	}
}

func (c *codes) function(fn *ast.FuncDecl, pkg string, texts map[string]string) {
	ast.Inspect(fn, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			name, of := callee(n)
			at, takes := takers[name]
			if !takes || name == "truncated" && pkg != "intake" || name == "New" && of != "fault" && (of != "" || pkg != "fault") || len(n.Args) <= at {
				return true
			}
			kind := ""
			if name == "New" {
				kind = kindOf(n.Args[0])
			} else if name == "NewLost" {
				kind = "lost"
			} else if name == "truncated" {
				kind = "config"
			}
			c.code(fn, n.Args[at], kind, texts)
		case *ast.CompositeLit:
			for _, e := range n.Elts {
				kv, ok := e.(*ast.KeyValueExpr)
				if key, isIdent := kvKey(kv, ok); isIdent && key == "Code" {
					if lit, ok := kv.Value.(*ast.BasicLit); ok {
						c.add(text(lit), "")
					}
				}
			}
		}
		return true
	})
}

func kvKey(kv *ast.KeyValueExpr, ok bool) (string, bool) {
	if !ok {
		return "", false
	}
	id, ok := kv.Key.(*ast.Ident)
	if !ok {
		return "", false
	}
	return id.Name, true
}

// code notes the argument of a taker. What is no text is the code of a server's answer, or the
// parameter of another taker.
func (c *codes) code(fn *ast.FuncDecl, arg ast.Expr, kind string, texts map[string]string) {
	switch arg := arg.(type) {
	case *ast.BasicLit:
		c.add(text(arg), kind)
		return
	case *ast.Ident:
		if code, ok := texts[arg.Name]; ok {
			c.add(code, kind)
			return
		}
		if _, takes := takers[fn.Name.Name]; takes {
			return
		}
	case *ast.SelectorExpr:
		if arg.Sel.Name == "Code" {
			return
		}
	}
	c.t.Errorf("%s: give the code as text, so that docs/errors.md can be held to it", c.fset.Position(arg.Pos()))
}

func callee(call *ast.CallExpr) (name, of string) {
	switch f := call.Fun.(type) {
	case *ast.Ident:
		return f.Name, ""
	case *ast.SelectorExpr:
		if x, ok := f.X.(*ast.Ident); ok {
			return f.Sel.Name, x.Name
		}
	}
	return "", ""
}

func kindOf(arg ast.Expr) string {
	switch arg := arg.(type) {
	case *ast.SelectorExpr:
		return strings.ToLower(arg.Sel.Name)
	case *ast.Ident:
		if arg.IsExported() {
			return strings.ToLower(arg.Name)
		}
	}
	return ""
}

func text(lit *ast.BasicLit) string {
	return constant.StringVal(constant.MakeFromLiteral(lit.Value, lit.Kind, 0))
}

func codesOfTree(t *testing.T) map[string][]string {
	t.Helper()
	c := &codes{t: t, fset: token.NewFileSet(), kinds: map[string][]string{}}
	files := map[string][]string{}
	for _, root := range []string{"../../internal", "../../cmd"} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") || strings.Contains(path, "ledgertest") {
				return err
			}
			dir := filepath.Dir(path)
			files[dir] = append(files[dir], filepath.Base(path))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for dir, names := range files {
		c.folder(dir, names)
	}
	for _, code := range elsewhere {
		c.add(code, "")
	}
	return c.kinds
}

// Codes are stable: docs/errors.md has a row for each, with the kinds that it comes in, and none for
// one that is gone.
func TestEveryCodeIsInTheDocs(t *testing.T) {
	page, err := os.ReadFile("../../docs/errors.md")
	if err != nil {
		t.Fatal(err)
	}
	said := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z0-9_]+)` \\|([^|]*)\\|").FindAllStringSubmatch(string(page), -1) {
		if _, twice := said[row[1]]; twice {
			t.Errorf("docs/errors.md has %s twice", row[1])
		}
		said[row[1]] = strings.TrimSpace(row[2])
	}
	tree := codesOfTree(t)
	for code, kinds := range tree {
		row, ok := said[code]
		switch {
		case !ok:
			t.Errorf("docs/errors.md has no row | `%s` | %s | meaning | advice |", code, strings.Join(kinds, ", "))
		case len(kinds) > 0 && row != strings.Join(kinds, ", "):
			t.Errorf("docs/errors.md says that %s is %q, the code %q", code, row, strings.Join(kinds, ", "))
		}
	}
	for code := range said {
		if _, ok := tree[code]; !ok {
			t.Errorf("docs/errors.md has %s, which no code says any more", code)
		}
	}
}
