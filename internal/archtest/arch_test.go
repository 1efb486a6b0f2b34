package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/pinflow/pinflow/"

// layer of each package; a package imports only lower layers, and of its own layer only what mayMeet names.
// Core is pure; a contract is an interface with its meaning; units are use cases; adapters hold one
// technology each; app alone builds adapters and units.
var layers = map[string]int{
	"internal/column": core, "internal/span": core, "internal/fault": core, "internal/event": core,
	"internal/expr": core, "internal/sketch": core, "internal/metric": core, "internal/fold": core,
	"internal/segment": core, "internal/calendar": core, "internal/nearest": core, "internal/human": core,
	"internal/apikey": core,
	"internal/plan":   contract, "internal/history": contract,

	"internal/ledger": contract, "internal/ledger/ledgertest": contract, "internal/intake": contract,
	"internal/lake": contract, "internal/testbed": contract,
	"internal/project": contract, "internal/config": edge,

	"internal/collect": unit, "internal/batch": unit, "internal/live": unit, "internal/query": unit,
	"internal/days": unit, "internal/export": unit, "internal/emulate": unit, "internal/status": unit,
	"internal/access": unit, "internal/deadletter": unit, "internal/backfill": unit, "internal/audit": unit, "internal/trace": unit,

	"internal/kafkalog": adapter, "internal/sqlledger": adapter, "internal/icelake": adapter, "internal/pages": adapter, "internal/rowfile": adapter, "internal/spark": adapter,
	"internal/httpapi": adapter, "internal/client": adapter, "web": adapter,

	"internal/app": app, "cmd/pinflow": cmd,
	"internal/prove": contract, "internal/prove/matrix": whole,
	"internal/archtest": whole, "internal/simtest": whole, "internal/e2e": whole, "bench": whole, "internal/oracle": whole, "internal/oracle/peer": whole,
}

const (
	core = iota
	contract
	edge
	unit
	adapter
	app
	cmd
	whole
)

// mayMeet lists imports within one layer, or against the direction, with the reason.
var mayMeet = map[[2]string]string{
	{"internal/ledger/ledgertest", "internal/ledger"}: "the suite of the contract",
	{"internal/ledger/ledgertest", "internal/prove"}:  "its tests prove invariants",
	{"internal/intake", "internal/ledger"}:            "reads the ledger's contract",
	{"internal/lake", "internal/ledger"}:              "commits what the ledger's intents say",
	{"internal/testbed", "internal/prove"}:            "places say which backends they are",
	{"internal/plan", "internal/ledger"}:              "compares with the ledger's snapshot",
	{"internal/plan", "internal/lake"}:                "counts what the lake holds",
	{"internal/history", "internal/ledger"}:           "compiles versions of the ledger's snapshot",
	{"internal/history", "internal/lake"}:             "folds the lake's blocks",
	{"internal/httpapi", "web"}:                       "serves the page",
	{"internal/icelake", "internal/pages"}:            "reads data files by it",
	{"internal/rowfile", "internal/pages"}:            "reads exported files by it",
}

// unitsOK: adapters may name a unit's result types only where this says so.
var adapterOfUnit = map[[2]string]string{
	{"internal/httpapi", "internal/collect"}:    "renders its results",
	{"internal/httpapi", "internal/query"}:      "renders its answers",
	{"internal/httpapi", "internal/days"}:       "renders its days",
	{"internal/httpapi", "internal/status"}:     "renders its answer",
	{"internal/httpapi", "internal/audit"}:      "renders its report",
	{"internal/httpapi", "internal/trace"}:      "renders its answer",
	{"internal/httpapi", "internal/deadletter"}: "renders its groups",
}

// maxFile and maxFunc are lines; larger lists the exceptions with the reason.
const (
	maxFile = 600
	maxFunc = 70
)

type source struct {
	path string // from the root
	pkg  string // folder
	test bool
	fset *token.FileSet
	file *ast.File
}

func sources(t *testing.T) []source {
	t.Helper()
	root := filepath.Join("..", "..")
	var all []source
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		if d.IsDir() {
			if name := d.Name(); name == "node_modules" || (strings.HasPrefix(name, ".") && rel != ".") || name == "testdata" {
				return filepath.SkipDir
			}
			return nil
		}
		if filepath.Ext(path) != ".go" {
			return nil
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, path, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		all = append(all, source{filepath.ToSlash(rel), filepath.ToSlash(filepath.Dir(rel)), strings.HasSuffix(rel, "_test.go"), fset, f})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 20 {
		t.Fatalf("found only %d Go files: looked in the wrong folder", len(all))
	}
	return all
}

func TestImportDirection(t *testing.T) {
	for _, s := range sources(t) {
		from, known := layers[s.pkg]
		if !known {
			t.Errorf("%s: package %s has no layer: give it one in layers", s.path, s.pkg)
			continue
		}
		if s.test || from == whole {
			continue
		}
		for _, imp := range s.file.Imports {
			path, _ := strconv.Unquote(imp.Path.Value)
			to, ours := strings.CutPrefix(path, module)
			if !ours {
				continue
			}
			pair := [2]string{s.pkg, to}
			_, met := mayMeet[pair]
			_, rendered := adapterOfUnit[pair]
			at := layers[to]
			switch {
			case met || rendered:
			case from == core && at == core: // the core is one mutual vocabulary; cycles the compiler forbids
			case from == adapter && (at == unit || at == adapter || at == edge):
				t.Errorf("%s: an adapter imports %s", s.path, to)
			case at >= from:
				t.Errorf("%s: %s may not import %s", s.path, s.pkg, to)
			}
		}
	}
}

func TestEveryPackageSaysWhatItOwns(t *testing.T) {
	docs := map[string]int{}
	for _, s := range sources(t) {
		if s.file.Doc != nil && !s.test {
			docs[s.pkg] = max(docs[s.pkg], strings.Count(s.file.Doc.Text(), "\n"))
		}
	}
	for _, s := range sources(t) {
		if lines := docs[s.pkg]; !s.test && (lines == 0 || lines > 15) {
			t.Errorf("package %s: its doc has %d lines, want 1 to 15", s.pkg, lines)
			docs[s.pkg] = 1
		}
	}
}

func TestSizes(t *testing.T) {
	for _, s := range sources(t) {
		if n := s.fset.File(s.file.Pos()).LineCount(); n > maxFile {
			t.Errorf("%s: %d lines, most %d", s.path, n, maxFile)
		}
		if s.test {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			f, ok := n.(*ast.FuncDecl)
			if !ok || f.Body == nil {
				return true
			}
			if lines := s.fset.Position(f.End()).Line - s.fset.Position(f.Pos()).Line + 1; lines > maxFunc {
				t.Errorf("%s: %s has %d lines, most %d", s.path, f.Name.Name, lines, maxFunc)
			}
			return true
		})
	}
}

// banned calls, by package path and name, and where they are banned.
var banned = []struct {
	pkg, name string // name "" means any
	where     func(s source) bool
	why       string
}{
	{"time", "Now", isCore, "the core has no clock"},
	{"time", "Since", isCore, "the core has no clock"},
	{"log/slog", "", isCore, "the core has no logger"},
	{"os", "", isCore, "the core does no I/O"},
	{"net/http", "", isCore, "the core does no I/O"},
	{"database/sql", "", isCore, "the core does no I/O"},
	{"math/rand", "", isCore, "the core is deterministic"},
	{"log", "", product, "loggers are passed in"},
	{"fmt", "Print", library, "stdout belongs to the commands"},
	{"fmt", "Println", library, "stdout belongs to the commands"},
	{"fmt", "Printf", library, "stdout belongs to the commands"},
	{"os", "Exit", library, "main ends the process"},
	{"os", "Getenv", notConfig, "config reads the environment"},
	{"os", "LookupEnv", notConfig, "config reads the environment"},
	{"testing/synctest", "Test", notTestbed, "testbed.Bubble keeps the race detector whole"},
}

func isCore(s source) bool  { return layers[s.pkg] == core && !s.test }
func product(s source) bool { return !s.test && layers[s.pkg] != whole }
func library(s source) bool { return product(s) && layers[s.pkg] != cmd }
func notConfig(s source) bool {
	return product(s) && s.pkg != "internal/config" && s.pkg != "internal/testbed"
}

func notTestbed(s source) bool { return s.pkg != "internal/testbed" }

func TestBannedWords(t *testing.T) {
	for _, s := range sources(t) {
		names := map[string]string{} // local name → path
		for _, imp := range s.file.Imports {
			path, _ := strconv.Unquote(imp.Path.Value)
			name := path[strings.LastIndex(path, "/")+1:]
			if imp.Name != nil {
				name = imp.Name.Name
			}
			names[name] = path
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if n.Name.Name == "init" && n.Recv == nil && product(s) {
					t.Errorf("%s: init(): build things where they are used", s.fset.Position(n.Pos()))
				}
			case *ast.SelectorExpr:
				x, ok := n.X.(*ast.Ident)
				if !ok || x.Obj != nil {
					return true
				}
				for _, b := range banned {
					if names[x.Name] == b.pkg && (b.name == "" || b.name == n.Sel.Name) && b.where(s) {
						t.Errorf("%s: %s.%s: %s", s.fset.Position(n.Pos()), x.Name, n.Sel.Name, b.why)
					}
				}
			}
			return true
		})
	}
}

func TestNoUnfinishedWork(t *testing.T) {
	unfinished := regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X|not imple` + `mented)\b`)
	for _, s := range sources(t) {
		for _, g := range s.file.Comments {
			if word := unfinished.FindString(g.Text()); word != "" {
				t.Errorf("%s: %s", s.fset.Position(g.Pos()), word)
			}
		}
	}
}
