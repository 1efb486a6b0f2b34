package metric

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/pinflow/pinflow/internal/calendar"
	"github.com/pinflow/pinflow/internal/fault"
)

// Line is one thing that a view's definition says, so that two can be compared.
type Line struct {
	Key  string // as in the file: filter, measures.posted
	Text string
}

// Describe says in lines what a definition computes, in an order that is always the same. What it does
// not say (the default) has no line.
func Describe(def, meta []byte) ([]Line, error) {
	var d definition
	var m metadata
	if err := readStored(def, meta, &d, &m); err != nil {
		return nil, err
	}
	lines := []Line{
		{"stream", d.Stream}, {"time", d.Time}, {"time_zone", d.TimeZone}, {"grain", d.Grain}, {"filter", d.Filter},
	}
	if d.Late >= 0 {
		lines = append(lines, Line{"late", "accept: " + calendar.Duration(time.Duration(d.Late)*time.Microsecond)})
	}
	for _, x := range m.Dimensions {
		text := x.Stored.Expr
		if x.Stored.Unnest {
			text = "unnest " + text
		}
		lines = append(lines, Line{"dimensions." + x.Name, text + " as " + x.Stored.Kind})
	}
	for _, x := range m.Measures {
		if x.Type != typeRatio {
			lines = append(lines, Line{"measures." + x.Name, x.describe()})
		}
	}
	lines = append(lines, Line{"backfill", m.historyText()})
	return slices.DeleteFunc(lines, func(l Line) bool { return l.Text == "" }), nil
}

func readStored(def, meta []byte, d *definition, m *metadata) error {
	if err := strictJSON(def, d); err != nil {
		return fault.New(fault.Corrupt, "bad_definition", "reading the definition of a view: %w", err)
	}
	if err := strictJSON(meta, m); err != nil {
		return fault.New(fault.Corrupt, "bad_definition", "reading the metadata of a view: %w", err)
	}
	return nil
}

func (x *measureMeta) describe() string {
	text := x.Agg
	if x.Agg == aggPercentile {
		text = fmt.Sprintf("%s %g", x.Agg, x.Percentile)
	}
	if len(x.States) == 0 {
		return text
	}
	if e := x.States[0].Expr; e != "" {
		text += " of " + e
	}
	if f := x.States[0].Filter; f != "" {
		text += " where " + f
	}
	return text
}

func (m *metadata) historyText() string {
	switch {
	case m.NoHistory:
		return "from: none"
	case m.From != nil:
		return "from: " + time.UnixMicro(*m.From).UTC().Format(time.RFC3339)
	}
	return ""
}

// SameHistory tells whether two views' metadata want the same history filled in.
func SameHistory(a, b []byte) bool {
	var x, y metadata
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
		return false
	}
	return x.NoHistory == y.NoHistory && (x.From == nil) == (y.From == nil) && (x.From == nil || *x.From == *y.From)
}

// Pending is what a view answers to while a next version is built: the names of the one that serves, and
// those that only the next one has, whose numbers are not there yet.
func Pending(serving, next []byte) ([]byte, error) {
	var s, n metadata
	for _, x := range []struct {
		text []byte
		into *metadata
	}{{serving, &s}, {next, &n}} {
		if err := strictJSON(x.text, x.into); err != nil {
			return nil, fault.New(fault.Corrupt, "bad_definition", "reading the metadata of a view: %w", err)
		}
	}
	taken := map[string]bool{}
	for _, x := range s.Dimensions {
		taken[x.Name] = true
	}
	for _, x := range s.Measures {
		taken[x.Name] = true
	}
	for _, x := range n.Dimensions {
		if !taken[x.Name] {
			s.Dimensions = append(s.Dimensions, x)
		}
	}
	for _, x := range n.Measures {
		if taken[x.Name] || x.Type == typeRatio && !s.has(x.Numerator, x.Denominator, n.Measures) {
			continue
		}
		s.Measures = append(s.Measures, x)
	}
	return json.Marshal(s)
}

// has tells whether both measures are known, now or after those that are added.
func (m *metadata) has(a, b string, next []measureMeta) bool {
	known := func(name string) bool {
		is := func(x measureMeta) bool { return x.Name == name }
		return slices.ContainsFunc(m.Measures, is) || slices.ContainsFunc(next, is)
	}
	return known(a) && known(b)
}

// Changed is something that two views' metadata say differently; "" where one says nothing.
type Changed struct {
	Key           string // as in the file: display_name, measures.posted.format
	Before, After string
}

// MetadataDiff lists what differs between two views' metadata, by key.
func MetadataDiff(before, after []byte) []Changed {
	var x, y map[string]any
	if json.Unmarshal(before, &x) != nil || json.Unmarshal(after, &y) != nil {
		return []Changed{{Key: "metadata"}}
	}
	var out []Changed
	diff("", byName(x), byName(y), &out)
	slices.SortFunc(out, func(a, b Changed) int { return strings.Compare(a.Key, b.Key) })
	return out
}

// LabelsDiff is MetadataDiff without the parts that Describe tells, for versions that do not compute the same. What
// is new or gone as a whole is in both.
func LabelsDiff(before, after []byte) []Changed {
	told := map[int][]string{1: {"from", "no_history"}, 3: {"stored", "type", "agg", "value", "percentile", "states"}} // by depth
	return slices.DeleteFunc(MetadataDiff(before, after), func(c Changed) bool {
		key := strings.Split(c.Key, ".")
		return slices.Contains(told[len(key)], key[len(key)-1])
	})
}

// byName makes lists of named things objects, and numbers of microseconds durations.
func byName(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, x := range v {
			name, isTime := strings.CutSuffix(k, "_us")
			if x = byName(x); isTime {
				x = durations(x)
			}
			out[name] = x
		}
		return out
	case []any:
		out := map[string]any{}
		for _, x := range v {
			m, ok := x.(map[string]any)
			name, named := m["name"].(string)
			if !ok || !named {
				return v
			}
			out[name] = byName(m)
		}
		return out
	}
	return v
}

func durations(v any) any {
	switch v := v.(type) {
	case float64:
		if v >= Forever {
			return "forever"
		}
		return calendar.Duration(time.Duration(v) * time.Microsecond)
	case map[string]any:
		for k, x := range v {
			v[k] = durations(x)
		}
	}
	return v
}

func diff(path string, a, b any, out *[]Changed) {
	x, isX := a.(map[string]any)
	y, isY := b.(map[string]any)
	if group := strings.Count(path, ".") == 1; group { // keep, deadline: all of it is new, or goes
		isX, isY = isX || a == nil && isY, isY || b == nil && isX
	}
	if !isX || !isY || strings.Count(path, ".") >= 3 {
		if !reflect.DeepEqual(a, b) {
			*out = append(*out, Changed{strings.TrimPrefix(path, "."), said(a), said(b)})
		}
		return
	}
	for k := range x { // reading nil is no mistake
		diff(path+"."+k, x[k], y[k], out)
	}
	for k := range y {
		if _, both := x[k]; !both {
			diff(path+"."+k, nil, y[k], out)
		}
	}
}

// said is a value in a line of text.
func said(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case map[string]any:
		text := func(key string) string { s, _ := v[key].(string); return s }
		if text("type") == typeRatio {
			return text("numerator") + " / " + text("denominator")
		}
		if agg := text("agg"); agg != "" {
			return agg
		}
	}
	text, err := json.Marshal(v)
	if err != nil || len(text) > 100 { // tests, say: the file shows them better
		return "…"
	}
	return string(text)
}

// HistoryFrom is the moment from which a view's metadata wants history, in microseconds.
func HistoryFrom(meta []byte) int64 {
	var m metadata
	if json.Unmarshal(meta, &m) != nil || m.From == nil {
		return -1 << 62
	}
	return *m.From
}

// NoHistory tells whether a view's metadata wants none.
func NoHistory(meta []byte) bool {
	var m metadata
	return json.Unmarshal(meta, &m) == nil && m.NoHistory
}
