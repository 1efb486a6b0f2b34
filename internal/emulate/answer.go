package emulate

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// liveAnswer is the body of GET /v1/query.
type liveAnswer struct {
	Columns []string `json:"columns"`
	Rows    [][]any  `json:"rows"`
}

// index finds the rows' measures by group, in the order of names.
func (a *liveAnswer) index(dims, names []string) (map[group][]any, error) {
	at := func(name string) (int, error) {
		if i := slices.Index(a.Columns, name); i >= 0 {
			return i, nil
		}
		return 0, fmt.Errorf("no column %q among %v", name, a.Columns)
	}
	places := make([]int, 0, len(dims)+len(names))
	for _, name := range slices.Concat(dims, names) {
		i, err := at(name)
		if err != nil {
			return nil, err
		}
		places = append(places, i)
	}
	timeAt, err := at("time")
	if err != nil {
		return nil, err
	}
	out := make(map[group][]any, len(a.Rows))
	for _, row := range a.Rows {
		if len(row) != len(a.Columns) {
			return nil, fmt.Errorf("a row of %d values for %d columns", len(row), len(a.Columns))
		}
		g, err := groupOf(row, timeAt, places[:len(dims)])
		if err != nil {
			return nil, err
		}
		if _, twice := out[g]; twice {
			return nil, fmt.Errorf("two rows of %s %s", rfc3339(g.time), describe(g))
		}
		values := make([]any, len(names))
		for k, i := range places[len(dims):] {
			values[k] = row[i]
		}
		out[g] = values
	}
	return out, nil
}

func groupOf(row []any, timeAt int, dims []int) (g group, err error) {
	text, ok := row[timeAt].(string)
	if !ok {
		return g, fmt.Errorf("a time that is no text: %v", row[timeAt])
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return g, err
	}
	g.time = t.UnixMicro()
	if len(dims) == 0 {
		return g, nil
	}
	values := make([]string, len(dims))
	for k, i := range dims {
		switch v := row[i].(type) {
		case string:
			values[k] = v
		default:
			values[k] = fmt.Sprintf("\x00%v", v) // NULL and what else is no text
		}
	}
	g.dims = key(values)
	return g, nil
}

// number is a JSON number, also one that was sent as a text because it is long.
func number(v any) (string, bool) {
	switch v := v.(type) {
	case json.Number:
		return string(v), true
	case string:
		return v, true
	}
	return "", false
}

// empty tells whether a row counts nothing.
func empty(row []any) bool {
	for _, v := range row {
		if text, _ := number(v); v != nil && strings.Trim(text, "0.") != "" {
			return false
		}
	}
	return true
}

// describe writes a group's dimensions for people.
func describe(g group) string {
	var out []string
	for b := []byte(g.dims); len(b) > 0; {
		n, k := binary.Uvarint(b)
		out = append(out, string(b[k:k+int(n)]))
		b = b[k+int(n):]
	}
	if len(out) == 0 {
		return "in all"
	}
	return "(" + strings.Join(out, ", ") + ")"
}

// plain writes a number without an exponent.
func plain(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

// tellRow writes the measures of a row that hold something.
func tellRow(names []string, row []any) string {
	var out []string
	for i, v := range row {
		if text, ok := number(v); ok {
			out = append(out, names[i]+" "+text)
		}
	}
	return strings.Join(out, ", ")
}

func tell(measures []measureSpec, want []figure) string {
	var out []string
	for i := range measures {
		if v, null, _ := value(measures, want, i); !null {
			out = append(out, measures[i].name+" "+plain(v))
		}
	}
	return strings.Join(out, ", ")
}

func rfc3339(micros int64) string { return time.UnixMicro(micros).UTC().Format(time.RFC3339) }

func join(names []string) string { return strings.Join(names, ",") }
