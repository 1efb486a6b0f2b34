package metric

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"sort"
	"strings"

	"github.com/pinflow/pinflow/internal/calendar"
	"github.com/pinflow/pinflow/internal/column"
	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/expr"
	"github.com/pinflow/pinflow/internal/nearest"
)

// What a view may say.
var (
	aggs        = []string{"count", "sum", "min", "max", "avg", aggDistinct, aggPercentile}
	formats     = []string{"humanize", "number", "integer", "percent", "currency", "bytes", "duration_ms"}
	grains      = []string{"minute", "hour", "day"}
	namePattern = regexp.MustCompile(`^[a-z][a-z0-9_]{0,62}$`)
)

// Compile checks a view against its stream's schema. It returns everything that is wrong with it;
// the result is nil if there are problems other than warnings.
func Compile(v View, s *event.Schema) (*Compiled, []Problem) {
	c := &compiler{v: v, schema: s, names: map[string]string{}}
	c.top()
	c.dimensions()
	c.measures()
	c.rest()
	if slices.ContainsFunc(c.problems, func(p Problem) bool { return !p.Warning }) {
		return nil, c.problems
	}
	c.def.States = canonicalStates(c.meta.Measures)
	c.def.Fields = c.fields()
	out, err := assemble(c.def, c.meta, s)
	if err != nil {
		c.add("", err.Error(), "")
		return nil, c.problems
	}
	return out, c.problems
}

type compiler struct {
	v        View
	schema   *event.Schema
	env      expr.Env
	def      definition
	meta     metadata
	used     []expr.Column
	names    map[string]string // dimension or measure name → path
	problems []Problem
}

func (c *compiler) add(path, message, suggestion string) {
	c.problems = append(c.problems, Problem{Path: path, Message: message, Suggestion: suggestion})
}

// oneOf checks a word against the allowed ones.
func (c *compiler) oneOf(path, what, word string, allowed []string) bool {
	if slices.Contains(allowed, word) {
		return true
	}
	hint := "allowed: " + strings.Join(allowed, ", ")
	if near := nearest.Name(word, allowed); near != "" {
		hint = fmt.Sprintf("did you mean %q? %s", near, hint)
	}
	c.add(path, fmt.Sprintf("unknown %s %q", what, word), hint)
	return false
}

func (c *compiler) zoneProblem(path, name string) {
	message, advice := calendar.UnknownZone(name)
	c.add(path, message, advice)
}

func (c *compiler) name(path, name string) {
	if !namePattern.MatchString(name) {
		c.add(path, fmt.Sprintf("bad name %q", name), "use lower-case letters, digits and _, beginning with a letter")
		return
	}
	if name == "time" || name == "state" || name == "complete_to" { // columns of answers
		what := map[string]string{"time": "the bucket's time", "state": "the state of a point", "complete_to": "the time to which an answer is complete"}
		c.add(path, fmt.Sprintf("the name %q is taken by %s", name, what[name]), "choose another")
		return
	}
	if first, ok := c.names[name]; ok {
		c.add(path, fmt.Sprintf("name %q is used twice", name), "it is also at "+first)
		return
	}
	c.names[name] = path
}

func (c *compiler) top() {
	v := c.v
	if v.Version != 1 {
		c.add("version", fmt.Sprintf("unknown version %d of the file format", v.Version), "write version: 1")
	}
	if !namePattern.MatchString(v.Name) {
		c.add("name", fmt.Sprintf("bad name %q", v.Name), "use lower-case letters, digits and _, beginning with a letter")
	}
	if v.Stream != c.schema.Stream.Name {
		c.add("stream", fmt.Sprintf("unknown stream %q", v.Stream), fmt.Sprintf("did you mean %q?", c.schema.Stream.Name))
	}
	zone, err := calendar.Load(v.TimeZone)
	if err != nil {
		c.zoneProblem("time_zone", v.TimeZone)
		zone, _ = calendar.Load("UTC")
	}
	c.env = expr.Env{Columns: columnsOf(c.schema), Zone: zone}
	grain := v.Grain
	if grain == "" {
		grain = "minute"
	}
	grainOK := c.oneOf("grain", "grain", grain, grains)
	c.def = definition{
		Format: definitionFormat, Stream: v.Stream, Time: v.Time, TimeZone: zone.Name(), Grain: grain, Late: -1,
		Filter: c.filter("filter", v.Filter),
	}
	c.time(grain, grainOK)
	if v.Late.Accept != "" && v.Late.Accept != "all" {
		us, err := ParseDuration(v.Late.Accept)
		if err != nil {
			c.add("late.accept", err.Error(), "write all, or the most that received − event time may be, like 7d")
		}
		c.def.Late = us
	}
}

func (c *compiler) time(grain string, grainOK bool) {
	if c.def.Time == "" {
		c.def.Time = event.ColumnEventTime
	}
	i := c.schema.Index(c.def.Time)
	var times []string
	for _, col := range c.env.Columns {
		if col.Kind == column.Timestamptz {
			times = append(times, col.Name)
		}
	}
	switch {
	case i < 0 || c.env.Columns[i].Kind != column.Timestamptz:
		hint := "allowed: " + strings.Join(times, ", ")
		c.add("time", fmt.Sprintf("%q is no timestamptz column of stream %s", c.def.Time, c.v.Stream), hint)
	case c.def.Time != event.ColumnEventTime && grain != "day" && grainOK:
		at := "grain"
		if c.v.Grain == "" { // it is minute by default
			at = "time"
		}
		c.add(at, fmt.Sprintf("a view by %s keeps days", c.def.Time), "write grain: day")
	default:
		c.used = append(c.used, c.env.Columns[i])
	}
}

// columnsOf lists what expressions may name.
func columnsOf(s *event.Schema) []expr.Column {
	cols := s.Columns()
	out := make([]expr.Column, len(cols))
	for i, x := range cols {
		out[i] = expr.Column{Name: x.Name, Kind: x.Kind}
	}
	return out
}

// expression compiles one text; nil if it has a problem.
func (c *compiler) expression(path, src string) *expr.Expr {
	e, err := expr.Compile(src, c.env)
	if err != nil {
		p := Problem{Path: path, Message: err.Error()}
		if x, ok := err.(*expr.Error); ok { //nolint:errorlint // Compile's error is an *Error itself
			p = Problem{Path: path, Offset: x.Pos, Length: x.End - x.Pos, Message: x.Message, Suggestion: x.Suggestion}
		}
		c.problems = append(c.problems, p)
		return nil
	}
	c.used = append(c.used, e.Columns()...)
	return e
}

func (c *compiler) filter(path, src string) string {
	if strings.TrimSpace(src) == "" {
		return ""
	}
	e := c.expression(path, src)
	if e == nil {
		return ""
	}
	if e.Kind() != column.Boolean {
		c.add(path, fmt.Sprintf("a filter is a condition, this is %s", e.Kind()), "compare it with something")
		return ""
	}
	return e.Canonical()
}

func (c *compiler) dimensions() {
	unnested := -1
	for i, d := range c.v.Dimensions {
		path := fmt.Sprintf("dimensions[%d]", i)
		c.name(path+".name", d.Name)
		at, src := path+".expr", d.Expr
		if src == "" {
			at, src = path+".name", `"`+strings.ReplaceAll(d.Name, `"`, `""`)+`"`
		}
		e := c.expression(at, src)
		if e == nil {
			continue
		}
		switch {
		case d.Unnest && e.Kind() != column.List:
			c.add(path+".unnest", fmt.Sprintf("unnest takes a list, %s is %s", e.Canonical(), e.Kind()), "leave unnest out")
			continue
		case d.Unnest && unnested >= 0:
			c.add(path+".unnest", "a view unnests one dimension", fmt.Sprintf("it is dimensions[%d]; put this one into a view of its own", unnested))
			continue
		case d.Unnest:
			unnested = i
		case e.Kind() == column.JSON:
			c.add(at, "a member of json has no type of its own", fmt.Sprintf("write cast(%s as string)", e.Canonical()))
			continue
		case e.Kind() == column.List:
			c.add(at, "a list cannot be grouped by", "write unnest: true to count the event under each element, or contains(…), cardinality(…)")
			continue
		}
		c.cardinality(at, d, e)
		stored := dimensionDef{Expr: e.Canonical(), Kind: e.Kind().String(), Unnest: d.Unnest}
		if !slices.Contains(c.def.Dimensions, stored) {
			c.def.Dimensions = append(c.def.Dimensions, stored)
		}
		c.meta.Dimensions = append(c.meta.Dimensions, dimensionMeta{
			Name: d.Name, DisplayName: d.DisplayName, Description: d.Description, Stored: stored,
		})
	}
	sort.Slice(c.def.Dimensions, func(i, j int) bool { return c.def.Dimensions[i].Expr < c.def.Dimensions[j].Expr })
}

func (c *compiler) measures() {
	if len(c.v.Measures) == 0 {
		c.add("measures", "a view needs a measure", "write measures: [{name: events, agg: count}]")
	}
	for i, m := range c.v.Measures {
		path := fmt.Sprintf("measures[%d]", i)
		c.name(path+".name", m.Name)
		if m.Format != "" {
			c.oneOf(path+".format", "format", m.Format, formats)
		}
		out := measureMeta{
			Name: m.Name, DisplayName: m.DisplayName, Description: m.Description, Format: m.Format, Unit: m.Unit,
			Type: m.Type, Agg: m.Agg,
		}
		if out.Type == "" {
			out.Type = typeAggregate
		}
		if !c.oneOf(path+".type", "type", out.Type, []string{typeAggregate, typeRatio}) {
			continue
		}
		if out.Type == typeRatio {
			out.Numerator, out.Denominator = m.Numerator, m.Denominator
			c.ratio(path, m)
		} else {
			out.Kind, out.States = c.aggregate(path, m)
			if m.Agg == aggPercentile && m.Percentile != nil {
				out.Percentile = *m.Percentile
			}
		}
		c.meta.Measures = append(c.meta.Measures, out)
	}
	c.percents()
}

// percentile checks the parameter of agg percentile.
func (c *compiler) percentile(path string, m Measure) {
	at, p := path+".percentile", m.Percentile
	switch {
	case m.Agg != aggPercentile:
		if p != nil {
			c.add(at, "percentile belongs to agg: percentile", "")
		}
	case p == nil:
		c.add(at, "percentile needs the percentile", "write percentile: 0.5 for the median")
	case *p > 1 && *p <= 100:
		c.add(at, fmt.Sprintf("percentile %v is not between 0 and 1", *p), fmt.Sprintf("write %v", *p/100))
	case !(*p >= 0 && *p <= 1):
		c.add(at, fmt.Sprintf("percentile %v is not between 0 and 1", *p), "write 0.5 for the median")
	}
}

func (c *compiler) ratio(path string, m Measure) {
	for _, part := range []struct{ key, name string }{{"numerator", m.Numerator}, {"denominator", m.Denominator}} {
		i := slices.IndexFunc(c.v.Measures, func(o Measure) bool { return o.Name == part.name && part.name != "" })
		switch {
		case i < 0:
			var names []string
			for _, o := range c.v.Measures {
				if o.Type != typeRatio {
					names = append(names, o.Name)
				}
			}
			c.oneOf(path+"."+part.key, "measure", part.name, names)
		case c.v.Measures[i].Type == typeRatio:
			c.add(path+"."+part.key, fmt.Sprintf("%q is a ratio itself", part.name), "name a stored measure")
		}
	}
	if m.Agg != "" || m.Expr != "" || m.Filter != "" || m.Percentile != nil {
		c.add(path, "a ratio has numerator and denominator only", "put expr and filter on the measures it divides")
	}
}

// aggregate gives the type of the measure's value and the states it is computed from.
func (c *compiler) aggregate(path string, m Measure) (kind string, states []stateDef) {
	if m.Numerator != "" || m.Denominator != "" {
		c.add(path+".type", "numerator and denominator belong to a ratio", "write type: ratio")
	}
	if !c.oneOf(path+".agg", "agg", m.Agg, aggs) {
		return "", nil
	}
	c.percentile(path, m)
	filter := c.filter(path+".filter", m.Filter)
	if m.Agg == "count" && m.Expr == "" {
		return column.Long.String(), []stateDef{{Op: OpRows.String(), Filter: filter}}
	}
	if m.Expr == "" {
		c.add(path+".agg", fmt.Sprintf("%s needs an expr", m.Agg), "write expr: and the column")
		return "", nil
	}
	e := c.expression(path+".expr", m.Expr)
	if e == nil {
		return "", nil
	}
	k, text := e.Kind(), e.Canonical()
	def := func(op Op) stateDef { return stateDef{Op: op.String(), Expr: text, Kind: k.String(), Filter: filter} }
	numeric := k == column.Long || k == column.Double
	switch {
	case k == column.JSON:
		c.add(path+".expr", "a member of json has no type of its own", fmt.Sprintf("write cast(%s as double)", text))
	case m.Agg == "count":
		return column.Long.String(), []stateDef{def(OpCount)}
	case m.Agg == "sum" && numeric:
		return k.String(), []stateDef{def(OpSum), def(OpCount)}
	case m.Agg == "avg" && numeric:
		return column.Double.String(), []stateDef{def(OpSum), def(OpCount)}
	case (m.Agg == "min" || m.Agg == "max") && (numeric || k == column.Timestamptz || k == column.Date):
		op := OpMin
		if m.Agg == "max" {
			op = OpMax
		}
		return k.String(), []stateDef{def(op), def(OpCount)}
	case m.Agg == aggDistinct && k != column.List:
		return column.Long.String(), []stateDef{def(OpDistinct)}
	case m.Agg == aggPercentile && numeric:
		return column.Double.String(), []stateDef{def(OpQuantile), def(OpMin), def(OpMax)}
	default:
		hint := "it takes long and double"
		if m.Agg == aggDistinct {
			hint = "it takes no list: unnest it as a dimension"
		}
		if k == column.Boolean {
			hint = "count the true ones: agg: count, filter: " + text
		}
		c.add(path+".expr", fmt.Sprintf("%s of %s", m.Agg, k), hint)
	}
	return "", nil
}

// canonicalStates are the states that the measures need, each once, in canonical order.
func canonicalStates(measures []measureMeta) []stateDef {
	out := []stateDef{}
	for _, m := range measures {
		for _, s := range m.States {
			if s != (stateDef{Op: OpRows.String()}) && !slices.Contains(out, s) { // rows is kept anyway
				out = append(out, s)
			}
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].key() < out[j].key() })
	return out
}

// fields are the types of the columns the definition reads: part of the hash.
func (c *compiler) fields() map[string]string {
	out := map[string]string{}
	for _, x := range c.used {
		out[x.Name] = x.Kind.String()
	}
	return out
}

func (c *compiler) rest() {
	v := c.v
	c.meta.Format, c.meta.Name = definitionFormat, v.Name
	c.meta.DisplayName, c.meta.Description, c.meta.Owner = v.DisplayName, v.Description, v.Owner
	c.meta.Deadline, c.meta.Tests = v.Deadline, v.Tests
	c.keep()
	c.backfill()
	if d := v.Deadline; d != nil {
		if _, ok := clockTime(d.By); !ok {
			c.add("deadline.by", fmt.Sprintf("bad time of day %q", d.By), `write it like "06:00"`)
		}
		if _, err := calendar.Load(d.TimeZone); err != nil {
			c.zoneProblem("deadline.time_zone", d.TimeZone)
		}
		if d.Warn != "" {
			if _, err := ParseDuration(d.Warn); err != nil {
				c.add("deadline.warn", err.Error(), "write it like 45m")
			}
		}
	}
	for i, t := range v.Tests {
		if t.Name == "" {
			c.add(fmt.Sprintf("tests[%d].name", i), "a test needs a name", "say what it shows")
		}
		if t.Expect.Grain != "" {
			if _, ok := calendar.GrainOf(t.Expect.Grain); !ok {
				c.oneOf(fmt.Sprintf("tests[%d].expect.grain", i), "grain", t.Expect.Grain, []string{"minute", "hour", "day", "week", "month", "year"})
			}
		}
		c.expected(fmt.Sprintf("tests[%d].expect", i), t.Expect)
		if _, err := json.Marshal(t); err != nil {
			c.add(fmt.Sprintf("tests[%d]", i), "events and rows must be plain values", err.Error())
		}
	}
}

// expected checks the names that an example expects. Those with _ are measures that every view has.
func (c *compiler) expected(path string, want Expect) {
	var dims, all []string
	for _, d := range c.v.Dimensions {
		dims = append(dims, d.Name)
	}
	for i, name := range want.By {
		c.oneOf(fmt.Sprintf("%s.by[%d]", path, i), "dimension", name, dims)
	}
	all = append([]string{"time"}, dims...)
	for _, m := range c.v.Measures {
		all = append(all, m.Name)
	}
	for i, row := range want.Rows {
		for _, name := range slices.Sorted(mapsKeys(row)) {
			if !strings.HasPrefix(name, "_") {
				c.oneOf(fmt.Sprintf("%s.rows[%d].%s", path, i, name), "column", name, all)
			}
		}
	}
}

func (c *compiler) keep() {
	kept := map[string]int64{}
	finest, _ := calendar.GrainOf(c.def.Grain)
	for _, g := range slices.Sorted(mapsKeys(c.v.Keep)) {
		path := "keep." + g
		if !c.oneOf(path, "grain", g, grains) {
			continue
		}
		if grain, _ := calendar.GrainOf(g); grain < finest {
			c.add(path, fmt.Sprintf("the view keeps no %ss: its grain is %s", g, finest), "remove it")
			continue
		}
		us := int64(Forever)
		if text := c.v.Keep[g]; text != "forever" {
			var err error
			if us, err = ParseDuration(text); err != nil {
				c.add(path, err.Error(), "write forever, or a duration like 90d")
				continue
			}
		}
		kept[g] = us
	}
	last := int64(0)
	for _, g := range grains {
		us, ok := kept[g]
		if !ok {
			continue
		}
		if us < last {
			c.add("keep."+g, "kept shorter than a finer grain", "keep coarser grains at least as long")
		}
		last = us
	}
	c.meta.Keep = kept
}

func (c *compiler) backfill() {
	switch from := c.v.Backfill.From; from {
	case "", "earliest":
	case "none":
		c.meta.NoHistory = true
	default:
		d, err := ParseDate(from)
		if err != nil {
			c.add("backfill.from", err.Error(), "write earliest, none or a date like 2026-01-01")
			return
		}
		us := calendar.NewClock(c.env.Zone).Midnight(d)
		c.meta.From = &us
	}
}
