package batch

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/intake"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/prove"
	"github.com/pinflow/pinflow/internal/testbed"
)

func (b *bench) committer(owner string, led Commits, tables Tables) *Committer {
	b.t.Helper()
	cfg := CommitterConfig{Owner: owner, SweepEvery: time.Nanosecond, Abandoned: time.Nanosecond}
	c, err := NewCommitter(cfg, slog.New(slog.DiscardHandler), NewMetrics(prometheus.NewRegistry()), led, tables)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(c.work.stop)
	return c
}

// read is one life of a reader without a committer.
func (b *bench) read() {
	b.t.Helper()
	ctx, done := context.WithCancel(b.t.Context())
	defer done()
	src := &member{ts: b.ts, step: 7, done: done, between: func(context.Context, int) error { return nil }}
	unit, err := New(Config{Owner: "reader"}, slog.New(slog.DiscardHandler), NewMetrics(prometheus.NewRegistry()), b.led, b.lake, src.open)
	if err != nil {
		b.t.Fatal(err)
	}
	if err := unit.Run(ctx); err != nil {
		b.t.Fatal(err)
	}
}

// L4: the row in the lake gives the event back as it was sent.
func TestLakeIsLossless(t *testing.T) { testbed.Everywhere(t, lakeIsLossless) }

func lakeIsLossless(t *testing.T, p testbed.Place) {
	prove.Invariant(t, "L4", p.On...)
	b := newBench(t, p, 60)
	b.settle()
	def := definition()
	schema, err := event.Compile(def, 1)
	if err != nil {
		t.Fatal(err)
	}
	rows := 0
	_, err = b.lake.Scan(t.Context(), lake.Selection{Table: "pin"}, func(blk *lake.Block) error {
		p, o := &blk.Cols[blk.Index("_partition")], &blk.Cols[blk.Index("_offset")]
		for i := range blk.N {
			rows++
			sent := b.ts[intake.TP{Topic: "pin", Partition: int32(p.Ints[i])}][o.Ints[i]].Value
			var want, got any
			if err := json.Unmarshal(sent, &want); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(schema.AppendJSON(nil, lake.Rows(blk, schema), i), &got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		}
		return nil
	})
	if err != nil || rows == 0 {
		t.Errorf("%d rows, %v", rows, err)
	}
}

func TestAbandonedWritesAreSwept(t *testing.T) {
	b := newBench(t, testbed.Local(t.TempDir()), 10)
	def := definition()
	schema, err := event.Compile(def, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.lake.EnsureTable(t.Context(), lake.StreamTable(schema)); err != nil {
		t.Fatal(err)
	}
	d := schema.NewDecoder(nil)
	d.Append(&event.Record{Value: []byte(`{"n":1}`), Received: received})
	files, err := b.lake.Stage(t.Context(), "pin", []lake.Block{{Columns: lake.Columns(schema), N: 1, Cols: d.Rows().Cols}})
	if err != nil {
		t.Fatal(err)
	}
	w := ledger.Write{Kind: ledger.Stage, Stream: "pin", Epoch: epochOf(b), Owner: "gone"}
	id, err := b.led.Open(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.led.AddFiles(t.Context(), id, files); err != nil {
		t.Fatal(err)
	}
	path := strings.TrimPrefix(files[0].Path, "file://")
	if _, err := os.Stat(path); err != nil {
		t.Fatal(err)
	}
	c := b.committer("me", b.led, b.lake)
	time.Sleep(time.Millisecond) // so that the write is older than a nanosecond by the ledger's clock
	if err := c.round(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the file of an abandoned write is still there: %v", err)
	}
	lease, err := b.led.Acquire(t.Context(), "sweep", "me", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if left, err := b.led.Sweep(t.Context(), lease, time.Now()); err != nil || len(left) != 0 {
		t.Errorf("the ledger still names %v, %v", left, err)
	}
	if err := b.led.Seal(t.Context(), ledger.Seal{Write: w, ID: id, Unit: ledger.Batch}); !fault.Is(err, fault.Lost) {
		t.Errorf("sealing it afterwards: %v", err)
	}
}

// paused stops before it closes its first commit, until another committer has been at work.
type paused struct {
	Commits
	meanwhile func()
}

func (p *paused) CloseIntent(ctx context.Context, l ledger.Lease, in *ledger.Intent, snapshot int64) error {
	if p.meanwhile != nil {
		p.meanwhile()
		p.meanwhile = nil
	}
	return p.Commits.CloseIntent(ctx, l, in, snapshot)
}

// L2: a committer that was paused while another took over its leases can book nothing.
func TestPausedCommitterIsFenced(t *testing.T) { testbed.Everywhere(t, pausedCommitterIsFenced) }

func pausedCommitterIsFenced(t *testing.T, p testbed.Place) {
	prove.Invariant(t, "L2", p.On...)
	b := newBench(t, p, 60)
	b.read()
	slow := &paused{Commits: b.led}
	old := b.committer("me", slow, b.lake)
	slow.meanwhile = func() { // the same process, restarted: it may take its own leases again at once
		if err := b.committer("me", b.led, b.lake).round(b.t.Context()); err != nil {
			t.Error(err)
		}
	}
	if err := old.round(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.settle()
	b.verify()
}

// forgetful shows the ledger's story of another table history.
type forgetful struct{ Commits }

func (forgetful) LastIntent(context.Context, string) (*ledger.Intent, error) { return nil, nil }

func TestCommitterStopsWhenLakeAndLedgerDisagree(t *testing.T) {
	testbed.Everywhere(t, committerStopsWhenLakeAndLedgerDisagree)
}

func committerStopsWhenLakeAndLedgerDisagree(t *testing.T, p testbed.Place) {
	prove.Invariant(t, "L7", p.On...)
	b := newBench(t, p, 20)
	b.read()
	if err := b.committer("me", b.led, b.lake).round(t.Context()); err != nil {
		t.Fatal(err)
	}
	before, err := b.lake.Head(t.Context(), "pin")
	if err != nil {
		t.Fatal(err)
	}
	if err := b.committer("me", forgetful{b.led}, b.lake).round(t.Context()); fault.CodeOf(err) != "lake_mismatch" {
		t.Errorf("a round over an empty ledger: %v", err)
	}
	if after, err := b.lake.Head(t.Context(), "pin"); err != nil || !cmp.Equal(before, after) {
		t.Errorf("it wrote: %+v, %v", after, err)
	}
}

// thief loses a row on the way into the manifest.
type thief struct{ Tables }

func (l thief) Commit(ctx context.Context, in *ledger.Intent) (lake.Landed, error) {
	landed, err := l.Tables.Commit(ctx, in)
	landed.Records--
	return landed, err
}

func TestCommitterStopsWhenRowsAreMissing(t *testing.T) {
	testbed.Everywhere(t, committerStopsWhenRowsAreMissing)
}

func committerStopsWhenRowsAreMissing(t *testing.T, p testbed.Place) {
	prove.Invariant(t, "D1", p.On...)
	b := newBench(t, p, 20)
	b.read()
	err := b.committer("me", b.led, thief{b.lake}).round(t.Context())
	if !fault.Is(err, fault.Corrupt) || fault.CodeOf(err) != "conservation" {
		t.Fatalf("a commit that lost a row: %v", err)
	}
	last, err := b.led.LastIntent(t.Context(), ledger.DeadLetters)
	if err != nil || !last.Open {
		t.Errorf("its files are marked as committed: %+v, %v", last, err)
	}
}

// A field declared while the unit runs gets its column before rows under the new schema need it.
func TestNewFieldsReachTheLake(t *testing.T) { testbed.Everywhere(t, newFieldsReachTheLake) }

func newFieldsReachTheLake(t *testing.T, p testbed.Place) {
	b := newBench(t, p, 60)
	b.settle()
	b.declare()
	more := makeTopics(90)
	for tp, records := range more {
		b.ts[tp] = records
	}
	// The reader waits for a column that only the committer adds, so both run.
	c := b.committer("me", b.led, b.lake)
	c.cfg.Every, c.cfg.Abandoned = 10*time.Millisecond, time.Hour
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- c.Run(ctx) }()
	b.read()
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	b.verify()
	b.filled()
}

func epochOf(b *bench) int64 {
	b.t.Helper()
	epochs, err := b.led.Epochs(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	return epochs["pin"]
}

// Maintenance by hand leaves every row once, and is refused while somebody else commits.
func TestMaintainByHand(t *testing.T) { testbed.Everywhere(t, maintainByHand) }

func maintainByHand(t *testing.T, p testbed.Place) {
	b := newBench(t, p, 120)
	b.read()
	busy, err := b.led.Acquire(t.Context(), "lake:pin", "somebody", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.committer("hand", b.led, b.lake).Maintain(t.Context(), lake.Compact, "pin"); fault.CodeOf(err) != "lease_held" {
		t.Errorf("while somebody commits: %v", err)
	}
	if err := b.led.Release(t.Context(), busy); err != nil {
		t.Fatal(err)
	}
	// Of a process that was killed, the lease runs out.
	if _, err := b.led.Acquire(t.Context(), "lake:pin", "killed", 300*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	c := b.committer("hand", b.led, b.lake)
	c.cfg.LeaseWait = time.Minute
	if _, err := c.Maintain(t.Context(), lake.Compact, "pin"); err != nil {
		t.Errorf("after a process that was killed: %v", err)
	}
	for range 2 { // the second finds nothing to do
		for _, kind := range []string{lake.Compact, lake.Expire} {
			done, err := b.committer("hand", b.led, b.lake).Maintain(t.Context(), kind, "")
			if err != nil || len(done) != 2 || done[1].Table != "pin" || done[1].FilesAfter == 0 {
				t.Fatalf("%s: %+v, %v", kind, done, err)
			}
		}
	}
	b.settle()
	b.verify()
	if _, err := b.committer("hand", b.led, b.lake).Maintain(t.Context(), lake.Expire, "nope"); fault.CodeOf(err) != "no_table" {
		t.Errorf("an unknown table: %v", err)
	}
}

// stuck is a lake that answers no commit.
type stuck struct{ Tables }

func (stuck) Commit(ctx context.Context, _ *ledger.Intent) (lake.Landed, error) {
	<-ctx.Done()
	return lake.Landed{}, ctx.Err()
}

// A process that is told to stop while the lake does not answer ends in time and well: what is sealed is
// safe, and whoever holds the tables next commits it.
func TestLastCommitsMayBeLeft(t *testing.T) {
	b := newBench(t, testbed.Local(t.TempDir()), 60)
	b.read()
	c := b.committer("first", b.led, stuck{b.lake})
	c.cfg.DrainBudget = 50 * time.Millisecond
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := c.Run(ctx); err != nil {
		t.Fatal(err)
	}
	b.settle()
	vector, err := b.led.LakeVector(t.Context())
	if err != nil || len(vector) == 0 {
		t.Errorf("the lake is at %v, %v", vector, err)
	}
}

// asleep is tables whose user falls asleep before its first commit, until wake has run.
type asleep struct {
	Tables
	wake sync.Once
	do   func()
}

func (a *asleep) Commit(ctx context.Context, in *ledger.Intent) (lake.Landed, error) {
	a.wake.Do(a.do)
	return a.Tables.Commit(ctx, in)
}

// L2: a committer that sleeps past its lease, while another one ends its commit and makes more, raises no alarm
// about what it finds: it has lost the table.
func TestWokenCommitterHasLostItsTable(t *testing.T) {
	b := newBench(t, testbed.Local(t.TempDir()), 120)
	b.read()
	others := 0
	late := &asleep{Tables: b.lake, do: func() {
		// Of the same name, it need not wait for the lease to end.
		if err := b.committer("a", b.led, b.lake).round(t.Context()); err != nil {
			t.Error(err)
		}
		others++
	}}
	if err := b.committer("a", b.led, late).round(t.Context()); err != nil || others != 1 {
		t.Errorf("woken after %d others: %v", others, err)
	}
	b.settle()
	b.verify()
}
