package days

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pinflow/pinflow/internal/calendar"
	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/prove"
	"github.com/pinflow/pinflow/internal/span"
	"github.com/pinflow/pinflow/internal/sqlledger"
	"github.com/pinflow/pinflow/internal/testbed"
)

const grace = 10 * time.Minute

// world is a real ledger in virtual time, and logs that the test moves by hand.
type world struct {
	t    *testing.T
	db   *sqlledger.DB
	log  span.Log
	dead span.Log

	mu   sync.Mutex
	at   map[string]map[int32]int64
	fail error
}

func newWorld(t *testing.T, zones ...string) *world {
	t.Helper()
	db, err := sqlledger.Open(t.Context(), filepath.Join(t.TempDir(), "ledger.db"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, db: db, at: map[string]map[int32]int64{"pin": {0: 0, 1: 0}, "pin.dead": {0: 0}}}
	w.ok(db.Apply(t.Context(), ledger.Change{Stream: "pin", Schema: &event.Stream{Name: "pin", Topic: "pin", Grace: grace}}))
	w.log, err = db.AddLog(t.Context(), ledger.Log{Kind: ledger.KindKafka, Stream: "pin", TopicID: "a", Topic: "pin", Partitions: 2})
	w.ok(err)
	w.dead, err = db.AddLog(t.Context(), ledger.Log{Kind: ledger.KindKafka, Stream: "pin", TopicID: "b", Topic: "pin.dead", Partitions: 1, Dead: true})
	w.ok(err)
	for _, z := range zones {
		epochs, err := db.Epochs(t.Context())
		w.ok(err)
		w.ok(db.Apply(t.Context(), ledger.Change{Stream: "pin", Epoch: epochs["pin"], Views: []ledger.ViewChange{{
			Name: "v", Hash: z, Definition: []byte(`{"time_zone":"` + z + `"}`), State: ledger.Serving,
		}}}))
	}
	return w
}

func (w *world) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// Ends is the log's answer.
func (w *world) Ends(_ context.Context, l ledger.Log) (map[int32]int64, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.at[l.Topic]), w.fail
}

func (w *world) set(fn func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	fn()
}

// seal moves a unit to an offset: all rows, or all dead letters on the dead log.
func (w *world) seal(u ledger.Unit, k span.Key, to int64, commit bool) {
	w.t.Helper()
	ctx := w.t.Context()
	h, err := w.db.TakeOver(ctx, u, "t", k, 0)
	w.ok(err)
	epochs, err := w.db.Epochs(ctx)
	w.ok(err)
	n := to - h.Position
	s := ledger.Seal{
		Write: ledger.Write{Kind: ledger.Flush, Stream: "pin", Epoch: epochs["pin"], Owner: "t"}, Unit: u,
		Moves: []ledger.Move{{Key: k, Owner: h.Owner, From: h.Position, To: to, Counts: ledger.Counts{Rows: n}}},
	}
	if u == ledger.Batch {
		s.Write.Kind = ledger.Stage
		table := "pin"
		if k.Log == w.dead {
			table = ledger.DeadLetters
			s.Moves[0].Counts = ledger.Counts{Dead: n}
		}
		s.Files = []ledger.LakeFile{{Table: table, Path: k.String() + time.Now().String(), Records: n}}
	}
	w.ok(w.db.Seal(ctx, s))
	if commit {
		w.commit()
	}
}

func (w *world) commit() {
	w.t.Helper()
	ctx := w.t.Context()
	for _, table := range []string{ledger.DeadLetters, "pin"} {
		lease, err := w.db.Acquire(ctx, table, "t", time.Minute)
		w.ok(err)
		in, err := w.db.Intent(ctx, lease, table, "append", 100)
		w.ok(err)
		if in != nil {
			w.ok(w.db.CloseIntent(ctx, lease, in, 1))
		}
	}
}

// start runs a unit in the bubble and returns how to stop it.
func (w *world) start(holder string) (*Unit, func()) {
	w.t.Helper()
	u := New(holder, time.Second, slog.New(slog.DiscardHandler), w.db, w.Ends)
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	go func() { done <- u.Run(ctx) }()
	return u, func() {
		w.t.Helper()
		cancel()
		w.ok(<-done)
	}
}

func (w *world) days() []ledger.Day {
	w.t.Helper()
	all, err := w.db.Days(w.t.Context(), "pin", 100)
	w.ok(err)
	return all
}

// sleepUntil lets virtual time pass.
func sleepUntil(at time.Time) { time.Sleep(time.Until(at)); synctest.Wait() }

// The bubble begins at 2000-01-01T00:00:00Z.
var first = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func TestD2MarksOnceASecondAndNoneWithoutEveryAnswer(t *testing.T) {
	prove.Invariant(t, "D2", prove.SQLite)
	testbed.Bubble(t, func(t *testing.T) {
		w := newWorld(t)
		u, stop := w.start("a")
		w.set(func() { w.at["pin"][0] = 7; w.at["pin.dead"][0] = 2 })
		time.Sleep(3500 * time.Millisecond)
		m, err := w.db.FirstMark(t.Context(), "pin", first.Add(3*time.Second))
		w.ok(err)
		want := &ledger.Mark{Stream: "pin", At: first.Add(3 * time.Second), End: span.Vector{{Log: w.log}: 7, {Log: w.log, Partition: 1}: 0, {Log: w.dead}: 2}}
		if d := cmp.Diff(want, m); d != "" {
			t.Fatal(d)
		}

		w.set(func() { delete(w.at["pin"], 1) }) // one partition has no leader
		time.Sleep(5 * time.Second)
		if m, err := w.db.FirstMark(t.Context(), "pin", first.Add(4*time.Second)); err != nil || m != nil {
			t.Fatalf("a mark without partition 1: %+v, %v", m, err)
		}
		if got := u.Missing()["pin"]; got != "partition 1 of topic pin does not answer" {
			t.Fatalf("missing: %q", got)
		}
		w.set(func() { w.at["pin"][1] = 0; w.fail = errors.New("no route") })
		time.Sleep(2 * time.Second)
		if got := u.Missing()["pin"]; !strings.Contains(got, "topic pin does not answer: no route") {
			t.Fatalf("missing: %q", got)
		}
		w.set(func() { w.fail = nil })
		time.Sleep(2 * time.Second)
		if got := u.Missing(); len(got) > 0 {
			t.Fatalf("missing: %v", got)
		}
		stop()
		w.ok(w.db.Close())
	})
}

func TestD2DayLandsWhenLiveAndLakeReachedItsCut(t *testing.T) {
	prove.Invariant(t, "D2", prove.SQLite)
	testbed.Bubble(t, func(t *testing.T) {
		sleepUntil(first.Add(23*time.Hour + 59*time.Minute))
		w := newWorld(t)
		_, stop := w.start("a")
		k0, k1, dead := span.Key{Log: w.log}, span.Key{Log: w.log, Partition: 1}, span.Key{Log: w.dead}
		w.set(func() { w.at["pin"][0] = 100; w.at["pin"][1] = 50; w.at["pin.dead"][0] = 3 })
		cutAt := first.Add(24*time.Hour + grace + Wait)
		sleepUntil(cutAt.Add(-time.Second))
		if got := w.days(); len(got) != 0 {
			t.Fatalf("cut too early: %+v", got)
		}
		sleepUntil(cutAt.Add(500 * time.Millisecond))
		want := ledger.Day{Stream: "pin", Zone: "UTC", Date: "2000-01-01", CutAt: cutAt, Cut: span.Vector{k0: 100, k1: 50, dead: 3}}
		if d := cmp.Diff([]ledger.Day{want}, w.days()); d != "" {
			t.Fatal(d)
		}
		// What comes after the cut does not keep the day open; each missing piece of what is below does.
		w.set(func() { w.at["pin"][0] = 1000 })
		open := func(why string) {
			t.Helper()
			time.Sleep(3 * time.Second)
			if !w.days()[0].LandedAt.IsZero() {
				t.Fatalf("landed although %s", why)
			}
		}
		w.seal(ledger.Live, k0, 100, false)
		w.seal(ledger.Batch, k0, 100, true)
		w.seal(ledger.Batch, k1, 50, true)
		open("live lacks partition 1, the lake the dead letters")
		w.seal(ledger.Live, k1, 50, false)
		open("the lake lacks the dead letters")
		w.seal(ledger.Batch, dead, 3, false)
		open("the dead letters are staged, but not committed")
		w.commit()
		time.Sleep(1500 * time.Millisecond)
		got := w.days()[0]
		if got.LandedAt.IsZero() || string(got.Totals) != `{"rows":150,"dead":3,"duplicates":0,"gaps":0,"lost":0}` {
			t.Fatalf("not landed: %+v %s", got, got.Totals)
		}
		stop()
		w.ok(w.db.Close())
	})
}

// A second process takes over when the first is gone, and goes on where it stopped: no second cut, and
// days during which nobody marked get the first mark after them.
func TestD2TakeOverKeepsCutsAndCatchesUp(t *testing.T) {
	testbed.Bubble(t, func(t *testing.T) {
		sleepUntil(first.Add(23*time.Hour + 59*time.Minute))
		w := newWorld(t, "Europe/London")
		_, stopA := w.start("a")
		_, stopB := w.start("b")
		w.set(func() { w.at["pin"][0] = 5 })
		sleepUntil(first.Add(24*time.Hour + 11*time.Minute))
		one := w.days()
		if len(one) != 2 || one[0].Zone != "Europe/London" || one[1].Zone != "UTC" {
			t.Fatalf("days of two zones expected: %+v", one)
		}
		stopA()
		w.set(func() { w.at["pin"][0] = 9 })
		sleepUntil(first.Add(24*time.Hour + 12*time.Minute))
		if d := cmp.Diff(one, w.days()); d != "" {
			t.Fatalf("the cut moved: %s", d)
		}
		m, err := w.db.FirstMark(t.Context(), "pin", first.Add(24*time.Hour+11*time.Minute+30*time.Second))
		w.ok(err)
		if m == nil || m.End[span.Key{Log: w.log}] != 9 {
			t.Fatalf("b keeps no marks: %+v", m)
		}
		stopB()
		back := first.Add(5*24*time.Hour + time.Hour) // nobody ran for days
		sleepUntil(back)
		_, stop := w.start("c")
		time.Sleep(20 * time.Second)
		var utc []string
		for _, d := range w.days() {
			if d.Zone == "UTC" {
				utc = append(utc, d.Date+" "+d.CutAt.Sub(first).Round(time.Hour).String())
			}
		}
		want := []string{"2000-01-05 121h0m0s", "2000-01-04 121h0m0s", "2000-01-03 121h0m0s", "2000-01-02 121h0m0s", "2000-01-01 24h0m0s"}
		if d := cmp.Diff(want, utc); d != "" {
			t.Fatal(d)
		}
		stop()
		w.ok(w.db.Close())
	})
}

// A log that hangs costs its own stream the marks, not the others.
func TestHangingLogHoldsUpItsStreamOnly(t *testing.T) {
	testbed.Bubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.ok(w.db.Apply(t.Context(), ledger.Change{Stream: "geo", Schema: &event.Stream{Name: "geo"}}))
		_, err := w.db.AddLog(t.Context(), ledger.Log{Kind: ledger.KindKafka, Stream: "geo", TopicID: "g", Topic: "geo", Partitions: 1})
		w.ok(err)
		u := New("a", time.Second, slog.New(slog.DiscardHandler), w.db, func(ctx context.Context, l ledger.Log) (map[int32]int64, error) {
			if l.Topic == "geo" {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return w.Ends(ctx, l)
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- u.Run(ctx) }()
		time.Sleep(time.Minute + 500*time.Millisecond)
		m, err := w.db.FirstMark(t.Context(), "pin", first.Add(time.Minute))
		w.ok(err)
		if m == nil || !m.At.Equal(first.Add(time.Minute)) {
			t.Fatalf("pin was held up: %+v", m)
		}
		if got := u.Missing()["geo"]; !strings.HasPrefix(got, "topic geo does not answer") {
			t.Fatalf("missing: %q", got)
		}
		cancel()
		w.ok(<-done)
		w.ok(w.db.Close())
	})
}

func TestDayEnds(t *testing.T) {
	for _, c := range []struct{ zone, date, end string }{
		{"UTC", "2026-03-01", "2026-03-02T00:00:00Z"},
		{"Europe/London", "2026-03-28", "2026-03-29T00:00:00Z"},
		{"Europe/London", "2026-03-29", "2026-03-29T23:00:00Z"}, // 23 hours
		{"Europe/London", "2026-10-25", "2026-10-26T00:00:00Z"}, // 25 hours
		{"America/New_York", "2026-12-31", "2027-01-01T05:00:00Z"},
	} {
		z, err := calendar.Load(c.zone)
		if err != nil {
			t.Fatal(err)
		}
		d, ok := dayOf(z, c.date)
		if !ok || d.String() != c.date {
			t.Fatalf("%s became %s", c.date, d)
		}
		if got := d.end().Format(time.RFC3339); got != c.end {
			t.Errorf("%s %s ends at %s, want %s", c.zone, c.date, got, c.end)
		}
		if got := dayAt(z, d.end().Add(-time.Microsecond)); got != d {
			t.Errorf("the last moment of %s is in %s", d, got)
		}
		if got := dayAt(z, d.end()); got != d.next() {
			t.Errorf("the end of %s is in %s", d, got)
		}
	}
	if _, ok := dayOf(nil, "2026-02-30"); ok {
		t.Error("30 February was accepted")
	}
}

func TestBlockedNamesTheFirstGate(t *testing.T) {
	k, d := span.Key{Log: 1}, span.Key{Log: 2}
	dead := map[span.Log]bool{2: true}
	cut := span.Vector{k: 10, d: 5}
	p := func(live, lake, deadLake, counted int64) *ledger.Progress {
		return &ledger.Progress{
			Start: span.Vector{k: 0, d: 0}, Live: span.Vector{k: live}, Batch: span.Vector{k: 10, d: 5},
			Lake: span.Vector{k: lake, d: deadLake}, LiveCounts: map[span.Key]ledger.Counts{k: {Rows: live}},
			BatchCounts: map[span.Key]ledger.Counts{k: {Rows: counted}, d: {Dead: 5}},
		}
	}
	for _, c := range []struct {
		p    *ledger.Progress
		want string
	}{
		{p(9, 9, 4, 10), "live"},
		{p(12, 9, 4, 10), "lake"},
		{p(12, 10, 4, 10), "lake"},
		{p(12, 10, 5, 9), "conservation"},
		{p(12, 10, 5, 10), ""},
	} {
		got := ""
		if g := blocked(cut, c.p, dead); g != nil {
			got = g.what
		}
		if got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
	// At the same offset both units must have counted the same.
	q := p(10, 10, 5, 10)
	q.LiveCounts[k] = ledger.Counts{Rows: 9, Duplicates: 1}
	if g := blocked(cut, q, dead); g == nil || g.what != "conservation" {
		t.Errorf("live and batch differ, and the day is complete: %+v", g)
	}
}
