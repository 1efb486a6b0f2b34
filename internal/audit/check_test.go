package audit_test

import (
	"bytes"
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/pinflow/pinflow/internal/audit"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/testbed"
)

// closed is the ledger of the background check: the world's, with days and a lease.
type closed struct {
	*world
	days   []ledger.Day
	mu     sync.Mutex
	holder string // of the lease
	noted  map[string]ledger.DayAudit
	lost   bool // the lease is
}

func (c *closed) NoteAudit(_ context.Context, _ ledger.Lease, a ledger.DayAudit) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lost {
		return fault.New(fault.Lost, "lease_lost", "another process took it")
	}
	a.At = time.Now()
	c.noted[a.Day] = a
	return nil
}

func (c *closed) DayAudits(_ context.Context, version int64) (all []ledger.DayAudit, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, a := range c.noted {
		if a.Version == version {
			all = append(all, a)
		}
	}
	return all, nil
}

func (c *closed) AuditSums(context.Context) (map[int64]ledger.AuditSum, error) { panic("not asked") }

// found is what was noted of a day, without the moment.
func (c *closed) found(day string) ledger.DayAudit {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := c.noted[day]
	a.At = time.Time{}
	return a
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

// run lets a checker run until the test ends it.
func (c *closed) run(t *testing.T, lake audit.Lake, said *bytes.Buffer, r *prometheus.Registry) (stop func()) {
	t.Helper()
	a, err := audit.New(audit.Config{Owner: "me"}, c.world, lake)
	if err != nil {
		t.Fatal(err)
	}
	check, err := audit.NewChecker(a, slog.New(slog.NewTextHandler(said, nil)), audit.NewMetrics(r), c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- check.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// Closed days are compared one by one, newest first, each once a day and one that was not right each hour; what was
// found is counted and noted, and what is wrong is told with view, day, bucket and group. A day that has not landed, or that another process looks at, is left alone.
func TestClosedDaysAreChecked(t *testing.T) {
	testbed.Bubble(t, func(t *testing.T) {
		w := newWorld(t, nil)
		right, wrong, torn := pin{at: today.AddDate(0, 0, -1), category: "art"}, pin{at: today.AddDate(0, 0, -2), category: "food"}, pin{at: today.AddDate(0, 0, -3), category: "travel"}
		w.store(right, wrong, torn)
		w.answer("minute", right)
		w.answer("minute", torn)
		w.segs[1].Data = append(slices.Clone(w.segs[1].Data), 0) // its checksum differs
		wrongDay, tornDay := w.audit(audit.Request{From: day(2)}), w.audit(audit.Request{From: day(3)})
		differences := float64(len(wrongDay.Differences) + len(tornDay.Differences))
		led := &closed{world: w, holder: "another", noted: map[string]ledger.DayAudit{}}
		for back := range 4 {
			d := ledger.Day{Stream: "pin", Zone: "UTC", Date: day(back)}
			if back > 0 {
				d.LandedAt = time.Now()
			}
			led.days = append(led.days, d, ledger.Day{Stream: "pin", Zone: "Asia/Tokyo", Date: d.Date, LandedAt: time.Now()})
		}
		var said bytes.Buffer
		registry := prometheus.NewRegistry()
		stop := led.run(t, w, &said, registry)
		time.Sleep(10 * time.Minute)
		if got := counted(t, registry); len(got) > 0 {
			t.Errorf("another process has the lease, and this one counted %v", got)
		}
		if err := led.Release(t.Context(), ledger.Lease{}); err != nil {
			t.Fatal(err)
		}
		want := map[string]float64{"days_total pins right": 1, "days_total different pins": 1, "days_total damaged pins": 1, "differences_total pins": differences}
		time.Sleep(10 * time.Minute)
		if diff := cmp.Diff(want, counted(t, registry)); diff != "" {
			t.Errorf("after ten minutes -want +got:\n%s", diff)
		}
		noted := map[string]ledger.DayAudit{
			day(1): {Version: 1, Day: day(1), Result: ledger.AuditRight, Rows: 1},
			day(2): {Version: 1, Day: day(2), Result: ledger.AuditDifferent, Rows: 1, Differences: int64(len(wrongDay.Differences)), First: wrongDay.Differences[0].String()},
			day(3): {Version: 1, Day: day(3), Result: ledger.AuditDamaged, Rows: 1, Differences: 1},
		}
		for name, want := range noted {
			got := led.found(name)
			if want.First == "" && want.Result == ledger.AuditDamaged {
				want.First = got.First
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("noted of %s -want +got:\n%s", name, diff)
			}
		}
		for _, part := range []string{"posted of " + today.AddDate(0, 0, -2).Format(time.RFC3339) + " category=food", ": 0 in the view, 1 in the lake"} {
			if got := led.found(day(2)).First; !strings.Contains(got, part) {
				t.Errorf("the first difference %q does not say %q", got, part)
			}
		}
		if got := led.found(day(3)).First; !strings.HasPrefix(got, "segment 2 of the buckets ") {
			t.Errorf("of the damaged day it is noted: %q", got)
		}
		// Another process goes on where this one ended: what was right is left alone.
		stop()
		registry = prometheus.NewRegistry()
		stop = led.run(t, w, &said, registry)
		time.Sleep(5 * time.Hour)
		want = map[string]float64{"days_total different pins": 5, "days_total damaged pins": 5, "differences_total pins": 5 * differences}
		if diff := cmp.Diff(want, counted(t, registry)); diff != "" {
			t.Errorf("after a restart and five hours -want +got:\n%s", diff)
		}
		time.Sleep(20 * time.Hour)
		if got := counted(t, registry)["days_total pins right"]; got != 1 {
			t.Errorf("a day later the day that was right was looked at %v times more", got)
		}
		stop()
		text := said.String()
		for _, part := range []string{"a closed day differs", "day=" + day(2), today.AddDate(0, 0, -2).Format(time.RFC3339), "a closed day has segments that cannot be read", "day=" + day(3), "segment 2"} {
			if !strings.Contains(text, part) {
				t.Errorf("the log does not say %q:\n%s", part, text)
			}
		}
	})
}

// brokenLake cannot be read.
type brokenLake struct{ why atomic.Pointer[fault.Error] }

func (b *brokenLake) Scan(context.Context, lake.Selection, func(*lake.Block) error) (int64, error) {
	return 0, b.why.Load()
}

// A day that cannot be compared is noted with the reason, if waiting does not help; else what was found of it before
// stays, and it is looked at again in an hour. Whoever lost the lease notes nothing.
func TestADayThatCannotBeAudited(t *testing.T) {
	testbed.Bubble(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.store(pin{at: today.AddDate(0, 0, -1), category: "art"})
		led := &closed{world: w, noted: map[string]ledger.DayAudit{}, days: []ledger.Day{{Stream: "pin", Zone: "UTC", Date: day(1), LandedAt: time.Now()}}}
		broken := &brokenLake{}
		broken.why.Store(fault.New(fault.Transient, "lake_away", "nobody answers"))
		var said bytes.Buffer
		registry := prometheus.NewRegistry()
		stop := led.run(t, broken, &said, registry)
		time.Sleep(90 * time.Minute)
		if n := counted(t, registry)["days_total failed pins"]; n != 2 || led.found(day(1)).Result != "" {
			t.Errorf("looked %v times in ninety minutes, noted %+v", n, led.found(day(1)))
		}
		broken.why.Store(fault.New(fault.Corrupt, "lake_file", "file x.parquet is gone"))
		time.Sleep(time.Hour)
		got := led.found(day(1))
		if got.Result != ledger.AuditFailed || !strings.Contains(got.First, "file x.parquet is gone") || !got.Wrong() || got.Version != 1 {
			t.Errorf("noted %+v", got)
		}
		led.mu.Lock()
		led.lost = true
		led.mu.Unlock()
		broken.why.Store(fault.New(fault.Corrupt, "lake_file", "file y.parquet is gone"))
		time.Sleep(2 * time.Hour)
		if again := led.found(day(1)); again != got {
			t.Errorf("without the lease it noted %+v", again)
		}
		stop()
	})
}
