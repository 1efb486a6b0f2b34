package fault

import (
	"sync"
	"time"
)

// RepeatsEvery is the least time between two lines of a job's log about the same sort of failure.
const RepeatsEvery = 30 * time.Second

// Repeats keeps a log from growing while something is down that is tried again and again: of failures of the
// same sort it lets one in a while be said, with the number of those that were not. The zero value is ready.
type Repeats struct {
	Every time.Duration // between two; 0: RepeatsEvery

	mu sync.Mutex
	of map[string]*repeat // by sort: there are few
}

type repeat struct {
	said   time.Time
	unsaid int
}

// Say tells whether a failure is to be said now, and how many of its sort were not since the last one.
func (r *Repeats) Say(sort string, now time.Time) (unsaid int, say bool) {
	every := r.Every
	if every == 0 {
		every = RepeatsEvery
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.of == nil {
		r.of = map[string]*repeat{}
	}
	c := r.of[sort]
	if c == nil {
		c = &repeat{}
		r.of[sort] = c
	}
	if !c.said.IsZero() && now.Sub(c.said) < every {
		c.unsaid++
		return 0, false
	}
	unsaid = c.unsaid
	c.said, c.unsaid = now, 0
	return unsaid, true
}
