package testbed

import (
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
)

// Bubble runs f in virtual time, as synctest.Test does, on one processor at a time. The race detector gives
// all timers of a bubble one context, which timers that fire upon being polled use without a lock: on two
// processors it breaks down sooner or later, with "CHECK failed" or SIGSEGV in (*timer).maybeRunChan (seen with
// go1.26.8). What it finds does not need processors: it judges by what happens before what.
func Bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	oneProcessor.enter()
	defer oneProcessor.leave()
	synctest.Test(t, f)
}

var oneProcessor processors

// processors keeps the process on one processor while anybody is within.
type processors struct {
	mu     sync.Mutex
	within int
	before int
}

func (p *processors) enter() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.within == 0 {
		p.before = runtime.GOMAXPROCS(1)
	}
	p.within++
}

func (p *processors) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.within--
	if p.within == 0 {
		runtime.GOMAXPROCS(p.before)
	}
}
