package emulate

import (
	"encoding/binary"
	"maps"
	"math"
	"math/big"
	"slices"
	"time"

	"github.com/pinflow/pinflow/internal/sketch"
	"github.com/pinflow/pinflow/internal/span"
)

// What the built-in views must say of the accepted events, in plain arithmetic.

const microsPerMinute = 60_000_000

// taken is what a measure takes of an event.
type taken func(f *facts) (v float64, ok bool)

// measureSpec is a measure of a built-in view.
type measureSpec struct {
	name     string
	agg      string                // count | sum | min | max | avg | ratio | distinct | percentile
	take     taken                 // nil: every event
	text     func(f *facts) string // of distinct; "" is none
	p        float64               // of percentile
	num, den string
}

// viewSpec is a built-in view.
type viewSpec struct {
	name, stream string
	dims         []string
	of           func(f *facts) []string // the dimensions' values
	measures     []measureSpec
}

func one(when func(f *facts) bool) taken {
	return func(f *facts) (float64, bool) { return 1, when(f) }
}

func viewSpecs() []viewSpec {
	reach := func(f *facts) (float64, bool) { return float64(f.followers), f.followed }
	latitude := func(f *facts) (float64, bool) { return f.latitude, true }
	age := func(f *facts) (float64, bool) { return float64(f.age), true }
	return []viewSpec{
		{
			name: "pins", stream: Pin, dims: []string{"category", "country", "media"},
			of: func(f *facts) []string { return []string{f.category, f.country, f.media} },
			measures: []measureSpec{
				{name: "posted", agg: "count"},
				{name: "video", agg: "count", take: one(func(f *facts) bool { return f.video })},
				{name: "posters", agg: "distinct", text: (*facts).signed},
				{name: "followers_p50", agg: "percentile", p: 0.5, take: reach},
				{name: "downloads", agg: "sum", take: func(f *facts) (float64, bool) { return float64(f.downloaded), true }},
				{name: "reach", agg: "sum", take: reach},
				{name: "followers_max", agg: "max", take: reach},
				{name: "followers_min", agg: "min", take: reach},
				{name: "followers_avg", agg: "avg", take: reach},
				{name: "video_share", agg: "ratio", num: "video", den: "posted"},
			},
		},
		{
			name: "geos", stream: Geo, dims: []string{"country", "hemisphere"},
			of: func(f *facts) []string { return []string{f.country, hemisphere(f.latitude)} },
			measures: []measureSpec{
				{name: "located", agg: "count"},
				{name: "southern", agg: "count", take: one(func(f *facts) bool { return f.latitude < 0 })},
				{name: "latitude_min", agg: "min", take: latitude},
				{name: "latitude_max", agg: "max", take: latitude},
				{name: "latitude_avg", agg: "avg", take: latitude},
				{name: "southern_share", agg: "ratio", num: "southern", den: "located"},
			},
		},
		{
			name: "users", stream: User, dims: []string{"age_group"},
			of: func(f *facts) []string { return []string{ageGroup(f.age)} },
			measures: []measureSpec{
				{name: "active", agg: "count"},
				{name: "age_min", agg: "min", take: age},
				{name: "age_max", agg: "max", take: age},
				{name: "age_sum", agg: "sum", take: age},
				{name: "age_avg", agg: "avg", take: age},
			},
		},
	}
}

func hemisphere(latitude float64) string {
	if latitude < 0 {
		return "south"
	}
	return "north"
}

func ageGroup(age int64) string {
	switch {
	case age < 25:
		return "18-24"
	case age < 36:
		return "25-35"
	case age < 51:
		return "36-50"
	}
	return "50+"
}

// figure is what a measure has taken of a group's events. Integers stay exact: their sums are far below 2^53.
type figure struct {
	n                  int64
	sum, abs, min, max float64

	// what the kernel would keep, of approximate measures only: they are compared with the number that
	// the same events give, not with the exact one
	hll  sketch.HLL
	bins map[int32]int64
}

func (g *figure) add(v float64) {
	if g.n == 0 {
		g.min, g.max = v, v
	}
	g.n++
	g.sum += v
	g.abs += math.Abs(v)
	g.min, g.max = math.Min(g.min, v), math.Max(g.max, v)
}

// median and the like of the buckets that the values lie in.
func (g *figure) quantile(p float64) float64 {
	bins := slices.Sorted(maps.Keys(g.bins))
	counts := make([]int64, len(bins))
	for i, b := range bins {
		counts[i] = g.bins[b]
	}
	return sketch.Quantile(bins, counts, p, g.min, g.max)
}

// group is one minute or day and one value of each dimension.
type group struct {
	time int64 // microseconds, start
	dims string
}

// figures are the measures of a view by group.
type figures map[group][]figure

// expected is what the truth expects of one view.
type expected struct {
	spec    viewSpec
	minutes figures
	days    figures // without dimensions
}

func newExpected(spec viewSpec) *expected {
	return &expected{spec: spec, minutes: figures{}, days: figures{}}
}

// key joins the values of dimensions. A NULL is not an empty text.
func key(values []string) string {
	b := []byte{}
	for _, v := range values {
		b = binary.AppendUvarint(b, uint64(len(v)))
		b = append(b, v...)
	}
	return string(b)
}

func (x *expected) add(m *made) {
	if m.test {
		return
	}
	dims := key(x.spec.of(&m.facts))
	x.minutes.add(x.spec.measures, group{m.time - m.time%microsPerMinute, dims}, &m.facts)
	x.days.add(x.spec.measures, group{time: m.time - m.time%microsPerDay}, &m.facts)
}

func (x figures) add(measures []measureSpec, at group, f *facts) {
	all := x[at]
	if all == nil {
		all = make([]figure, len(measures))
		x[at] = all
	}
	for i := range measures {
		m, v, ok := &measures[i], 1.0, true
		if m.take != nil {
			v, ok = m.take(f)
		}
		if m.text != nil {
			if text := m.text(f); text != "" {
				all[i].hll = all[i].hll.Add(sketch.HashText([]byte(text)))
			}
		}
		if ok {
			all[i].add(v)
		}
		if ok && m.agg == "percentile" {
			if all[i].bins == nil {
				all[i].bins = map[int32]int64{}
			}
			all[i].bins[sketch.Bucket(v)]++
		}
	}
}

// value is what the view must show: v, or null; off is how far a number that was added up may be away.
func value(measures []measureSpec, all []figure, i int) (v float64, null bool, off float64) {
	f := &all[i]
	switch m := &measures[i]; m.agg {
	case "count":
		return float64(f.n), false, 0
	case "ratio":
		var num, den float64
		for k := range measures {
			switch measures[k].name {
			case m.num:
				num, _, _ = value(measures, all, k)
			case m.den:
				den, _, _ = value(measures, all, k)
			}
		}
		return num / den, den == 0, 1e-12
	case "distinct":
		return math.Round(f.hll.Estimate()), false, 0
	case "percentile":
		if f.n == 0 {
			return 0, true, 0
		}
		return f.quantile(m.p), false, 0
	case "min":
		return f.min, f.n == 0, 0
	case "max":
		return f.max, f.n == 0, 0
	case "avg":
		return f.sum / float64(f.n), f.n == 0, 1e-9 * f.abs / float64(max(f.n, 1))
	}
	if f.abs == math.Trunc(f.abs) {
		return f.sum, f.n == 0, 0
	}
	return f.sum, f.n == 0, 1e-9 * f.abs
}

// What the lake must hold of the accepted events.

const (
	microsPerDay = 86_400_000_000
	dateLayout   = time.DateOnly
)

// dayRows is what the lake holds of a stream's day.
type dayRows struct {
	rows   int64
	ids    [2]uint64 // sum of span.IDOf modulo 2^128: high, low
	longs  map[string]*big.Int
	floats map[string]figure
}

func dateOf(micros int64) string { return time.UnixMicro(micros).UTC().Format(dateLayout) }

// addID adds an id to an order-independent digest.
func addID(sum *[2]uint64, id string) {
	h := span.IDOf(id)
	hi, lo := binary.BigEndian.Uint64(h[:8]), binary.BigEndian.Uint64(h[8:])
	before := sum[1]
	sum[1] += lo
	sum[0] += hi
	if sum[1] < before {
		sum[0]++
	}
}

func (d *dayRows) add(stream string, m *made) {
	if d.longs == nil {
		d.longs, d.floats = map[string]*big.Int{}, map[string]figure{}
	}
	d.rows++
	addID(&d.ids, m.id())
	switch stream {
	case Pin:
		d.long("index", m.index())
		d.long("downloaded", m.facts.downloaded)
		d.long("follower_count", m.facts.followers) // 0 when unknown
	case Geo:
		d.long("ind", m.index())
		d.float("latitude", m.facts.latitude)
		d.float("longitude", m.facts.longitude)
	case User:
		d.long("ind", m.index())
		d.long("age", m.facts.age)
	}
}

func (d *dayRows) long(name string, v int64) {
	s := d.longs[name]
	if s == nil {
		s = new(big.Int)
		d.longs[name] = s
	}
	s.Add(s, big.NewInt(v))
}

func (d *dayRows) float(name string, v float64) {
	f := d.floats[name]
	f.add(v)
	d.floats[name] = f
}
