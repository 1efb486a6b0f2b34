package days

import (
	"strings"
	"testing"
	"time"

	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/span"
	"github.com/pinflow/pinflow/internal/testbed"
)

// From an hour before its deadline on a day that is not complete is named, until it has landed.
func TestPressureNearTheDeadline(t *testing.T) {
	testbed.Bubble(t, func(t *testing.T) {
		sleepUntil(first.Add(23*time.Hour + 45*time.Minute))
		w := newWorld(t)
		epochs, err := w.db.Epochs(t.Context())
		w.ok(err)
		w.ok(w.db.Apply(t.Context(), ledger.Change{Stream: "pin", Epoch: epochs["pin"], Views: []ledger.ViewChange{{
			Name: "v", Hash: "h", Definition: []byte(`{"time_zone":"UTC","time":"_event_time"}`), State: ledger.Serving,
			Metadata: []byte(`{"deadline":{"by":"06:00"}}`),
		}}}))
		_, stop := w.start("a")
		time.Sleep(1500 * time.Millisecond)
		w.set(func() { w.at["pin"][0] = 80 })
		sleepUntil(first.Add(24*time.Hour + grace + Wait + time.Second)) // the day has its cut
		stop()
		p := NewPressure(w.db)
		at := func(clock time.Duration) string {
			sleepUntil(first.Add(24*time.Hour + clock))
			return p.Reason(t.Context())
		}
		if got := at(4*time.Hour + 59*time.Minute); got != "" {
			t.Errorf("before it is near: %q", got)
		}
		if got := at(5*time.Hour + time.Minute); !strings.HasPrefix(got, "2000-01-01 of stream pin is due at 2000-01-02T06:00:00Z") {
			t.Errorf("near: %q", got)
		}
		k := span.Key{Log: w.log}
		w.seal(ledger.Live, k, 80, false)
		w.seal(ledger.Live, span.Key{Log: w.log, Partition: 1}, 0, false)
		w.seal(ledger.Batch, k, 80, true)
		if got := at(5*time.Hour + 2*time.Minute); got == "" {
			t.Error("it has not landed yet")
		}
		_, stop = w.start("b")
		time.Sleep(20 * time.Second)
		stop()
		if got := at(5*time.Hour + 30*time.Minute); got != "" {
			t.Errorf("it has landed: %q", got)
		}
		w.ok(w.db.Close())
	})
}
