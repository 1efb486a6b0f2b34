package batch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/prove"
	"github.com/pinflow/pinflow/internal/span"
	"github.com/pinflow/pinflow/internal/testbed"
)

// every wraps the calls that mortal leaves alone, so that each step is one at which a process can end.
type every struct{ *mortal }

func (e every) TakeOver(ctx context.Context, unit ledger.Unit, owner string, key span.Key, start int64) (ledger.Held, error) {
	return get(e.mortal, "take over", func() (ledger.Held, error) { return e.DB.TakeOver(ctx, unit, owner, key, start) })
}

func (e every) AddFiles(ctx context.Context, write int64, files []ledger.LakeFile) error {
	return e.do("add files", func() error { return e.DB.AddFiles(ctx, write, files) })
}

func (e every) Progress(ctx context.Context) (*ledger.Progress, error) {
	return get(e.mortal, "progress", func() (*ledger.Progress, error) { return e.DB.Progress(ctx) })
}

func (e every) Load(ctx context.Context) (*ledger.Snapshot, error) {
	return get(e.mortal, "load", func() (*ledger.Snapshot, error) { return e.DB.Load(ctx) })
}

func (e every) Sweep(ctx context.Context, lease ledger.Lease, before time.Time) ([]ledger.LakeFile, error) {
	return get(e.mortal, "sweep", func() ([]ledger.LakeFile, error) { return e.DB.Sweep(ctx, lease, before) })
}

func (e every) Forget(ctx context.Context, lease ledger.Lease, files []ledger.LakeFile) error {
	return e.do("forget", func() error { return e.DB.Forget(ctx, lease, files) })
}

func (e every) FilePaths(ctx context.Context, table string) ([]string, error) {
	return get(e.mortal, "file paths", func() ([]string, error) { return e.DB.FilePaths(ctx, table) })
}

func (e every) AddLog(ctx context.Context, l ledger.Log) (span.Log, error) {
	return get(e.mortal, "add log", func() (span.Log, error) { return e.DB.AddLog(ctx, l) })
}

func (e every) FinishImport(ctx context.Context, i ledger.Import) error {
	return e.do("finish import", func() error { return e.DB.FinishImport(ctx, i) })
}

func (e every) Abandoned(ctx context.Context, before time.Time) ([]string, error) {
	return get(e.mortal, "abandoned", func() ([]string, error) { return e.lk.Abandoned(ctx, before) })
}

func (e every) RemoveStaged(job string) error {
	return e.do("remove staged", func() error { return e.lk.RemoveStaged(job) })
}

// byHand is for lives that merge files one after the other, not beside the rest.
type byHand struct{ every }

func (h byHand) Rewrite(ctx context.Context, table string, shape lake.Shape) (*lake.Rewrite, error) {
	return get(h.mortal, "rewrite "+table, func() (*lake.Rewrite, error) { return h.lk.Rewrite(ctx, table, shape) })
}

// story is a life that ends at one of its calls.
type story struct {
	name    string
	reaches []string // kinds of calls that it is told for; nil: all of it
	before  func(b *bench)
	// reads sets what there is to read, in the child as in its parent; nil: what newBench makes.
	reads func(b *bench)
	live  func(b *bench, m every) error
	after func(b *bench) // what is to be seen besides what all stories end with; nil: nothing
}

// begin makes a place in which the life may begin.
func (s story) begin(t *testing.T, p testbed.Place) *bench {
	t.Helper()
	b := newBench(t, p, records)
	if s.before != nil {
		s.before(b)
	}
	if s.reads != nil {
		s.reads(b)
	}
	return b
}

const records = 28 // of a partition, unless a story says otherwise

// steps are the calls of a life to its end, in order.
func (s story) steps(t *testing.T, p testbed.Place) []string {
	t.Helper()
	b := s.begin(t, p)
	var names []string
	m := every{&mortal{DB: b.led, AlteredLake: b.lake, lk: b.lake, said: func(name string) { names = append(names, name) }}}
	if err := s.live(b, m); err != nil {
		t.Fatal(err)
	}
	s.end(b)
	for _, kind := range s.reaches {
		if !slices.Contains(names, kind) {
			t.Errorf("the life never comes to %q", kind)
		}
	}
	return names
}

// end lets another process go on, and looks at what there is then: also after everything that nobody knows was removed.
func (s story) end(b *bench) {
	b.t.Helper()
	if err := b.committer("me", b.led, b.lake).round(b.t.Context()); err != nil { // the reader may wait for a column
		b.t.Fatal(err)
	}
	b.settle()
	b.verify()
	c := b.committer("me", b.led, b.lake)
	c.cfg.OrphanAge = -time.Hour
	if _, err := c.Maintain(b.t.Context(), lake.Expire, ""); err != nil {
		b.t.Fatal(err)
	}
	if left := b.orphans("pin"); len(left) > 0 {
		b.t.Errorf("files that nobody knows: %+v", left)
	}
	b.verify()
	if s.after != nil {
		s.after(b)
	}
}

// orphans are the data files of a table that nobody knows, however young.
func (b *bench) orphans(table string) []lake.Orphan {
	b.t.Helper()
	known := func(ctx context.Context) ([]string, error) { return b.led.FilePaths(ctx, table) }
	all, err := b.lake.Orphans(b.t.Context(), table, time.Now().Add(time.Hour), known)
	if err != nil {
		b.t.Fatal(err)
	}
	return all
}

// life is what a child process is told: which story, where it lives, and at which call it is killed.
type life struct {
	Story                   string
	DSN, Catalog, Warehouse string
	S3                      testbed.S3
	Log                     map[string]span.Log
	At                      int
	After                   bool
}

const lifeVariable = "PINFLOW_BATCH_LIFE"

// L1, L3: a process that is killed with -9 at any step of a life, before or after what the step does, loses
// nothing and leaves nothing twice: whoever comes next finds the same events in the lake as in the log.
func TestKilledAtEachStep(t *testing.T) {
	if spec := os.Getenv(lifeVariable); spec != "" {
		liveAndDie(t, spec)
		return
	}
	for _, s := range stories() {
		t.Run(s.name, func(t *testing.T) {
			testbed.Everywhere(t, func(t *testing.T, p testbed.Place) { killedAtEachStep(t, s, p) })
		})
	}
}

// killedAtEachStep kills before or after each kind of call, on servers at one of them; with PINFLOW_SOAK at all, before and
// after.
func killedAtEachStep(t *testing.T, s story, p testbed.Place) {
	prove.Invariant(t, "L1 L3", p.On...)
	soak := os.Getenv("PINFLOW_SOAK") != ""
	rnd := rand.New(rand.NewPCG(testbed.Seed(t), 11))
	names := s.steps(t, p)
	all := slices.Compact(slices.Sorted(slices.Values(names)))
	t.Logf("%d calls of %d kinds: %q", len(names), len(all), all)
	kinds := s.reaches
	if kinds == nil {
		kinds = all
	}
	if p.S3.Bucket != "" && !soak { // a life there takes long
		kinds = kinds[rnd.IntN(len(kinds)):][:1]
	}
	for _, kind := range kinds {
		var calls []int // of a kind, counted from 1
		for i, name := range names {
			if name == kind {
				calls = append(calls, i+1)
			}
		}
		moments := []bool{rnd.IntN(2) == 0}
		if soak {
			moments = []bool{false, true}
		}
		for _, after := range moments {
			at := calls[rnd.IntN(len(calls))]
			t.Run(fmt.Sprintf("%s, call %d, after=%v", kind, at, after), func(t *testing.T) {
				t.Parallel() // most of it is waiting for the disk
				b := s.begin(t, p.Fresh(t))
				b.killed(life{Story: s.name, At: at, After: after})
				s.end(b)
			})
		}
	}
}

// killed lets a child process live beside what the bench has, until it is killed.
func (b *bench) killed(l life) {
	b.t.Helper()
	l.DSN, l.Catalog, l.Warehouse, l.S3, l.Log = b.place.DSN, b.place.Catalog, b.place.Warehouse, b.place.S3, b.log
	spec, err := json.Marshal(l)
	if err != nil {
		b.t.Fatal(err)
	}
	cmd := exec.CommandContext(b.t.Context(), os.Args[0], "-test.run=^TestKilledAtEachStep$", "-test.timeout=2m")
	cmd.Env = append(os.Environ(), lifeVariable+"="+string(spec))
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != -1 { // by a signal
		b.t.Fatalf("the child was not killed: %v\n%s", err, out)
	}
}

// liveAndDie is the child.
func liveAndDie(t *testing.T, spec string) {
	var l life
	if err := json.Unmarshal([]byte(spec), &l); err != nil {
		t.Fatal(err)
	}
	all := stories()
	s := all[slices.IndexFunc(all, func(s story) bool { return s.name == l.Story })]
	p := testbed.Local(t.TempDir())
	p.DSN, p.Catalog, p.Warehouse, p.S3 = l.DSN, l.Catalog, l.Warehouse, l.S3
	b := openBench(t, p, records)
	b.log = l.Log
	if s.reads != nil {
		s.reads(b)
	}
	m := every{&mortal{DB: b.led, AlteredLake: b.lake, lk: b.lake, at: l.At, after: l.After, with: errKilled}}
	t.Fatalf("its life came to an end by itself: %v", s.live(b, m))
}

// errKilled is the end of the process, not of a call.
var errKilled = errors.New("killed")

func die() {
	if self, err := os.FindProcess(os.Getpid()); err == nil {
		_ = self.Kill()
	}
	select {}
}
