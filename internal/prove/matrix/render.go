package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pinflow/pinflow/internal/prove"
)

const head = `# Invariants

Made by ` + "`make invariants`" + ` from the tests that passed in that run; do not edit. **proved**: a test that passed
stands for it on that backend (list below). **later**: this version does not have the
part that the claim is about. A blank cell: the backend does not matter to the claim. **missing** fails the run.

`

// columns of the matrix, in their order; "" is the one of claims without an axis.
var columns = []prove.Backend{"", prove.EmbeddedLog, prove.Kafka, prove.Disk, prove.S3, prove.SQLite, prove.Postgres}

// render gives the page, and the cells that should be filled and are not.
func render(e *evidence) (text string, missing []string) {
	var b strings.Builder
	b.WriteString(head + "| | | any |")
	for _, c := range columns[1:] {
		b.WriteString(" " + titles[c] + " |")
	}
	b.WriteString("\n|---|---|" + strings.Repeat("---|", len(columns)) + "\n")
	for _, i := range invariants {
		fmt.Fprintf(&b, "| %s | %s |", i.number, i.text)
		for _, c := range columns {
			cell := i.cell(e, c)
			if cell == "missing" {
				missing = append(missing, strings.TrimSpace(i.number+" "+titles[c]))
			}
			fmt.Fprintf(&b, " %s |", cell)
		}
		b.WriteString("\n")
	}
	b.WriteString("\n## The tests\n\nPackage and name; those in brackets prove a part with a stand-in for the backend.\n\n")
	for _, i := range invariants {
		fmt.Fprintf(&b, "- **%s**: %s\n", i.number, i.tests(e))
	}
	return b.String(), missing
}

func (i invariant) cell(e *evidence, c prove.Backend) string {
	switch {
	case !slices.ContainsFunc(i.axes, func(a axis) bool { return slices.Contains(a[:], c) }) && (c != "" || len(i.axes) > 0):
		return ""
	case i.later != "":
		return "later"
	case c == "" && len(e.of(i.number)) > 0, len(e.tests[claim{i.number, c}]) > 0:
		return "proved"
	}
	return "missing"
}

// of are all tests that say something about an invariant.
func (e *evidence) of(number string) []string {
	var tests []string
	for c, t := range e.tests {
		if c.number == number {
			tests = append(tests, t...)
		}
	}
	slices.Sort(tests)
	return slices.Compact(tests)
}

// tests lists them, those that fill no cell in brackets.
func (i invariant) tests(e *evidence) string {
	var names []string
	for _, t := range e.of(i.number) {
		fills := len(i.axes) == 0
		for _, a := range i.axes {
			for _, b := range a {
				fills = fills || slices.Contains(e.tests[claim{i.number, b}], t)
			}
		}
		if !fills {
			t = "(" + t + ")"
		}
		names = append(names, "`"+t+"`")
	}
	if i.later != "" {
		names = append([]string{"later: " + i.later}, names...)
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}
