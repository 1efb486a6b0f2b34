package live_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/intake"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/live"
	"github.com/pinflow/pinflow/internal/metric"
	"github.com/pinflow/pinflow/internal/prove"
	"github.com/pinflow/pinflow/internal/span"
	"github.com/pinflow/pinflow/internal/sqlledger"
)

// lateness is what a minute of the view timely counts.
type lateness struct{ Posted, Late, Dropped int64 }

// M1: the collectors' clocks jump hours ahead and back, events come early, late, too late and dated in the
// future, some twice, and one partition stays idle. What is counted, late, left out or dead is what the
// records alone say, at the edge of each rule to the microsecond, whenever a worker looks.
func TestClockStepsIdlePartitionsAndFutureDates(t *testing.T) {
	prove.Invariant(t, "M1", prove.SQLite)
	for seed := range uint64(6) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { runClocks(t, seed) })
	}
}

func runClocks(t *testing.T, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 3))
	db, key := openLedger(t)
	addTimely(t, db)
	tp := intake.TP{Topic: "pin"}
	recs, want, dead := stepping(rnd)
	m := &memory{rnd: rnd, logs: map[intake.TP][]event.Record{tp: recs, {Topic: "pin", Partition: 1}: nil}}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	m.end = cancel
	m.done = func() bool {
		at, err := db.PositionsOf(ctx, ledger.Live)
		return err == nil && at[key] == int64(len(recs))
	}
	u, err := live.New(live.Config{Owner: "test", FlushEvery: time.Millisecond}, quiet(), live.NewMetrics(prometheus.NewRegistry()), &shaky{db, rnd}, m.open)
	if err != nil {
		t.Fatal(err)
	}
	if err := u.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		t.Fatal("a minute later still not at the end of the log")
	}
	if diff := cmp.Diff(want, timely(t, db)); diff != "" {
		t.Errorf("the segments differ from the log:\n%s", diff)
	}
	at, err := db.PositionsOf(t.Context(), ledger.Live)
	if err != nil {
		t.Fatal(err)
	}
	if idle := (span.Key{Log: key.Log, Partition: 1}); at[idle] != 0 {
		t.Errorf("the idle partition is at %d", at[idle])
	}
	if dead == 0 || len(want) == 0 {
		t.Errorf("%d dead, %d minutes: the records try nothing", dead, len(want))
	}
}

// addTimely adds a view that leaves out what comes more than a day late.
func addTimely(t *testing.T, db *sqlledger.DB) {
	t.Helper()
	snap, err := db.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s := snap.Streams[0]
	schema, err := event.Compile(s.Schemas[0].Definition, 1)
	if err != nil {
		t.Fatal(err)
	}
	c, problems := metric.Compile(metric.View{
		Version: 1, Name: "timely", Stream: "pin", Grain: "minute", TimeZone: "Asia/Kolkata", Late: metric.Late{Accept: "1d"},
		Keep:     map[string]string{"minute": "forever"},
		Measures: []metric.Measure{{Name: "posted", Agg: "count"}},
	}, schema)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	err = db.Apply(t.Context(), ledger.Change{Stream: "pin", Epoch: s.Epoch, Views: []ledger.ViewChange{
		{Name: "timely", Metadata: c.Metadata(), Hash: c.Hash(), Definition: c.Definition(), State: ledger.Serving},
	}})
	if err != nil {
		t.Fatal(err)
	}
}

// stepping makes records of a collector whose clock is set again and again, and what they come to by the
// rules of the stream (10 minutes of grace and ahead, a dedup window of 20 records and an hour) and view.
func stepping(rnd *rand.Rand) (recs []event.Record, want map[int64]lateness, dead int) {
	const second, minute, hour = int64(1e6), int64(60e6), int64(3600e6)
	want = map[int64]lateness{}
	now := time.Date(2026, 11, 22, 18, 0, 0, 0, time.UTC).UnixMicro()
	behind := []int64{-10 * minute, -10*minute - 1, -5 * minute, 0, minute, 11 * minute, 2 * hour, 24 * hour, 24*hour + 1, 72 * hour}
	for o := range int64(600) {
		now += rnd.Int64N(20 * second)
		if rnd.IntN(25) == 0 {
			now += []int64{-3 * hour, -hour, -minute, minute, hour, 3 * hour}[rnd.IntN(6)]
		}
		at := now - behind[rnd.IntN(len(behind))]
		if rnd.IntN(10) == 0 { // just at the end of the minute's grace
			at = now/minute*minute - 11*minute + []int64{0, -1, 1}[rnd.IntN(3)]
		}
		r := event.Record{
			Offset: o, ID: fmt.Sprint(o), Received: now,
			Value: fmt.Appendf(nil, `{"event_time":%q}`, time.UnixMicro(at).UTC().Format(time.RFC3339Nano)),
		}
		if o > 0 && rnd.IntN(10) == 0 { // sent again under its id, by the clock of now
			old := recs[o-1-rnd.Int64N(min(o, 25))]
			r.ID, r.Value = old.ID, old.Value
			parsed, err := time.Parse(time.RFC3339Nano, string(old.Value[len(`{"event_time":"`):len(old.Value)-2]))
			if err != nil {
				panic(err)
			}
			at = parsed.UnixMicro()
		}
		repeat := false
		for _, old := range recs[max(0, o-20):] {
			repeat = repeat || old.ID == r.ID && old.Received >= now-hour
		}
		recs = append(recs, r)
		bucket := at / minute * minute
		w := want[bucket]
		switch {
		case repeat:
			continue
		case at > now+10*minute:
			dead++
			continue
		case now-at > 24*hour:
			w.Dropped++
		default:
			w.Posted++
			if now >= bucket+minute+10*minute {
				w.Late++
			}
		}
		want[bucket] = w
	}
	return recs, want, dead
}

// timely reads what the ledger holds of the view.
func timely(t *testing.T, db *sqlledger.DB) map[int64]lateness {
	t.Helper()
	c, merged, _ := held(t, db, "timely")
	got := map[int64]lateness{}
	for i := range merged.N {
		got[merged.Buckets[i]] = lateness{
			Posted:  value(c, merged, "posted", i),
			Late:    merged.Cols[metric.StateLate].Ints[i],
			Dropped: merged.Cols[metric.StateLateDropped].Ints[i],
		}
	}
	return got
}
