package e2e

import (
	"database/sql"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/pinflow/pinflow/internal/prove"
	"github.com/pinflow/pinflow/internal/testbed"
)

// M4: a worker that is put to sleep in the middle of its day and woken when its lease has run out and another
// one has done the day seals nothing: each day is counted once.
func TestWokenWorkerSealsNothing(t *testing.T) {
	prove.Invariant(t, "M4", prove.EmbeddedLog, prove.Disk, prove.SQLite)
	// The server itself works on no history, so that the worker that sleeps is the one that has a day.
	s := startIn(t, []string{"PINFLOW_BACKFILL_WORKERS=0"}, t.TempDir())
	d := &definer{t: t, s: s, files: t.TempDir() + "/project"}
	must(t, "init", d.files)
	const events = 60_000
	must(t, fmtArgs("emulate --url %s --users 200 --rate max --events %d --seed %d --since 2d --streams pin", s.url(), events, testbed.Seed(t))...)
	s.until(func() bool { return d.rows() > events/4 }, "nothing is in the lake")
	d.edit("metrics/pins.yaml", "filter: is_test is not true", "filter: is_test is not true and follower_count <> 1")
	s.until(func() bool { return pinflow(t, d.files, "apply", "--yes", "--url", s.url()).code == 0 }, "the plan's base always moved")

	tasks := func() (list []backfillTask) {
		var b struct{ Tasks []backfillTask }
		s.get("/v1/backfills/1", &b)
		return b.Tasks
	}
	sleeper := d.slowWorker()
	t.Cleanup(func() { _ = sleeper.Process.Kill() })
	var asleep backfillTask
	running := func() bool {
		for _, x := range tasks() {
			if x.State == "running" {
				asleep = x
				return true
			}
		}
		return false
	}
	s.until(func() bool {
		if !running() {
			return false
		}
		signal(t, sleeper, syscall.SIGSTOP)
		if running() && writable(t, s.dir) {
			return true
		}
		signal(t, sleeper, syscall.SIGCONT) // it had sealed meanwhile, or sleeps in the middle of a transaction
		return false
	}, "the worker is never met in the middle of a day")
	other := d.worker()
	t.Cleanup(func() { _ = other.Process.Kill() })
	s.until(func() bool { return d.backfill() == "done" }, "the other worker does not take the day over")
	for _, x := range tasks() {
		if x.Day == asleep.Day && (x.Holder == asleep.Holder || x.Tries < 2) {
			t.Errorf("day %s was sealed by the worker that slept, or before it slept: %+v", x.Day, x)
		}
	}
	d.exact("pins")
	signal(t, sleeper, syscall.SIGCONT)
	// Woken, it finds out by itself: it takes the next day that there is, of a repair.
	_ = other.Process.Kill()
	_ = other.Wait()
	must(t, "backfill", "start", "pins", "--yes", "--wait", "--url", s.url())
	d.exact("pins")
	_ = sleeper.Process.Kill()
	_ = sleeper.Wait()
	s.stop()
}

// writable tells whether nobody who sleeps holds the ledger: SQLite lets one write at a time.
func writable(t *testing.T, data string) bool {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(data, "ledger.db")+"?_pragma=busy_timeout(2000)&_txlock=immediate")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Logf("the ledger is held: %v", err)
		return false
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	return true
}

func signal(t *testing.T, cmd *exec.Cmd, sig syscall.Signal) {
	t.Helper()
	if err := cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

type backfillTask struct {
	Day, State, Holder string
	Tries              int
	Rows               int64
}

// slowWorker is a worker that works for a small part of its time: it can be met in the middle of a day.
func (d *definer) slowWorker() *exec.Cmd {
	d.t.Helper()
	cmd := program(d.t, "backfill", "run", "--data", d.s.dir, "-q")
	cmd.Env = environ("PINFLOW_BACKFILL_SHARE=0.01")
	cmd.Dir = d.t.TempDir()
	if err := cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	return cmd
}
