package metric

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pinflow/pinflow/internal/calendar"
	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/fault"
)

func schema(t testing.TB, more ...event.Field) *event.Schema {
	t.Helper()
	fields := []event.Field{
		{Name: "category", Type: "string"},
		{Name: "likes", Type: "long"},
		{Name: "price", Type: "double"},
		{Name: "is_test", Type: "boolean"},
		{Name: "seen_at", Type: "timestamptz"},
		{Name: "tag_list", Type: "list<string>"},
	}
	s, err := event.Compile(event.Stream{Name: "pin", Topic: "pin", Grace: 10 * time.Minute, Fields: append(fields, more...)}, 1)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func pins() View {
	return View{
		Version: 1, Name: "pins", DisplayName: "Pins", Stream: "pin", TimeZone: "Europe/London", Filter: "is_test is not true",
		Keep:       map[string]string{"minute": "7d", "hour": "90d", "day": "forever"},
		Dimensions: []Dimension{{Name: "category"}, {Name: "dear", Expr: "price > 10"}},
		Measures: []Measure{
			{Name: "posted", Agg: "count", Format: "humanize"},
			{Name: "likes", Agg: "sum", Expr: "likes"},
			{Name: "likes_avg", Agg: "avg", Expr: "likes"},
			{Name: "first_seen", Agg: "min", Expr: "seen_at"},
			{Name: "likes_share", Type: "ratio", Numerator: "likes", Denominator: "posted", Format: "percent"},
		},
		Deadline: &Deadline{By: "06:00", Warn: "45m"},
		Tests:    []Test{{Name: "one", Events: []map[string]any{{"category": "art"}}, Expect: Expect{Rows: []map[string]any{{"likes": 1}}}}},
	}
}

func compile(t testing.TB, v View, s *event.Schema) *Compiled {
	t.Helper()
	c, problems := Compile(v, s)
	if c == nil {
		t.Fatalf("%+v", problems)
	}
	return c
}

// The hash covers what changes the numbers, and nothing else.
func TestHash(t *testing.T) {
	s := schema(t)
	base := compile(t, pins(), s).Hash()
	for _, c := range []struct {
		name   string
		same   bool
		change func(*View)
	}{
		{"spelling of the filter", true, func(v *View) { v.Filter = "NOT (is_test  IS TRUE)" }},
		{"names of measures", true, func(v *View) { v.Measures[0].Name, v.Measures[4].Denominator = "pins", "pins" }},
		{"names of dimensions", true, func(v *View) { v.Dimensions[0] = Dimension{Name: "kind", Expr: "category"} }},
		{"order of measures", true, func(v *View) { v.Measures[0], v.Measures[1] = v.Measures[1], v.Measures[0] }},
		{"order of dimensions", true, func(v *View) { v.Dimensions[0], v.Dimensions[1] = v.Dimensions[1], v.Dimensions[0] }},
		{"a ratio", true, func(v *View) { v.Measures = v.Measures[:4] }},
		{"an average of what is summed", true, func(v *View) { v.Measures = append(v.Measures[:2:2], v.Measures[3:4]...) }},
		{"format, owner, keep, deadline, tests, backfill", true, func(v *View) {
			v.Owner, v.Keep, v.Deadline, v.Tests, v.Backfill.From, v.Measures[0].Format = "me", nil, nil, nil, "2026-01-01", ""
		}},
		{"defaults written out", true, func(v *View) { v.Grain, v.Time, v.Late.Accept = "minute", "_event_time", "all" }},
		{"the filter", false, func(v *View) { v.Filter = "" }},
		{"the time zone", false, func(v *View) { v.TimeZone = "UTC" }},
		{"the grain", false, func(v *View) { v.Grain, v.Keep = "hour", nil }},
		{"the time", false, func(v *View) { v.Time, v.Grain, v.Keep = "_received_at", "day", nil }},
		{"late", false, func(v *View) { v.Late.Accept = "7d" }},
		{"a dimension", false, func(v *View) { v.Dimensions = v.Dimensions[:1] }},
		{"a dimension's expr", false, func(v *View) { v.Dimensions[1].Expr = "price > 11" }},
		{"a measure", false, func(v *View) { v.Measures[3].Agg = "max" }},
		{"a measure's filter", false, func(v *View) { v.Measures[1].Filter = "likes > 0" }},
	} {
		v := pins()
		c.change(&v)
		if got := compile(t, v, s).Hash(); (got == base) != c.same {
			t.Errorf("%s: same hash %v, want %v", c.name, got == base, c.same)
		}
	}
	wider := compile(t, pins(), schema(t, event.Field{Name: "unused", Type: "long"}))
	if wider.Hash() != base {
		t.Error("a field that the view does not read changes the hash")
	}
}

func TestStoredViewIsTheSame(t *testing.T) {
	s := schema(t)
	c := compile(t, pins(), s)
	newer := schema(t, event.Field{Name: "later", Type: "long"})
	back, err := CompileStored(c.Definition(), c.Metadata(), newer)
	if err != nil {
		t.Fatal(err)
	}
	if back.Hash() != c.Hash() || string(back.Metadata()) != string(c.Metadata()) {
		t.Errorf("stored\n%s\n%s\nread\n%s\n%s", c.Definition(), c.Metadata(), back.Definition(), back.Metadata())
	}
	if d := cmp.Diff(c.Measures, back.Measures); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(c.Dimensions, back.Dimensions); d != "" {
		t.Error(d)
	}
	if c.Grain != calendar.Minute || c.Grace != 600*calendar.Second || c.Keep[calendar.Hour] != 90*86400*calendar.Second {
		t.Errorf("%+v", c)
	}
}

// Metadata may run ahead of a version: what the version does not have is marked, the rest works.
func TestMetadataAheadOfDefinition(t *testing.T) {
	s := schema(t)
	old := compile(t, pins(), s)
	v := pins()
	v.Measures = append(v.Measures, Measure{Name: "dearest", Agg: "max", Expr: "price"})
	v.Dimensions = append(v.Dimensions, Dimension{Name: "liked", Expr: "likes > 0"})
	c, err := CompileStored(old.Definition(), compile(t, v, s).Metadata(), s)
	if err != nil {
		t.Fatal(err)
	}
	if c.Measure("dearest").States != nil || c.Dimension("liked").Stored != -1 || c.Measure("posted").States == nil {
		t.Errorf("%+v %+v", c.Measures, c.Dimensions)
	}
}

func TestDamagedStoredView(t *testing.T) {
	s := schema(t)
	c := compile(t, pins(), s)
	if _, err := CompileStored([]byte("{"), c.Metadata(), s); fault.KindOf(err) != fault.Corrupt {
		t.Errorf("got %v", err)
	}
	newer := strings.Replace(string(c.Definition()), `"format":1`, `"format":2`, 1)
	if _, err := CompileStored([]byte(newer), c.Metadata(), s); fault.CodeOf(err) != "newer_definition" {
		t.Errorf("got %v", err)
	}
	other, err := event.Compile(event.Stream{Name: "pin", Topic: "pin", Fields: []event.Field{{Name: "category", Type: "long"}}}, 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := CompileStored(c.Definition(), c.Metadata(), other); err == nil {
		t.Error("a view of other fields is accepted")
	}
}

func TestColumns(t *testing.T) {
	s := schema(t)
	need := compile(t, pins(), s).Columns(s)
	var got []string
	for i, c := range s.Columns() {
		if need[i] {
			got = append(got, c.Name)
		}
	}
	want := []string{"category", "likes", "price", "is_test", "seen_at", "_event_time", "_received_at"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// Every mistake is named, with its place and what to write instead.
func TestProblems(t *testing.T) {
	for _, c := range []struct {
		path, message, suggestion string
		change                    func(*View)
	}{
		{"version", "unknown version 2", "version: 1", func(v *View) { v.Version = 2 }},
		{"name", `bad name "Pins"`, "lower-case", func(v *View) { v.Name = "Pins" }},
		{"stream", `unknown stream "pins"`, `"pin"`, func(v *View) { v.Stream = "pins" }},
		{"time", `"likes" is no timestamptz column`, "_received_at", func(v *View) { v.Time = "likes" }},
		{"time", "a view by seen_at keeps days", "grain: day", func(v *View) { v.Time = "seen_at" }},
		{"grain", `unknown grain "hours"`, `did you mean "hour"?`, func(v *View) { v.Grain = "hours" }},
		{"time_zone", `unknown time zone "London"`, "", func(v *View) { v.TimeZone = "London" }},
		{"filter", "a filter is a condition, this is long", "compare", func(v *View) { v.Filter = "likes" }},
		{"filter", `unknown column "is_tst"`, `did you mean "is_test"?`, func(v *View) { v.Filter = "is_tst is not true" }},
		{"keep.hour", `bad duration "soon"`, "90d", func(v *View) { v.Keep = map[string]string{"hour": "soon"} }},
		{"keep.hour", "kept shorter", "at least as long", func(v *View) { v.Keep = map[string]string{"minute": "7d", "hour": "1d"} }},
		{"keep.minute", "the view keeps no minutes", "remove", func(v *View) { v.Grain = "hour" }},
		{"late.accept", `bad duration "never"`, "7d", func(v *View) { v.Late.Accept = "never" }},
		{"backfill.from", `bad date "yesterday"`, "2026-01-01", func(v *View) { v.Backfill.From = "yesterday" }},
		{"deadline.by", `bad time of day "6 am"`, "06:00", func(v *View) { v.Deadline.By = "6 am" }},
		{"dimensions[0].name", `unknown column "catgory"`, `did you mean "category"?`, func(v *View) { v.Dimensions[0].Name = "catgory" }},
		{"dimensions[1].name", "is used twice", "dimensions[0].name", func(v *View) { v.Dimensions[1].Name = "category" }},
		{"dimensions[1].expr", "has no type of its own", "write cast(_extra.mood as string)", func(v *View) { v.Dimensions[1].Expr = "_extra.mood" }},
		{"dimensions[1].expr", "a list cannot be grouped by", "contains", func(v *View) { v.Dimensions[1].Expr = "tag_list" }},
		{"dimensions[1].unnest", "unnest takes a list", "leave unnest out", func(v *View) { v.Dimensions[1].Unnest = true }},
		{"dimensions[2].unnest", "a view unnests one dimension", "dimensions[1]", func(v *View) {
			v.Dimensions[1].Expr, v.Dimensions[1].Unnest = "tag_list", true
			v.Dimensions = append(v.Dimensions, Dimension{Name: "tag", Expr: "tag_list", Unnest: true})
		}},
		{"measures", "needs a measure", "agg: count", func(v *View) { v.Measures = nil }},
		{"measures[0].agg", `unknown agg "cont"`, `did you mean "count"?`, func(v *View) { v.Measures[0].Agg = "cont" }},
		{"measures[0].percentile", "percentile needs the percentile", "percentile: 0.5", func(v *View) { v.Measures[0].Agg = "percentile" }},
		{"measures[1].percentile", "percentile 95 is not between 0 and 1", "write 0.95", func(v *View) { v.Measures[1].Agg, v.Measures[1].Percentile = "percentile", new(95.0) }},
		{"measures[1].percentile", "percentile -1 is not between", "write 0.5", func(v *View) { v.Measures[1].Agg, v.Measures[1].Percentile = "percentile", new(-1.0) }},
		{"measures[1].percentile", "belongs to agg: percentile", "", func(v *View) { v.Measures[1].Percentile = new(0.5) }},
		{"measures[1].expr", "percentile of string", "long and double", func(v *View) {
			v.Measures[1].Agg, v.Measures[1].Expr, v.Measures[1].Percentile = "percentile", "category", new(0.5)
		}},
		{"measures[1].expr", "count_distinct_approx of list", "unnest", func(v *View) { v.Measures[1].Agg, v.Measures[1].Expr = "count_distinct_approx", "tag_list" }},
		{"measures[0].name", `the name "state" is taken by the state of a point`, "", func(v *View) { v.Measures[0].Name, v.Measures[4].Denominator = "state", "state" }},
		{"measures[0].name", `the name "time" is taken`, "", func(v *View) { v.Measures[0].Name, v.Measures[4].Denominator = "time", "time" }},
		{"measures[0].format", `unknown format "percnt"`, `did you mean "percent"?`, func(v *View) { v.Measures[0].Format = "percnt" }},
		{"measures[1].agg", "sum needs an expr", "", func(v *View) { v.Measures[1].Expr = "" }},
		{"measures[1].expr", "sum of string", "long and double", func(v *View) { v.Measures[1].Expr = "category" }},
		{"measures[1].expr", "sum of boolean", "filter: is_test", func(v *View) { v.Measures[1].Expr = "is_test" }},
		{"measures[1].filter", "this is string", "", func(v *View) { v.Measures[1].Filter = "category" }},
		{"measures[4].numerator", `unknown measure "like"`, `did you mean "likes"?`, func(v *View) { v.Measures[4].Numerator = "like" }},
		{"measures[4].numerator", "is a ratio itself", "", func(v *View) { v.Measures[4].Numerator = "likes_share" }},
		{"measures[4].type", `unknown type "ration"`, `did you mean "ratio"?`, func(v *View) { v.Measures[4].Type = "ration" }},
		{"tests[0].expect.grain", "unknown grain", "", func(v *View) { v.Tests[0].Expect.Grain = "second" }},
		{"tests[0].expect.by[0]", `unknown dimension "catgory"`, "did you mean \"category\"?", func(v *View) { v.Tests[0].Expect.By = []string{"catgory"} }},
		{"tests[0].expect.rows[0].liks", `unknown column "liks"`, "did you mean \"likes\"?", func(v *View) { v.Tests[0].Expect.Rows = []map[string]any{{"_late": 1, "liks": 1}} }},
	} {
		v := pins()
		c.change(&v)
		out, problems := Compile(v, schema(t))
		if out != nil || len(problems) == 0 {
			t.Errorf("%s %s: accepted", c.path, c.message)
			continue
		}
		p := problems[0]
		if p.Path != c.path || !strings.Contains(p.Message, c.message) || !strings.Contains(p.Suggestion, c.suggestion) {
			t.Errorf("want %s: %s: %s\ngot  %+v", c.path, c.message, c.suggestion, problems)
		}
	}
}

func TestAllProblemsAtOnce(t *testing.T) {
	v := pins()
	v.Filter, v.Grain, v.Measures[1].Expr = "nothing", "second", "1 +"
	_, problems := Compile(v, schema(t))
	var got []string
	for _, p := range problems {
		got = append(got, fmt.Sprintf("%s@%d+%d", p.Path, p.Offset, p.Length))
	}
	want := []string{"grain@0+0", "filter@0+7", "measures[1].expr@3+0"}
	for _, w := range want {
		if !strings.Contains(strings.Join(got, " "), w) {
			t.Errorf("no %s in %v", w, got)
		}
	}
}

func TestParseDuration(t *testing.T) {
	for text, want := range map[string]int64{"0s": 0, "10m": 600, "1h30m": 5400, "7d": 604800, "2w": 1209600, "3650d": 315360000} {
		if got, err := ParseDuration(text); err != nil || got != want*calendar.Second {
			t.Errorf("%s: %d %v", text, got, err)
		}
	}
	for _, text := range []string{"", "7", "d", "-7d", "7 d", "1.5h", "999999999d", "99999999999d", "7y"} {
		if got, err := ParseDuration(text); err == nil {
			t.Errorf("%q is %d", text, got)
		}
	}
}

// Percentiles of one expression read the same buckets, so they are one definition; unnesting is another.
func TestPercentilesShareTheirState(t *testing.T) {
	hash := func(change func(*View)) string {
		v := pins()
		v.Measures = append(v.Measures, Measure{Name: "p", Agg: "percentile", Expr: "likes", Percentile: new(0.5)})
		change(&v)
		c, problems := Compile(v, schema(t))
		if c == nil {
			t.Fatal(problems)
		}
		stored, err := CompileStored(c.Definition(), c.Metadata(), schema(t))
		if err != nil {
			t.Fatal(err)
		}
		if m := stored.Measure("p"); m.Percentile != *v.Measures[len(v.Measures)-1].Percentile || m.Approx() == 0 {
			t.Errorf("what was stored is %+v", m)
		}
		return stored.Hash()
	}
	half := hash(func(*View) {})
	if other := hash(func(v *View) { v.Measures[len(v.Measures)-1].Percentile = new(0.95) }); other != half {
		t.Error("another percentile is another definition")
	}
	list := func(unnest bool) func(v *View) {
		return func(v *View) {
			d := Dimension{Name: "tag", Expr: "tag_list", Unnest: true}
			if !unnest {
				d = Dimension{Name: "tag", Expr: "cast(cardinality(tag_list) as string)"}
			}
			v.Dimensions = append(v.Dimensions, d)
		}
	}
	if a, b := hash(list(true)), hash(list(false)); a == b || a == half {
		t.Error("unnesting does not change the definition")
	}
}
