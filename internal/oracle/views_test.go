package oracle

import (
	"context"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/expr"
	"github.com/pinflow/pinflow/internal/fold"
	"github.com/pinflow/pinflow/internal/metric"
	"github.com/pinflow/pinflow/internal/prove"
)

const viewCases = 400

// Generated views over generated rows: one statement in DuckDB makes the kernel's groups, counts, sums,
// limits, registers, buckets, late and failed rows. Sums of doubles, which depend on the order where
// numbers of all sizes meet, have a test of their own. (M3)
func TestViewsAgreeWithDuckDB(t *testing.T) {
	prove.Invariant(t, "M3")
	seed, cases := setting(t, "ORACLE_SEED", 1), setting(t, "ORACLE_CASES", viewCases)
	t.Logf("seed %d", seed)
	ctx := context.Background()
	duck, err := Open(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer duck.Close()
	compared, groups := 0, 0
	for n := range cases {
		g := NewGen(seed, 1<<32|n)
		c, rows, err := g.viewCase(1 + g.IntN(200))
		if err != nil {
			t.Fatalf("case %d: %v", n, err)
		}
		if c == nil {
			continue
		}
		if err := duck.Load(ctx, "t", rows.Schema.Columns(), rows.Cols, rows.N); err != nil {
			t.Fatal(err)
		}
		sql, err := c.SQL(expr.DuckDB, metric.Rows{Table: "t"})
		if err != nil {
			t.Fatalf("case %d: %v", n, err)
		}
		answer, err := duck.Query(ctx, sql)
		if err != nil {
			t.Fatalf("case %d: %v", n, err)
		}
		got, err := Block(c, answer)
		if err != nil {
			t.Fatalf("case %d: %v\n%s", n, err, sql)
		}
		want, err := folded(c, rows)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(Tell(c, want), Tell(c, got)); d != "" {
			t.Errorf("case %d: -kernel +DuckDB\n%s\n%s\n%s", n, d, c.Definition(), sql)
		}
		compared, groups = compared+1, groups+want.N
	}
	t.Logf("%d views, %d groups", compared, groups)
	if uint64(compared) < cases*3/4 {
		t.Errorf("only %d views", compared)
	}
}

// viewCase draws a view and rows; nil if what was drawn is no view.
func (g Gen) viewCase(n int) (*metric.Compiled, *event.Rows, error) {
	s, err := g.Schema()
	if err != nil {
		return nil, nil, err
	}
	c, _ := metric.Compile(g.View(s), s)
	return c, g.Rows(s, n), nil
}

func folded(c *metric.Compiled, rows *event.Rows) (*fold.States, error) {
	f := fold.New(c)
	if err := f.Add(rows); err != nil {
		return nil, err
	}
	return fold.Merge(c, f.Take()...)
}

// Sums of doubles that fit together agree within 1e-9 of Σ|x|.
func TestSumsOfDoublesAgreeWithDuckDB(t *testing.T) {
	prove.Invariant(t, "M3")
	ctx := context.Background()
	duck, err := Open(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer duck.Close()
	g := NewGen(setting(t, "ORACLE_SEED", 1), 1<<40)
	s, err := g.Schema()
	if err != nil {
		t.Fatal(err)
	}
	c, problems := metric.Compile(metric.View{
		Version: 1, Name: "pins", Stream: "pin", Grain: "day", Dimensions: []metric.Dimension{{Name: "s0"}},
		Measures: []metric.Measure{{Name: "m", Agg: "sum", Expr: "x0"}},
	}, s)
	if c == nil {
		t.Fatal(problems)
	}
	rows := g.Rows(s, 5000)
	x, abs := &rows.Cols[s.Index("x0")], 0.0
	for i := range x.Floats {
		x.Floats[i] = g.NormFloat64() * 1e6
		abs += math.Abs(x.Floats[i])
	}
	if err := duck.Load(ctx, "t", s.Columns(), rows.Cols, rows.N); err != nil {
		t.Fatal(err)
	}
	sql, err := c.SQL(expr.DuckDB, metric.Rows{Table: "t"})
	if err != nil {
		t.Fatal(err)
	}
	answer, err := duck.Query(ctx, sql)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Block(c, answer)
	if err != nil {
		t.Fatal(err)
	}
	want, err := folded(c, rows)
	if err != nil {
		t.Fatal(err)
	}
	at := map[string]int{}
	for i := range got.N {
		at[Key(got, i)] = i
	}
	state := c.Measures[0].States[0]
	for i := range want.N {
		a, b := want.Cols[state].Floats[i]+want.Cols[state].Rest[i], got.Cols[state].Floats[at[Key(want, i)]]
		if math.Abs(a-b) > 1e-9*abs {
			t.Errorf("%s: %v, DuckDB %v", Key(want, i), a, b)
		}
	}
}
