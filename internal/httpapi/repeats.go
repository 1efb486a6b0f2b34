package httpapi

import (
	"sync"
	"time"
)

// repeatsEvery is the least time between two lines of the log about the same sort of failure.
const repeatsEvery = time.Second

// repeats keeps the log from growing with the requests while something is down: of failures with the
// same code it lets one a second be said, with the number of those that were not.
type repeats struct {
	mu sync.Mutex
	of map[string]*repeat // by code: there are few
}

type repeat struct {
	said   time.Time
	unsaid int
}

func (r *repeats) say(code string, now time.Time) (unsaid int, say bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.of == nil {
		r.of = map[string]*repeat{}
	}
	c := r.of[code]
	if c == nil {
		c = &repeat{}
		r.of[code] = c
	}
	if !c.said.IsZero() && now.Sub(c.said) < repeatsEvery {
		c.unsaid++
		return 0, false
	}
	unsaid, c.unsaid, c.said = c.unsaid, 0, now
	return unsaid, true
}
