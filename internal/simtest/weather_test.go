package simtest

import (
	"fmt"
	"math/rand/v2"
	"sync"
)

// weather is whether faults happen, and which did. Connections and the broker ask it from goroutines of
// their own, each with a source of its own, so that one's luck does not depend on another's pace.
type weather struct {
	mu     sync.Mutex
	wild   bool
	struck map[string]int
}

func (s *weather) set(wild bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wild = wild
}

// strikes says whether a fault of this kind happens now: while it is wild, one time in so many.
func (s *weather) strikes(rnd *rand.Rand, what string, oneIn int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.wild || rnd.IntN(oneIn) != 0 {
		return false
	}
	if s.struck == nil {
		s.struck = map[string]int{}
	}
	s.struck[what]++
	return true
}

// fork makes a source from one that several goroutines share.
func (s *weather) fork(rnd *rand.Rand) *rand.Rand {
	s.mu.Lock()
	defer s.mu.Unlock()
	return rand.New(rand.NewPCG(rnd.Uint64(), 5))
}

func (s *weather) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return fmt.Sprint(s.struck)
}
