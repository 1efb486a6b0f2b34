package app

import (
	"math"
	"runtime"
	"runtime/debug"
	"testing"
)

func TestSmallHeapsGrowBeforeTheyAreCollected(t *testing.T) {
	for live, want := range map[uint64]int{0: 2400, 4 << 20: 2400, 32 << 20: 300, 96 << 20: 100, 4 << 30: 100} {
		if got := percentFor(live); got != want {
			t.Errorf("%d bytes: %d %%, want %d %%", live, got, want)
		}
	}
}

// A unit alone may take less than all of them, and whoever set a limit has it.
func TestMemoryIsBound(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	defer debug.SetMemoryLimit(before)
	for _, u := range []Units{{Batch: true}, allUnits} {
		debug.SetMemoryLimit(math.MaxInt64)
		restore := BoundMemory(u)
		want := int64(640 << 20)
		if u.all() {
			want = 960 << 20
		}
		if now := debug.SetMemoryLimit(-1); now != want {
			t.Errorf("%+v: %d bytes, want %d", u, now, want)
		}
		if restore(); debug.SetMemoryLimit(-1) != math.MaxInt64 {
			t.Errorf("%+v: not put back", u)
		}
	}
	debug.SetMemoryLimit(2 << 30)
	if BoundMemory(allUnits)(); debug.SetMemoryLimit(-1) != 2<<30 {
		t.Errorf("a limit of somebody's was changed to %d", debug.SetMemoryLimit(-1))
	}
}

// The pace follows the heap: a large one is collected as if nobody had touched the percentage.
func TestPaceFollowsTheHeap(t *testing.T) {
	before := debug.SetGCPercent(100)
	defer debug.SetGCPercent(before)
	runtime.GC() // what an earlier test held is gone
	restore := FewerCollections()
	if now := percentNow(); now <= 100 {
		t.Errorf("a small heap has %d %%", now)
	}
	held := make([]byte, 256<<20)
	for i := 0; percentNow() != 100; i++ {
		if i > 1000 {
			t.Fatalf("a heap of 256 MiB still has %d %% after %d collections", percentNow(), i)
		}
		runtime.GC()
		runtime.Gosched()
	}
	runtime.KeepAlive(held)
	restore()
	if now := percentNow(); now != 100 {
		t.Errorf("restored to %d %%", now)
	}
}

func TestGOGCOfTheUserStays(t *testing.T) {
	before := debug.SetGCPercent(50)
	defer debug.SetGCPercent(before)
	defer FewerCollections()()
	if now := percentNow(); now != 50 {
		t.Errorf("GOGC=50 became %d", now)
	}
}

func percentNow() int {
	now := debug.SetGCPercent(100)
	debug.SetGCPercent(now)
	return now
}
