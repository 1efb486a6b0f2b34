package plan

import (
	"fmt"
	"strings"

	"github.com/pinflow/pinflow/internal/human"
	"github.com/pinflow/pinflow/internal/ledger"
)

// Text is the document for people. end says what to do next; it stands on the last line.
func (d *Document) Text(end string) string {
	var b strings.Builder
	if len(d.Changes) == 0 {
		fmt.Fprintf(&b, "No differences: what runs (%s) is what the files say.\n", plural(d.Running.Views, "view"))
		return b.String()
	}
	fmt.Fprintf(&b, "Compared with what is running (%s, %s%s):\n", plural(d.Running.Views, "view"), plural(d.Running.Measures, "measure"), d.Running.history())
	for i := range d.Changes {
		d.Changes[i].write(&b)
	}
	b.WriteString(d.summary())
	if end != "" {
		b.WriteString("   " + end)
	}
	b.WriteString("\n")
	return b.String()
}

func (r Running) history() string {
	if r.Days == 0 {
		return ", no history yet"
	}
	return fmt.Sprintf(", history %s … now, %s", r.From, plural(r.Days, "day"))
}

func (d *Document) summary() string {
	n := map[Category]int{}
	for _, c := range d.Changes {
		n[c.Category]++
	}
	text := fmt.Sprintf("Plan: %d add, %d rebuild, %d metadata, %d remove", n[Add], n[Rebuild], n[Metadata], n[Remove])
	for _, c := range []Category{Schema, Forward, Refused} {
		if n[c] > 0 {
			text += fmt.Sprintf(", %d %s", n[c], c)
		}
	}
	return text + "."
}

var signs = map[Category]string{Add: "+", Remove: "-", Refused: "!"}

func (c *Change) write(b *strings.Builder) {
	name, sign := c.View, signs[c.Category]
	if name == "" {
		name = c.Stream
	}
	if sign == "" {
		sign = "~"
	}
	fmt.Fprintf(b, "  %s %s   %s", sign, name, c.Category)
	if c.File != "" {
		fmt.Fprintf(b, "   %s", c.File)
		if c.Line > 0 {
			fmt.Fprintf(b, ":%d", c.Line)
		}
	}
	fmt.Fprintf(b, "  %s\n", c.Detail)
	for _, line := range c.Diff {
		fmt.Fprintf(b, "      %s\n", line)
	}
	var affects []string
	if len(c.Measures) > 0 {
		affects = append(affects, strings.Join(c.Measures, ", "))
	}
	if len(c.Dashboards) > 0 {
		affects = append(affects, "dashboards: "+strings.Join(c.Dashboards, ", "))
	}
	if len(affects) > 0 {
		fmt.Fprintf(b, "      affects: %s\n", strings.Join(affects, " · "))
	}
	if c.Backfill != nil {
		fmt.Fprintf(b, "      %s\n", c.Backfill.text(c.Serves))
	}
}

func (e *Estimate) text(serves bool) string {
	if e.Days == 0 {
		return "nothing to back-fill in the lake yet: what the log holds is filled in when the lake has it"
	}
	text := fmt.Sprintf("back-fill %s · %s rows · %s read · %s", plural(e.Days, "day"), Amount(float64(e.Rows)), human.Bytes(float64(e.Bytes)), between(e.Low, e.High))
	if e.Engine != ledger.EngineKernel {
		text += " · in " + e.Engine
	}
	if serves {
		text += " · the old version serves meanwhile"
	}
	return text
}

// Amount is a number for people: 1.9 B.
func Amount(n float64) string {
	for _, u := range []struct {
		of   float64
		name string
	}{{1e12, "T"}, {1e9, "B"}, {1e6, "M"}, {1e3, "K"}} {
		if n >= u.of {
			return strings.TrimSuffix(fmt.Sprintf("%.1f", n/u.of), ".0") + " " + u.name
		}
	}
	return fmt.Sprintf("%.0f", n)
}

// between is a coarse range of durations: ~11–16 minutes.
func between(low, high float64) string {
	if high < 60 {
		return fmt.Sprintf("~%.0f–%.0f seconds", max(1, low), max(2, high))
	}
	if high < 7200 {
		return fmt.Sprintf("~%.0f–%.0f minutes", max(1, low/60), max(2, high/60))
	}
	return fmt.Sprintf("~%.0f–%.0f hours", max(1, low/3600), max(2, high/3600))
}
