package fold_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/pinflow/pinflow/internal/calendar"
	"github.com/pinflow/pinflow/internal/fold"
	"github.com/pinflow/pinflow/internal/metric"
	"github.com/pinflow/pinflow/internal/prove"
)

func genTagged(t *rapid.T) pin {
	p := genPin(t)
	if rapid.IntRange(0, 4).Draw(t, "tagged") > 0 {
		p.tags = rapid.SliceOfN(rapid.SampledFrom([]string{"cat", "dog", "", "art"}), 0, 5).Draw(t, "tags")
	}
	return p
}

// byElement is each pin once under each of its distinct tags, which stand in for its category; NULL
// where there are none.
func byElement(pins []pin) []pin {
	var out []pin
	for _, p := range pins {
		seen := map[string]bool{}
		for _, tag := range p.tags {
			if !seen[tag] {
				seen[tag] = true
				p.category = &tag
				out = append(out, p)
			}
		}
		if len(p.tags) == 0 {
			p.category = nil
			out = append(out, p)
		}
	}
	return out
}

// An unnested dimension counts an event once under each distinct element, and takes nothing from what
// is asked without it; however blocks were cut and merged before. (M2)
func TestUnnest(t *testing.T) {
	prove.Invariant(t, "M2")
	s := schema(t)
	c := view(t, s, func(v *metric.View) {
		v.Dimensions = append(v.Dimensions, metric.Dimension{Name: "tag", Expr: "tags", Unnest: true})
	})
	tag, country := c.Dimension("tag").Stored, c.Dimension("country").Stored
	rapid.Check(t, func(rt *rapid.T) {
		pins := rapid.SliceOfN(rapid.Custom(genTagged), 1, 30).Draw(rt, "pins")
		f := fold.New(c)
		var blocks []*fold.States
		for i := range pins {
			if err := f.Add(rowsOf(rt, s, pins[i:i+1])); err != nil {
				rt.Fatal(err)
			}
			if rapid.Bool().Draw(rt, "flush") {
				blocks = append(blocks, f.Take()...)
			}
		}
		blocks = append(blocks, f.Take()...)
		if rapid.Bool().Draw(rt, "compact") {
			m, err := fold.Merge(c, blocks...)
			if err != nil {
				rt.Fatal(err)
			}
			blocks = m.Split(200, nil)
		}
		ask := func(dims []int, match ...fold.Match) map[string]map[string]any {
			by := fold.Everything(c, calendar.Day)
			by.Dims, by.Match, by.Both = dims, match, false
			got, err := fold.Regroup(c, by, blocks...)
			if err != nil {
				rt.Fatal(err)
			}
			return read(c, got, calendar.Day)
		}
		zone := c.Zone.Location()
		if d := diff(naive(pins, zone, "day", nil), ask(nil)); d != "" {
			rt.Fatalf("totals: %s", d)
		}
		if d := diff(naive(pins, zone, "day", []string{"country"}), ask([]int{country})); d != "" {
			rt.Fatalf("by another dimension: %s", d)
		}
		elements := byElement(pins)
		if d := diff(naive(elements, zone, "day", []string{"category", "country"}), ask([]int{tag, country})); d != "" {
			rt.Fatalf("by the unnested one: %s", d)
		}
		var kept []pin
		for _, p := range elements {
			if p.category != nil && *p.category != "dog" {
				kept = append(kept, p)
			}
		}
		noDog := fold.Match{Dim: tag, Keep: func(text []byte, null bool) bool { return !null && string(text) != "dog" }}
		if d := diff(naive(kept, zone, "day", nil), ask(nil, noDog)); d != "" {
			rt.Fatalf("totals under a filter on it: %s", d)
		}
	})
}

// A failure counts once for the event, and once under each of its elements.
func TestUnnestCountsFailuresOnce(t *testing.T) {
	s := schema(t)
	c := view(t, s, func(v *metric.View) {
		v.Dimensions = []metric.Dimension{{Name: "tag", Expr: "tags", Unnest: true}}
		v.Measures = []metric.Measure{{Name: "number", Agg: "sum", Expr: "cast(country as long)", Filter: "kind = 'video'"}}
	})
	text := func(x string) *string { return &x }
	f := fold.New(c)
	if err := f.Add(rowsOf(t, s, []pin{
		{country: text("x"), kind: text("video"), tags: []string{"a", "b", "a"}, at: epoch, received: epoch},
		{country: text("x"), kind: text("image"), tags: []string{"a"}, at: epoch, received: epoch},
		{country: text("7"), kind: text("video"), tags: []string{"a"}, at: epoch, received: epoch},
	})); err != nil {
		t.Fatal(err)
	}
	b := f.Take()[0]
	got := map[string][2]int64{}
	for i := range b.N {
		got[string(b.Dims[0].Text(b.Dims[0].Codes[i]))] = [2]int64{b.Cols[metric.StateRows].Ints[i], b.Cols[metric.StateErrors].Ints[i]}
	}
	if len(got) != 3 || got[fold.Whole] != [2]int64{3, 1} || got["a"] != [2]int64{3, 1} || got["b"] != [2]int64{1, 1} {
		t.Errorf("%v", got)
	}
}
