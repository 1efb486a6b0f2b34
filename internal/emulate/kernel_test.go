package emulate

import (
	"math"
	"testing"

	"github.com/pinflow/pinflow/internal/config"
	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/fold"
	"github.com/pinflow/pinflow/internal/metric"
	"github.com/pinflow/pinflow/internal/span"
)

// The kernel, asked for the built-in views, says what the truth expects in plain arithmetic.
func TestKernelAgreesWithTheTruth(t *testing.T) {
	p, err := config.BuiltIn()
	if err != nil {
		t.Fatal(err)
	}
	e, err := New(Config{URL: "http://x", Run: "r", Seed: 11, Shares: Shares{Late: 0.05, Bad: 0.02}}, quiet())
	if err != nil {
		t.Fatal(err)
	}
	schemas := map[string]*event.Schema{}
	for _, s := range p.EventStreams() {
		if schemas[s.Name], err = event.Compile(s, 1); err != nil {
			t.Fatal(err)
		}
	}
	views := map[string]*metric.Compiled{}
	for _, v := range p.MetricViews() {
		c, problems := metric.Compile(v, schemas[v.Stream])
		for _, problem := range problems {
			t.Errorf("%s %s: %s", v.Name, problem.Path, problem.Message)
		}
		views[v.Name] = c
	}
	for _, spec := range viewSpecs() {
		t.Run(spec.name, func(t *testing.T) {
			want := newExpected(spec)
			got := foldEvents(t, views[spec.name], schemas[spec.stream], e, want)
			compareStates(t, views[spec.name], want, got)
		})
	}
}

func foldEvents(t *testing.T, c *metric.Compiled, s *event.Schema, e *Emulator, want *expected) *fold.States {
	t.Helper()
	const at = 1_795_000_000_000_000
	d, f := s.NewDecoder(c.Columns(s)), fold.New(c)
	var blocks []*fold.States
	for post := range int64(5000) {
		m, _ := e.gen.event(nil, want.spec.stream, post, when{at: at, width: freshWidth})
		v := d.Append(&event.Record{Key: span.Key{Log: 1}, Offset: post, Value: m.body, ID: m.id(), Received: at, Schema: 1})
		if v.Dead() != (m.want != accepted) {
			t.Fatalf("%s: %+v", m.body, v)
		}
		if m.want == accepted {
			want.add(&m)
		}
		if post%700 == 699 || post == 4999 {
			if err := f.Add(d.Rows()); err != nil {
				t.Fatal(err)
			}
			d.Reset()
			blocks = append(blocks, f.Take()...)
		}
	}
	all, err := fold.Merge(c, blocks...)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func compareStates(t *testing.T, c *metric.Compiled, want *expected, got *fold.States) {
	t.Helper()
	at := make([]int, len(c.States))
	for i := range at {
		at[i] = i
	}
	counted := 0
	for i := range got.N {
		if n := got.Cols[metric.StateErrors].Ints[i]; n != 0 {
			t.Errorf("%d expressions failed", n)
		}
		values := make([]string, len(c.Dimensions))
		for k, d := range c.Dimensions {
			dim := &got.Dims[d.Stored]
			values[k] = string(dim.Text(dim.Codes[i]))
		}
		g := group{got.Buckets[i], key(values)}
		all, ok := want.minutes[g]
		if !ok {
			if got.Cols[metric.StateRows].Ints[i] != 0 {
				t.Errorf("nothing expected at %s %s", rfc3339(g.time), describe(g))
			}
			continue
		}
		counted++
		for k, m := range want.spec.measures {
			v, null, off := value(want.spec.measures, all, k)
			n := finish(t, c, got, at, i, m.name)
			if n.Null != null || !null && math.Abs(n.Float64()-v) > off {
				t.Errorf("%s at %s %s: the kernel says %+v, expected %v (null: %v)", m.name, rfc3339(g.time), describe(g), n, v, null)
			}
		}
	}
	if counted != len(want.minutes) || counted < 50 {
		t.Errorf("%d groups, expected %d", counted, len(want.minutes))
	}
}

func finish(t *testing.T, c *metric.Compiled, s *fold.States, at []int, i int, name string) fold.Number {
	t.Helper()
	for k := range c.Measures {
		m := &c.Measures[k]
		switch {
		case m.Name != name:
		case m.Ratio():
			return fold.Divide(finish(t, c, s, at, i, m.Numerator), finish(t, c, s, at, i, m.Denominator))
		default:
			return fold.Value(m, s, at, i)
		}
	}
	t.Fatalf("the view has no measure %s", name)
	return fold.Number{}
}
