package audit_test

import (
	"bytes"
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/pinflow/pinflow/internal/audit"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/ledger"
)

// closed is the ledger of the background check: the world's, with days and a lease.
type closed struct {
	*world
	days   []ledger.Day
	mu     sync.Mutex
	holder string // of the lease
}

func (c *closed) Days(context.Context, string, int) ([]ledger.Day, error) { return c.days, nil }

func (c *closed) Acquire(_ context.Context, name, holder string, _ time.Duration) (ledger.Lease, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.holder != "" && c.holder != holder {
		return ledger.Lease{}, fault.New(fault.Lost, "lease_lost", "%s has it", c.holder)
	}
	c.holder = holder
	return ledger.Lease{Name: name, Number: 1, Holder: holder}, nil
}

func (c *closed) Renew(context.Context, ledger.Lease, time.Duration) error { return nil }

func (c *closed) Release(context.Context, ledger.Lease) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.holder = ""
	return nil
}

// counted reads counters by the values of their labels.
func counted(t *testing.T, r *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetValue())
			}
			slices.Sort(labels)
			out[strings.TrimPrefix(f.GetName(), "pinflow_audit_")+" "+strings.Join(labels, " ")] = m.GetCounter().GetValue()
		}
	}
	return out
}

// Closed days are compared one by one, newest first, each once a day; what was found is counted, and what is wrong is
// told with view, day, bucket and group. A day that has not landed, or that another process looks at, is left alone.
func TestClosedDaysAreChecked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		right, wrong, torn := pin{at: today.AddDate(0, 0, -1), category: "art"}, pin{at: today.AddDate(0, 0, -2), category: "food"}, pin{at: today.AddDate(0, 0, -3), category: "travel"}
		w.store(right, wrong, torn)
		w.answer("minute", right)
		w.answer("minute", torn)
		w.segs[1].Data = append(slices.Clone(w.segs[1].Data), 0) // its checksum differs
		differences := 0.0                                       // by audits on demand
		for _, back := range []int{2, 3} {
			r := w.audit(audit.Request{From: day(back)})
			differences += float64(len(r.Differences) + r.More)
		}
		led := &closed{world: w, holder: "another"}
		for back := range 4 {
			d := ledger.Day{Stream: "pin", Zone: "UTC", Date: day(back)}
			if back > 0 {
				d.LandedAt = time.Now()
			}
			led.days = append(led.days, d, ledger.Day{Stream: "pin", Zone: "Asia/Tokyo", Date: d.Date, LandedAt: time.Now()})
		}
		var said bytes.Buffer
		a, err := audit.New(audit.Config{Owner: "me"}, w, w)
		if err != nil {
			t.Fatal(err)
		}
		registry := prometheus.NewRegistry()
		c, err := audit.NewChecker(a, slog.New(slog.NewTextHandler(&said, nil)), audit.NewMetrics(registry), led)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- c.Run(ctx) }()
		time.Sleep(10 * time.Minute)
		if got := counted(t, registry); len(got) > 0 {
			t.Errorf("another process has the lease, and this one counted %v", got)
		}
		if err := led.Release(ctx, ledger.Lease{}); err != nil {
			t.Fatal(err)
		}
		want := map[string]float64{"days_total pins right": 1, "days_total different pins": 1, "days_total damaged pins": 1, "differences_total pins": differences}
		time.Sleep(10 * time.Minute)
		if diff := cmp.Diff(want, counted(t, registry)); diff != "" {
			t.Errorf("after ten minutes -want +got:\n%s", diff)
		}
		time.Sleep(24 * time.Hour)
		for name := range want {
			want[name] *= 2
		}
		if diff := cmp.Diff(want, counted(t, registry)); diff != "" {
			t.Errorf("a day later -want +got:\n%s", diff)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		text := said.String()
		for _, part := range []string{"a closed day differs", "day=" + day(2), today.AddDate(0, 0, -2).Format(time.RFC3339), "a closed day has segments that cannot be read", "day=" + day(3), "Segment:2"} {
			if !strings.Contains(text, part) {
				t.Errorf("the log does not say %q:\n%s", part, text)
			}
		}
	})
}
