package live_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/pinflow/pinflow/internal/calendar"
	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/fold"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/live"
	"github.com/pinflow/pinflow/internal/metric"
	"github.com/pinflow/pinflow/internal/prove"
	"github.com/pinflow/pinflow/internal/query"
	"github.com/pinflow/pinflow/internal/segment"
	"github.com/pinflow/pinflow/internal/span"
	"github.com/pinflow/pinflow/internal/sqlledger"
	"github.com/pinflow/pinflow/internal/testbed"
)

// unclear is a ledger whose replacements fail now and then, before or after they landed.
type unclear struct {
	*sqlledger.DB
	rnd *rand.Rand
}

func (u *unclear) Replace(ctx context.Context, l ledger.Lease, kind string, in []int64, out []ledger.Segment) error {
	switch u.rnd.IntN(20) {
	case 0:
		return fault.New(fault.Transient, "busy", "the ledger is busy")
	case 1:
		return errors.Join(u.DB.Replace(ctx, l, kind, in, out), fault.New(fault.Ambiguous, "unclear", "the connection broke after the commit"))
	}
	return u.DB.Replace(ctx, l, kind, in, out)
}

// tiered is a view whose rows come over weeks of virtual time, a compactor that is killed and followed by
// another, and all that was ever folded.
type tiered struct {
	t       *testing.T
	rnd     *rand.Rand
	db      *sqlledger.DB
	c       *metric.Compiled
	held    ledger.Held
	key     span.Key
	rows    []tieredRow
	stop    context.CancelFunc
	ended   chan error
	workers int
	refused int
	asked   int
}

type tieredRow struct {
	at       int64
	category string
	n        int64
}

// M5, M2: over weeks, with late rows and clocks that change, at every grain and in every zone that a view
// answers in, an answer is the fold of all rows, whatever was compacted, rolled up and dropped meanwhile,
// by compactors that were killed and whose transactions failed or were unclear.
func TestTiersAnswerAsOne(t *testing.T) {
	prove.Invariant(t, "M2")
	prove.Invariant(t, "M5", prove.SQLite)
	for seed, zone := range []string{"Europe/London", "Asia/Kathmandu", "Australia/Lord_Howe"} {
		t.Run(zone, func(t *testing.T) {
			testbed.Bubble(t, func(t *testing.T) {
				w := newTiered(t, uint64(seed), zone)
				w.live(9)
			})
		})
	}
}

var starts = map[string]time.Time{
	"Europe/London":       time.Date(2026, 10, 20, 7, 0, 0, 0, time.UTC),
	"Asia/Kathmandu":      time.Date(2026, 10, 20, 7, 0, 0, 0, time.UTC), // they never do
	"Australia/Lord_Howe": time.Date(2027, 3, 31, 7, 0, 0, 0, time.UTC),
}

func newTiered(t *testing.T, seed uint64, zone string) *tiered {
	w := &tiered{t: t, rnd: rand.New(rand.NewPCG(seed, 9))}
	time.Sleep(time.Until(starts[zone])) // soon its clocks change
	var err error
	if w.db, err = sqlledger.Open(t.Context(), filepath.Join(scratch(t), "ledger.db"), quiet()); err != nil {
		t.Fatal(err)
	}
	def := event.Stream{Name: "pin", Topic: "pin", Partitions: 1, Fields: []event.Field{{Name: "category", Type: "string"}, {Name: "n", Type: "long"}}}
	def.SetDefaults()
	schema, err := event.Compile(def, 1)
	if err != nil {
		t.Fatal(err)
	}
	var problems []metric.Problem
	w.c, problems = metric.Compile(metric.View{
		Version: 1, Name: "pins", Stream: "pin", TimeZone: zone, Keep: map[string]string{"minute": "1d", "hour": "3d", "day": "8d"},
		Dimensions: []metric.Dimension{{Name: "category"}},
		Measures:   []metric.Measure{{Name: "posted", Agg: "count"}, {Name: "n", Agg: "sum", Expr: "n"}, {Name: "most", Agg: "max", Expr: "n"}},
	}, schema)
	if w.c == nil {
		t.Fatal(problems)
	}
	w.ok(w.db.Apply(t.Context(), ledger.Change{Stream: "pin", Schema: &def, Views: []ledger.ViewChange{
		{Name: "pins", Metadata: w.c.Metadata(), Hash: w.c.Hash(), Definition: w.c.Definition(), State: ledger.Serving},
	}}))
	log, err := w.db.AddLog(t.Context(), ledger.Log{Kind: ledger.KindKafka, Stream: "pin", Topic: "pin", ClusterID: "c", TopicID: "t", Partitions: 1})
	w.ok(err)
	w.key = span.Key{Log: log}
	w.held, err = w.db.TakeOver(t.Context(), ledger.Live, "test", w.key, 0)
	w.ok(err)
	return w
}

// scratch is a folder in memory if there is one.
func scratch(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "pinflow-tiers")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func (w *tiered) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *tiered) live(days int) {
	e, err := query.New(query.Config{}, w.db, time.Now)
	w.ok(err)
	w.compactor()
	for end := time.Now().AddDate(0, 0, days); time.Now().Before(end) && !w.t.Failed(); {
		for range 1 + w.rnd.IntN(3) {
			w.flush()
		}
		for range 2 {
			w.ask(e)
		}
		if w.rnd.IntN(15) == 0 {
			w.kill()
			w.compactor()
		}
		time.Sleep(time.Duration(w.rnd.Int64N(int64(6 * time.Hour))))
	}
	w.kill()
	w.ok(w.db.Close())
	w.t.Logf("%d rows, %d questions, %d refused", len(w.rows), w.asked, w.refused)
	if w.refused*2 > w.asked {
		w.t.Errorf("%d of %d questions were refused", w.refused, w.asked)
	}
}

func (w *tiered) compactor() {
	w.workers++
	store := &unclear{w.db, rand.New(rand.NewPCG(w.rnd.Uint64(), 1))}
	c, err := live.NewCompactor(fmt.Sprint("worker ", w.workers), 3*time.Hour, quiet(), store)
	w.ok(err)
	ctx, cancel := context.WithCancel(w.t.Context())
	w.stop, w.ended = cancel, make(chan error, 1)
	go func() { w.ended <- c.Run(ctx) }()
}

func (w *tiered) kill() {
	w.stop()
	w.ok(<-w.ended)
}

// flush seals some rows: most of now, some late.
func (w *tiered) flush() {
	d := w.c.Schema.NewDecoder(nil)
	n := 1 + w.rnd.IntN(30)
	for i := range n {
		at := time.Now().Add(-time.Duration(w.rnd.Int64N(int64(3 * time.Minute))))
		if w.rnd.IntN(8) == 0 {
			at = at.Add(-time.Duration(w.rnd.Int64N(int64(6 * 24 * time.Hour))))
		}
		r := tieredRow{at.UnixMicro(), []string{"art", "food", "travel"}[w.rnd.IntN(3)], w.rnd.Int64N(100)}
		value := fmt.Sprintf(`{"category":%q,"n":%d,"event_time":%q}`, r.category, r.n, at.UTC().Format(time.RFC3339Nano))
		r.at = at.Truncate(time.Microsecond).UnixMicro()
		if v := d.Append(&event.Record{Offset: w.held.Position + int64(i), Value: []byte(value), Received: time.Now().UnixMicro()}); v.Dead() {
			w.t.Fatalf("%+v", v)
		}
		w.rows = append(w.rows, r)
	}
	f := fold.New(w.c)
	w.ok(f.Add(d.Rows()))
	codec, err := segment.NewCodec()
	w.ok(err)
	seal := ledger.Seal{
		Write: ledger.Write{Kind: ledger.Flush, Stream: "pin", Owner: "test"}, Unit: ledger.Live,
		Moves: []ledger.Move{{Key: w.key, Owner: w.held.Owner, From: w.held.Position, To: w.held.Position + int64(n), Counts: ledger.Counts{Rows: int64(n)}}},
	}
	epochs, err := w.db.Epochs(w.t.Context())
	w.ok(err)
	seal.Write.Epoch = epochs["pin"]
	for _, b := range f.Take() {
		data, err := codec.Encode(b)
		w.ok(err)
		from, to := b.Range()
		seal.Segments = append(seal.Segments, ledger.Segment{Version: 1, Tier: "minute", From: from, To: to, Rows: int64(b.N), Source: ledger.SourceLive, Data: data})
	}
	w.ok(w.db.Seal(w.t.Context(), seal))
	w.held.Position += int64(n)
}

// ask asks a random question and compares the answer with the fold of all rows by hand.
func (w *tiered) ask(e *query.Engine) {
	from := time.Now().Add(-time.Duration(w.rnd.Int64N(int64(12 * 24 * time.Hour))))
	to := from.Add(time.Duration(1 + w.rnd.Int64N(int64(time.Since(from)+time.Hour))))
	req := query.Request{
		View: "pins", From: from.UTC().Format(time.RFC3339Nano), To: to.UTC().Format(time.RFC3339Nano),
		Grain: []string{"", "", "minute", "hour", "day", "day", "week", "month"}[w.rnd.IntN(8)],
	}
	if w.rnd.IntN(3) == 0 {
		req.TZ = []string{"UTC", "Europe/Paris", "Asia/Kolkata"}[w.rnd.IntN(3)]
	}
	if w.rnd.IntN(2) == 0 {
		req.By = []string{"category"}
	}
	w.asked++
	a, err := e.Query(w.t.Context(), req)
	if fault.CodeOf(err) == "bad_parameter" {
		w.refused++
		if req.TZ == "" && req.Grain != "minute" && req.Grain != "hour" && time.Since(to) < 7*24*time.Hour {
			w.t.Errorf("%+v is refused: %v", req, err)
		}
		return
	}
	w.ok(err)
	w.compare(req, a)
}

func (w *tiered) compare(req query.Request, a *query.Answer) {
	type cell struct{ time, category string }
	type value struct{ posted, n, most int64 }
	zone, err := calendar.Load(a.Meta.TimeZone)
	w.ok(err)
	first, err := time.Parse(time.RFC3339Nano, a.Meta.From)
	w.ok(err)
	last, err := time.Parse(time.RFC3339Nano, a.Meta.To)
	w.ok(err)
	clock := calendar.NewClock(zone)
	grain, _ := calendar.GrainOf(req.Grain)
	var holes [][2]int64
	for _, c := range a.Meta.Coverage {
		from, err := time.Parse(time.RFC3339Nano, c.From)
		w.ok(err)
		to, err := time.Parse(time.RFC3339Nano, c.To)
		w.ok(err)
		if c.Source == "missing" && c.Reason != "before the first event" {
			holes = append(holes, [2]int64{from.UnixMicro(), to.UnixMicro()})
		}
	}
	missing := func(at int64) bool {
		return slices.ContainsFunc(holes, func(h [2]int64) bool { return at >= h[0] && at < h[1] })
	}
	want, got := map[cell]value{}, map[cell]value{}
	for _, r := range w.rows {
		if r.at < first.UnixMicro() || r.at >= last.UnixMicro() || missing(r.at) {
			continue
		}
		var k cell
		if grain != calendar.None {
			k.time = time.UnixMicro(clock.Start(grain, r.at)).In(zone.Location()).Format(time.RFC3339Nano)
		}
		if len(req.By) > 0 {
			k.category = r.category
		}
		v := want[k]
		want[k] = value{v.posted + 1, v.n + r.n, max(v.most, r.n)}
	}
	for _, row := range a.Rows {
		var k cell
		if grain != calendar.None {
			k.time, row = fmt.Sprint(row[0]), row[1:]
		}
		if len(req.By) > 0 {
			k.category, row = fmt.Sprint(row[0]), row[1:]
		}
		if row[0] == nil || row[0] == int64(0) {
			continue // missing, or a zero
		}
		got[k] = value{row[0].(int64), row[1].(int64), row[2].(int64)}
	}
	for k, v := range want {
		if got[k] != v {
			w.t.Errorf("at %s: %+v: %v is %+v, want %+v (coverage %+v)", time.Now().UTC(), req, k, got[k], v, a.Meta.Coverage)
			return
		}
	}
	if len(got) != len(want) {
		w.t.Errorf("at %s: %+v: %d groups, want %d", time.Now().UTC(), req, len(got), len(want))
	}
}
