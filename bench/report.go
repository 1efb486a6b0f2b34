package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// figure is one number of one run. Target 0: none. atMost: smaller is better.
type figure struct {
	name   string
	at     string // the point of a curve that it belongs to; "": none
	value  float64
	unit   string
	target float64
	atMost bool
}

func least(name string, v float64, unit string, target float64) figure {
	return figure{name: name, value: v, unit: unit, target: target}
}

func most(name string, v float64, unit string, target float64) figure {
	return figure{name: name, value: v, unit: unit, target: target, atMost: true}
}

func fact(name string, v float64, unit string) figure {
	return figure{name: name, value: v, unit: unit}
}

// section is the result of one bench.
type section struct {
	bench
	machine
	runs    int
	figures []figure
	values  map[string][]float64
}

func (s *section) add(figures []figure) {
	if s.values == nil {
		s.values, s.figures = map[string][]float64{}, figures
	}
	for _, f := range figures {
		s.values[f.at+f.name] = append(s.values[f.at+f.name], f.value)
	}
}

// markdown is the section of the report.
func (s *section) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "## %s: %s\n\n%s\n\n", s.name, s.title, s.how)
	fmt.Fprintf(&b, "`go run ./bench %s` · %s · commit %s · %s · load at start %s\n\n", s.name, s.at.UTC().Format("2006-01-02 15:04 UTC"), s.commit, s.cpu, s.load)
	fmt.Fprintf(&b, "| figure | median | unit | target | | runs |\n|---|---:|---|---:|---|---|\n")
	for _, f := range s.figures {
		if f.at != "" {
			continue
		}
		runs := s.values[f.name]
		m := median(runs)
		target, verdict := "", ""
		if f.target != 0 {
			target, verdict = "≥ "+number(f.target), "met"
			if f.atMost {
				target = "≤ " + number(f.target)
			}
			if (m < f.target) != f.atMost && m != f.target {
				verdict = "**missed**"
			}
		}
		texts := make([]string, len(runs))
		for i, v := range runs {
			texts[i] = number(v)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", f.name, number(m), f.unit, target, verdict, strings.Join(texts, " · "))
	}
	b.WriteString(s.curve())
	return b.String()
}

// curve is a table of the figures that belong to points, a line each, medians of the runs; "" without such.
func (s *section) curve() string {
	var b, head strings.Builder
	at, columns := "", 0
	for _, f := range s.figures {
		if f.at == "" {
			continue
		}
		if f.at != at {
			fmt.Fprintf(&b, "\n| %s |", f.at)
			at, columns = f.at, 0
		}
		if columns++; strings.Count(head.String(), "|") < columns {
			fmt.Fprintf(&head, " %s |", strings.TrimSpace(f.name+" "+f.unit))
		}
		fmt.Fprintf(&b, " %s |", number(median(s.values[f.at+f.name])))
	}
	if b.Len() == 0 {
		return ""
	}
	return "\n| |" + head.String() + "\n|---|" + strings.Repeat("---:|", strings.Count(head.String(), "|")) + b.String() + "\n"
}

// number has three or four digits that say something, in groups of three.
func number(v float64) string {
	digits := 0
	switch {
	case v < 1 && v != 0:
		digits = 3
	case v < 10:
		digits = 2
	case v < 100:
		digits = 1
	}
	text := strconv.FormatFloat(v, 'f', digits, 64)
	whole, rest, point := strings.Cut(text, ".")
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if point {
		whole += "." + rest
	}
	return whole
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	if n == 0 {
		return 0
	}
	if n%2 == 1 {
		return sorted[n/2]
	}
	return (sorted[n/2-1] + sorted[n/2]) / 2
}

// quantile of sorted durations, in milliseconds.
func quantile(sorted []time.Duration, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))].Seconds() * 1000
}

const preamble = `# Figures

Made by ` + "`make bench`" + ` (` + "`go run ./bench`" + `), each the median of its runs. Everything is on one machine: load
generator, server, disk; every acknowledged event is on the disk (fsync). Each part says when, on which
commit and under which load it was made. Targets are for 2 cores. All of it with one view a stream: the
built-in view ` + "`tags`" + `, the second of pins, is left out.
`

// store replaces the section in the file of results and keeps the others, in the order of all.
func store(name string, s *section) error {
	text, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("reading the results: %w", err)
	}
	parts := map[string]string{}
	for _, part := range strings.Split("\n"+string(text), "\n## ")[1:] {
		key, _, _ := strings.Cut(part, ":")
		parts[key] = "## " + strings.TrimRight(part, "\n") + "\n"
	}
	parts[s.name] = s.markdown()
	out := preamble
	for _, b := range all() {
		if p := parts[b.name]; p != "" {
			out += "\n" + p
		}
	}
	if err := os.WriteFile(filepath.Clean(name), []byte(out), 0o644); err != nil {
		return fmt.Errorf("writing the results: %w", err)
	}
	return nil
}
