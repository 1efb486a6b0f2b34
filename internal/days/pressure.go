package days

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/pinflow/pinflow/internal/ledger"
)

// Near is how long before and after its deadline a day that is not complete wants the machine for itself.
// Longer after it would hold history up for what may be broken.
const Near = time.Hour

// pressureEvery is how long an answer of Pressure holds.
const pressureEvery = 10 * time.Second

// Pressure tells whether a day is near its deadline and not complete: then what can wait gives way.
type Pressure struct {
	led    catalogued
	mu     sync.Mutex
	asked  time.Time
	reason string
}

// catalogued is the part of the ledger that tells of days, and of the views that have a deadline.
type catalogued interface {
	Source
	Load(ctx context.Context) (*ledger.Snapshot, error)
}

// NewPressure returns one that asks the ledger at most every ten seconds.
func NewPressure(led catalogued) *Pressure {
	return &Pressure{led: led}
}

// Reason names the day, "" while there is none. A ledger that does not answer changes nothing.
func (p *Pressure) Reason(ctx context.Context) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.asked.IsZero() && time.Since(p.asked) < pressureEvery {
		return p.reason
	}
	reason, err := p.look(ctx)
	if p.asked = time.Now(); err == nil {
		p.reason = reason
	}
	return p.reason
}

// look reads the newest days of the streams that have a deadline: yesterday's, and the one before it where
// the zones are far apart.
func (p *Pressure) look(ctx context.Context) (string, error) {
	snap, err := p.led.Load(ctx)
	if err != nil {
		return "", err
	}
	r, now := NewReporter(p.led, nil, nil), time.Now()
	for _, s := range snap.Streams {
		if !hasDeadline(snap, s.Name) {
			continue
		}
		all, err := r.DaysOf(ctx, snap, s.Name, 3*len(zones(snap, s.Name)))
		if err != nil {
			return "", err
		}
		for _, d := range all {
			if d.State == Complete || d.DeadlineAt == nil || now.Before(d.DeadlineAt.Add(-Near)) || now.After(d.DeadlineAt.Add(Near)) {
				continue
			}
			return fmt.Sprintf("%s of stream %s is due at %s and not complete", d.Date, s.Name, d.DeadlineAt.Format(time.RFC3339)), nil
		}
	}
	return "", nil
}

func hasDeadline(snap *ledger.Snapshot, stream string) bool {
	for i := range snap.Views {
		if v := &snap.Views[i]; v.Stream == stream {
			if _, _, wants := deadlineOf(v); wants {
				return true
			}
		}
	}
	return false
}
