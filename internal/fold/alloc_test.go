package fold_test

import (
	"fmt"
	"testing"

	"github.com/pinflow/pinflow/internal/calendar"
	"github.com/pinflow/pinflow/internal/fold"
	"github.com/pinflow/pinflow/internal/metric"
)

// Once groups, texts and buckets are known, rows cost no memory: what a batch allocates does not grow
// with it.
func TestRowsAllocateNothing(t *testing.T) {
	s := schema(t)
	c := view(t, s, func(v *metric.View) {
		v.Dimensions = append(v.Dimensions, metric.Dimension{Name: "tag", Expr: "tags", Unnest: true})
	})
	var pins []pin
	for i := range 4000 {
		category, country, kind, likes, price := fmt.Sprint("category ", i%50), "gb", "video", int64(i%700), float64(i%900)/7
		at := epoch + int64(i%120)*calendar.Second
		pins = append(pins, pin{
			category: &category, country: &country, kind: &kind, likes: &likes, price: &price, tags: []string{"a", "b"},
			at: at, received: at,
		})
	}
	f, rows := fold.New(c), rowsOf(t, s, pins)
	add := func() {
		if err := f.Add(rows); err != nil {
			t.Fatal(err)
		}
	}
	add()
	if n := testing.AllocsPerRun(10, add); n > 20 {
		t.Errorf("%v allocations for %d rows", n, rows.N)
	}
}
