package config

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/nearest"
)

// Severities of a problem.
const (
	SeverityError   = "error"
	SeverityWarning = "warning"
)

// Problem is one thing wrong with a project: what, and exactly where.
type Problem struct {
	File     string `json:"file"`   // as the user named it; a flag or variable for what came from there
	Line     int    `json:"line"`   // from 1; 0: the file as a whole
	Col      int    `json:"column"` // characters from 1
	Severity string `json:"severity"`
	Message  string `json:"message"`
	Allowed  string `json:"allowed,omitempty"` // what would have been right there
	Snippet  string `json:"snippet,omitempty"` // the line
	Span     int    `json:"span,omitempty"`    // characters from Col

	path string // of the place, as fields[3].type: one place is reported once
}

// Errors counts the problems that are errors.
func Errors(problems []Problem) int {
	n := 0
	for _, p := range problems {
		if p.Severity == SeverityError {
			n++
		}
	}
	return n
}

// Err is the failure that the problems amount to, nil when none of them is an error.
func Err(problems []Problem) error {
	n := Errors(problems)
	if n == 0 {
		return nil
	}
	return fault.New(fault.Config, "invalid_config", "invalid config: %s", Summary(problems, 0))
}

// Summary counts: "1 error, 0 warnings in 3 files".
func Summary(problems []Problem, files int) string {
	e := Errors(problems)
	s := fmt.Sprintf("%s, %s", plural(e, "error"), plural(len(problems)-e, "warning"))
	if files > 0 {
		s += " in " + plural(files, "file")
	}
	return s
}

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}

// Format writes problems for people: place, message, the line and what is allowed there.
func Format(w io.Writer, problems []Problem, color bool) error {
	paint := func(code, s string) string {
		if !color || s == "" {
			return s
		}
		return "\x1b[" + code + "m" + s + "\x1b[0m"
	}
	var b strings.Builder
	for _, p := range problems {
		tone := "31"
		if p.Severity == SeverityWarning {
			tone = "33"
		}
		fmt.Fprintf(&b, "%s  %s  %s\n", paint("1", p.place()), paint(tone, p.Severity), p.Message)
		allowed := ""
		if p.Allowed != "" {
			allowed = "allowed: " + p.Allowed
		}
		switch {
		case p.Snippet != "":
			line, col, span := p.window()
			fmt.Fprintf(&b, "%5d | %s\n", p.Line, line)
			under := strings.Repeat(" ", 8) + blank(line, col-1) + paint(tone, strings.Repeat("^", span))
			if allowed != "" {
				under += "   " + allowed
			}
			fmt.Fprintln(&b, under)
		case allowed != "":
			fmt.Fprintln(&b, strings.Repeat(" ", 8)+allowed)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// maxWidth is how much of a line is shown; of a longer one the part around the problem.
const maxWidth = 160

// window is the part of the line that is shown, and where in it the problem stands.
func (p *Problem) window() (line string, col, span int) {
	runes := []rune(p.Snippet)
	if len(runes) <= maxWidth {
		return p.Snippet, p.Col, max(p.Span, 1)
	}
	from := max(0, min(p.Col-1-maxWidth/4, len(runes)-maxWidth))
	shown := runes[from:min(from+maxWidth, len(runes))]
	before, after := "", ""
	if from > 0 {
		before = "…"
	}
	if from+maxWidth < len(runes) {
		after = "…"
	}
	col = p.Col - from + len([]rune(before))
	return before + string(shown) + after, col, max(1, min(p.Span, maxWidth-(p.Col-1-from)))
}

func (p *Problem) place() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Col)
}

// blank is the room that the first n characters of a line take: tabs stay tabs.
func blank(line string, n int) string {
	var b strings.Builder
	for _, r := range line {
		if n--; n < 0 {
			break
		}
		if r == '\t' {
			b.WriteByte('\t')
		} else {
			b.WriteByte(' ')
		}
	}
	b.WriteString(strings.Repeat(" ", max(n, 0)))
	return b.String()
}

// FormatJSON writes problems as one JSON array, [] when there are none.
func FormatJSON(w io.Writer, problems []Problem) error {
	if problems == nil {
		problems = []Problem{}
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(problems)
}

// tidy orders problems by place and keeps the first of each place of a file.
func tidy(problems []Problem) []Problem {
	type placeOf struct {
		file, path string
		line, col  int
	}
	seen := map[placeOf]bool{}
	var out []Problem
	for _, p := range problems {
		at := placeOf{file: p.File, path: p.path}
		if p.path == "" {
			at.path, at.line, at.col = p.Message, p.Line, p.Col
		}
		if seen[at] {
			continue
		}
		seen[at] = true
		out = append(out, p)
	}
	slices.SortStableFunc(out, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(order(a.File), order(b.File)), cmp.Compare(a.File, b.File),
			cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col))
	})
	return out
}

// order puts flags and variables, which are no files, and then pinflow.yaml first.
func order(file string) int {
	switch {
	case !strings.Contains(file, "."):
		return 0
	case strings.HasSuffix(file, "pinflow.yaml"):
		return 1
	}
	return 2
}

// didYouMean is ": did you mean …?", or nothing.
func didYouMean(given string, candidates []string) string {
	if n := nearest.Name(given, candidates); n != "" {
		return `: did you mean "` + n + `"?`
	}
	return ""
}
