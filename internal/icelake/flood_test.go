package icelake

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"

	"github.com/pinflow/pinflow/internal/lake"
)

// A flood of late events over 400 days in six partitions is one stage with 400 files. One writer is open at a
// time, so what is alive in memory beside the stage's own columns does not grow with the days.
func TestLateFloodOverManyDaysIsBoundedInMemory(t *testing.T) {
	const days, partitions, budget = 400, 6, 48 << 20
	l := testLake(t, t.TempDir(), quickFS{})
	if err := l.EnsureTable(t.Context(), pins()); err != nil {
		t.Fatal(err)
	}
	blocks := make([]lake.Block, partitions)
	n := 0
	for i := range blocks {
		blocks[i] = rows(n, 4_000, days)
		n += blocks[i].N
	}
	defer debug.SetGCPercent(debug.SetGCPercent(20)) // what is alive is known after a collection alone
	runtime.GC()
	before := alive()
	stop, most := make(chan struct{}), make(chan uint64)
	go func() {
		top, tick := uint64(0), time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				most <- top
				return
			case <-tick.C:
				top = max(top, alive())
			}
		}
	}()
	files := stage(t, l, blocks...)
	close(stop)
	if top := <-most; top > before+budget {
		t.Errorf("%d MiB were alive while the stage was written, %d MiB before it: more than %d MiB more", top>>20, before>>20, budget>>20)
	} else {
		t.Logf("alive at most %d MiB, before %d MiB", top>>20, before>>20)
	}
	if len(files) != days {
		t.Errorf("%d files, want one a day: %d", len(files), days)
	}
	if _, err := l.Commit(t.Context(), intent(1, files)); err != nil {
		t.Fatal(err)
	}
	if got := len(all(t, l)); got != n {
		t.Errorf("%d rows in the lake, want %d", got, n)
	}
}

// alive is the heap that the last collection found in use.
func alive() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}
