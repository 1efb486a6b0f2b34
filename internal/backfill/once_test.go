package backfill_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/pinflow/pinflow/internal/backfill"
	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/prove"
	"github.com/pinflow/pinflow/internal/span"
)

// scale weighs what each transaction of a back-fill inserts.
type scale struct {
	backfill.Store
	mu    sync.Mutex
	sizes []int
}

func (s *scale) weigh(segs []ledger.Segment) {
	size := 0
	for i := range segs {
		size += len(segs[i].Data)
	}
	s.mu.Lock()
	s.sizes = append(s.sizes, size)
	s.mu.Unlock()
}

func (s *scale) AddSegments(ctx context.Context, write int64, segs []ledger.Segment) error {
	s.weigh(segs)
	return s.Store.AddSegments(ctx, write, segs)
}

func (s *scale) SealTask(ctx context.Context, x ledger.TaskSeal) error {
	s.weigh(x.Segments)
	return s.Store.SealTask(ctx, x)
}

// §4: a day of very many groups (a million in soak form) is sealed by transactions none of which inserts more than 4 MiB, so that none holds
// up what is live; with little memory as with much. All of it is there.
func TestWideDay(t *testing.T) {
	groups := 80_000
	if os.Getenv("PINFLOW_SOAK") != "" {
		groups = 1_000_000
	}
	for name, bytes := range map[string]int{"little memory": 8 << 20, "much memory": 4 << 30} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 11)
			w.wide(groups)
			w.pass(ledger.Live, ledger.Flush, int64(groups))
			w.pass(ledger.Batch, ledger.Stage, int64(groups))
			v := w.view("length(category)", "")
			s := &scale{Store: w.led}
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			defer cancel()
			cfg := backfill.Config{Owner: "m", Every: time.Millisecond, MaxBytes: bytes}
			m, err := backfill.NewManager(cfg, quiet(), w.led, w.lake)
			w.ok(err)
			worker, err := backfill.NewWorker(cfg, quiet(), backfill.NewMetrics(prometheus.NewRegistry()), s, w.lake)
			w.ok(err)
			var wg sync.WaitGroup
			wg.Go(func() { w.ok(m.Run(ctx)) })
			wg.Go(func() { w.ok(worker.Run(ctx)) })
			for tick := time.NewTicker(20 * time.Millisecond); ctx.Err() == nil; <-tick.C {
				if all, err := w.led.Backfills(ctx, 0); err == nil && all[0].State == ledger.Done {
					cancel()
				}
			}
			wg.Wait()
			most, total := 0, 0
			for _, n := range s.sizes {
				most, total = max(most, n), total+n
			}
			t.Logf("%d transactions of at most %d bytes, %d in all", len(s.sizes), most, total)
			if most > ledger.MaxTx || total < ledger.MaxTx {
				t.Errorf("the greatest of %d transactions inserted %d bytes, all of them %d", len(s.sizes), most, total)
			}
			rows := int64(0)
			data, err := w.led.Read(t.Context(), ledger.Read{View: "scores", Tier: "day", From: -1 << 62, To: 1 << 62})
			w.ok(err)
			for _, x := range data.Segments {
				rows += x.Rows
			}
			if data.Version.ID != v.ID || rows < int64(groups) {
				t.Errorf("version %d answers with %d groups of %d", data.Version.ID, rows, groups)
			}
		})
	}
}

// wide puts rows into one day of the lake, each of a category of its own.
func (w *world) wide(n int) {
	w.t.Helper()
	schema := w.schema(1, stream())
	at := w.now.Truncate(24 * time.Hour).Add(-12 * time.Hour)
	day := at.Format(time.DateOnly)
	d, columns := schema.NewDecoder(nil), lake.Columns(schema)
	for i := range n {
		r := event.Record{
			Key: span.Key{Log: w.log}, Offset: int64(i), Received: at.UnixMicro() + 1, ID: fmt.Sprint(i),
			Value: fmt.Appendf(nil, `{"event_time":%q,"category":"%x"}`, at.Format(time.RFC3339), sha256.Sum256([]byte(strconv.Itoa(i)))),
		}
		if v := d.Append(&r); v.Dead() {
			w.t.Fatalf("%s: %+v", r.Value, v)
		}
		if (i+1)%50_000 == 0 || i == n-1 {
			rows := d.Rows()
			w.lake.days[day] = append(w.lake.days[day], lake.Block{Columns: columns, N: rows.N, Cols: rows.Cols})
			d = schema.NewDecoder(nil)
		}
	}
}

// asleep is a lake whose first reading of a day waits, behind its first block, until it is woken.
type asleep struct {
	*pond
	once sync.Once
	fell chan struct{}
	wake chan struct{}
}

func (l *asleep) Scan(ctx context.Context, sel lake.Selection, fn func(*lake.Block) error) (int64, error) {
	return l.pond.Scan(ctx, sel, func(b *lake.Block) error {
		l.once.Do(func() {
			close(l.fell)
			<-l.wake
		})
		return fn(b)
	})
}

// stopped is the ledger of a worker that stands still past its lease: it is given one day, under a lease that has run
// out, and lost tells that it was refused.
type stopped struct {
	backfill.Store
	leased bool
	lost   chan struct{}
}

func (s *stopped) LeaseTask(ctx context.Context, holder string, _ time.Duration, engines ...string) (*ledger.TaskLease, error) {
	if s.leased {
		return nil, nil
	}
	t, err := s.Store.LeaseTask(ctx, holder, -time.Second, engines...)
	s.leased = t != nil
	return t, err
}

func (s *stopped) OpenTask(ctx context.Context, t ledger.TaskLease) (int64, error) {
	id, err := s.Store.OpenTask(ctx, t)
	if fault.Is(err, fault.Lost) {
		close(s.lost)
	}
	return id, err
}

// M4, L2: a day that two workers have at once, because the first stood still past its lease, and that the first goes
// on with when the second has sealed it, is counted once; so is a day that is filled in twice.
func TestDayCountsOnce(t *testing.T) {
	prove.Invariant(t, "M4 L2", prove.SQLite)
	for name, sealed := range map[string]bool{"woken before the other has sealed": false, "woken afterwards": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 12)
			w.fill(w.schema(1, stream()), 1000, 1)
			w.pass(ledger.Live, ledger.Flush, 1000)
			w.pass(ledger.Batch, ledger.Stage, 1000)
			w.view("cast(_extra.score as long)", "")
			slow := &asleep{pond: w.lake, fell: make(chan struct{}), wake: make(chan struct{})}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			metrics := backfill.NewMetrics(prometheus.NewRegistry())
			of := &stopped{Store: w.led, lost: make(chan struct{})}
			cfg := backfill.Config{Owner: "m", Every: time.Millisecond, MaxBytes: 1}
			m, err := backfill.NewManager(cfg, quiet(), w.led, w.lake)
			w.ok(err)
			cfg.Owner = "slow"
			first, err := backfill.NewWorker(cfg, quiet(), metrics, of, slow)
			w.ok(err)
			cfg.Owner = "fast"
			second, err := backfill.NewWorker(cfg, quiet(), metrics, w.led, w.lake)
			w.ok(err)
			var wg sync.WaitGroup
			wg.Go(func() { w.ok(m.Run(ctx)) })
			wg.Go(func() { w.ok(first.Run(ctx)) })
			<-slow.fell
			if !sealed {
				held := &asleep{pond: w.lake, fell: make(chan struct{}), wake: make(chan struct{})}
				second, err = backfill.NewWorker(cfg, quiet(), metrics, w.led, held)
				w.ok(err)
				wg.Go(func() { w.ok(second.Run(ctx)) })
				<-held.fell
				close(slow.wake)
				<-of.lost
				close(held.wake)
			} else {
				wg.Go(func() { w.ok(second.Run(ctx)) })
			}
			w.untilDone()
			if sealed {
				close(slow.wake)
				<-of.lost
			}
			cancel()
			wg.Wait()
			got, _ := w.stored()
			if diff := cmp.Diff(w.below(1000, time.Time{}), got); diff != "" {
				t.Errorf("-rows below the cut +segments:\n%s", diff)
			}
		})
	}
	t.Run("filled in twice", func(t *testing.T) {
		w := newWorld(t, 13)
		w.fill(w.schema(1, stream()), 1000, 2)
		w.pass(ledger.Live, ledger.Flush, 1000)
		w.pass(ledger.Batch, ledger.Stage, 1000)
		v := w.view("cast(_extra.score as long)", "")
		b := w.run(2)
		for _, task := range w.tasks(b.ID) { // whoever says so again has nothing to say
			late := ledger.TaskSeal{Lease: ledger.TaskLease{Task: task, Version: v.ID, View: "scores", Stream: "pin"}, Rows: task.Rows}
			if err := w.led.SealTask(t.Context(), late); !fault.Is(err, fault.Lost) {
				t.Errorf("a day was sealed again: %v", err)
			}
		}
		again := w.repair()
		if w.run(2); again == v.ID {
			t.Fatal("a repair is a version of its own")
		}
		got, _ := w.stored()
		if diff := cmp.Diff(w.below(1000, time.Time{}), got); diff != "" {
			t.Errorf("-rows below the cut +segments:\n%s", diff)
		}
	})
}

func (w *world) tasks(id int64) []ledger.Task {
	w.t.Helper()
	all, err := w.led.BackfillTasks(w.t.Context(), id)
	w.ok(err)
	return all
}

func (w *world) untilDone() {
	w.t.Helper()
	for tick := time.NewTicker(5 * time.Millisecond); ; <-tick.C {
		all, err := w.led.Backfills(w.t.Context(), 0)
		w.ok(err)
		switch all[0].State {
		case ledger.Done:
			return
		case ledger.Failed:
			w.t.Fatalf("%+v: %+v", all[0], w.tasks(all[0].ID))
		}
	}
}

// repair has the view built anew and returns the version that is.
func (w *world) repair() int64 {
	w.t.Helper()
	snap := w.snap()
	v := snap.Views[0]
	serving := v.Versions[len(v.Versions)-1]
	w.ok(w.led.Apply(w.t.Context(), ledger.Change{Stream: "pin", Epoch: snap.Streams[0].Epoch, Views: []ledger.ViewChange{{
		Name: v.Name, Metadata: serving.Metadata, Shown: v.Metadata, Hash: serving.Hash, Definition: serving.Definition, State: ledger.Building, Anew: true,
	}}}))
	versions := w.snap().Views[0].Versions
	return versions[len(versions)-1].ID
}
