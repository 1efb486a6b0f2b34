package main

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode/utf8"
)

// sheet is rows to print: the same data in every format.
type sheet struct {
	columns []string // snake_case
	right   []bool   // numbers, to the right of the column in a table; may be short
	rows    [][]any  // string, number, bool, nil, or anything that JSON can write
}

// print writes the sheet in the format asked for. An empty one is [] in JSON and no rows elsewhere.
func (c *cli) print(s sheet) error {
	switch c.output {
	case asJSON:
		return c.printJSON(s.objects())
	case asNDJSON:
		return s.ndjson(c.stdout)
	case asCSV:
		return s.csv(c.stdout)
	}
	return s.table(c.stdout)
}

// printJSON writes one indented value.
func (c *cli) printJSON(v any) error {
	enc := json.NewEncoder(c.stdout)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// object is a row as a JSON object whose keys keep the order of the columns.
type object struct {
	columns []string
	row     []any
}

// MarshalJSON writes the members in the order of the columns.
func (o object) MarshalJSON() ([]byte, error) {
	var b strings.Builder
	b.WriteByte('{')
	for i, name := range o.columns {
		k, err := json.Marshal(name)
		if err != nil {
			return nil, err
		}
		v, err := json.Marshal(o.row[i])
		if err != nil {
			return nil, err
		}
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(k)
		b.WriteByte(':')
		b.Write(v)
	}
	b.WriteByte('}')
	return []byte(b.String()), nil
}

func (s sheet) objects() []object {
	out := make([]object, len(s.rows))
	for i, r := range s.rows {
		out[i] = object{s.columns, r}
	}
	return out
}

func (s sheet) ndjson(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	for _, o := range s.objects() {
		if err := enc.Encode(o); err != nil {
			return err
		}
	}
	return nil
}

func (s sheet) csv(w io.Writer) error {
	out := csv.NewWriter(w)
	if err := out.Write(s.columns); err != nil {
		return err
	}
	for _, r := range s.rows {
		line := make([]string, len(r))
		for i, v := range r {
			line[i] = plainText(v, "")
		}
		if err := out.Write(line); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

func (s sheet) table(w io.Writer) error {
	cells := [][]string{make([]string, len(s.columns))}
	widths := make([]int, len(s.columns))
	for i, name := range s.columns {
		cells[0][i] = strings.ToUpper(strings.ReplaceAll(name, "_", " "))
	}
	for _, r := range s.rows {
		line := make([]string, len(r))
		for i, v := range r {
			line[i] = printable(tidyNumber(v, plainText(v, "–")))
		}
		cells = append(cells, line)
	}
	for _, line := range cells {
		for i, cell := range line {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, line := range cells {
		for i, cell := range line {
			if i < len(s.right) && s.right[i] {
				cell = strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)) + cell
			}
			if i == len(line)-1 { // no blanks at line ends
				fmt.Fprintln(tw, strings.TrimRight(cell, " "))
				continue
			}
			fmt.Fprint(tw, cell, "\t")
		}
	}
	return tw.Flush()
}

// plainText is a value for people and CSV.
func plainText(v any, null string) string {
	switch v := v.(type) {
	case nil:
		return null
	case string:
		return v
	case json.Number:
		return v.String()
	case float64, int, int32, int64, bool:
		return fmt.Sprint(v)
	case fmt.Stringer:
		return v.String()
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}

// tidyNumber leaves digits out of a fraction that nobody reads; the other formats have them all.
func tidyNumber(v any, text string) string {
	n, ok := v.(json.Number)
	if !ok || !strings.ContainsAny(text, ".eE") {
		return text
	}
	f, err := n.Float64()
	switch {
	case err != nil || math.Abs(f) >= 1e15 || f != 0 && math.Abs(f) < 1e-4:
		return text
	case math.Abs(f) >= 100:
		return strconv.FormatFloat(f, 'f', 2, 64)
	}
	return strconv.FormatFloat(f, 'f', 4, 64)
}

// printable keeps what events hold from steering the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '\ufffd'
		}
		return r
	}, s)
}
