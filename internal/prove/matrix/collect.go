package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pinflow/pinflow/internal/prove"
)

// claim is an invariant on a backend; backend "" for a test that names none.
type claim struct {
	number  string
	backend prove.Backend
}

// evidence is what logs of tests told.
type evidence struct {
	tests  map[claim][]string // names of the tests that passed
	failed []string
}

func newEvidence() *evidence { return &evidence{tests: map[claim][]string{}} }

// line is what of an event of `go test -json` matters here.
type line struct {
	Action, Package, Test, Key, Value, Output string
}

// read adds the log of one or more packages. What a test said counts when it and the test that it is
// part of passed.
func (e *evidence) read(log io.Reader) error {
	said := map[[2]string][]string{} // package, top test
	lines := bufio.NewScanner(log)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		if len(lines.Bytes()) == 0 || lines.Bytes()[0] != '{' {
			continue // what go prints beside the events, like a build's error
		}
		var l line
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			return err
		}
		top, _, part := strings.Cut(l.Test, "/")
		at := [2]string{l.Package, top}
		switch {
		case l.Action == "attr" && l.Key == prove.Attribute:
			said[at] = append(said[at], l.Value)
		case l.Action == "fail" && !part:
			e.failed = append(e.failed, strings.TrimSpace(l.Package+" "+l.Test))
			delete(said, at)
		case l.Action == "pass" && l.Test != "" && !part:
			for _, value := range said[at] {
				if err := e.add(value, filepath.Base(l.Package)+" "+top); err != nil {
					return fmt.Errorf("%s in %s: %w", top, l.Package, err)
				}
			}
			delete(said, at)
		}
	}
	return lines.Err()
}

// add notes "L1 on disk,sqlite", or "L1".
func (e *evidence) add(value, test string) error {
	number, on, _ := strings.Cut(value, " on ")
	if !slices.ContainsFunc(invariants, func(i invariant) bool { return i.number == number }) {
		return fmt.Errorf("there is no invariant %q", value)
	}
	for _, b := range strings.Split(on, ",") {
		c := claim{number, prove.Backend(b)}
		if !slices.Contains(e.tests[c], test) {
			e.tests[c] = append(e.tests[c], test)
		}
	}
	return nil
}

// proving is a package with tests that prove something.
type proving struct {
	path  string
	tests []string
}

func (p proving) pattern() string { return "^(" + strings.Join(p.tests, "|") + ")$" }

// provers finds the tests that name package prove, or a suite that does it for them.
func provers(root string) ([]proving, error) {
	var all []proving
	err := filepath.WalkDir(filepath.Join(root, "internal"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") || strings.Contains(path, filepath.Join("internal", "prove")) {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return fmt.Errorf("looking for tests: %w", err)
		}
		tests := provingTests(f)
		if len(tests) == 0 {
			return nil
		}
		dir := filepath.Dir(path)
		if len(all) == 0 || all[len(all)-1].path != dir {
			all = append(all, proving{path: dir})
		}
		last := &all[len(all)-1]
		last.tests = append(last.tests, tests...)
		return nil
	})
	return all, err
}

// provingTests are the tests of a file with a call into package prove or ledgertest.
func provingTests(f *ast.File) []string {
	var tests []string
	for _, d := range f.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || fn.Recv != nil || !strings.HasPrefix(fn.Name.Name, "Test") {
			continue
		}
		proves := false
		ast.Inspect(fn, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok {
				x, ok := s.X.(*ast.Ident)
				proves = proves || ok && (x.Name == "prove" || x.Name == "ledgertest")
			}
			return !proves
		})
		if proves {
			tests = append(tests, fn.Name.Name)
		}
	}
	return tests
}
