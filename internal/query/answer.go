package query

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pinflow/pinflow/internal/calendar"
	"github.com/pinflow/pinflow/internal/column"
	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/fold"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/metric"
)

// Answer is what a query found. It marshals to the body of /v1/query.
type Answer struct {
	Columns []string `json:"columns"`
	Rows    [][]any  `json:"rows"`
	Points  Points   `json:"points"`
	Meta    Meta     `json:"meta"`

	CompleteTo time.Time `json:"-"` // zero: nothing yet
	NewestSeal int64     `json:"-"` // of the ledger
}

// Points says of each row what it is worth: complete, incomplete, revised, backfilling or missing.
type Points struct {
	State []string `json:"state"`
}

// Meta says what the answer is of. It holds no clock: it changes only when the answer does.
type Meta struct {
	CompleteTo *string            `json:"complete_to"` // null: nothing yet
	From       string             `json:"from"`        // whole buckets
	To         string             `json:"to"`
	Grain      string             `json:"grain,omitempty"`
	TimeZone   string             `json:"time_zone"`
	Earliest   *string            `json:"earliest"` // start of the oldest bucket there is
	Versions   map[string]string  `json:"versions"`
	Coverage   []Coverage         `json:"coverage"`
	Changed    *string            `json:"definition_changed"` // since when a version without history counts; null: it has one
	Approx     map[string]float64 `json:"approx"`
	Revised    []Revised          `json:"revised"`
	Partial    []Partial          `json:"partial"`
	Other      *Other             `json:"other,omitempty"`
	Warnings   []string           `json:"warnings"`
}

// Other is the groups beyond the limit, summed up.
type Other struct {
	Label  string `json:"label"`
	Groups int    `json:"groups"`
}

// table is the answer's rows before they are written out: a merged block and what its columns are.
type table struct {
	p     *plan
	w     *worth
	block *fold.States
	at    []int // column of each of the view's states; -1: not read
	late  int   // column of the late rows
	rank  []int // per row: place of its group; nil: by text
	other *Other
	whole *fold.States // the bookkeeping by time alone, where each event counts once

	lastBucket int64 // written out last, and how
	lastText   string
}

// answer merges the segments' blocks and writes the rows.
func (p *plan) answer(d *ledger.Data, blocks []*fold.States, now time.Time, cfg Config) (*Answer, error) {
	t, err := p.merge(d.Segments, blocks)
	if err != nil {
		return nil, fault.New(fault.Corrupt, "bad_segment", "merging %d segments: %w", len(d.Segments), err)
	}
	t.w = newWorth(p, d, now, cfg.Wait)
	a := &Answer{Columns: p.columns(), Rows: [][]any{}, Points: Points{State: []string{}}, CompleteTo: d.CompleteTo, NewestSeal: d.NewestSeal}
	if err := t.write(a, cfg.MaxRows); err != nil {
		return nil, err
	}
	t.meta(a, d)
	return a, nil
}

// states lists the states that the measures and the bookkeeping need.
func (p *plan) states() []int {
	need := []int{metric.StateRows, metric.StateErrors, metric.StateLateDropped, p.c.LateState(p.lateGrain())}
	for _, m := range p.measures {
		for _, part := range p.parts(m) {
			need = append(need, part.States...)
		}
	}
	slices.Sort(need)
	return slices.Compact(need)
}

// lateGrain is the grain after the end of whose buckets an event is late: the one asked for, and of a
// total the coarsest that fits its range. So a total over a month is revised by what came after the
// month, one over three days if one of these days is.
func (p *plan) lateGrain() calendar.Grain {
	if p.grain != calendar.None {
		return p.grain
	}
	clock := calendar.NewClock(p.c.Zone)
	for g := calendar.Year; g > p.c.Grain; g-- {
		if clock.Start(g, p.from) == p.from && clock.Start(g, p.to) == p.to {
			return g
		}
	}
	return p.c.Grain
}

// parts are the stored measures that a measure is computed from: itself, or those a ratio divides.
func (p *plan) parts(m *metric.NamedMeasure) []*metric.NamedMeasure {
	if !m.Ratio() {
		return []*metric.NamedMeasure{m}
	}
	return []*metric.NamedMeasure{p.c.Measure(m.Numerator), p.c.Measure(m.Denominator)}
}

// need is states as flags.
func (p *plan) need() []bool {
	need := make([]bool, len(p.c.States))
	for _, s := range p.states() {
		need[s] = true
	}
	if p.ranked() {
		m, _ := p.rankedBy()
		for _, part := range p.parts(m) {
			if part != nil {
				for _, s := range part.States {
					need[s] = true
				}
			}
		}
	}
	return need
}

// merge groups the blocks' rows as asked, top groups and the rest where there is a limit.
func (p *plan) merge(segs []ledger.Segment, blocks []*fold.States) (*table, error) {
	states := p.states()
	by := fold.Grouping{Grain: p.grain, Clock: calendar.NewClock(p.zone), States: states, Match: p.match}
	for _, d := range p.by {
		by.Dims = append(by.Dims, d.Stored)
	}
	t := &table{p: p, at: p.positions(states)}
	t.late = t.at[p.c.LateState(p.lateGrain())]
	var err error
	if p.ranked() {
		if by.Top, t.other, err = p.top(by, partsOf(p.ranking, segs, blocks)); err != nil {
			return nil, err
		}
	}
	parts := partsOf(p.reads, segs, blocks)
	if t.block, err = p.regroup(by, parts); err != nil {
		return nil, err
	}
	if t.whole, err = p.bookkeeping(t, parts); err != nil {
		return nil, err
	}
	if by.Top != nil {
		t.rank = make([]int, t.block.N)
		for i := range t.rank {
			rank, ok := by.Top.Kept[t.block.Key(i)]
			if !ok {
				rank = len(by.Top.Kept)
			}
			t.rank[i] = rank
		}
	}
	return t, nil
}

// parallelRows is how many rows are worth a goroutine.
const parallelRows = 100_000

// regroup merges the parts, in as many goroutines as there are processors where there is much to do.
func (p *plan) regroup(by fold.Grouping, parts []fold.Part) (*fold.States, error) {
	rows := 0
	for _, x := range parts {
		rows += x.Block.N
	}
	workers := min(runtime.GOMAXPROCS(0), rows/parallelRows)
	if workers < 2 {
		return fold.RegroupParts(p.c, by, parts...)
	}
	done := make([]*fold.States, workers)
	var work errgroup.Group
	share, from := rows/workers+1, 0
	for n := range workers {
		to, sum := from, 0
		for to < len(parts) && (sum < share || n == workers-1) {
			sum += parts[to].Block.N
			to++
		}
		mine := parts[from:to]
		from = to
		work.Go(func() (err error) {
			own := by
			own.Clock = calendar.NewClock(p.zone)
			done[n], err = fold.RegroupParts(p.c, own, mine...)
			return err
		})
	}
	if err := work.Wait(); err != nil {
		return nil, err
	}
	return fold.MergeGroups(by, done...), nil
}

// positions says which of the chosen states each of the view's is; -1: none.
func (p *plan) positions(states []int) []int {
	at := make([]int, len(p.c.States))
	for i := range at {
		at[i] = slices.Index(states, i)
	}
	return at
}

// value finishes a measure for row i.
func (t *table) value(m *metric.NamedMeasure, i int) fold.Number {
	parts := t.p.parts(m)
	for _, part := range parts {
		if part == nil || part.States == nil {
			return fold.Number{Null: true}
		}
	}
	if m.Ratio() {
		return fold.Divide(fold.Value(parts[0], t.block, t.at, i), fold.Value(parts[1], t.block, t.at, i))
	}
	return fold.Value(m, t.block, t.at, i)
}

// shown tells whether a row is one of the answer: what only bookkeeping made is if that is asked for.
func (t *table) shown(i int) bool {
	if t.block.Cols[t.at[metric.StateRows]].Ints[i] > 0 {
		return true
	}
	return slices.ContainsFunc(t.p.measures, func(m *metric.NamedMeasure) bool {
		return strings.HasPrefix(m.Name, "_") && t.block.Cols[t.at[m.States[0]]].Ints[i] > 0
	})
}

// line is a row of the answer with what it is sorted by.
type line struct {
	bucket int64
	group  int // row of the block; -1: none, a zero or a gap
	like   int // row of the block with the same dimension values; -1: there are no dimensions
	state  string
}

func (t *table) write(a *Answer, maxRows int) error {
	lines := t.lines()
	if t.p.req.AsOf != "" && t.p.grain != calendar.None { // a total has no other point to leave: it keeps its state
		lines = slices.DeleteFunc(lines, func(l line) bool { return l.state != stateComplete && l.state != stateRevised })
	}
	if p := t.p; p.req.Limit > 0 && (p.grain == calendar.None || len(p.by) == 0) && len(lines) > p.req.Limit {
		lines = lines[:p.req.Limit]
	}
	if len(lines) > maxRows {
		return fault.New(fault.Record, "too_many_rows", "%d rows, more than %d", len(lines), maxRows).
			WithAdvice("ask for a shorter range, a coarser grain, fewer dimensions, or a limit")
	}
	for _, l := range lines {
		a.Rows = append(a.Rows, t.cells(l))
		a.Points.State = append(a.Points.State, l.state)
	}
	return nil
}

// lines are the rows in order: those of the block, and where there are no dimensions or a limited
// number of series those of the buckets that have none.
func (t *table) lines() []line {
	p := t.p
	out := make([]line, 0, t.block.N)
	filled := p.grain != calendar.None && (len(p.by) == 0 || t.rank != nil) // every series has all buckets
	var have []bool                                                         // bucket by bucket: of each series
	like := []int{-1}                                                       // by series: a row of it
	if filled {
		if t.rank != nil {
			like = slices.Repeat([]int{-1}, slices.Max(append(t.rank, 0))+1)
		}
		have = make([]bool, len(p.buckets)*len(like))
	}
	for i := range t.block.N {
		if !t.shown(i) {
			continue
		}
		if filled {
			k, _ := slices.BinarySearch(p.buckets, t.block.Buckets[i])
			series := 0
			if t.rank != nil {
				series = t.rank[i]
				like[series] = i
			}
			have[k*len(like)+series] = true
		}
		out = append(out, line{bucket: t.block.Buckets[i], group: i, like: i, state: t.state(i)})
	}
	if p.grain == calendar.None && len(p.by) == 0 && len(out) == 0 && p.from < p.to {
		out = append(out, line{group: -1, like: -1, state: t.w.total(p.to, 0)})
	}
	for n, there := range have {
		k, series := n/len(like), n%len(like)
		if b := p.buckets[k]; !there && (like[series] >= 0 || len(p.by) == 0) && t.w.at(b).source != "" {
			out = append(out, line{bucket: b, group: -1, like: like[series], state: t.w.state(b, p.end(k), 0)})
		}
	}
	t.sort(out)
	return out
}

// end is the end of bucket k.
func (p *plan) end(k int) int64 {
	if k+1 < len(p.buckets) {
		return p.buckets[k+1]
	}
	return p.to
}

func (t *table) state(i int) string {
	if t.p.grain == calendar.None {
		return t.w.total(t.p.to, t.block.Cols[t.late].Ints[i])
	}
	b := t.block.Buckets[i]
	if t.w.some(b) {
		return stateIncomplete
	}
	k, _ := slices.BinarySearch(t.p.buckets, b)
	return t.w.state(b, t.p.end(k), t.block.Cols[t.late].Ints[i])
}

// sort orders by the column asked for, then by time, then by dimension values, NULL last.
func (t *table) sort(lines []line) {
	p := t.p
	m := slices.IndexFunc(p.measures, func(m *metric.NamedMeasure) bool { return m.Name == p.order })
	d := slices.IndexFunc(p.by, func(d *metric.NamedDimension) bool { return d.Name == p.order })
	sign := 1
	if p.down {
		sign = -1
	}
	slices.SortStableFunc(lines, func(a, b line) int {
		byTime, byText := cmp.Compare(a.bucket, b.bucket), t.compareGroups(a.like, b.like)
		switch {
		case m >= 0:
			return cmp.Or(t.compareValues(p.measures[m], a.group, b.group, sign), byTime, byText)
		case d >= 0:
			return cmp.Or(sign*t.compareDim(d, a.like, b.like), byTime, byText)
		case p.order == "time":
			return cmp.Or(sign*byTime, byText)
		}
		return cmp.Or(byTime, byText)
	})
}

// compareValues puts NULL last in either direction.
func (t *table) compareValues(m *metric.NamedMeasure, a, b, sign int) int {
	x, y := fold.Empty(m), fold.Empty(m)
	if a >= 0 {
		x = t.value(m, a)
	}
	if b >= 0 {
		y = t.value(m, b)
	}
	switch {
	case x.Null || y.Null:
		return cmp.Compare(boolInt(x.Null), boolInt(y.Null))
	case x.Double || y.Double:
		return sign * cmp.Compare(x.Float64(), y.Float64())
	}
	return sign * cmp.Or(cmp.Compare(x.High, y.High), cmp.Compare(x.Low, y.Low))
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (t *table) compareGroups(a, b int) int {
	if a < 0 || b < 0 {
		return 0
	}
	if t.rank != nil {
		return cmp.Compare(t.rank[a], t.rank[b])
	}
	for d := range t.block.Dims {
		if c := t.compareDim(d, a, b); c != 0 {
			return c
		}
	}
	return 0
}

func (t *table) compareDim(d, a, b int) int {
	if a < 0 || b < 0 {
		return 0
	}
	dim := &t.block.Dims[d]
	x, y := dim.Codes[a], dim.Codes[b]
	switch {
	case x == y:
		return 0
	case x == 0 || y == 0:
		return cmp.Compare(boolInt(x == 0), boolInt(y == 0))
	case t.p.by[d].Kind == column.Long || t.p.by[d].Kind == column.Double:
		p, _ := strconv.ParseFloat(string(dim.Text(x)), 64)
		q, _ := strconv.ParseFloat(string(dim.Text(y)), 64)
		if p != q {
			return cmp.Compare(p, q)
		}
	}
	return bytes.Compare(dim.Text(x), dim.Text(y))
}

// cells writes a row out.
func (t *table) cells(l line) []any {
	p := t.p
	out := make([]any, 0, 1+len(p.by)+len(p.measures))
	if p.grain != calendar.None {
		if t.lastText == "" || t.lastBucket != l.bucket { // rows are mostly in order of time
			t.lastBucket, t.lastText = l.bucket, p.show(l.bucket)
		}
		out = append(out, t.lastText)
	}
	for d := range p.by {
		out = append(out, t.dimValue(d, l.like))
	}
	hole := l.state == stateMissing || (l.group < 0 && l.state == stateBackfilling)
	for _, m := range p.measures {
		n := fold.Empty(m)
		if l.group >= 0 {
			n = t.value(m, l.group)
		}
		if hole || p.pending(m) {
			n = fold.Number{Null: true}
		}
		out = append(out, cell(n, m.Kind))
	}
	return out
}

// pending tells whether this version of the view does not have the measure yet.
func (p *plan) pending(m *metric.NamedMeasure) bool {
	return slices.ContainsFunc(p.parts(m), func(x *metric.NamedMeasure) bool { return x == nil || x.States == nil })
}

// show prints an instant in the query's zone.
func (p *plan) show(us int64) string {
	return time.UnixMicro(us).In(p.zone.Location()).Format(time.RFC3339Nano)
}

func (t *table) dimValue(d, group int) any {
	if group < 0 {
		return nil
	}
	dim := &t.block.Dims[d]
	code := dim.Codes[group]
	if code == 0 {
		return nil
	}
	text := string(dim.Text(code))
	switch t.p.by[d].Kind {
	case column.Long, column.Double:
		if _, err := strconv.ParseFloat(text, 64); err == nil { // not the label of other
			return json.Number(text)
		}
	case column.Boolean:
		if b, err := strconv.ParseBool(text); err == nil {
			return b
		}
	}
	return text
}

func cell(n fold.Number, kind column.Kind) any {
	switch {
	case n.Null:
		return nil
	case n.Double:
		return n.F
	case kind == column.Timestamptz || kind == column.Date:
		return n.Text(kind)
	case n.High == int64(n.Low)>>63:
		return int64(n.Low)
	}
	return json.Number(n.Text(kind))
}

func (t *table) meta(a *Answer, d *ledger.Data) {
	p := t.p
	a.Meta = Meta{
		From: p.show(p.from), To: p.show(p.to), TimeZone: p.zone.Name(),
		Versions: map[string]string{p.c.Name: p.c.Hash()[:8]}, Coverage: t.w.coverage(p.show),
		Approx: p.approx(), Revised: t.revised(), Partial: t.partial(), Other: t.other, Warnings: append([]string{}, p.warnings...),
	}
	if p.grain != calendar.None {
		a.Meta.Grain = p.grain.String()
	}
	if !d.CompleteTo.IsZero() {
		text := d.CompleteTo.UTC().Format(time.RFC3339Nano)
		a.Meta.CompleteTo = &text
	}
	if t.w.changed != 0 {
		text := p.show(t.w.changed)
		a.Meta.Changed = &text
	}
	if d.Earliest != 0 {
		text := p.show(d.Earliest)
		a.Meta.Earliest = &text
	}
	sum := func(state int) (n int64) {
		for _, x := range t.whole.Cols[state].Ints {
			n += x
		}
		return n
	}
	for _, f := range d.Importing {
		a.Meta.Warnings = append(a.Meta.Warnings, fmt.Sprintf("%s is being imported: its rows, %d so far, count when all of it is in the lake", f.Name, f.Rows))
	}
	if n := sum(keptErrors); n > 0 {
		text := fmt.Sprintf("an expression failed %d times: such a row counts with NULL there", n)
		if p.c.Time != event.ColumnEventTime {
			text = fmt.Sprintf("%s have no %s and are left out, or an expression failed on them and counts as NULL there", events(n), p.c.Time)
		}
		a.Meta.Warnings = append(a.Meta.Warnings, text)
	}
	if n := sum(keptDropped); n > 0 {
		a.Meta.Warnings = append(a.Meta.Warnings, fmt.Sprintf("%s%s came later than the view accepts: left out", events(n), p.each()))
	}
	if p.elements != "" {
		a.Meta.Warnings = append(a.Meta.Warnings, fmt.Sprintf("%s has several values of an event: under a filter on it an event counts once for each that passes", p.elements))
	}
	if i := slices.IndexFunc(p.by, func(d *metric.NamedDimension) bool { return d.Unnest }); i >= 0 {
		a.Meta.Warnings = append(a.Meta.Warnings, fmt.Sprintf("an event counts once under each value of %s: rows add up to more than the total", p.by[i].Name))
	}
	for _, m := range p.measures {
		if p.pending(m) {
			a.Meta.Warnings = append(a.Meta.Warnings, fmt.Sprintf("measure %s is being filled in", m.Name))
		}
	}
}

func events(n int64) string {
	if n == 1 {
		return "1 event"
	}
	return fmt.Sprintf("%d events", n)
}

// approx is the relative error of the measures that have one; of a ratio, of its sides together.
func (p *plan) approx() map[string]float64 {
	out := map[string]float64{}
	for _, m := range p.measures {
		for _, part := range p.parts(m) {
			if part != nil && part.Approx() > 0 {
				out[m.Name] += part.Approx()
			}
		}
	}
	return out
}
