package query

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pinflow/pinflow/internal/calendar"
	"github.com/pinflow/pinflow/internal/column"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/fold"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/metric"
	"github.com/pinflow/pinflow/internal/nearest"
)

// Request is a question, in the words of the API's parameters.
type Request struct {
	View     string   // pins; pins@building, @standby, an id or the beginning of a hash: that version of it
	Measures []string // none: all
	By       []string
	Filter   string // category:travel,country:!gb; NULL is \N; \ escapes a comma, a \ and a leading !
	From     string // default now-7d/d
	To       string // not included; default now
	Grain    string // minute | hour | day | week | month | year; "" or none: totals of the range
	TZ       string // default: the view's
	AsOf     string // complete: leave out what is not
	Order    string // a column; -column: descending
	Limit    int    // with grain and by: that many groups and the rest as "other"; else rows. 0: all
}

// plan is a question that makes sense for one version of a view.
type plan struct {
	req      Request
	c        *metric.Compiled
	zone     *calendar.Zone
	measures []*metric.NamedMeasure
	by       []*metric.NamedDimension
	match    []fold.Match
	elements string // the unnested dimension, if what is under a filter on it counts its values and not events
	grain    calendar.Grain
	floors   floors
	reads    []ledger.Part // which tier answers which stretch, in order of time
	ranking  []ledger.Part // the same of totals: for top; nil if there is none
	holes    []hole        // what none answers
	from, to int64         // whole buckets
	buckets  []int64       // starts of the buckets in [from, to); of totals none
	order    string        // column; "": the default order
	down     bool
	complete bool // leave out what is not complete
	warnings []string
	final    int64 // with complete: what ends here or before is
}

// bad is a mistake in the question.
func bad(parameter, format string, args ...any) *fault.Error {
	return fault.New(fault.Record, "bad_parameter", parameter+": "+format, args...)
}

// unknown is a name that is not one of the allowed ones.
func unknown(parameter, what, name string, allowed []string) *fault.Error {
	e := bad(parameter, "unknown %s %q", what, name)
	if near := nearest.Name(name, allowed); near != "" {
		return e.WithAdvice("did you mean %q?", near)
	}
	return e.WithAdvice("use one of: %s", strings.Join(allowed, ", "))
}

func (e *Engine) plan(req Request, v *compiled, now time.Time) (*plan, error) {
	p := &plan{req: req, c: v.c, zone: v.c.Zone, floors: floorsOf(v.c, v.dropped, now), final: v.final(e.cfg.Wait)}
	for _, step := range []func() error{p.names, p.filters, p.options, func() error { return p.times(now, e.cfg.MaxRows) }} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (p *plan) names() error {
	c := p.c
	var measures, dims []string
	for i := range c.Measures {
		measures = append(measures, c.Measures[i].Name)
	}
	for i := range c.Dimensions {
		dims = append(dims, c.Dimensions[i].Name)
	}
	names := p.req.Measures
	if len(names) == 0 {
		names = measures
	}
	for _, name := range names {
		name = strings.TrimPrefix(name, c.Name+".")
		m := c.Measure(name)
		if m == nil {
			m = p.hidden(name)
		}
		if m == nil {
			return unknown("measures", "measure", name, measures)
		}
		if slices.ContainsFunc(p.measures, func(o *metric.NamedMeasure) bool { return o.Name == name }) {
			return bad("measures", "%q is named twice", name)
		}
		p.measures = append(p.measures, m)
	}
	for _, name := range p.req.By {
		d := c.Dimension(name)
		if d == nil {
			return unknown("by", "dimension", name, dims)
		}
		if slices.Contains(p.by, d) {
			return bad("by", "%q is named twice", name)
		}
		if d.Stored < 0 {
			return bad("by", "dimension %q is being filled in", name)
		}
		p.by = append(p.by, d)
	}
	return nil
}

// hidden is a measure that every view has: rows received after their bucket's end + grace (of totals,
// of the view's own grain), rows left out by late, and expressions that failed.
func (p *plan) hidden(name string) *metric.NamedMeasure {
	grain, _ := calendar.GrainOf(p.req.Grain)
	state, ok := map[string]int{
		"_late": p.c.LateState(max(grain, p.c.Grain)), "_late_dropped": metric.StateLateDropped, "_errors": metric.StateErrors,
	}[name]
	if !ok {
		return nil
	}
	return &metric.NamedMeasure{Name: name, Agg: "count", Kind: column.Long, States: []int{state}}
}

// filter is the conditions on one dimension.
type filter struct {
	dim     *metric.NamedDimension
	in, out []*string // nil: NULL
}

func (p *plan) filters() error {
	var all []*filter
	for _, part := range splitFilter(p.req.Filter) {
		name, value, ok := strings.Cut(part, ":")
		if !ok {
			return bad("f", "%q is no filter", part).WithAdvice("write dimension:value or dimension:!value")
		}
		d := p.c.Dimension(name)
		if d == nil {
			var dims []string
			for i := range p.c.Dimensions {
				dims = append(dims, p.c.Dimensions[i].Name)
			}
			return unknown("f", "dimension", name, dims)
		}
		if d.Stored < 0 {
			return bad("f", "dimension %q is being filled in", name)
		}
		i := slices.IndexFunc(all, func(f *filter) bool { return f.dim == d })
		if i < 0 {
			i, all = len(all), append(all, &filter{dim: d})
		}
		rest, not := strings.CutPrefix(value, "!")
		v := unescape(rest)
		if not {
			all[i].out = append(all[i].out, v)
		} else {
			all[i].in = append(all[i].in, v)
		}
	}
	for _, f := range all {
		if f.dim.Unnest && (len(f.in) != 1 || len(f.out) > 0) {
			p.elements = f.dim.Name
		}
		p.match = append(p.match, fold.Match{Dim: f.dim.Stored, Keep: f.keep})
	}
	return nil
}

// keep: one of the values asked for, if any are, and none of those excluded.
func (f *filter) keep(text []byte, null bool) bool {
	is := func(v *string) bool {
		if v == nil {
			return null
		}
		return !null && *v == string(text)
	}
	return (len(f.in) == 0 || slices.ContainsFunc(f.in, is)) && !slices.ContainsFunc(f.out, is)
}

// splitFilter cuts at commas that no backslash escapes; escapes stay.
func splitFilter(text string) []string {
	var out []string
	from := 0
	for i := 0; i <= len(text); i++ {
		if i < len(text) && text[i] == '\\' {
			i++
			continue
		}
		if i == len(text) || text[i] == ',' {
			if part := text[from:i]; part != "" {
				out = append(out, part)
			}
			from = i + 1
		}
	}
	if from < len(text) { // it ends in a backslash
		out = append(out, text[from:])
	}
	return out
}

func unescape(text string) *string {
	if text == `\N` {
		return nil
	}
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] == '\\' && i+1 < len(text) {
			i++
		}
		b.WriteByte(text[i])
	}
	s := b.String()
	return &s
}

func (p *plan) options() error {
	switch p.req.AsOf {
	case "":
	case "complete":
		p.complete = true
	default:
		return bad("as_of", "unknown word %q", p.req.AsOf).WithAdvice("write complete, or leave it out")
	}
	if p.req.Limit < 0 {
		return bad("limit", "%d is not a number of rows", p.req.Limit)
	}
	p.order, p.down = strings.CutPrefix(p.req.Order, "-")
	if p.order == "" {
		return nil
	}
	columns := p.columns()
	if !slices.Contains(columns, p.order) {
		return unknown("order", "column", p.order, columns)
	}
	return nil
}

// columns names the columns of the answer.
func (p *plan) columns() []string {
	var out []string
	if p.req.Grain != "" && p.req.Grain != "none" {
		out = append(out, "time")
	}
	for _, d := range p.by {
		out = append(out, d.Name)
	}
	for _, m := range p.measures {
		out = append(out, m.Name)
	}
	return out
}

func (p *plan) times(now time.Time, maxRows int) error {
	if p.req.TZ != "" {
		zone, err := calendar.Load(p.req.TZ)
		if err != nil {
			return bad("tz", "%w", err)
		}
		p.zone = zone
	}
	if g := p.req.Grain; g != "" && g != "none" {
		grain, ok := calendar.GrainOf(g)
		if !ok {
			return unknown("grain", "grain", g, []string{"minute", "hour", "day", "week", "month", "year"})
		}
		if grain < p.c.Grain {
			return bad("grain", "view %s keeps %ss, nothing finer", p.c.Name, p.c.Grain).WithAdvice("write grain=%s", p.c.Grain)
		}
		p.grain = grain
	}
	var err error
	texts := [2]string{p.req.From, p.req.To}
	for i, fallback := range [2]string{"now-7d/d", "now"} {
		if texts[i] == "" {
			texts[i] = fallback
		}
	}
	if p.from, err = When(texts[0], now, p.zone); err != nil {
		return bad("from", "%w", err)
	}
	if p.to, err = When(texts[1], now, p.zone); err != nil {
		return bad("to", "%w", err)
	}
	if p.from >= p.to {
		return bad("from", "the range is empty: from %s to %s", texts[0], texts[1])
	}
	return p.align(maxRows)
}

// widen notes that an end of totals is moved further than to a bucket of the view.
func (p *plan) widen(edge calendar.Grain, at int64) {
	if p.grain == calendar.None && edge > p.c.Grain {
		p.warnings = append(p.warnings, fmt.Sprintf("the range is widened at %s to the whole %s: what is finer is no longer kept", p.show(at), edge))
	}
}

// align widens the range to whole buckets, ends it where the data is not complete any more if that was
// asked for, and lists the buckets.
func (p *plan) align(maxRows int) error {
	clock := calendar.NewClock(p.zone)
	from, to := p.edge(p.from), p.edge(p.to)
	if start := clock.Start(from, p.from); start < p.from {
		p.widen(from, p.from)
		p.from = start
	}
	if start := clock.Start(to, p.to); start < p.to {
		p.widen(to, p.to)
		p.to = clock.End(to, p.to)
	}
	if p.complete && p.to > p.final {
		p.to = max(p.from, clock.Start(p.edge(p.final), max(p.final, p.from)))
	}
	if p.grain != calendar.None {
		for b := p.from; b < p.to; b = clock.End(p.grain, b) {
			if len(p.buckets) == maxRows {
				return bad("grain", "more than %d points in the range", maxRows).WithAdvice("ask for a coarser grain or a shorter range")
			}
			p.buckets = append(p.buckets, b)
		}
	}
	return p.cover()
}
