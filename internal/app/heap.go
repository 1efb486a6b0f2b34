package app

import (
	"math"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
)

// leastGrowth is how many bytes a heap may grow between two collections, however little of it is in use.
const leastGrowth = 96 << 20

// FewerCollections lets a small heap grow by leastGrowth before it is collected, where Go would let it
// double: a unit holds little and passes much on, and spent a third of its time on marking the same
// 30 MiB over and over. A heap that is larger than that is collected as ever, so peaks stay what they
// are. Whoever set GOGC has it. The function returned puts things back.
func FewerCollections() (restore func()) {
	const ordinary = 100
	if set := debug.SetGCPercent(ordinary); set != ordinary {
		debug.SetGCPercent(set)
		return func() {}
	}
	percent := ordinary
	stop := afterCollections(func() {
		// Setting it stops the world for a moment, so small changes are let be.
		want := percentFor(int64(measured("/gc/heap/live:bytes")[0]))
		if want > percent*5/4 || want < percent*4/5 || want == ordinary && percent > ordinary {
			percent = want
			debug.SetGCPercent(want)
		}
	})
	return func() {
		stop()
		debug.SetGCPercent(ordinary)
	}
}

// Soft limits of a process's memory: the batch unit alone, another unit alone, and all of them. The process
// takes some 60 MiB more: its program, and what C would call static.
const (
	batchMemory = 420 << 20
	unitMemory  = 640 << 20
	wholeMemory = 960 << 20
)

// BoundMemory has Go collect more often before the process takes more memory than a limit, where it would
// let a large heap double: a unit that was down for long reads as fast as it can, and what it drops is soon
// as much as what it holds. Where collecting takes too much of the processor, what is in use needs more, and
// the limit gives way. Whoever set GOMEMLIMIT has it. The function returned puts things back.
func BoundMemory(u Units) (restore func()) {
	before := debug.SetMemoryLimit(-1)
	if before != math.MaxInt64 {
		return func() {}
	}
	b := &bound{least: unitMemory}
	switch {
	case u.all():
		b.least = wholeMemory
	case u == Units{Batch: true}:
		b.least = batchMemory
	}
	b.limit, b.since = b.least, spentNow()
	debug.SetMemoryLimit(b.limit)
	stop := afterCollections(b.collected)
	return func() {
		stop()
		debug.SetMemoryLimit(before)
	}
}

// bound is a limit that gives way.
type bound struct {
	least, limit int64
	since        spent
	collections  int // since then
}

// boundWindow is after how many collections a limit may change.
const boundWindow = 8

func (b *bound) collected() {
	if b.collections++; b.collections < boundWindow {
		return
	}
	now := spentNow()
	limit := nextLimit(b.least, b.limit, (now.collecting-b.since.collecting)/(now.all-b.since.all))
	b.since, b.collections = now, 0
	if limit != b.limit {
		b.limit = limit
		debug.SetMemoryLimit(limit)
	}
}

// nextLimit is the limit after one under which collecting took a part of the processor time that was used. Go
// itself only keeps it from being more than half.
func nextLimit(least, limit int64, part float64) int64 {
	const much, little = 0.25, 0.05
	switch {
	case part > much:
		return limit + limit/8
	case part < little:
		return max(least, limit-limit/8)
	}
	return limit
}

// spent is processor time that was used, seconds; what else would have been idle is not.
type spent struct{ collecting, all float64 }

// spentNow is up to the last collection.
func spentNow() spent {
	m := measured("/cpu/classes/gc/total:cpu-seconds", "/cpu/classes/gc/mark/idle:cpu-seconds", "/cpu/classes/total:cpu-seconds", "/cpu/classes/idle:cpu-seconds")
	return spent{m[0] - m[1], m[2] - m[3] - m[1]}
}

// measured reads metrics of the Go runtime.
func measured(names ...string) []float64 {
	samples, out := make([]metrics.Sample, len(names)), make([]float64, len(names))
	for i, n := range names {
		samples[i].Name = n
	}
	metrics.Read(samples)
	for i := range samples {
		if v := samples[i].Value; v.Kind() == metrics.KindUint64 {
			out[i] = float64(v.Uint64())
		} else {
			out[i] = v.Float64()
		}
	}
	return out
}

// afterCollections calls f now and after every collection: its mark is an object that each one finds dead. f is
// not running, and not called again, when the function returned has returned.
func afterCollections(f func()) (stop func()) {
	w := &lookout{f: f}
	w.look()
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.f = nil
	}
}

type lookout struct {
	mu sync.Mutex
	f  func() // nil: ended
}

func (w *lookout) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.f == nil {
		return
	}
	w.f()
	runtime.AddCleanup(new(mark), func(w *lookout) { w.look() }, w)
}

// mark is what an AddCleanup is hung on: large enough not to share a block with anything else.
type mark struct{ _ [32]byte }

// percentFor is the percentage at which a heap with so many live bytes grows by leastGrowth.
func percentFor(live int64) int {
	const least = 4 << 20 // what Go takes for the smallest heap
	return int(max(100, leastGrowth*100/max(live, least)))
}
