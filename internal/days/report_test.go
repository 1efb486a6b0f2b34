package days

import (
	"context"
	"testing"
	"time"

	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/span"
	"github.com/pinflow/pinflow/internal/testbed"
)

// An open day says how far it is, a waiting one which partition keeps it, a complete one how it stands to
// its deadline and what came late.
func TestDaysAreTold(t *testing.T) {
	testbed.Bubble(t, func(t *testing.T) {
		sleepUntil(first.Add(23*time.Hour + 45*time.Minute))
		w := newWorld(t)
		epochs, err := w.db.Epochs(t.Context())
		w.ok(err)
		w.ok(w.db.Apply(t.Context(), ledger.Change{Stream: "pin", Epoch: epochs["pin"], Views: []ledger.ViewChange{{
			Name: "v", Hash: "h", Definition: []byte(`{"time_zone":"UTC","time":"_event_time"}`), State: ledger.Serving,
			Metadata: []byte(`{"deadline":{"by":"06:00","time_zone":"Europe/Paris"}}`),
		}}}))
		late := map[string]int64{}
		r := NewReporter(w.db, func(_ context.Context, view, from, to string) (map[string]int64, error) {
			if view != "v" || from > to {
				t.Errorf("asked view %s from %s to %s", view, from, to)
			}
			return late, nil
		}, NewPace())
		told := func() []Day {
			t.Helper()
			snap, err := w.db.Load(t.Context())
			w.ok(err)
			all, err := r.DaysOf(t.Context(), snap, "pin", 10)
			w.ok(err)
			return all
		}
		if d := told(); len(d) != 1 || d[0].State != Open || d[0].Complete != 0 || d[0].Note != "nothing is complete yet; the stream began at 23:45" || d[0].Since == nil {
			t.Fatalf("before the first mark: %+v", d)
		}
		_, stop := w.start("a")
		time.Sleep(1500 * time.Millisecond)
		d := told()
		if len(d) != 1 || d[0].Date != "2000-01-01" || d[0].Complete < 0.9895 || d[0].Complete > 0.9897 || d[0].Note != "live lag 500ms; the stream began at 23:45" {
			t.Fatalf("before midnight: %+v", d)
		}
		if want := first.Add(29 * time.Hour); d[0].DeadlineAt == nil || !d[0].DeadlineAt.Equal(want) { // 06:00 in Paris
			t.Fatalf("deadline %v, want %v", d[0].DeadlineAt, want)
		}
		k0, k1 := span.Key{Log: w.log}, span.Key{Log: w.log, Partition: 1}
		w.set(func() { w.at["pin"][0], w.at["pin"][1] = 80, 20 })
		sleepUntil(first.Add(24*time.Hour + grace + Wait + time.Second))
		w.seal(ledger.Live, k0, 80, false)
		w.seal(ledger.Live, k1, 20, false)
		w.seal(ledger.Batch, k0, 50, true)
		w.seal(ledger.Batch, k1, 20, true)
		d = told()
		if len(d) != 2 || d[0].Date != "2000-01-02" || d[0].State != Open || d[1].State != Waiting || d[1].Complete != 0.7 || d[1].Note != "pin/0 is 30 records behind in the lake; the stream began at 23:45" || d[0].Since != nil {
			t.Fatalf("the day after: %+v", d)
		}
		w.seal(ledger.Batch, k0, 80, true)
		time.Sleep(1500 * time.Millisecond)
		if d = told(); d[1].State != Complete || d[1].Complete != 1 || d[1].LandedAt == nil || d[1].Revised || d[1].Late == nil || *d[1].Late != 0 {
			t.Fatalf("landed: %+v", d[1])
		}
		late["2000-01-01"] = 12
		if d = told(); !d[1].Revised || *d[1].Late != 12 || d[1].Note != "revised: 12 events came late; the stream began at 23:45" || d[0].Revised {
			t.Fatalf("revised: %+v", d)
		}
		stop()
		w.ok(w.db.Close())
	})
}
