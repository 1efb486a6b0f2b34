package days

import (
	"sync"
	"time"

	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/span"
)

// How long a pace is looked at.
const (
	paceWindow = 5 * time.Minute
	paceLeast  = 5 * time.Second // between the ends of what a speed is taken from
	paceEvery  = time.Second     // between two samples
)

// Pace estimates when a waiting day lands, from how fast what it lacks became less while it was looked at. The
// process that keeps the marks looks once a second, a reporter whenever it is asked.
type Pace struct {
	mu   sync.Mutex
	seen map[string][]sample // by stream, zone and date
}

// sample is how many offsets a day lacked at a moment.
type sample struct {
	at    time.Time
	lacks int64
}

// NewPace returns one that has seen nothing.
func NewPace() *Pace { return &Pace{seen: map[string][]sample{}} }

// Note says how many offsets a waiting day lacks.
func (p *Pace) Note(d *ledger.Day, at time.Time, lacks int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	k := paceKey(d)
	list := p.seen[k]
	if n := len(list); n > 0 && at.Sub(list[n-1].at) < paceEvery {
		return
	}
	for len(list) > 0 && at.Sub(list[0].at) > paceWindow {
		list = list[1:]
	}
	for other, l := range p.seen { // days that landed
		if at.Sub(l[len(l)-1].at) > paceWindow {
			delete(p.seen, other)
		}
	}
	p.seen[k] = append(list, sample{at, lacks})
}

func paceKey(d *ledger.Day) string { return d.Stream + "\x00" + d.Zone + "\x00" + d.Date }

// Landing is between which moments the day lands if it goes on as fast as lately: as over all that was seen, and
// as over the newer half of it. False while nobody can tell.
func (p *Pace) Landing(d *ledger.Day) (from, to time.Time, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.seen[paceKey(d)]
	if len(list) < 2 {
		return from, to, false
	}
	last := list[len(list)-1]
	slow, fast := 0.0, 0.0
	for _, first := range []sample{list[0], list[len(list)/2]} {
		took, done := last.at.Sub(first.at), first.lacks-last.lacks
		if took < paceLeast {
			continue
		}
		if done <= 0 {
			return from, to, false // it stands still, or falls behind
		}
		speed := float64(done) / took.Seconds()
		if slow == 0 {
			slow, fast = speed, speed
		}
		slow, fast = min(slow, speed), max(fast, speed)
	}
	if slow == 0 {
		return from, to, false
	}
	wait := func(speed float64) time.Duration {
		return time.Duration(min(float64(last.lacks)/speed, 30*24*3600) * float64(time.Second))
	}
	return last.at.Add(wait(fast * 1.1)), last.at.Add(wait(slow / 1.1)), true // neither is exact
}

// lacks is how many offsets of the cut live and lake do not have yet, whichever has less.
func lacks(cut span.Vector, p *ledger.Progress, dead map[span.Log]bool) (n int64) {
	for k, at := range cut {
		behind := at - p.Lake[k]
		if !dead[k.Log] {
			behind = max(behind, at-p.Live[k])
		}
		n += max(0, behind)
	}
	return n
}
