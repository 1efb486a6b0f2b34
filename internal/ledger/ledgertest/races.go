package ledgertest

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/span"
)

const rounds = 20

// both runs two functions at once and returns what they returned.
func both(a, b func() error) (errA, errB error) {
	var wg sync.WaitGroup
	start := make(chan struct{})
	wg.Go(func() { <-start; errA = a() })
	wg.Go(func() { <-start; errB = b() })
	close(start)
	wg.Wait()
	return errA, errB
}

// Two owners seal the same offsets: the one who took over last wins, however they interleave.
func raceOwners(_ *testing.T, w *world) {
	w.setup()
	k := w.key(0)
	h := w.take(ledger.Live, "a", k)
	var sum int64
	for i := range rounds {
		write := w.write(ledger.Flush, "a")
		seal := func(h ledger.Held) error {
			return w.l.Seal(w.ctx, ledger.Seal{
				Write: write, Unit: ledger.Live, Moves: []ledger.Move{move(k, h, 5)}, Segments: []ledger.Segment{segment(w.version, int64(i), int64(i))},
			})
		}
		var next ledger.Held
		errA, errB := both(func() error { return seal(h) }, func() (err error) {
			if next, err = w.l.TakeOver(w.ctx, ledger.Live, "b", k, 0); err == nil {
				err = seal(next)
			}
			return err
		})
		w.ok(errB)
		sum += 5
		if errA == nil {
			sum += 5
		} else {
			w.fails(errA, fault.Lost, "partition_lost")
		}
		w.same(sum, must(w.l.PositionsOf(w.ctx, ledger.Live))(w)[k])
		h = ledger.Held{Owner: next.Owner, Position: sum}
	}
	w.same(sum, 5*int64(len(w.buckets(""))))
	w.same(ledger.Counts{Rows: sum}, must(w.l.Counts(w.ctx, ledger.Live))(w)[k])
}

// A write is either sealed whole or swept whole.
func raceSweepSeal(_ *testing.T, w *world) {
	w.setup()
	k := w.key(0)
	h := w.take(ledger.Batch, "b", k)
	lease := w.lease("sweep")
	sealed, swept := 0, 0
	for range rounds {
		write := w.write(ledger.Stage, "b")
		id := must(w.l.Open(w.ctx, write))(w)
		file := w.file(stream, 3)
		w.ok(w.l.AddFiles(w.ctx, id, []ledger.LakeFile{file}))
		var files []ledger.LakeFile
		errA, errB := both(func() error {
			return w.l.Seal(w.ctx, ledger.Seal{ID: id, Write: write, Unit: ledger.Batch, Moves: []ledger.Move{move(k, h, 3)}})
		}, func() (err error) {
			files, err = w.l.Sweep(w.ctx, lease, time.Now().Add(time.Hour))
			return err
		})
		w.ok(errB)
		if errA == nil {
			sealed++
			h.Position += 3
			w.same(0, len(files))
			continue
		}
		swept++
		w.fails(errA, fault.Lost, "write_not_open")
		w.same(1, len(files))
		w.same(file.Path, files[0].Path)
		w.ok(w.l.Forget(w.ctx, lease, files))
	}
	w.Logf("sealed %d, swept %d", sealed, swept)
	w.same(h.Position, must(w.l.PositionsOf(w.ctx, ledger.Batch))(w)[k])
	if in := w.commit(stream); in != nil {
		w.same(sealed, len(in.Files))
	}
}

// One of many wins a free lease, and numbers never repeat.
func raceLeases(_ *testing.T, w *world) {
	w.setup()
	seen := map[int64]bool{}
	for i := range rounds {
		name := fmt.Sprintf("job%d", i/2)
		var got [2]ledger.Lease
		take := func(n int) func() error {
			return func() (err error) {
				got[n], err = w.l.Acquire(w.ctx, name, fmt.Sprintf("h%d.%d", i, n), time.Hour)
				return err
			}
		}
		errs := [2]error{}
		errs[0], errs[1] = both(take(0), take(1))
		if (errs[0] == nil) == (errs[1] == nil) {
			w.Fatalf("two holders, or none: %v, %v", errs[0], errs[1])
		}
		for n, err := range errs {
			if err != nil {
				w.fails(err, fault.Lost, "lease_held")
				continue
			}
			number := got[n].Number + int64(i/2)*100
			w.same(false, seen[number])
			seen[number] = true
			w.ok(w.l.Release(w.ctx, got[n]))
		}
	}
}

// The cut of a new version and the position of a flush under the old catalogue never overlap: a seal is
// either before the apply, and then below the cut, or it is stale.
func raceApplySeal(_ *testing.T, w *world) {
	w.setup()
	k := w.key(0)
	h := w.take(ledger.Live, "a", k)
	for i := range rounds {
		write := w.write(ledger.Flush, "a")
		change := ledger.Change{Stream: stream, Epoch: write.Epoch, Views: []ledger.ViewChange{{
			Name: view, Hash: fmt.Sprintf("r%d", i), Definition: []byte("{}"), State: ledger.Serving,
		}}}
		errA, errB := both(func() error {
			return w.l.Seal(w.ctx, ledger.Seal{Write: write, Unit: ledger.Live, Moves: []ledger.Move{move(k, h, 5)}})
		}, func() error { return w.l.Apply(w.ctx, change) })
		w.ok(errB)
		if errA == nil {
			h.Position += 5
		} else {
			w.fails(errA, fault.Stale, "epoch_moved")
		}
		versions := w.load().Views[0].Versions
		w.same(span.Vector{k: h.Position}, versions[len(versions)-1].Cut)
	}
}
