package emulate

import (
	"math"
	"time"
)

// Pace says how the rate changes over time. The zero value is an even rate, now.
type Pace struct {
	Rhythm float64       // swing over the day, 0 to 1: at 04:00 UTC the rate is 1-Rhythm of its mean, at 16:00 it is 1+Rhythm
	Growth float64       // by which the rate grows in a Per: 0.1 is ten percent
	Per    time.Duration // default an hour
	Burst  Burst
	Since  time.Duration // the events' times begin so long ago and arrive at now with the last event
}

// Burst is a rate that is Factor times as high for For, every Every.
type Burst struct {
	Factor     float64
	For, Every time.Duration
}

func (p *Pace) even() bool { return p.Rhythm == 0 && p.Growth == 0 && p.Burst.Factor == 0 }

// factor is by how much the rate is multiplied at a moment, run having lasted so long.
func (p *Pace) factor(at time.Time, run time.Duration) float64 {
	f := 1.0
	if p.Rhythm > 0 {
		hours := float64(at.UTC().Unix()%86_400) / 3600
		f += p.Rhythm * math.Sin((hours-10)/24*2*math.Pi)
	}
	if p.Growth != 0 {
		per := p.Per
		if per == 0 {
			per = time.Hour
		}
		f *= math.Pow(1+p.Growth, float64(run)/float64(per))
	}
	if b := p.Burst; b.Factor > 0 && run%b.Every < b.For {
		f *= b.Factor
	}
	return max(f, minFactor)
}

// minFactor keeps a rate from standing still.
const minFactor = 0.01

// calendar maps how much of a run is done to the time of its events, when they begin in the past: time
// goes by slowly when many post.
type calendar struct {
	step int64   // microseconds
	sums []int64 // of the weights of the steps up to each; micro-units
}

const calendarSteps = 2000

// newCalendar is of a span that ends at a moment; nil when events are of now.
func newCalendar(p Pace, end time.Time) *calendar {
	if p.Since == 0 {
		return nil
	}
	c := &calendar{step: max(p.Since.Microseconds()/calendarSteps, 1)}
	var sum int64
	for i := range int64(calendarSteps) {
		run := time.Duration(i*c.step) * time.Microsecond
		sum += max(int64(p.factor(end.Add(run-p.Since), run)*1e6), 1)
		c.sums = append(c.sums, sum)
	}
	return c
}

// stretch is where the events from one number to another of all lie: it ends so long before the end of
// the span and is so wide, in microseconds.
func (c *calendar) stretch(from, to, all int64) (back, width int64) {
	if c == nil {
		return 0, freshWidth
	}
	back = c.back(float64(min(to, all)) / float64(all))
	return back, max(c.back(float64(from)/float64(all))-back, 1)
}

// back is how far before the end of the span the moment lies at which a share of all is done.
func (c *calendar) back(done float64) int64 {
	want := int64(done * float64(c.sums[len(c.sums)-1]))
	lo, hi := 0, len(c.sums)-1
	for lo < hi {
		if mid := (lo + hi) / 2; c.sums[mid] > want {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	before := int64(0)
	if lo > 0 {
		before = c.sums[lo-1]
	}
	within := int64(float64(c.step) * float64(want-before) / float64(c.sums[lo]-before))
	return int64(len(c.sums))*c.step - int64(lo)*c.step - min(within, c.step)
}

// freshWidth is how old an event of now may be when it is posted, microseconds.
const freshWidth = 2_000_000
