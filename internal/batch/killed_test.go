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

	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/prove"
	"github.com/pinflow/pinflow/internal/span"
	"github.com/pinflow/pinflow/internal/testbed"
)

// every wraps the calls that mortal leaves alone, so that each step of stage and commit is one at which a process can end.
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

// life is what a child process is told: where it lives, and at which call it is killed.
type life struct {
	DSN, Catalog, Warehouse string
	S3                      testbed.S3
	At                      int
	After                   bool
}

const lifeVariable = "PINFLOW_BATCH_LIFE"

// steps are the calls of a life to its end, in order.
func steps(t *testing.T, p testbed.Place) []string {
	t.Helper()
	b := newBench(t, p, 28)
	var names []string
	m := every{&mortal{DB: b.led, AlteredLake: b.lake, lk: b.lake, said: func(name string) { names = append(names, name) }}}
	if err := b.run(m, m); err != nil {
		t.Fatal(err)
	}
	return names
}

// L1, L3: a process that is killed with -9 at any step of stage and commit, before or after what the step does, loses
// nothing and leaves nothing twice: whoever comes next finds the same events in the lake as in the log.
func TestKilledAtEachStep(t *testing.T) {
	if spec := os.Getenv(lifeVariable); spec != "" {
		liveAndDie(t, spec)
		return
	}
	places := map[string]func(t *testing.T) testbed.Place{"local": func(t *testing.T) testbed.Place { return testbed.Local(t.TempDir()) }}
	if os.Getenv("PINFLOW_SOAK") != "" {
		places["servers"] = func(t *testing.T) testbed.Place { return testbed.Servers(t) }
	}
	for name, place := range places {
		t.Run(name, func(t *testing.T) { killedAtEachStep(t, place(t)) })
	}
}

func killedAtEachStep(t *testing.T, p testbed.Place) {
	prove.Invariant(t, "L1 L3", p.On...)
	rnd := rand.New(rand.NewPCG(testbed.Seed(t), 11))
	names := steps(t, p)
	kinds := slices.Compact(slices.Sorted(slices.Values(names)))
	t.Logf("%d calls of %d kinds: %q", len(names), len(kinds), kinds)
	for _, kind := range kinds {
		var calls []int // of a kind, counted from 1
		for i, name := range names {
			if name == kind {
				calls = append(calls, i+1)
			}
		}
		moments := []bool{rnd.IntN(2) == 0}
		if os.Getenv("PINFLOW_SOAK") != "" {
			moments = []bool{false, true}
		}
		for _, after := range moments {
			at := calls[rnd.IntN(len(calls))]
			t.Run(fmt.Sprintf("%s, call %d, after=%v", kind, at, after), func(t *testing.T) {
				t.Parallel() // most of it is waiting for the disk
				b := newBench(t, p.Fresh(t), 28)
				b.killed(life{At: at, After: after})
				b.settle()
				b.verify()
			})
		}
	}
}

// killed lets a child process live beside what the bench has, until it is killed.
func (b *bench) killed(l life) {
	b.t.Helper()
	l.DSN, l.Catalog, l.Warehouse, l.S3 = b.place.DSN, b.place.Catalog, b.place.Warehouse, b.place.S3
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
	p := testbed.Local(t.TempDir())
	p.DSN, p.Catalog, p.Warehouse, p.S3 = l.DSN, l.Catalog, l.Warehouse, l.S3
	b := openBench(t, p, 28)
	m := every{&mortal{DB: b.led, AlteredLake: b.lake, lk: b.lake, at: l.At, after: l.After, with: errKilled}}
	t.Fatalf("its life came to an end by itself: %v", b.run(m, m))
}

// errKilled is the end of the process, not of a call.
var errKilled = errors.New("killed")

func die() {
	if self, err := os.FindProcess(os.Getpid()); err == nil {
		_ = self.Kill()
	}
	select {}
}
