package app

import (
	"math"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
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
	p := &pacer{percent: ordinary}
	p.pace()
	return func() {
		p.ended.Store(true)
		debug.SetGCPercent(ordinary)
	}
}

// Soft limits of a process's memory: one unit alone, and all of them.
const (
	unitMemory  = 640 << 20
	wholeMemory = 960 << 20
)

// BoundMemory has Go collect more often before the process takes more memory than a limit, where it would
// let a large heap double: a unit that was down for long reads as fast as it can, and what it drops is soon
// as much as what it holds. Whoever set GOMEMLIMIT has it. The function returned puts things back.
func BoundMemory(u Units) (restore func()) {
	before := debug.SetMemoryLimit(-1)
	if before != math.MaxInt64 {
		return func() {}
	}
	limit := int64(unitMemory)
	if u.all() {
		limit = wholeMemory
	}
	debug.SetMemoryLimit(limit)
	return func() { debug.SetMemoryLimit(before) }
}

// pacer sets the percentage anew after every collection: its mark is an object that each one finds dead.
type pacer struct {
	percent int
	ended   atomic.Bool
}

func (p *pacer) pace() {
	if p.ended.Load() {
		return
	}
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	// Setting it stops the world for a moment, so small changes are let be.
	if want := percentFor(live[0].Value.Uint64()); want > p.percent*5/4 || want < p.percent*4/5 || want == 100 && p.percent > 100 {
		p.percent = want
		debug.SetGCPercent(want)
	}
	runtime.AddCleanup(new(mark), func(p *pacer) { p.pace() }, p)
}

// mark is what an AddCleanup is hung on: large enough not to share a block with anything else.
type mark struct{ _ [32]byte }

// percentFor is the percentage at which a heap with so many live bytes grows by leastGrowth.
func percentFor(live uint64) int {
	const least = 4 << 20 // what Go takes for the smallest heap
	return int(max(100, leastGrowth*100/max(live, least)))
}
