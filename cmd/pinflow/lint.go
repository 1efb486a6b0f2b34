package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/pinflow/pinflow/internal/config"
	"github.com/pinflow/pinflow/internal/fault"
)

func (c *cli) lintCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "lint [paths…]",
		Short: "Check every file of the project; writes nothing, asks no server",
		Long: `Check every file of the project: keys, values, expressions, and what files say of each other.
A path is a project's folder, or a file or folder of a project. Without one: the project in use.
Exit code 3 when there is an error.`,
		Example: "  pinflow lint\n  pinflow lint metrics/pins.yaml\n  pinflow lint -o json prod",
		RunE: func(cmd *cobra.Command, paths []string) error {
			problems, files, err := c.lint(cmd, paths)
			if err != nil {
				return err
			}
			return c.report(problems, files)
		},
	}
}

// lint gathers the problems of the projects that the paths name, of the named files only.
func (c *cli) lint(cmd *cobra.Command, paths []string) ([]config.Problem, int, error) {
	if len(paths) == 0 {
		p, problems, err := config.Load(config.Options{File: c.configFile, Environ: c.vars})
		if err != nil {
			return nil, 0, err
		}
		return problems, len(p.Files), nil
	}
	var problems []config.Problem
	files := 0
	for _, path := range paths {
		root, only, err := projectOf(cmd, path)
		if err != nil {
			return nil, 0, err
		}
		p, found, err := config.Load(config.Options{File: root, Environ: c.vars})
		if err != nil {
			return nil, 0, err
		}
		in := func(file string) bool { return !only || within(path, file) }
		for _, f := range p.Files {
			if in(f) {
				files++
			}
		}
		for _, f := range found {
			if in(f.File) && !slices.Contains(problems, f) {
				problems = append(problems, f)
			}
		}
	}
	return problems, files, nil
}

// projectOf finds the pinflow.yaml that a path belongs to, and whether the path is only a part of it.
func projectOf(cmd *cobra.Command, path string) (root string, only bool, err error) {
	if _, err := os.Stat(path); err != nil {
		return "", false, usage(cmd, "%w", err)
	}
	const file = config.SettingsFile + ".yaml"
	dir := filepath.Clean(path)
	for range 3 { // the path itself, the folder it lies in, the project's
		if _, err := os.Stat(filepath.Join(dir, file)); err == nil {
			return filepath.Join(dir, file), dir != filepath.Clean(path), nil
		}
		dir = filepath.Join(dir, "..")
	}
	return "", false, usage(cmd, "%s belongs to no project: there is no %s beside it", path, file)
}

// report prints problems as data and ends with exit code 3 if one of them is an error.
func (c *cli) report(problems []config.Problem, files int) error {
	if err := c.printProblems(problems); err != nil {
		return err
	}
	if c.output == asTable && !c.quiet {
		fmt.Fprintln(c.stdout, config.Summary(problems, files))
	}
	if config.Errors(problems) > 0 {
		return fault.New(fault.Config, said, "invalid config")
	}
	return nil
}

func (c *cli) printProblems(problems []config.Problem) error {
	switch c.output {
	case asTable:
		return config.Format(c.stdout, problems, c.color())
	case asJSON:
		return config.FormatJSON(c.stdout, problems)
	}
	s := sheet{columns: []string{"file", "line", "column", "severity", "message", "allowed"}}
	for _, p := range problems {
		s.rows = append(s.rows, []any{p.File, p.Line, p.Col, p.Severity, p.Message, p.Allowed})
	}
	return c.print(s)
}
