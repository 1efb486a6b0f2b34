package ledger

import (
	"context"
	"slices"
	"time"

	"github.com/pinflow/pinflow/internal/span"
)

// States of a back-fill and of its tasks.
const (
	Queued    = "queued" // a back-fill: its days are not listed yet; a task: waits for a worker
	Running   = "running"
	Paused    = "paused"
	Failed    = "failed"
	Done      = "done"
	Cancelled = "cancelled"
)

// Engines of a back-fill.
const (
	EngineKernel = "kernel"
	EngineSpark  = "spark"
)

// Actions on a back-fill.
const (
	Pause    = "pause"
	Resume   = "resume"
	Retry    = "retry"
	Cancel   = "cancel"
	Rollback = "rollback"
)

// MaxTries is how often a task is leased before it counts as failed.
const MaxTries = 5

// Backfill fills in the history of a view version: the rows below its cut. Apply makes one with every
// version that is Building, and one that is done and was never listed with a version that takes the place
// of another at once, be it new or the one that stood by: so that there is what Rollback names.
type Backfill struct {
	ID         int64
	Version    int64
	View       string
	Stream     string
	Hash       string
	VersionIs  string // state of the version
	Engine     string
	State      string
	Log        span.Log // of an imported file alone; 0: of what lies below the version's cut
	File       string   // that file's name
	CreatedAt  time.Time
	ListedAt   time.Time // zero: its days are not known yet
	FinishedAt time.Time
	Plan       []byte // JSON: what was said of it when it was applied

	Tasks   map[string]int64 // by state
	Rows    int64            // folded by tasks that are done
	Working int64            // folded so far by tasks that run, about
	Read    int64            // rows of the lake that these tasks read
	Expect  int64            // rows of the lake in all days listed
	Seconds float64          // spent by tasks that are done

	Waiting int64     // queued tasks that failed and are left alone for a while
	NextTry time.Time // when the first of them is tried again; zero: none waits
	Trouble string    // day and cause of the newest failure of a task that is not done; "": none
}

// Task is one day of the lake (UTC) of a back-fill.
type Task struct {
	ID       int64
	Backfill int64
	Day      string // 2006-01-02
	State    string
	Expect   int64 // rows that the lake's day had when it was listed
	Bytes    int64 // of the day's files
	Holder   string
	Number   int64 // raised by each lease
	Tries    int
	Rows     int64     // folded; of one that runs so far, about
	Error    string    // of the newest try that failed
	After    time.Time // queued: not before; zero: at once
	Started  time.Time
	Finished time.Time
}

// TaskLease is a task that a worker holds, and what it is of.
type TaskLease struct {
	Task
	Version int64
	View    string
	Stream  string
	Engine  string
	Log     span.Log
}

// TaskReturn says why a task is given back. With a cause it was a try that failed, the last one of MaxTries makes the
// task failed; zero: the worker was told to stop, and it was no try.
type TaskReturn struct {
	Cause   string
	Wait    time.Duration // it is left alone for so long after a try
	Untried bool          // the cause is the worker's, not the task's: no try, and others may have it at once
	Final   bool          // no other try can do better: the task is failed
}

// TaskSeal makes a task done.
type TaskSeal struct {
	Lease    TaskLease
	Write    int64 // from OpenTask; 0 opens and seals in this transaction
	Segments []Segment
	Rows     int64 // folded
	// Floors are, by tier that is finer than what was folded, the end of what was: below it the tier is
	// not whole, and is not read even when the view is to keep it longer one day.
	Floors map[string]int64
}

// Import is an imported file that was read to its end.
type Import struct {
	Log   span.Log
	Owner int64  // of the take-over that the last seal was made under
	Rows  int64  // the log's end
	Days  []Task // days of the lake that hold its rows
	// Void: it was given up before a row was taken. The log goes, and a file of its content may come again.
	Void bool
}

// Filling is how much of a version's history is there.
type Filling struct {
	Backfill int64  // of all that lies below the version's cut; 0: it never had one
	State    string // of that back-fill, as Listed
	Listed   bool
	First    string     // oldest day listed, of imported files, too; "" for none
	Missing  []TaskDay  // days not done, oldest first
	Imports  []span.Log // imported files that the version has a back-fill of their own of
}

// Lacks tells whether a day of an imported file, or (log 0) of what lies below the cut, is not filled in;
// of day "", whether any is not.
func (f *Filling) Lacks(log span.Log, day string) bool {
	return slices.ContainsFunc(f.Missing, func(t TaskDay) bool { return t.Log == log && (day == "" || t.Day == day) })
}

// Has tells whether a day of what lies below the version's cut is filled in; of day "", whether all are.
// nil has none.
func (f *Filling) Has(day string) bool {
	return f != nil && f.Backfill != 0 && f.Listed && !f.Lacks(0, day)
}

// TaskDay is a day of the lake whose history is not there: below the version's cut, or of an imported
// file alone.
type TaskDay struct {
	Day, State string
	Log        span.Log // 0: below the cut
}

// Backfills is what becomes of the versions that are built.
type Backfills interface {
	// Backfills lists them, newest first; with an id only that one.
	Backfills(ctx context.Context, id int64) ([]Backfill, error)
	// BackfillTasks lists a back-fill's tasks, newest day first.
	BackfillTasks(ctx context.Context, id int64) ([]Task, error)
	// ListDays stores the days of a queued back-fill, once, and lets it run. Of one that is not queued
	// any more it does nothing.
	ListDays(ctx context.Context, lease Lease, id int64, days []Task) error
	// Finish makes a back-fill done whose tasks all are: in one statement the version that was built
	// serves, and the one that served stands by. One that has nothing left but failed tasks is failed.
	// It tells whether the back-fill is done. Anybody may call it at any time.
	Finish(ctx context.Context, id int64) (bool, error)
	// Steer does an action. fault.Record unknown_backfill, or backfill_state where its state does not
	// allow it. Retry lets tasks that failed, or wait after a failure, be tried at once, as often as new ones.
	// Cancel drops the version that was built; Rollback lets the standby version serve again.
	Steer(ctx context.Context, id int64, action string) error
	// ExpireStandby drops versions that stand by since before the moment.
	ExpireStandby(ctx context.Context, lease Lease, before time.Time) (int64, error)
	// DropSegments deletes some segments of dropped versions and tells how many; 0: none are left.
	DropSegments(ctx context.Context, lease Lease) (int64, error)
}

// Tasks are handed out to any number of workers, by the database's clock. A worker that was too slow
// can seal nothing: every call asserts the lease's number (else Lost).
type Tasks interface {
	// LeaseTask takes the newest day of an engine named (none: of any) that is queued and not to be left alone, or
	// whose lease has run out or is the holder's own: a holder works on one at a time, so one that it has already
	// was left by a process that died under its name. nil when there is none.
	LeaseTask(ctx context.Context, holder string, ttl time.Duration, engines ...string) (*TaskLease, error)
	// RenewTask prolongs the lease and notes how many rows are folded so far. Lost: somebody else has it, or it
	// was cancelled.
	RenewTask(ctx context.Context, t TaskLease, ttl time.Duration) error
	// ReturnTask gives it back undone.
	ReturnTask(ctx context.Context, t TaskLease, why TaskReturn) error
	// OpenTask begins a write for the task, which the sweeper leaves alone as long as the lease lives.
	OpenTask(ctx context.Context, t TaskLease) (int64, error)
	// SealTask seals the write and marks the task done, in one transaction.
	SealTask(ctx context.Context, s TaskSeal) error
}
