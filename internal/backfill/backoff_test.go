package backfill_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pinflow/pinflow/internal/backfill"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/testbed"
)

// torn is a lake one day of which cannot be read.
type torn struct {
	*pond
	mu     sync.Mutex
	day    time.Time
	whole  bool
	tries  []time.Time // of that day
	others []time.Time // of other days
}

func (l *torn) Scan(ctx context.Context, sel lake.Selection, fn func(*lake.Block) error) (int64, error) {
	l.mu.Lock()
	whole := l.whole
	if sel.From != l.day.UnixMicro() {
		l.others, whole = append(l.others, time.Now()), true
	} else {
		l.tries = append(l.tries, time.Now())
	}
	l.mu.Unlock()
	if !whole {
		return 0, fault.New(fault.Unknown, "torn", "a file is torn")
	}
	return l.pond.Scan(ctx, sel, fn)
}

func (l *torn) tried() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.tries)
}

func (l *torn) heal() {
	l.mu.Lock()
	l.whole = true
	l.mu.Unlock()
}

// trial is a back-fill of four days whose newest is torn, in simulated time.
type trial struct {
	*world
	lake *torn
}

func newTrial(t *testing.T, seed uint64) *trial {
	t.Helper()
	time.Sleep(30 * 24 * time.Hour) // simulated time begins with 2000, and no event may be older
	w := newWorld(t, seed)
	w.now = w.now.Truncate(24 * time.Hour).Add(24*time.Hour - 1) // whole days
	w.fill(w.schema(1, stream()), 400, 4)
	w.pass(ledger.Live, ledger.Flush, 400)
	w.pass(ledger.Batch, ledger.Stage, 400)
	w.view("cast(_extra.score as long)", "")
	x := &trial{world: w, lake: &torn{pond: w.lake, day: w.now.Truncate(24 * time.Hour)}}
	cfg := backfill.Config{Owner: "m", Every: 2 * time.Second}
	m, err := backfill.NewManager(cfg, quiet(), w.led, x.lake)
	w.ok(err)
	worker, err := backfill.NewWorker(cfg, quiet(), backfill.NewMetrics(prometheus.NewRegistry()), w.led, x.lake)
	w.ok(err)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, run := range []func(context.Context) error{m.Run, worker.Run} {
		wg.Go(func() {
			if err := run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	return x
}

func (x *trial) backfill() ledger.Backfill {
	x.t.Helper()
	all, err := x.led.Backfills(x.t.Context(), 0)
	x.ok(err)
	return all[0]
}

// until lets time go by until something is so.
func (x *trial) until(what string, done func() bool) {
	x.t.Helper()
	for end := time.Now().Add(time.Hour); !done(); time.Sleep(time.Second) {
		if time.Now().After(end) {
			x.t.Fatalf("an hour later not: %s; %+v", what, x.backfill())
		}
	}
}

func (x *trial) steer(action string) {
	x.t.Helper()
	x.ok(x.led.Steer(x.t.Context(), x.backfill().ID, action))
}

// A day that fails is tried again after growing waits that are partly chance, while the others are done; the last
// failure is told.
func TestFailedDayIsLeftAlone(t *testing.T) {
	seed := testbed.Seed(t)
	testbed.Bubble(t, func(t *testing.T) {
		x := newTrial(t, seed)
		x.until("its back-fill fails", func() bool { return x.backfill().State == ledger.Failed })
		if n := x.lake.tried(); n != ledger.MaxTries {
			t.Fatalf("tried %d times, not %d", n, ledger.MaxTries)
		}
		even := true
		for i, most := range []time.Duration{5 * time.Second, 20 * time.Second, 80 * time.Second, 300 * time.Second} {
			wait := x.lake.tries[i+1].Sub(x.lake.tries[i])
			t.Logf("after try %d it was left alone for %s", i+1, wait)
			if wait < most/2 || wait > most+3*time.Second { // the worker looks every two seconds
				t.Errorf("after try %d it was left alone for %s, not for %s to %s", i+1, wait, most/2, most)
			}
			even = even && wait%most == 0
		}
		if even {
			t.Error("the waits have nothing of chance")
		}
		if n, last := len(x.lake.others), x.lake.others[len(x.lake.others)-1]; n != 3 || last.After(x.lake.tries[1]) {
			t.Errorf("%d other days were read, the last at %s: behind the day that failed and is tried again at %s", n, last, x.lake.tries[1])
		}
		if b := x.backfill(); !strings.Contains(b.Trouble, "a file is torn") || !strings.HasPrefix(b.Trouble, x.lake.day.Format(time.DateOnly)) || b.Waiting != 0 {
			t.Errorf("of the failure it tells %q, and that %d days wait", b.Trouble, b.Waiting)
		}
		x.lake.heal()
		x.steer(ledger.Retry)
		x.until("it is done", func() bool { return x.backfill().State == ledger.Done })
		if b := x.backfill(); b.Trouble != "" || b.Rows != 400 {
			t.Errorf("it is done with %d rows and tells of %q", b.Rows, b.Trouble)
		}
	})
}

// While a day waits to be tried again, retry tries it at once, a pause holds for it, too, and cancel ends it.
func TestSteerWhileADayWaits(t *testing.T) {
	seed := testbed.Seed(t)
	testbed.Bubble(t, func(t *testing.T) {
		x := newTrial(t, seed)
		x.until("it waits", func() bool { return x.backfill().Waiting == 1 })
		x.until("it waits for long", func() bool { b := x.backfill(); return time.Until(b.NextTry) > 30*time.Second })
		n, at := x.lake.tried(), time.Now()
		x.steer(ledger.Retry)
		x.until("it is tried at once", func() bool { return x.lake.tried() > n })
		if took := time.Since(at); took > 4*time.Second {
			t.Errorf("a retry took %s", took)
		}
		x.until("it waits again", func() bool { return x.backfill().Waiting == 1 })
		x.steer(ledger.Pause)
		n = x.lake.tried()
		time.Sleep(10 * time.Minute)
		if m := x.lake.tried(); m != n {
			t.Errorf("it was tried %d times while it was paused", m-n)
		}
		x.steer(ledger.Resume)
		x.until("it is tried again", func() bool { return x.lake.tried() > n && x.backfill().Waiting == 1 })
		x.steer(ledger.Cancel)
		n = x.lake.tried()
		time.Sleep(10 * time.Minute)
		if b := x.backfill(); x.lake.tried() != n || b.State != ledger.Cancelled || b.Waiting != 0 {
			t.Errorf("it was tried %d times after it was cancelled, and is %s with %d days that wait", x.lake.tried()-n, b.State, b.Waiting)
		}
	})
}
