package audit_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pinflow/pinflow/internal/audit"
	"github.com/pinflow/pinflow/internal/column"
	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/fold"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/metric"
	"github.com/pinflow/pinflow/internal/prove"
	"github.com/pinflow/pinflow/internal/segment"
	"github.com/pinflow/pinflow/internal/span"
	"github.com/pinflow/pinflow/internal/testbed"
)

// today is yesterday's noon: days before it are closed, and every tier keeps it.
var today = time.Now().UTC().Truncate(24 * time.Hour).Add(-12 * time.Hour)

func day(back int) string { return today.AddDate(0, 0, -back).Format(time.DateOnly) }

// world is a ledger and a lake in memory, with one stream and one view.
type world struct {
	t      *testing.T
	c      *metric.Compiled
	schema *event.Schema
	data   ledger.Data
	segs   []ledger.Segment
	blocks []lake.Block
	offset int64

	stream  ledger.Stream // that Load knows; data.Stream is that of Read
	loads   int
	onLoad  func(n int)
	lakeAt  span.Vector
	scanned []lake.Selection
}

var pins = event.Stream{
	Name: "pin", Topic: "pin", EventTime: "event_time", MaxAge: 3650 * 24 * time.Hour, MaxAhead: 10 * time.Minute, Grace: 10 * time.Minute,
	Fields: []event.Field{
		{Name: "category", Type: "string"}, {Name: "poster", Type: "string"}, {Name: "likes", Type: "long"}, {Name: "price", Type: "double"}, {Name: "tags", Type: "list<string>", Split: ","},
	},
}

func newWorld(t *testing.T, change func(*metric.View)) *world {
	t.Helper()
	w := &world{t: t}
	var err error
	if w.schema, err = event.Compile(pins, 1); err != nil {
		t.Fatal(err)
	}
	v := metric.View{
		Version: 1, Name: "pins", Stream: "pin", Keep: map[string]string{"minute": "3d", "hour": "10d", "day": "30d"},
		Dimensions: []metric.Dimension{{Name: "category"}, {Name: "tag", Expr: "tags", Unnest: true}},
		Measures: []metric.Measure{
			{Name: "posted", Agg: "count"},
			{Name: "likes", Agg: "sum", Expr: "likes"},
			{Name: "priced", Agg: "count", Expr: "price"},
			{Name: "worth", Agg: "sum", Expr: "price"},
			{Name: "cheapest", Agg: "min", Expr: "price"},
			{Name: "dearest", Agg: "max", Expr: "price"},
			{Name: "usual", Agg: "percentile", Percentile: ptr(0.5), Expr: "likes"},
			{Name: "posters", Agg: "count_distinct_approx", Expr: "poster"},
			{Name: "share", Type: "ratio", Numerator: "priced", Denominator: "posted"},
		},
	}
	if change != nil {
		change(&v)
	}
	c, problems := metric.Compile(v, w.schema)
	if c == nil {
		t.Fatal(problems)
	}
	w.c = c
	w.stream = ledger.Stream{Name: "pin", Epoch: 1, Schemas: []ledger.SchemaVersion{{Version: 1, Definition: pins}}}
	w.data = ledger.Data{
		View:    ledger.View{Name: "pins", Stream: "pin", Metadata: c.Metadata()},
		Version: ledger.ViewVersion{ID: 1, Hash: c.Hash(), Definition: c.Definition(), Metadata: c.Metadata(), State: ledger.Serving, Schema: 1, Cut: span.Vector{key: 0}},
		Stream:  w.stream, Positions: span.Vector{key: 0}, Floors: map[string]int64{},
	}
	return w
}

func ptr[T any](x T) *T { return &x }

var key = span.Key{Log: 1}

func (w *world) Load(context.Context) (*ledger.Snapshot, error) {
	if w.loads++; w.onLoad != nil {
		w.onLoad(w.loads)
	}
	v := w.data.View
	v.Versions = []ledger.ViewVersion{w.data.Version}
	return &ledger.Snapshot{Streams: []ledger.Stream{w.stream}, Views: []ledger.View{v}}, nil
}

func (w *world) Read(_ context.Context, q ledger.Read) (*ledger.Data, error) {
	if q.View != "pins" {
		return nil, fault.New(fault.Record, "unknown_view", "there is no view %q", q.View)
	}
	out := w.data
	for i := range w.segs {
		if slices.ContainsFunc(q.Parts, func(p ledger.Part) bool { return p.Takes(&w.segs[i]) }) {
			out.Segments = append(out.Segments, w.segs[i])
		}
	}
	return &out, nil
}

func (w *world) LakeVector(context.Context) (span.Vector, error) {
	if w.lakeAt != nil {
		return w.lakeAt, nil
	}
	return w.data.Positions, nil
}

func (w *world) Scan(_ context.Context, sel lake.Selection, fn func(*lake.Block) error) (int64, error) {
	w.scanned = append(w.scanned, sel)
	for i := range w.blocks {
		b := &w.blocks[i]
		received := b.Cols[b.Index(event.ColumnReceivedAt)].Ints[0] // a block is of one event
		if sel.ReceivedTo != 0 && (received < sel.ReceivedFrom || received >= sel.ReceivedTo) {
			continue
		}
		at := b.Cols[b.Index(event.ColumnEventTime)].Ints[0]
		if sel.To != 0 && (at < sel.From || at >= sel.To) {
			continue
		}
		part := &lake.Block{N: b.N}
		for k, c := range b.Columns {
			if slices.Contains(sel.Columns, c.Name) {
				part.Columns, part.Cols = append(part.Columns, c), append(part.Cols, b.Cols[k])
			}
		}
		if err := fn(part); err != nil {
			return 0, err
		}
	}
	return 1, nil
}

// pin is an event; its offset is its place in the lake.
type pin struct {
	at, received time.Time // received: 1 s later
	category     string
	poster       string
	likes        int64
	price        float64
	tags         string
}

func (w *world) rows(p pin) *event.Rows {
	w.t.Helper()
	if p.received.IsZero() {
		p.received = p.at.Add(time.Second)
	}
	price := ""
	if p.price != 0 {
		price = `,"price":` + strconv.FormatFloat(p.price, 'g', -1, 64)
	}
	value := fmt.Sprintf(`{"event_time":%q,"category":%q,"poster":%q,"likes":%d,"tags":%q%s}`, p.at.Format(time.RFC3339Nano), p.category, p.poster, p.likes, p.tags, price)
	d := w.schema.NewDecoder(nil)
	if v := d.Append(&event.Record{Key: key, Offset: w.offset, Received: p.received.UnixMicro(), ID: strconv.FormatInt(w.offset, 10), Value: []byte(value)}); v.Dead() {
		w.t.Fatalf("%s: %+v", value, v)
	}
	return d.Rows()
}

// store puts events into the lake, and live past them.
func (w *world) store(events ...pin) {
	w.t.Helper()
	for _, p := range events {
		rows := w.rows(p)
		w.blocks = append(w.blocks, lake.Block{Columns: lake.Columns(w.schema), N: rows.N, Cols: append([]column.Vec(nil), rows.Cols...)})
		w.offset++
	}
	w.data.Positions = span.Vector{key: w.offset}
}

// answer makes one segment of the events, of a tier.
func (w *world) answer(tier string, events ...pin) {
	w.t.Helper()
	f := fold.New(w.c)
	for _, p := range events {
		if err := f.Add(w.rows(p)); err != nil {
			w.t.Fatal(err)
		}
	}
	codec, err := segment.NewCodec()
	if err != nil {
		w.t.Fatal(err)
	}
	grain := segment.Tiers(w.c)[ledger.TierOf(tier)-ledger.TierOf(segment.Tiers(w.c)[0].String())]
	merged, err := fold.Regroup(w.c, fold.Everything(w.c, grain), f.Take()...)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, b := range merged.Split(fold.MaxBlock, nil) {
		data, err := codec.Encode(b)
		if err != nil {
			w.t.Fatal(err)
		}
		from, to := b.Range()
		w.segs = append(w.segs, ledger.Segment{ID: int64(len(w.segs) + 1), Version: 1, Tier: tier, From: from, To: to, Rows: int64(b.N), Data: data})
	}
}

func (w *world) audit(r audit.Request) *audit.Report {
	w.t.Helper()
	report, err := w.try(r)
	if err != nil {
		w.t.Fatal(err)
	}
	return report
}

func (w *world) try(r audit.Request) (*audit.Report, error) {
	w.t.Helper()
	a, err := audit.New(audit.Config{Wait: time.Millisecond}, w, w)
	if err != nil {
		w.t.Fatal(err)
	}
	r.View = "pins"
	return a.Audit(w.t.Context(), r)
}

func (w *world) random(rnd *rand.Rand, n, days int) []pin {
	var out []pin
	for range n {
		p := pin{
			at: today.AddDate(0, 0, -rnd.IntN(days)).Add(time.Duration(rnd.Int64N(int64(10 * time.Hour)))), category: []string{"art", "food", "home"}[rnd.IntN(3)],
			poster: strconv.Itoa(rnd.IntN(5000)), likes: rnd.Int64N(1000), tags: []string{"", "a", "a,b", "b,c"}[rnd.IntN(4)],
		}
		p.received = p.at.Add(time.Duration(rnd.Int64N(int64(2 * time.Hour))))
		if rnd.IntN(3) > 0 {
			p.price = (rnd.Float64() - 0.5) * math.Pow(10, float64(rnd.IntN(18)))
		}
		out = append(out, p)
	}
	return out
}

// P1: an answer made of the lake's rows in any order and any pieces is right, also where sums of doubles
// cancel out.
func TestSameRowsInAnotherOrder(t *testing.T) {
	prove.Invariant(t, "P1")
	rnd := rand.New(rand.NewPCG(testbed.Seed(t), 1))
	for range 20 {
		w := newWorld(t, nil)
		events := w.random(rnd, 300, 2)
		for _, x := range slices.Clone(events[:100]) { // what they cancel out is large, what is left is not
			x.price = -x.price
			events = append(events, x)
		}
		w.store(events...)
		rnd.Shuffle(len(events), func(i, j int) { events[i], events[j] = events[j], events[i] })
		for len(events) > 0 {
			n := 1 + rnd.IntN(len(events))
			w.answer("minute", events[:n]...)
			events = events[n:]
		}
		r := w.audit(audit.Request{From: day(1), To: day(-1)})
		if !r.OK || r.Rows != 400 || r.Groups == 0 || len(r.Uncovered) != 0 {
			t.Fatalf("%+v", r)
		}
	}
}

// A sum is right within 1e-9 of Σ|x|, not of itself; beyond that it is wrong.
func TestToleranceOfSums(t *testing.T) {
	big, small := pin{at: today, price: 1e9}, pin{at: today, price: -1e9}
	for name, tc := range map[string]struct {
		extra float64
		ok    bool
	}{"within": {1.5, true}, "beyond": {2.5, false}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(v *metric.View) { v.Measures = []metric.Measure{{Name: "worth", Agg: "sum", Expr: "price"}} })
			w.store(big, small)
			w.answer("minute", big, pin{at: today, price: -1e9 + tc.extra})
			r := w.audit(audit.Request{From: day(0)})
			if r.OK != tc.ok {
				t.Errorf("%+v", r)
			}
			if !tc.ok && (len(r.Differences) != 2 || r.Differences[0].Measure != "worth" || *r.Differences[0].Answer != "2.5" || *r.Differences[0].Lake != "0") {
				t.Errorf("%+v", r.Differences)
			}
		})
	}
}

// What is wrong is named: bucket, group and measure, both numbers, and what differs where they are equal.
func TestNamesWhatDiffers(t *testing.T) {
	right := []pin{{at: today, category: "art", poster: "ada", likes: 3, price: 2, tags: "a"}, {at: today, category: "food", poster: "bob", likes: 5}}
	for name, tc := range map[string]struct {
		change   func(p *pin)
		measures []string // asked for
		want     []string
	}{
		"a long": {change: func(p *pin) { p.likes = 4 }, want: []string{"art/- likes 4|3", "art/- usual 4|3", "art/a likes 4|3", "art/a usual 4|3"}},
		"the other one of two distinct values": {change: func(p *pin) { p.poster = "eve" }, want: []string{
			"art/- posters 1|1 its registers differ", "art/a posters 1|1 its registers differ",
		}},
		"a double": {change: func(p *pin) { p.price = 4 }, want: []string{
			"art/- worth 4|2", "art/- cheapest 4|2", "art/- dearest 4|2", "art/a worth 4|2", "art/a cheapest 4|2", "art/a dearest 4|2",
		}},
		"no value":     {change: func(p *pin) { p.price = 0 }, measures: []string{"worth"}, want: []string{"art/- worth NULL|2", "art/a worth NULL|2"}},
		"late":         {change: func(p *pin) { p.received = p.at.Add(30 * time.Minute) }, want: []string{"art/- _late_minute 1|0", "art/a _late_minute 1|0"}},
		"not asked of": {change: func(p *pin) { p.likes = 4 }, measures: []string{"posted", "posters"}},
		"a group": {change: func(p *pin) { p.category = "arts" }, measures: []string{"posted"}, want: []string{
			"art/- posted 0|1 the answer has no such group", "art/a posted 0|1 the answer has no such group",
			"arts/- posted 1|0 the lake has no such group", "arts/a posted 1|0 the lake has no such group",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			w.store(right...)
			wrong := slices.Clone(right)
			tc.change(&wrong[0])
			w.answer("minute", wrong...)
			r := w.audit(audit.Request{From: day(0), Measures: tc.measures})
			var got []string
			for _, d := range r.Differences {
				if d.Bucket != today.Format(time.RFC3339) {
					t.Errorf("bucket %s", d.Bucket)
				}
				got = append(got, strings.TrimSpace(fmt.Sprintf("%s/%s %s %s|%s %s", shown(d.Group, "category"), shown(d.Group, "tag"), d.Measure, number(d.Answer), number(d.Lake), d.Detail)))
			}
			if diff := cmp.Diff(tc.want, got); diff != "" || r.OK != (len(tc.want) == 0) {
				t.Errorf("ok %v: -want +got\n%s", r.OK, diff)
			}
		})
	}
}

func number(s *string) string {
	if s == nil {
		return "NULL"
	}
	return *s
}

func shown(group map[string]*string, name string) string {
	v, ok := group[name]
	if !ok {
		return "-"
	}
	return number(v)
}

// Of many differences the first by time and group are listed, the others counted.
func TestListsTheFirst(t *testing.T) {
	w := newWorld(t, func(v *metric.View) {
		v.Dimensions, v.Measures = v.Dimensions[:1], v.Measures[:1]
	})
	rnd := rand.New(rand.NewPCG(testbed.Seed(t), 1))
	var want []string
	for minute := range 6 {
		for group := range 30 {
			p := pin{at: today.Add(time.Duration(minute) * time.Minute), category: fmt.Sprintf("%02d", group)}
			w.store(p)
			want = append(want, p.at.Format(time.RFC3339)+p.category)
		}
	}
	rnd.Shuffle(len(w.blocks), func(i, j int) { w.blocks[i], w.blocks[j] = w.blocks[j], w.blocks[i] })
	r := w.audit(audit.Request{From: day(0)})
	var got []string
	for _, d := range r.Differences {
		got = append(got, d.Bucket+*d.Group["category"])
	}
	if diff := cmp.Diff(want[:100], got); diff != "" || r.More != 80 || r.Buckets != 6 || r.Groups != 180 {
		t.Errorf("%d more of %d groups in %d buckets: -want +got\n%s", r.More, r.Groups, r.Buckets, diff)
	}
}

// What a version does not have is said, not called a difference.
func TestUncovered(t *testing.T) {
	old, young := pin{at: today.AddDate(0, 0, -1), category: "art"}, pin{at: today, category: "art"}
	missing := func(state string) *ledger.Filling {
		return &ledger.Filling{Backfill: 1, State: ledger.Running, Listed: true, Missing: []ledger.TaskDay{{Day: day(1), State: state}}}
	}
	yesterday := []audit.Uncovered{{From: day(1) + "T00:00:00Z", To: day(0) + "T00:00:00Z", Rows: 1}}
	for name, tc := range map[string]struct {
		filling *ledger.Filling
		reason  string
		rows    int64
	}{
		"no history":  {nil, "before the version's cut, and it has no history: backfill.from is none", 1},
		"not listed":  {&ledger.Filling{Backfill: 1, State: ledger.Queued}, "its history is being filled in", 1},
		"being built": {missing(ledger.Running), "its history is being filled in", 1},
		"failed":      {missing(ledger.Failed), "filling in " + day(1) + " failed", 1},
		"paused":      {&ledger.Filling{Backfill: 1, State: ledger.Paused, Listed: true, Missing: []ledger.TaskDay{{Day: day(1), State: ledger.Queued}}}, "its back-fill is paused", 1},
		"all there":   {&ledger.Filling{Backfill: 1, State: ledger.Done, Listed: true}, "", 2},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			w.store(old, young)
			w.data.Version.Cut, w.data.Filling = span.Vector{key: 1}, tc.filling
			w.answer("minute", young)
			if tc.reason == "" {
				w.answer("minute", old)
			}
			r := w.audit(audit.Request{From: day(1), To: day(-1)})
			want := []audit.Uncovered{}
			if tc.reason != "" {
				want = slices.Clone(yesterday)
				want[0].Reason = tc.reason
			}
			if diff := cmp.Diff(want, r.Uncovered); diff != "" || !r.OK || r.Rows != tc.rows {
				t.Errorf("%d rows, ok %v: -want +got\n%s", r.Rows, r.OK, diff)
			}
		})
	}
}

// Of an imported file the answer has the days that are filled in; of one that was imported before the
// version was made, what its own history has.
func TestUncoveredImports(t *testing.T) {
	row := pin{at: today.AddDate(0, 0, -1), category: "art"}
	imports := []span.Log{key.Log}
	importing := "the import of old.csv has not ended"
	for name, tc := range map[string]struct {
		filling *ledger.Filling
		cut     int64
		reason  string
	}{
		"not at its end":          {nil, 0, importing},
		"not at its end, another": {&ledger.Filling{Backfill: 1, Listed: true, State: ledger.Done}, 0, importing},
		"filled in":               {&ledger.Filling{Imports: imports}, 0, ""},
		"beside a history":        {&ledger.Filling{Backfill: 1, Listed: true, State: ledger.Running, Imports: imports, Missing: []ledger.TaskDay{{Day: day(1), State: ledger.Queued}}}, 0, ""},
		"another day is not":      {&ledger.Filling{Imports: imports, Missing: []ledger.TaskDay{{Day: day(2), State: ledger.Queued, Log: key.Log}}}, 0, ""},
		"being filled in":         {&ledger.Filling{Imports: imports, Missing: []ledger.TaskDay{{Day: day(1), State: ledger.Queued, Log: key.Log}}}, 0, "an imported file is being filled in"},
		"older than the version":  {&ledger.Filling{Backfill: 1, Listed: true, State: ledger.Done}, 1, ""},
		"older, no history there": {nil, 1, "before the version's cut, and it has no history: backfill.from is none"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			w.store(row)
			w.data.Positions, w.data.Version.Cut, w.data.Filling = span.Vector{}, span.Vector{key: tc.cut}, tc.filling
			w.data.Importing = map[string][]ledger.Importing{importing: {{Log: key.Log, Name: "old.csv", Rows: 1}}}[tc.reason]
			want := []audit.Uncovered{}
			if tc.reason == "" {
				w.answer("minute", row)
			} else {
				want = []audit.Uncovered{{From: day(1) + "T00:00:00Z", To: day(0) + "T00:00:00Z", Rows: 1, Reason: tc.reason}}
			}
			r := w.audit(audit.Request{From: day(1)})
			if diff := cmp.Diff(want, r.Uncovered); diff != "" || !r.OK || r.Rows != int64(1-len(want)) {
				t.Errorf("%d rows, ok %v: -want +got\n%s", r.Rows, r.OK, diff)
			}
		})
	}
}

// The finest tier that has the day is compared; a day that none has is uncovered.
func TestTiers(t *testing.T) {
	w := newWorld(t, nil)
	in := func(back int) pin { return pin{at: today.AddDate(0, 0, -back), category: "art", likes: 1} }
	w.store(in(1), in(5), in(20), in(40))
	w.answer("minute", in(1))
	w.answer("hour", in(5))
	w.answer("day", in(20))
	for _, back := range []int{1, 5, 20} {
		if r := w.audit(audit.Request{From: day(back)}); !r.OK || r.Rows != 1 || r.Buckets != 1 || len(r.Uncovered) != 0 {
			t.Errorf("%d days back: %+v", back, r)
		}
	}
	r := w.audit(audit.Request{From: day(40), To: day(38)})
	if !r.OK || r.Rows != 0 || len(r.Uncovered) != 1 || r.Uncovered[0].From != day(40)+"T00:00:00Z" || r.Uncovered[0].To != day(38)+"T00:00:00Z" ||
		!strings.HasPrefix(r.Uncovered[0].Reason, "the view keeps days from ") {
		t.Errorf("%+v", r)
	}
	w.data.Floors["minute"] = today.Add(time.Hour).UnixMicro() // it kept less once
	w.segs[0].Rolled = true
	w.answer("hour", in(1))
	if r := w.audit(audit.Request{From: day(1)}); !r.OK || r.Rows != 1 {
		t.Errorf("%+v", r)
	}
}

// A part of a day is widened to the buckets that there are, and no further.
func TestPartOfADay(t *testing.T) {
	w := newWorld(t, nil)
	at := func(back int, clock time.Duration) pin {
		return pin{at: today.AddDate(0, 0, -back).Add(clock), category: "art"}
	}
	inside, after := at(1, 90*time.Second), at(1, 2*time.Hour)
	w.store(inside, after, at(5, 90*time.Second), at(5, 30*time.Minute), at(5, 2*time.Hour))
	w.answer("minute", inside)
	w.answer("hour", at(5, 90*time.Second), at(5, 30*time.Minute))
	moment := func(back int, clock time.Duration) string {
		return today.AddDate(0, 0, -back).Add(clock).Format(time.RFC3339)
	}
	r := w.audit(audit.Request{From: moment(1, 70*time.Second), To: moment(1, 100*time.Second)})
	if !r.OK || r.Groups != 2 || r.Rows != 1 || r.From != moment(1, time.Minute) || r.To != moment(1, 2*time.Minute) {
		t.Errorf("%+v", r)
	}
	r = w.audit(audit.Request{From: moment(5, 70*time.Second), To: moment(5, 100*time.Second)})
	if !r.OK || r.Groups != 2 || r.Rows != 2 || r.From != moment(5, 0) || r.To != moment(5, time.Hour) {
		t.Errorf("%+v", r)
	}
	if r = w.audit(audit.Request{From: day(1)}); r.OK || len(r.Differences) == 0 {
		t.Errorf("%+v", r)
	}
}

// A view by the time of reception reads whatever may have been received in the range, of any event time.
func TestByTheTimeOfReception(t *testing.T) {
	w := newWorld(t, func(v *metric.View) {
		v.Time, v.Grain, v.Keep = event.ColumnReceivedAt, "day", nil
		v.Measures = v.Measures[:1]
	})
	late, ahead := pin{at: today.AddDate(0, 0, -30), received: today}, pin{at: today.Truncate(24 * time.Hour).Add(24*time.Hour + 5*time.Minute), received: today.Truncate(24 * time.Hour).Add(24*time.Hour - time.Minute)}
	other := pin{at: today, received: today.AddDate(0, 0, 2)}
	w.store(late, ahead, other)
	w.answer("day", late, ahead, other)
	r := w.audit(audit.Request{From: day(0)})
	if !r.OK || r.Groups != 2 || r.Rows != 2 || len(w.scanned) != 1 { // the one of another day is not read
		t.Errorf("%+v after %d scans", r, len(w.scanned))
	}
	w.segs = nil
	w.answer("day", late, other)
	if r = w.audit(audit.Request{From: day(0)}); r.OK || *r.Differences[0].Answer != "1" || *r.Differences[0].Lake != "2" {
		t.Errorf("%+v", r)
	}
	w.data.Version.Cut, w.data.Filling = span.Vector{key: 1}, &ledger.Filling{Backfill: 1, State: ledger.Running, Listed: true, Missing: []ledger.TaskDay{{Day: day(3), State: ledger.Queued}}}
	w.segs = nil
	w.answer("day", ahead, other)
	r = w.audit(audit.Request{From: day(0)})
	if !r.OK || len(r.Uncovered) != 1 || r.Uncovered[0].Rows != 1 || r.Uncovered[0].From != day(0)+"T00:00:00Z" {
		t.Errorf("%+v", r)
	}
}

// Rows that a schema judged which the catalogue got meanwhile are read under it.
func TestSchemaGrowsMeanwhile(t *testing.T) {
	w := newWorld(t, nil)
	grown := pins
	grown.Fields = append(slices.Clone(pins.Fields), event.Field{Name: "mood", Type: "string"})
	next, err := event.CompileAfter(grown, 2, pins)
	if err != nil {
		t.Fatal(err)
	}
	p := pin{at: today, category: "art", tags: "a"}
	w.store(p)
	w.answer("minute", p)
	newer := ledger.Stream{Name: "pin", Epoch: 2, Schemas: append(slices.Clone(w.stream.Schemas), ledger.SchemaVersion{Version: 2, Definition: grown})}
	w.onLoad = func(n int) {
		if n == 2 { // between the catalogue and the answer
			w.onLoad = nil
			defer func() { w.onLoad = func(int) { w.stream = newer } }()
			w.schema = next
			w.store(p)
			w.answer("minute", p)
			w.data.Stream = newer
		}
	}
	if r := w.audit(audit.Request{From: day(0)}); !r.OK || r.Rows != 2 {
		t.Errorf("%+v", r)
	}
}

func TestRefuses(t *testing.T) {
	w := newWorld(t, nil)
	for _, tc := range []struct {
		r    audit.Request
		want string
	}{
		{audit.Request{From: "2026-13-01"}, `from: "2026-13-01" is no date`},
		{audit.Request{From: "1900-01-01"}, "from: 1900-01-01 is too far away: events are between 1970 and 2200"},
		{audit.Request{From: day(0), To: "x"}, `to: "x" is no date`},
		{audit.Request{From: day(0), To: day(0)}, "the end is not part of it"},
		{audit.Request{From: day(0), To: day(3)}, "the range ends at"},
		{audit.Request{From: day(0), Measures: []string{"poster"}}, `view pins has no measure "poster"`},
		{audit.Request{From: day(0), Measures: []string{"share"}}, "share is a ratio: audit priced and posted"},
	} {
		if _, err := w.try(tc.r); !fault.Is(err, fault.Record) || !strings.Contains(fmt.Sprint(err), tc.want) {
			t.Errorf("%+v: %v", tc.r, err)
		}
	}
	w.store(pin{at: today})
	w.lakeAt = span.Vector{key: 0}
	if _, err := w.try(audit.Request{From: day(0)}); fault.CodeOf(err) != "lake_behind" {
		t.Errorf("%v", err)
	}
}
