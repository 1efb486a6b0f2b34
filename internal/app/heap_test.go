package app

import (
	"math"
	"runtime"
	"runtime/debug"
	"testing"
)

func TestSmallHeapsGrowBeforeTheyAreCollected(t *testing.T) {
	for live, want := range map[int64]int{0: 2400, 4 << 20: 2400, 32 << 20: 300, 96 << 20: 100, 4 << 30: 100} {
		if got := percentFor(live); got != want {
			t.Errorf("%d bytes: %d %%, want %d %%", live, got, want)
		}
	}
}

// A unit alone may take less than all of them, the batch unit least, and whoever set a limit has it.
func TestMemoryIsBound(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	defer debug.SetMemoryLimit(before)
	for u, want := range map[Units]int64{
		{Batch: true}: 420 << 20, {Live: true}: 640 << 20, {Serve: true}: 640 << 20, {Batch: true, Live: true}: 640 << 20, allUnits: 960 << 20,
	} {
		debug.SetMemoryLimit(math.MaxInt64)
		restore := BoundMemory(u)
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

// A limit gives way while collecting takes much of the processor, and comes back when it takes little.
func TestTheLimitFollowsWhatCollectingTakes(t *testing.T) {
	const least = 440 << 20
	for _, c := range []struct {
		limit int64
		part  float64
		want  int64
	}{
		{least, 0, least},
		{least, 0.2, least},
		{least, 0.26, 495 << 20},
		{495 << 20, 0.5, 495 << 20 / 8 * 9},
		{495 << 20, 0.1, 495 << 20},
		{880 << 20, 0.01, 770 << 20},
		{460 << 20, 0.01, least},
	} {
		if got := nextLimit(least, c.limit, c.part); got != c.want {
			t.Errorf("%d bytes and %v of the time: %d, want %d", c.limit, c.part, got, c.want)
		}
	}
}

// node is what a collection has to follow one by one.
type node struct {
	next *node
	_    [7]uint64
}

// A heap that is in use from end to end gets more than the limit, rather than being marked over and over.
func TestTheLimitGivesWayToWhatIsInUse(t *testing.T) {
	before := debug.SetMemoryLimit(math.MaxInt64)
	defer debug.SetMemoryLimit(before)
	restore := BoundMemory(Units{Batch: true})
	defer restore()
	var first *node
	for range 7 << 20 { // 448 MiB
		first = &node{next: first}
	}
	for n := 0; debug.SetMemoryLimit(-1) == batchMemory; n++ {
		if n == 10_000 {
			t.Fatalf("10,000 MiB later the limit is what it was")
		}
		for range 1 << 14 { // 1 MiB
			first = &node{next: first.next}
		}
	}
	runtime.KeepAlive(first)
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
