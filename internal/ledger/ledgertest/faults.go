package ledgertest

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/prove"
	"github.com/pinflow/pinflow/internal/span"
)

// Faults decides which database call fails. A wrapper of the database calls Call before each call, and
// Commit instead of it for a COMMIT.
type Faults struct {
	mu     sync.Mutex
	k      int
	sticky bool
	late   bool
	calls  int
	on     bool
}

// ErrInjected is what a failed call returns.
var ErrInjected = errors.New("injected fault")

// Arm makes the k-th call from now on fail, with sticky all later ones too. A late fault of a COMMIT
// comes after it has happened.
func (f *Faults) Arm(k int, sticky, late bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.k, f.sticky, f.late, f.calls, f.on = k, sticky, late, 0, true
}

// Disarm lets every call succeed.
func (f *Faults) Disarm() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.on = false
}

// Call returns the fault of the next call, nil for none.
func (f *Faults) Call() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.on {
		return nil
	}
	if f.calls++; f.calls == f.k || f.sticky && f.calls > f.k {
		return ErrInjected
	}
	return nil
}

// Commit runs commit unless its fault comes first; rollback then ends the transaction.
func (f *Faults) Commit(commit, rollback func() error) error {
	err := f.Call()
	if err == nil {
		return commit()
	}
	f.mu.Lock()
	late := f.late
	f.mu.Unlock()
	if late {
		return errors.Join(err, commit())
	}
	return errors.Join(err, rollback())
}

// operation is one call of the ledger on a prepared world.
type operation struct {
	name    string
	prepare func(w *world) func() error
	// steps tells that the operation is several transactions: what a failed try did stays, and the next
	// one goes on from there.
	steps bool
}

func operations() []operation {
	return []operation{
		{name: "apply", prepare: func(w *world) func() error {
			c := ledger.Change{Stream: stream, Epoch: w.epoch(), Schema: schema("x"), Views: []ledger.ViewChange{{
				Name: view, Hash: "h2", Definition: []byte("{}"), State: ledger.Serving,
			}}}
			return func() error { return w.l.Apply(w.ctx, c) }
		}},
		{name: "add_log", prepare: func(w *world) func() error {
			return func() error {
				_, err := w.l.AddLog(w.ctx, ledger.Log{Kind: ledger.KindImport, Stream: stream, TopicID: "x", Partitions: 3})
				return err
			}
		}},
		{name: "finish_import", prepare: func(w *world) func() error {
			i := w.imported(4, "2025-01-01", "2025-01-02")
			return func() error { return w.l.FinishImport(w.ctx, i) }
		}},
		{name: "note_audit", prepare: prepareAudit},
		{name: "first_take_over", prepare: func(w *world) func() error {
			return func() error {
				_, err := w.l.TakeOver(w.ctx, ledger.Live, "a", w.key(0), 5)
				return err
			}
		}},
		{name: "seal_flush", prepare: prepareFlush},
		{name: "seal_stage", prepare: prepareStage},
		{name: "add_segments", prepare: prepareAddSegments},
		{name: "sweep", steps: true, prepare: prepareSweep},
		{name: "intent", prepare: func(w *world) func() error {
			stageOne(w)
			lease := w.lease("lake:pin")
			return func() error {
				_, err := w.l.Intent(w.ctx, lease, stream, "append", 9)
				return err
			}
		}},
		{name: "close_intent", prepare: func(w *world) func() error {
			stageOne(w)
			lease := w.lease("lake:pin")
			in := must(w.l.Intent(w.ctx, lease, stream, "append", 9))(w)
			return func() error { return w.l.CloseIntent(w.ctx, lease, in, 3) }
		}},
		{name: "acquire", prepare: func(w *world) func() error {
			return func() error {
				_, err := w.l.Acquire(w.ctx, "job", "a", time.Hour)
				return err
			}
		}},
		{name: "day_cut", prepare: func(w *world) func() error {
			lease := w.lease("marks")
			return func() error {
				_, err := w.l.DayCut(w.ctx, lease, ledger.Day{Stream: stream, Zone: "UTC", Date: "2026-01-01", CutAt: noon, Cut: span.Vector{w.key(0): 1}})
				return err
			}
		}},
		{name: "add_mark", prepare: func(w *world) func() error {
			lease := w.lease("marks")
			return func() error { return w.l.AddMark(w.ctx, lease, ledger.Mark{Stream: stream, At: noon}) }
		}},
		{name: "replace", prepare: func(w *world) func() error {
			v := w.take(ledger.Live, "a", w.key(0))
			w.flush(w.key(0), &v, 2, 1, 2)
			lease := w.lease("compact")
			return func() error {
				return w.l.Replace(w.ctx, lease, ledger.Compacted, []int64{1, 2}, []ledger.Segment{segment(w.version, 1, 2)})
			}
		}},
	}
}

func stageOne(w *world) {
	b := w.take(ledger.Batch, "b", w.key(0))
	w.stage(w.key(0), &b, 3, 0)
}

func prepareFlush(w *world) func() error {
	k0, k1 := w.key(0), w.key(1)
	v0, v1 := w.take(ledger.Live, "a", k0), w.take(ledger.Live, "a", k1)
	write := w.write(ledger.Flush, "a")
	id := must(w.l.Open(w.ctx, write))(w)
	w.ok(w.l.AddSegments(w.ctx, id, []ledger.Segment{segment(w.version, 1, 1)}))
	return func() error {
		return w.l.Seal(w.ctx, ledger.Seal{
			ID: id, Write: write, Unit: ledger.Live, Moves: []ledger.Move{move(k0, v0, 3), move(k1, v1, 4)},
			Segments: []ledger.Segment{segment(w.version, 2, 2)},
		})
	}
}

func prepareStage(w *world) func() error {
	k := w.key(0)
	b := w.take(ledger.Batch, "b", k)
	write := w.write(ledger.Stage, "b")
	files := []ledger.LakeFile{w.file(stream, 3), w.file(ledger.DeadLetters, 1)}
	m := ledger.Move{Key: k, Owner: b.Owner, To: 4, Counts: ledger.Counts{Rows: 3, Dead: 1}}
	return func() error {
		return w.l.Seal(w.ctx, ledger.Seal{Write: write, Unit: ledger.Batch, Moves: []ledger.Move{m}, Files: files})
	}
}

func prepareAddSegments(w *world) func() error {
	w.take(ledger.Live, "a", w.key(0))
	id := must(w.l.Open(w.ctx, w.write(ledger.Flush, "a")))(w)
	return func() error { return w.l.AddSegments(w.ctx, id, []ledger.Segment{segment(w.version, 1, 1)}) }
}

func prepareSweep(w *world) func() error {
	id := must(w.l.Open(w.ctx, w.write(ledger.Flush, "a")))(w)
	w.ok(w.l.AddSegments(w.ctx, id, []ledger.Segment{segment(w.version, 1, 1), segment(w.version, 2, 2)}))
	lease := w.lease("sweep")
	return func() error {
		_, err := w.l.Sweep(w.ctx, lease, time.Now().Add(time.Hour))
		return err
	}
}

// RunFaults makes the k-th database call of every operation fail, for k = 1, 2, … until one succeeds.
// After a failed try the ledger is as it was, or, only with fault.Ambiguous, as if it had succeeded.
func RunFaults(t *testing.T, open func(t *testing.T, f *Faults) ledger.Ledger) {
	for _, op := range operations() {
		for _, mode := range []struct {
			name         string
			sticky, late bool
		}{{"once", false, false}, {"until_repaired", true, false}, {"reply_lost", false, true}} {
			if raceDetector && !mode.late {
				continue
			}
			t.Run("L1_"+op.name+"/"+mode.name, func(t *testing.T) {
				prove.Invariant(t, "L1")
				kthCallFails(t, op, open, func(f *Faults, k int) { f.Arm(k, mode.sticky, mode.late) })
			})
		}
	}
}

var numbers = regexp.MustCompile(`\b(ID|Write|NewestSealed):(\d+)`)

// renumbered gives what the ledger numbered itself the numbers 1, 2, … in order of appearance: a
// transaction that failed may have used some up.
func renumbered(observed string) string {
	seen := map[string]map[string]int{}
	var out strings.Builder
	for line := range strings.Lines(observed) {
		of := "file"
		switch {
		case strings.Contains(line, "Tier:"):
			of = "segment"
		case strings.Contains(line, "TopicID:"):
			of = "log"
		}
		out.WriteString(numbers.ReplaceAllStringFunc(line, func(found string) string {
			label, number, _ := strings.Cut(found, ":")
			if number == "0" {
				return found
			}
			class := label + " of " + of
			if seen[class] == nil {
				seen[class] = map[string]int{}
			}
			if seen[class][number] == 0 {
				seen[class][number] = len(seen[class]) + 1
			}
			return fmt.Sprintf("%s:%d", label, seen[class][number])
		}))
	}
	return out.String()
}

// attempt is an operation prepared on a ledger of its own.
type attempt struct {
	w      *world
	f      *Faults
	do     func() error
	before string
}

func newAttempt(t *testing.T, op operation, open func(t *testing.T, f *Faults) ledger.Ledger) *attempt {
	a := &attempt{f: &Faults{}}
	a.w = newWorld(t, open(t, a.f))
	a.w.setup()
	a.do = op.prepare(a.w)
	a.before = renumbered(a.w.observe())
	return a
}

func kthCallFails(t *testing.T, op operation, open func(t *testing.T, f *Faults) ledger.Ledger, arm func(*Faults, int)) {
	ref := newAttempt(t, op, open)
	ref.w.ok(ref.do())
	done := renumbered(ref.w.observe())
	a := newAttempt(t, op, open)
	for k := 1; k < 200; k++ {
		arm(a.f, k)
		err := a.do()
		a.f.Disarm()
		after := renumbered(a.w.observe())
		switch {
		case err == nil:
			if after != done {
				t.Fatalf("k=%d: (-want +got)\n%s", k, cmp.Diff(done, after))
			}
			t.Logf("%d calls", k-1)
			return
		case !errors.Is(err, ErrInjected):
			t.Fatalf("k=%d: the fault became %v", k, err)
		case after == a.before:
		case op.steps:
			a.before = after
		case after != done || !fault.Is(err, fault.Ambiguous):
			t.Fatalf("k=%d: after %v (%v) the state is neither as before nor complete:\n%s\n%s",
				k, err, fault.KindOf(err), cmp.Diff(a.before, after), cmp.Diff(done, after))
		default: // it happened: the next k needs a new ledger
			a = newAttempt(t, op, open)
		}
	}
	t.Fatal("no try succeeded")
}
