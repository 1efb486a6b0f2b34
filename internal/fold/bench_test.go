package fold_test

import (
	"fmt"
	"testing"

	"github.com/pinflow/pinflow/internal/calendar"
	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/fold"
	"github.com/pinflow/pinflow/internal/metric"
)

const benchRows = 65536

// benchBatch is a batch over columns, as the lake gives it: so many groups in random order.
func benchBatch(b *testing.B, s *event.Schema, groups int) *event.Rows {
	d := s.NewDecoder(nil)
	state := uint64(42)
	next := func(n int) int {
		state = state*6364136223846793005 + 1442695040888963407
		return int(state>>33) % n
	}
	kinds := []string{"video", "image", "image"}
	for i := range benchRows {
		g := next(groups)
		category, country, likes, price := fmt.Sprintf("category-%d", g%1000), fmt.Sprintf("c%d", g/1000%10), int64(next(1000)), float64(next(10000))/100
		at := epoch + int64(g/10000)*60*calendar.Second + int64(next(59))*calendar.Second
		p := pin{category: &category, country: &country, kind: &kinds[next(3)], likes: &likes, price: &price, at: at, received: at}
		if v := d.Append(&event.Record{Offset: int64(i), Value: p.json(), Received: at}); v.Dead() {
			b.Fatalf("%+v", v)
		}
	}
	return d.Rows()
}

func benchView(b *testing.B, s *event.Schema) *metric.Compiled {
	return view(b, s, func(v *metric.View) {
		v.Measures = []metric.Measure{
			{Name: "posted", Agg: "count"},
			{Name: "video", Agg: "count", Filter: "kind = 'video'"},
			{Name: "likes", Agg: "sum", Expr: "likes"},
			{Name: "likes_max", Agg: "max", Expr: "likes"},
			{Name: "price_avg", Agg: "avg", Expr: "price"},
		}
	})
}

// benchSketches is a view of five measures, with a distinct count and a percentile.
func benchSketches(b *testing.B, s *event.Schema) *metric.Compiled {
	return view(b, s, func(v *metric.View) {
		v.Measures = []metric.Measure{
			{Name: "posted", Agg: "count"},
			{Name: "video", Agg: "count", Filter: "kind = 'video'"},
			{Name: "likes", Agg: "sum", Expr: "likes"},
			{Name: "seen", Agg: "count_distinct_approx", Expr: "likes"},
			{Name: "price_p50", Agg: "percentile", Expr: "price", Percentile: new(0.5)},
		}
	})
}

func BenchmarkFold(b *testing.B) { benchFold(b, benchView) }

func BenchmarkFoldSketches(b *testing.B) { benchFold(b, benchSketches) }

func benchFold(b *testing.B, view func(*testing.B, *event.Schema) *metric.Compiled) {
	s := schema(b)
	c := view(b, s)
	for _, groups := range []int{10, 1000, 100_000} {
		rows := benchBatch(b, s, groups)
		b.Run(fmt.Sprint(groups), func(b *testing.B) {
			b.ReportAllocs()
			f := fold.New(c)
			for b.Loop() {
				if err := f.Add(rows); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(benchRows)*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mrows/s")
		})
	}
}

func BenchmarkMerge(b *testing.B) {
	s := schema(b)
	c := benchView(b, s)
	var blocks []*fold.States
	rows := 0
	for range 20 {
		f := fold.New(c)
		if err := f.Add(benchBatch(b, s, 100_000)); err != nil {
			b.Fatal(err)
		}
		for _, t := range f.Take() {
			blocks, rows = append(blocks, t), rows+t.N
		}
	}
	by := fold.Grouping{Grain: calendar.Hour, Dims: []int{0}, States: []int{metric.StateRows}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := fold.Regroup(c, by, blocks...); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(rows)*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mrows/s")
}
