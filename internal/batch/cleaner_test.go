package batch

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/testbed"
)

func (b *bench) cleaner(owner string, age time.Duration, left Leftovers) *Cleaner {
	b.t.Helper()
	c, err := NewCleaner(CleanerConfig{Owner: owner, First: time.Millisecond, Age: age}, slog.New(slog.DiscardHandler), b.led, left)
	if err != nil {
		b.t.Fatal(err)
	}
	return c
}

// noted tells of passes that have ended.
type noted struct {
	Leftovers
	passes chan error
}

func (n noted) Abandoned(ctx context.Context, before time.Time) ([]string, error) {
	jobs, err := n.Leftovers.Abandoned(ctx, before)
	n.passes <- err
	return jobs, err
}

// Files that a crash left and states that an engine left go by age; what somebody knows, and what is young, stays.
func TestCleanerRemovesWhatNobodyKnows(t *testing.T) {
	place := testbed.Local(t.TempDir())
	b := newBench(t, place, 60)
	b.settle()
	var block lake.Block
	if _, err := b.lake.Scan(t.Context(), lake.Selection{Table: "pin"}, func(some *lake.Block) error { return block.Append(some) }); err != nil {
		t.Fatal(err)
	}
	lost, err := b.lake.Stage(t.Context(), "pin", []lake.Block{block}) // and no ledger hears of it
	if err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(place.Warehouse, "engine-states", "task-1-1", "0", "part")
	if err := os.MkdirAll(filepath.Dir(state), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(state, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	orphans := func() int {
		t.Helper()
		all, err := b.lake.Orphans(t.Context(), "pin", time.Now().Add(time.Hour), func(context.Context) ([]string, error) { return nil, nil })
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	for _, c := range []struct {
		age    time.Duration
		files  int
		states bool
	}{{time.Hour, len(lost), true}, {-time.Hour, 0, false}} {
		passes := make(chan error)
		ctx, cancel := context.WithCancel(t.Context())
		ran := make(chan error)
		go func() { ran <- b.cleaner("c", c.age, noted{b.lake, passes}).Run(ctx) }()
		if err := <-passes; err != nil {
			t.Error(err)
		}
		if c.states { // nothing is to be removed: it may be ended
			cancel()
		}
		for orphans() > c.files || exists(t, state) != c.states {
			if err := t.Context().Err(); err != nil {
				t.Fatal(err)
			}
		}
		cancel()
		if err := <-ran; err != nil {
			t.Error(err)
		}
		if n := orphans(); n != c.files {
			t.Errorf("older than %s: %d orphans are left, want %d", c.age, n, c.files)
		}
	}
	b.verify()
}

func exists(t *testing.T, path string) bool {
	t.Helper()
	_, err := os.Stat(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return err == nil
}

// slow is a lake whose list of files takes for ever.
type slow struct {
	Leftovers
	begun chan struct{}
}

func (s slow) Orphans(ctx context.Context, _ string, _ time.Time, _ func(context.Context) ([]string, error)) ([]lake.Orphan, error) {
	s.begun <- struct{}{}
	<-ctx.Done()
	return nil, ctx.Err()
}

// While one process lists files, commits go on and no other process cleans. Told to end, it ends.
func TestCleanerIsBesideTheCommits(t *testing.T) {
	b := newBench(t, testbed.Local(t.TempDir()), 60)
	begun := make(chan struct{}, 10)
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error)
	go func() { ran <- b.cleaner("one", 0, slow{b.lake, begun}).Run(ctx) }()
	<-begun
	b.settle()
	b.verify()
	other := b.cleaner("two", 0, slow{b.lake, begun})
	other.tick(t.Context())
	if other.cancel != nil {
		t.Error("two processes clean at once")
	}
	cancel()
	if err := <-ran; err != nil {
		t.Error(err)
	}
	other.tick(t.Context())
	if other.cancel == nil {
		t.Fatal("nobody cleans after the first one has ended")
	}
	<-begun
	if err := other.stop(t.Context()); err != nil {
		t.Error(err)
	}
}

// A pass that lost its lease is ended.
func TestCleanerWithoutItsLeaseEnds(t *testing.T) {
	b := newBench(t, testbed.Local(t.TempDir()), 10)
	begun := make(chan struct{}, 10)
	c := b.cleaner("one", 0, slow{b.lake, begun})
	c.tick(t.Context())
	<-begun
	lease, ok, err := c.keeper.Hold(t.Context(), cleanLease)
	if !ok || err != nil {
		t.Fatal(ok, err)
	}
	if err := b.led.Release(t.Context(), lease); err != nil {
		t.Fatal(err)
	}
	if _, err := b.led.Acquire(t.Context(), cleanLease, "two", ledger.LeaseTTL); err != nil {
		t.Fatal(err)
	}
	c.keeper.Forget(cleanLease) // as when its time is up
	c.tick(t.Context())
	c.note(<-c.ended)
	if c.cancel != nil || !time.Now().Before(c.due) {
		t.Error("the pass goes on")
	}
}
