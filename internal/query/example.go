package query

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pinflow/pinflow/internal/calendar"
	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/fold"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/metric"
	"github.com/pinflow/pinflow/internal/segment"
)

// receivedMember is the member of a test's event that says when it was received; without it, an
// event is received at its own time.
const receivedMember = "_received_at"

// RunTest runs an example of a view's file: no broker, no lake. It returns what is wrong, line by
// line; nothing if the view answers as expected.
func RunTest(c *metric.Compiled, test metric.Test) []string {
	whole := *c
	whole.From = math.MinInt64 // an example may be older than the history asked for
	c = &whole
	f := fold.New(c)
	d := c.Schema.NewDecoder(c.Columns(c.Schema))
	from, to := int64(math.MaxInt64), int64(math.MinInt64)
	for i, e := range test.Events {
		rec, err := recordOf(c.Schema, e)
		if err != nil {
			return []string{fmt.Sprintf("events[%d]: %v", i, err)}
		}
		rec.Offset = int64(i)
		v := d.Append(&rec)
		if v.Dead() {
			return []string{fmt.Sprintf("events[%d] would be a dead letter: %s %s: %s", i, v.Code, v.Path, v.Message)}
		}
	}
	if err := f.Add(d.Rows()); err != nil {
		return []string{err.Error()}
	}
	blocks := f.Take()
	for _, b := range blocks {
		first, last := b.Range()
		from, to = min(from, first), max(to, last+1)
	}
	if len(blocks) == 0 {
		from, to = 0, 1
	}
	req := Request{View: c.Name, Measures: expected(c, test.Expect), By: test.Expect.By, Grain: test.Expect.Grain}
	t, err := exampleTable(c, req, blocks, from, to)
	if err != nil {
		return []string{err.Error()}
	}
	return compare(t, test.Expect)
}

// expected are the view's measures, and the hidden ones that a row names.
func expected(c *metric.Compiled, want metric.Expect) []string {
	var names []string
	for i := range c.Measures {
		names = append(names, c.Measures[i].Name)
	}
	for _, row := range want.Rows {
		for _, hidden := range []string{"_late", "_late_dropped", "_errors"} {
			if _, named := row[hidden]; named && !slices.Contains(names, hidden) {
				names = append(names, hidden)
			}
		}
	}
	return names
}

func exampleTable(c *metric.Compiled, req Request, blocks []*fold.States, from, to int64) (*table, error) {
	segs := make([]ledger.Segment, len(blocks))
	for i, b := range blocks {
		segs[i].Tier = c.Grain.String()
		segs[i].From, segs[i].To = b.Range()
	}
	p := &plan{req: req, c: c, zone: c.Zone, from: from, to: to, floors: floors{}} // however old, all of it is kept
	for _, tier := range segment.Tiers(c) {
		p.floors[tier] = calendar.Beginning
	}
	if g, ok := calendar.GrainOf(req.Grain); ok {
		p.grain = g
	}
	if err := p.names(); err != nil {
		return nil, err
	}
	if err := p.align(math.MaxInt32); err != nil {
		return nil, err
	}
	t, err := p.merge(segs, blocks)
	if err != nil {
		return nil, err
	}
	t.w = &worth{stretches: []stretch{{from: math.MinInt64, to: math.MaxInt64, source: sourceLive}}, final: math.MaxInt64}
	return t, nil
}

// recordOf makes the record that the collector would make of the event.
func recordOf(s *event.Schema, e map[string]any) (event.Record, error) {
	body := make(map[string]any, len(e))
	for k, v := range e {
		if k != receivedMember {
			body[k] = v
		}
	}
	value, err := json.Marshal(body)
	if err != nil {
		return event.Record{}, err
	}
	if text, ok := e[receivedMember]; ok {
		t, err := time.Parse(time.RFC3339Nano, fmt.Sprint(text))
		if err != nil {
			return event.Record{}, fmt.Errorf("%s: %w", receivedMember, err)
		}
		return event.Record{Value: value, Received: t.UnixMicro()}, nil
	}
	return event.Record{Value: value, Received: receivedFor(s, value)}, nil
}

// receivedFor finds a moment at which the event is neither too old nor ahead, and then its own time.
func receivedFor(s *event.Schema, value []byte) int64 {
	step := max(s.Stream.MaxAge/2, 12*time.Hour)
	other := int64(0)
	for t := time.Date(2000, 1, 2, 0, 0, 0, 0, time.UTC); t.Year() < 2100; t = t.Add(step) {
		v := s.Judge(value, t.UnixMicro())
		if !v.Dead() {
			return v.EventTime
		}
		if other == 0 && v.Code != event.CodeTooOld && v.Code != event.CodeTooFarAhead {
			other = t.UnixMicro() // dead for another reason, which is the one to tell
		}
	}
	return other
}

// compare matches each expected row with the answer's rows: columns that a row does not name are free.
func compare(t *table, want metric.Expect) []string {
	var problems []string
	got := t.lines()
	columns := t.p.columns()
	used := make([]bool, len(got))
	for i, row := range want.Rows {
		at := -1
		for name := range row {
			if !slices.Contains(columns, name) {
				return append(problems, fmt.Sprintf("expect.rows[%d]: the answer has no column %q: it has %s", i, name, strings.Join(columns, ", ")))
			}
		}
		for j, l := range got {
			if !used[j] && t.agrees(l, columns, row) {
				at = j
				break
			}
		}
		if at < 0 {
			problems = append(problems, fmt.Sprintf("expect.rows[%d]: the answer has no row %s", i, rowText(columns, row)))
			continue
		}
		used[at] = true
		problems = append(problems, t.differences(got[at], fmt.Sprintf("expect.rows[%d]", i), row)...)
	}
	for j, l := range got {
		if !used[j] && l.group >= 0 {
			cells := map[string]any{}
			for k, v := range t.cells(l) {
				cells[columns[k]] = v
			}
			problems = append(problems, "the answer has a row that is not expected: "+rowText(columns, cells))
		}
	}
	return problems
}

// agrees tells whether a row has the expected time and dimensions.
func (t *table) agrees(l line, columns []string, row map[string]any) bool {
	for k, got := range t.cells(l) {
		want, named := row[columns[k]]
		switch {
		case !named:
		case columns[k] == "time":
			at, err := When(fmt.Sprint(want), time.Time{}, t.p.zone)
			if err != nil || at != l.bucket {
				return false
			}
		case t.p.c.Dimension(columns[k]) != nil && !sameValue(want, got, 0):
			return false
		}
	}
	return true
}

// differences lists the measures of a row that are not as expected.
func (t *table) differences(l line, where string, row map[string]any) []string {
	columns := t.p.columns()
	keys := map[string]any{}
	for name, v := range row {
		if name == "time" || t.p.c.Dimension(name) != nil {
			keys[name] = v
		}
	}
	if len(keys) > 0 {
		where += " " + rowText(columns, keys)
	}
	var problems []string
	for k, got := range t.cells(l) {
		want, named := row[columns[k]]
		if _, key := keys[columns[k]]; named && !key && !sameValue(want, got, t.tolerance(columns[k])) {
			problems = append(problems, fmt.Sprintf("%s: %s: expected %s, got %s", where, columns[k], valueText(want), valueText(got)))
		}
	}
	return problems
}

// tolerance is how far a column's number may be from the expected one, of it: within what a decimal in
// a file can say, of approximate measures within three times their error.
func (t *table) tolerance(column string) float64 {
	if m := t.p.c.Measure(column); m != nil {
		return max(1e-9, 3*t.p.approx()[column])
	}
	return 1e-9
}

// sameValue compares an expected value with one of the answer; numbers by value.
func sameValue(want, got any, tolerance float64) bool {
	if want == nil || got == nil {
		return want == nil && got == nil
	}
	x, xErr := strconv.ParseFloat(fmt.Sprint(want), 64)
	y, yErr := strconv.ParseFloat(fmt.Sprint(got), 64)
	if xErr == nil && yErr == nil {
		return x == y || math.Abs(x-y) <= tolerance*max(math.Abs(x), math.Abs(y))
	}
	return fmt.Sprint(want) == fmt.Sprint(got)
}

func valueText(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(text)
}

func rowText(columns []string, row map[string]any) string {
	var parts []string
	for _, c := range columns {
		if v, ok := row[c]; ok {
			parts = append(parts, c+": "+valueText(v))
		}
	}
	return "{" + strings.Join(parts, ", ") + "}"
}
