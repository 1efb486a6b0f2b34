package fold_test

import (
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pinflow/pinflow/internal/column"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/pinflow/pinflow/internal/calendar"
	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/fold"
	"github.com/pinflow/pinflow/internal/metric"
	"github.com/pinflow/pinflow/internal/prove"
	"github.com/pinflow/pinflow/internal/sketch"
)

func schema(t testing.TB) *event.Schema {
	t.Helper()
	s, err := event.Compile(event.Stream{Name: "pin", Topic: "pin", Grace: 10 * time.Minute, EventTime: "event_time", Fields: []event.Field{
		{Name: "category", Type: "string"},
		{Name: "country", Type: "string"},
		{Name: "kind", Type: "string"},
		{Name: "likes", Type: "long"},
		{Name: "price", Type: "double"},
		{Name: "is_test", Type: "boolean"},
		{Name: "tags", Type: "list<string>"},
	}}, 1)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func view(t testing.TB, s *event.Schema, change func(*metric.View)) *metric.Compiled {
	t.Helper()
	v := metric.View{
		Version: 1, Name: "pins", Stream: "pin", Filter: "is_test is not true",
		Dimensions: []metric.Dimension{{Name: "category"}, {Name: "country", Expr: "coalesce(country, 'unknown')"}},
		Measures: []metric.Measure{
			{Name: "posted", Agg: "count"},
			{Name: "video", Agg: "count", Filter: "kind = 'video'"},
			{Name: "likes", Agg: "sum", Expr: "likes"},
			{Name: "likes_max", Agg: "max", Expr: "likes", Filter: "kind = 'video'"},
			{Name: "likes_avg", Agg: "avg", Expr: "likes"},
			{Name: "price", Agg: "sum", Expr: "price"},
			{Name: "price_min", Agg: "min", Expr: "price"},
			{Name: "price_p90", Agg: "percentile", Expr: "price", Percentile: new(0.9)},
			{Name: "likes_seen", Agg: "count_distinct_approx", Expr: "likes"},
			{Name: "kinds", Agg: "count_distinct_approx", Expr: "kind", Filter: "likes > 0"},
			{Name: "video_share", Type: "ratio", Numerator: "video", Denominator: "posted"},
		},
	}
	if change != nil {
		change(&v)
	}
	c, problems := metric.Compile(v, s)
	if len(problems) > 0 {
		t.Fatalf("%+v", problems)
	}
	return c
}

// pin is one event and what a naive fold needs of it.
type pin struct {
	category, country, kind *string
	likes                   *int64
	price                   *float64
	test                    bool
	tags                    []string
	at, received            int64
}

func (p pin) json() []byte {
	var b strings.Builder
	fmt.Fprintf(&b, `{"event_time":%q,"is_test":%v`, time.UnixMicro(p.at).UTC().Format(time.RFC3339Nano), p.test)
	for _, f := range []struct {
		name string
		v    *string
	}{{"category", p.category}, {"country", p.country}, {"kind", p.kind}} {
		if f.v != nil {
			fmt.Fprintf(&b, `,%q:%q`, f.name, *f.v)
		}
	}
	if p.tags != nil {
		text, _ := json.Marshal(p.tags)
		fmt.Fprintf(&b, `,"tags":%s`, text)
	}
	if p.likes != nil {
		fmt.Fprintf(&b, `,"likes":%d`, *p.likes)
	}
	if p.price != nil {
		fmt.Fprintf(&b, `,"price":%v`, *p.price)
	}
	return []byte(b.String() + "}")
}

func rowsOf(t interface{ Fatalf(string, ...any) }, s *event.Schema, pins []pin) *event.Rows {
	d := s.NewDecoder(nil)
	for i, p := range pins {
		if v := d.Append(&event.Record{Offset: int64(i), Value: p.json(), Received: p.received}); v.Dead() {
			t.Fatalf("%s: %+v", p.json(), v)
		}
	}
	return d.Rows()
}

// coded gives the texts of rows the form of a dictionary and codes, as they come from Parquet.
func coded(rows *event.Rows) *event.Rows {
	out := &event.Rows{Schema: rows.Schema, N: rows.N, Cols: slices.Clone(rows.Cols)}
	for c := range out.Cols {
		v, from := &out.Cols[c], &rows.Cols[c]
		if v.Kind != column.String {
			continue
		}
		entries := map[string]int32{}
		v.Offs, v.Bytes = []int32{0}, nil
		for i := range v.Len {
			word := string(from.Text(i))
			if _, ok := entries[word]; !ok {
				entries[word] = int32(len(entries))
				v.Bytes = append(v.Bytes, word...)
				v.Offs = append(v.Offs, int32(len(v.Bytes)))
			}
			v.Codes = append(v.Codes, entries[word])
		}
	}
	return out
}

var epoch = time.Date(2026, 3, 28, 22, 0, 0, 0, time.UTC).UnixMicro()

func genPin(t *rapid.T) pin {
	text := func(name string, of ...string) *string {
		x := rapid.SampledFrom(append(of, "NULL")).Draw(t, name)
		if x == "NULL" {
			return nil
		}
		return &x
	}
	p := pin{
		category: text("category", "art", "travel", ""), country: text("country", "gb", "de"), kind: text("kind", "video", "image"),
		test: rapid.IntRange(0, 5).Draw(t, "test") == 0,
		at:   epoch + rapid.Int64Range(0, 30*3600).Draw(t, "at")*calendar.Second,
	}
	p.received = p.at + rapid.SampledFrom([]int64{0, 1, 599, 600, 700, 4000, 90000, 40 * 86400}).Draw(t, "delay")*calendar.Second
	if rapid.Bool().Draw(t, "has likes") {
		x := rapid.SampledFrom([]int64{0, 1, -5, math.MaxInt64, math.MinInt64, 1 << 60}).Draw(t, "likes")
		p.likes = &x
	}
	if rapid.Bool().Draw(t, "has price") {
		x := rapid.Float64Range(-1e12, 1e12).Draw(t, "price")
		p.price = &x
	}
	return p
}

// naive answers by the definition, with exact numbers: group → measure → value.
func naive(pins []pin, zone *time.Location, grain string, dims []string) map[string]map[string]any {
	type acc struct {
		posted, video, late int64
		likes               *big.Int
		n                   int64
		max                 *int64
		price, abs          *big.Float
		min                 *float64
		prices              []float64
		seen                map[int64]bool
		kinds               map[string]bool
	}
	groups := map[string]*acc{}
	for _, p := range pins {
		if p.test {
			continue
		}
		start, end := bucketOf(p.at, zone, grain)
		key := fmt.Sprint(start)
		for _, d := range dims {
			v := "NULL"
			if d == "category" && p.category != nil {
				v = *p.category
			}
			if d == "country" {
				v = "unknown"
				if p.country != nil {
					v = *p.country
				}
			}
			key += "|" + v
		}
		a := groups[key]
		if a == nil {
			a = &acc{likes: new(big.Int), price: new(big.Float).SetPrec(2000), abs: new(big.Float), seen: map[int64]bool{}, kinds: map[string]bool{}}
			groups[key] = a
		}
		a.posted++
		if p.received >= end+10*60*calendar.Second {
			a.late++
		}
		video := p.kind != nil && *p.kind == "video"
		if video {
			a.video++
		}
		if p.likes != nil {
			a.likes.Add(a.likes, big.NewInt(*p.likes))
			a.n++
			a.seen[*p.likes] = true
			if p.kind != nil && *p.likes > 0 {
				a.kinds[*p.kind] = true
			}
			if video && (a.max == nil || *p.likes > *a.max) {
				a.max = p.likes
			}
		}
		if p.price != nil {
			a.price.Add(a.price, big.NewFloat(*p.price))
			a.abs.Add(a.abs, big.NewFloat(math.Abs(*p.price)))
			a.prices = append(a.prices, *p.price)
			if a.min == nil || *p.price < *a.min {
				a.min = p.price
			}
		}
	}
	out := map[string]map[string]any{}
	for key, a := range groups {
		m := map[string]any{"posted": fmt.Sprint(a.posted), "video": fmt.Sprint(a.video), "_late": fmt.Sprint(a.late), "likes": "null", "likes_max": "null", "price_min": "null", "likes_seen": fmt.Sprint(len(a.seen)), "kinds": fmt.Sprint(len(a.kinds))}
		if a.n > 0 {
			m["likes"] = a.likes.String()
		}
		if a.max != nil {
			m["likes_max"] = fmt.Sprint(*a.max)
		}
		if a.min != nil {
			m["price_min"] = fold.Number{Double: true, F: *a.min + 0}.Text(0)
			x, _ := a.price.Float64()
			abs, _ := a.abs.Float64()
			m["price"] = sum{x, abs}
			slices.Sort(a.prices)
			p90 := a.prices[(9*len(a.prices)+9)/10-1]
			m["price_p90"] = sum{p90, sketch.QuantileError * math.Abs(p90) / 1e-9}
		}
		out[key] = m
	}
	return out
}

func bucketOf(us int64, zone *time.Location, grain string) (start, end int64) {
	t := time.UnixMicro(us).In(zone)
	switch grain {
	case "minute":
		s := us - us%(60*calendar.Second)
		return s, s + 60*calendar.Second
	case "hour":
		s := us - us%(3600*calendar.Second)
		return s, s + 3600*calendar.Second
	default:
		return time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, zone).UnixMicro(), time.Date(t.Year(), t.Month(), t.Day()+1, 0, 0, 0, 0, zone).UnixMicro()
	}
}

// read finishes the measures of a block that has all states.
func read(c *metric.Compiled, s *fold.States, grain calendar.Grain) map[string]map[string]any {
	at := make([]int, len(c.States))
	for i := range at {
		at[i] = i
	}
	out := map[string]map[string]any{}
	for i := range s.N {
		key := fmt.Sprint(s.Buckets[i])
		for d := range s.Dims {
			v := "NULL"
			if code := s.Dims[d].Codes[i]; code > 0 {
				v = string(s.Dims[d].Text(code))
			}
			key += "|" + v
		}
		m := map[string]any{"_late": fmt.Sprint(s.Cols[c.LateState(grain)].Ints[i])}
		for _, name := range []string{"posted", "video", "likes", "likes_max", "price_min", "price", "price_p90", "likes_seen", "kinds"} {
			n := fold.Value(c.Measure(name), s, at, i)
			if name == "price" || name == "price_p90" {
				if !n.Null {
					m[name] = sum{value: n.F}
				}
				continue
			}
			m[name] = n.Text(0)
		}
		out[key] = m
	}
	return out
}

// sum is a sum of doubles and Σ|x|, as far as the side knows it.
type sum struct{ value, abs float64 }

// diff compares; sums of doubles may differ by 1e-9 · Σ|x|.
func diff(want, got map[string]map[string]any) string {
	near := cmp.Comparer(func(a, b sum) bool { return math.Abs(a.value-b.value) <= 1e-9*max(a.abs, b.abs) })
	return cmp.Diff(want, got, near)
}

// However events are cut into batches, batches into folders of whatever grain, and blocks merged in whatever
// order and shape, at any grain and by any dimensions: the answer is that of a naive fold of all events. (M2)
func TestFoldAndMergeAnyWay(t *testing.T) {
	prove.Invariant(t, "M2")
	s := schema(t)
	rapid.Check(t, func(rt *rapid.T) {
		zoneName := rapid.SampledFrom([]string{"UTC", "Europe/London"}).Draw(rt, "zone")
		filtered := rapid.Bool().Draw(rt, "filtered")
		c := view(t, s, func(v *metric.View) {
			if v.TimeZone = zoneName; !filtered {
				v.Filter = ""
			}
		})
		every := rapid.SliceOfN(rapid.Custom(genPin), 1, 40).Draw(rt, "pins")
		for i := range every {
			every[i].test = every[i].test && filtered
		}
		pins := every

		grains := []calendar.Grain{calendar.Minute, calendar.Hour, calendar.Day}
		grain := rapid.SampledFrom(grains).Draw(rt, "grain")
		var blocks []*fold.States
		f := fold.New(c)
		f.Coarsen(rapid.SampledFrom(grains[:slices.Index(grains, grain)+1]).Draw(rt, "folded by"))
		for len(pins) > 0 {
			n := rapid.IntRange(1, len(pins)).Draw(rt, "batch")
			rows := rowsOf(rt, s, pins[:n])
			if rapid.Bool().Draw(rt, "texts by codes") {
				rows = coded(rows)
			}
			if err := f.Add(rows); err != nil {
				rt.Fatal(err)
			}
			pins = pins[n:]
			if rapid.Bool().Draw(rt, "flush") {
				blocks = append(blocks, f.Take()...)
			}
		}
		blocks = append(blocks, f.Take()...)
		for len(blocks) > 1 && rapid.IntRange(0, 3).Draw(rt, "merge more") > 0 {
			perm := rapid.Permutation(blocks).Draw(rt, "order")
			n := rapid.IntRange(1, len(perm)).Draw(rt, "merged")
			m, err := fold.Merge(c, perm[:n]...)
			if err != nil {
				rt.Fatal(err)
			}
			blocks = append(m.Split(rapid.SampledFrom([]int{1, 500, fold.MaxBlock}).Draw(rt, "split"), nil), perm[n:]...)
		}
		dims := rapid.SampledFrom([][]string{{}, {"category"}, {"country"}, {"country", "category"}}).Draw(rt, "by")
		by := fold.Everything(c, grain)
		by.Dims = nil
		for _, d := range dims {
			by.Dims = append(by.Dims, c.Dimension(d).Stored)
		}
		got, err := fold.Regroup(c, by, blocks...)
		if err != nil {
			rt.Fatal(err)
		}
		if d := diff(naive(every, c.Zone.Location(), grain.String(), dims), read(c, got, grain)); d != "" {
			rt.Fatalf("by %s and %v: %s", grain, dims, d)
		}
	})
}

// Rows that come together, with dictionaries or without, become to the last bit what they become one by one.
func TestBatchesMakeNoDifference(t *testing.T) {
	s := schema(t)
	rapid.Check(t, func(rt *rapid.T) {
		late := rapid.SampledFrom([]string{"", "1h"}).Draw(rt, "late")
		c := view(t, s, func(v *metric.View) {
			v.Late.Accept = late
			v.Filter = rapid.SampledFrom([]string{"", "is_test is not true"}).Draw(rt, "filter")
			v.Dimensions = v.Dimensions[:rapid.IntRange(0, 2).Draw(rt, "dimensions")]
		})
		pins := rapid.SliceOfN(rapid.Custom(genPin), 1, 60).Draw(rt, "pins")
		for i := range pins {
			pins[i].at = epoch + (pins[i].at-epoch)%rapid.SampledFrom([]int64{1, 60, 86400}).Draw(rt, "within")*calendar.Second
			pins[i].received = max(pins[i].received, pins[i].at)
		}
		one, together := fold.New(c), fold.New(c)
		grain := rapid.SampledFrom([]calendar.Grain{calendar.Minute, calendar.Day}).Draw(rt, "grain")
		one.Coarsen(grain)
		together.Coarsen(grain)
		for i := range pins {
			if err := one.Add(rowsOf(rt, s, pins[i:i+1])); err != nil {
				rt.Fatal(err)
			}
		}
		for rest := pins; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(rt, "batch")
			rows := rowsOf(rt, s, rest[:n])
			if rapid.Bool().Draw(rt, "texts by codes") {
				rows = coded(rows)
			}
			if err := together.Add(rows); err != nil {
				rt.Fatal(err)
			}
			rest = rest[n:]
		}
		if d := cmp.Diff(one.Take(), together.Take(), cmpopts.IgnoreUnexported(fold.Column{})); d != "" {
			rt.Fatal(d)
		}
	})
}

// A row on which an expression fails is counted with NULL there, and once under _errors; a row that
// a filter leaves out cannot fail in a measure.
func TestErrorsAreCounted(t *testing.T) {
	s := schema(t)
	c := view(t, s, func(v *metric.View) {
		v.Dimensions = nil
		v.Measures = []metric.Measure{
			{Name: "posted", Agg: "count"},
			{Name: "number", Agg: "sum", Expr: "cast(category as long)"},
			{Name: "number_max", Agg: "max", Expr: "cast(category as long)"},
			{Name: "video", Agg: "sum", Expr: "cast(country as long)", Filter: "kind = 'video'"},
		}
	})
	text := func(x string) *string { return &x }
	at := epoch
	f := fold.New(c)
	err := f.Add(rowsOf(t, s, []pin{
		{category: text("12"), country: text("x"), at: at, received: at},
		{category: text("art"), country: text("3"), kind: text("video"), at: at, received: at},
		{category: text("art"), country: text("y"), kind: text("video"), at: at, received: at},
		{category: text("art"), test: true, at: at, received: at},
		{at: at, received: at},
	}))
	if err != nil {
		t.Fatal(err)
	}
	b := f.Take()[0]
	at2 := make([]int, len(c.States))
	for i := range at2 {
		at2[i] = i
	}
	got := map[string]string{"_errors": fmt.Sprint(b.Cols[metric.StateErrors].Ints[0])}
	for _, m := range c.Measures {
		got[m.Name] = fold.Value(&m, b, at2, 0).Text(m.Kind)
	}
	want := map[string]string{"posted": "4", "number": "12", "number_max": "12", "video": "3", "_errors": "3"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// late: rows received too long after their time are left out and counted, and nothing else changes.
func TestLateRowsAreLeftOutAndCounted(t *testing.T) {
	s := schema(t)
	c := view(t, s, func(v *metric.View) { v.Late.Accept = "1h"; v.Dimensions = nil; v.Grain = "hour" })
	hour := 3600 * calendar.Second
	f := fold.New(c)
	if err := f.Add(rowsOf(t, s, []pin{
		{at: epoch, received: epoch + hour},     // on the limit
		{at: epoch, received: epoch + hour + 1}, // beyond
		{at: epoch, received: epoch + 90*hour, test: true},
		{at: epoch + 50*60*calendar.Second, received: epoch + hour + 10*60*calendar.Second},     // at bucket end + grace: late for the hour
		{at: epoch + 50*60*calendar.Second, received: epoch + hour + 10*60*calendar.Second - 1}, // just not
	})); err != nil {
		t.Fatal(err)
	}
	b := f.Take()[0]
	got := []int64{b.Cols[metric.StateRows].Ints[0], b.Cols[metric.StateLateDropped].Ints[0], b.Cols[c.LateState(calendar.Hour)].Ints[0], b.Cols[c.LateState(calendar.Day)].Ints[0]}
	if d := cmp.Diff([]int64{3, 1, 1, 0}, got); d != "" {
		t.Error(d)
	}
}

// Blocks are cut below the limit, ordered, and none spans two days where days are kept apart.
func TestSplit(t *testing.T) {
	s := schema(t)
	c := view(t, s, nil)
	f := fold.New(c)
	var pins []pin
	for i := range 5000 {
		name := fmt.Sprintf("category %d", i)
		at := epoch + int64(i%60)*3600*calendar.Second
		pins = append(pins, pin{category: &name, at: at, received: at})
	}
	if err := f.Add(rowsOf(t, s, pins)); err != nil {
		t.Fatal(err)
	}
	whole := f.Take()[0]
	clock := calendar.NewClock(c.Zone)
	day := func(b int64) int64 { return clock.Start(calendar.Day, b) }
	rows := 0
	parts := whole.Split(64<<10, day)
	for _, p := range parts {
		rows += p.N
		from, to := p.Range()
		if p.Bytes() > 80<<10 || day(from) != day(to) {
			t.Errorf("a block of %d bytes from %d to %d", p.Bytes(), from, to)
		}
	}
	back, err := fold.Merge(c, parts...)
	if err != nil || rows != whole.N {
		t.Fatal(rows, err)
	}
	if d := diff(read(c, whole, c.Grain), read(c, back, c.Grain)); d != "" {
		t.Error(d)
	}
}
