package main

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pinflow/pinflow/internal/config"
	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/metric"
	"github.com/pinflow/pinflow/internal/query"
)

func (c *cli) testCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "test [paths…]",
		Short: "Run the tests that the views' files hold; no broker, no lake, no server",
		Long: `Run the tests that the views' files hold: their events go through the decoder and the kernel that the
units use, and the answer is compared with the rows expected. Columns that a row does not name are free.
A path is a project's folder, or a file or folder of a project. Without one: the project in use.
Exit code 3 when a test fails or the project has an error.`,
		Example: "  pinflow test\n  pinflow test metrics/pins.yaml\n  pinflow test -o json",
		RunE:    func(cmd *cobra.Command, paths []string) error { return c.test(cmd, paths) },
	}
}

// tested is a test that ran.
type tested struct {
	view     config.View
	n        int
	problems []string
}

func (t *tested) place() string { return fmt.Sprintf("%s:%d", t.view.File, t.view.TestLines[t.n]) }

func (c *cli) test(cmd *cobra.Command, paths []string) error {
	if len(paths) == 0 {
		paths = []string{""}
	}
	var all []tested
	var problems []config.Problem
	seen := map[string]bool{} // tests that a path before named too
	for _, path := range paths {
		file, only, err := c.configFile, false, error(nil)
		if path != "" {
			if file, only, err = projectOf(cmd, path); err != nil {
				return err
			}
		}
		p, found, err := config.Load(config.Options{File: file, Environ: c.vars})
		if err != nil {
			return err
		}
		if config.Errors(found) > 0 {
			problems = append(problems, found...)
			continue
		}
		ran, err := runTests(p, func(file string) bool { return !only || within(path, file) })
		if err != nil {
			return err
		}
		for _, t := range ran {
			if !seen[t.place()] {
				seen[t.place()] = true
				all = append(all, t)
			}
		}
	}
	if config.Errors(problems) > 0 {
		return c.report(problems, 0)
	}
	return c.reportTests(all)
}

// within tells whether a file lies at or below a path.
func within(path, file string) bool {
	rel, err := filepath.Rel(filepath.Clean(path), filepath.FromSlash(file))
	return err == nil && !strings.HasPrefix(rel, "..")
}

func runTests(p *config.Project, in func(file string) bool) ([]tested, error) {
	schemas := map[string]*event.Schema{}
	for _, s := range p.EventStreams() {
		schema, err := event.Compile(s, 1)
		if err != nil {
			return nil, fmt.Errorf("compiling stream %s: %w", s.Name, err)
		}
		schemas[s.Name] = schema
	}
	var out []tested
	for _, v := range p.Views {
		if !in(v.File) {
			continue
		}
		compiled, problems := metric.Compile(v.View, schemas[v.Stream])
		if compiled == nil {
			return nil, fmt.Errorf("compiling view %s: %v", v.Name, problems)
		}
		for i, t := range v.Tests {
			out = append(out, tested{v, i, query.RunTest(compiled, t)})
		}
	}
	return out, nil
}

// reportTests prints every test, and of those that failed what differs.
func (c *cli) reportTests(all []tested) error {
	failed := 0
	s := sheet{columns: []string{"view", "test", "ok", "file", "line", "problems"}}
	for i := range all {
		t := &all[i]
		if len(t.problems) > 0 {
			failed++
		}
		s.rows = append(s.rows, []any{t.view.Name, t.view.Tests[t.n].Name, len(t.problems) == 0, t.view.File, t.view.TestLines[t.n], append([]string{}, t.problems...)})
	}
	if c.output != asTable {
		if err := c.print(s); err != nil {
			return err
		}
	} else {
		for i := range all {
			c.printTest(&all[i])
		}
		if !c.quiet {
			fmt.Fprintf(c.stdout, "%s, %d failed\n", plural(len(all), "test"), failed)
		}
	}
	if failed > 0 {
		return fault.New(fault.Config, said, "%d tests failed", failed)
	}
	return nil
}

func (c *cli) printTest(t *tested) {
	name := printable(t.view.Name + ": " + t.view.Tests[t.n].Name)
	if len(t.problems) == 0 {
		if !c.quiet {
			fmt.Fprintf(c.stdout, "ok    %s\n", name)
		}
		return
	}
	fmt.Fprintf(c.stdout, "FAIL  %s\n      %s\n", name, t.place())
	for _, p := range t.problems {
		fmt.Fprintf(c.stdout, "      %s\n", printable(p))
	}
}
