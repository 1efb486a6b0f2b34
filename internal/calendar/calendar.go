package calendar

import (
	"fmt"
	"time"
)

// Microseconds in units that have a fixed length.
const (
	Second = int64(1_000_000)
	minute = 60 * Second
	hour   = 60 * minute
	day    = 24 * hour
)

// Beginning is before any instant.
const Beginning = farPast

// Grain is the size of a bucket.
type Grain uint8

// The grains, finest first.
const (
	None Grain = iota // one bucket for everything
	Minute
	Hour
	Day
	Week // starts on Monday
	Month
	Year
)

// Grains counts the grains with None: for tables by grain.
const Grains = int(Year) + 1

var grainNames = [...]string{None: "none", Minute: "minute", Hour: "hour", Day: "day", Week: "week", Month: "month", Year: "year"}

func (g Grain) String() string { return grainNames[g] }

// GrainOf returns the grain with that name.
func GrainOf(name string) (Grain, bool) {
	for g, n := range grainNames {
		if n == name && Grain(g) != None {
			return Grain(g), true
		}
	}
	return None, false
}

// Contains tells whether every bucket of g is a union of buckets of fine.
func (g Grain) Contains(fine Grain) bool {
	if g == Month || g == Year {
		return fine <= g && fine != Week
	}
	return fine <= g
}

// Zone is a time zone. It is immutable.
type Zone struct {
	loc *time.Location
	utc bool
}

// Load returns the zone with that IANA name; "" and "UTC" are UTC. "Local" is refused: it would
// make an answer depend on the machine.
func Load(name string) (*Zone, error) {
	if name == "" || name == "UTC" {
		return &Zone{loc: time.UTC, utc: true}, nil
	}
	loc, err := time.LoadLocation(name)
	if err != nil || name == "Local" {
		message, advice := UnknownZone(name)
		return nil, fmt.Errorf("%s: %s", message, advice)
	}
	return &Zone{loc: loc}, nil
}

// Name is the zone's IANA name.
func (z *Zone) Name() string { return z.loc.String() }

// UTC tells whether the zone is UTC.
func (z *Zone) UTC() bool { return z.utc }

// Irregular tells whether, between 1970 and 2100, the zone's clocks change within an hour of theirs or
// skip or repeat a midnight: engines do not agree on what a bucket is there.
func (z *Zone) Irregular() bool {
	if z.utc {
		return false
	}
	c := NewClock(z)
	for at, end := int64(0), Days(2100, 1, 1)*day; at < end; {
		p := c.periodAt(at)
		at = p.to
		if p.to >= end {
			break
		}
		after := c.periodAt(p.to).offset
		before, shown := p.to+p.offset, p.to+after // what clocks show when they change, and then
		low, high := min(before, shown), max(before, shown)
		if mod(before, hour) != 0 || mod(shown, hour) != 0 || floorDiv(low, day) != floorDiv(high, day) || mod(low, day) == 0 {
			return true
		}
	}
	return false
}

// Location is the zone as package time knows it.
func (z *Zone) Location() *time.Location { return z.loc }

// Clock answers questions about a zone and remembers the last period it was asked about. It is not
// safe for concurrent use.
type Clock struct {
	zone *Zone
	p    period

	grain    Grain // of the bucket remembered
	from, to int64
}

// period is a stretch of time with one offset from UTC: [from, to).
type period struct{ from, to, offset int64 }

const (
	farPast   = int64(-1) << 62
	farFuture = int64(1) << 62
)

// NewClock returns a clock for the zone.
func NewClock(z *Zone) *Clock {
	c := &Clock{zone: z}
	if z.utc {
		c.p = period{farPast, farFuture, 0}
	}
	return c
}

func (c *Clock) periodAt(us int64) period {
	if us >= c.p.from && us < c.p.to {
		return c.p
	}
	offset, from, to := c.bounds(us)
	// Beyond a zone's table package time cuts its periods at the turn of the year, and a day too
	// early in a leap year, where no clock changes: join them.
	for range 8 {
		before, start, _ := c.bounds(from - 1)
		if from == farPast || before != offset {
			break
		}
		from = min(start, from-day)
	}
	for range 8 {
		after, _, end := c.bounds(to)
		if to == farFuture || after != offset {
			break
		}
		to = max(end, to+day)
	}
	c.p = period{from, to, offset}
	return c.p
}

func (c *Clock) bounds(us int64) (offset, from, to int64) {
	if us <= farPast || us >= farFuture {
		return 0, farPast, farFuture
	}
	t := time.UnixMicro(us).In(c.zone.loc)
	_, seconds := t.Zone()
	start, end := t.ZoneBounds()
	from, to = farPast, farFuture
	if !start.IsZero() {
		from = start.UnixMicro()
	}
	if !end.IsZero() {
		to = end.UnixMicro()
	}
	return int64(seconds) * Second, from, to
}

// Local returns the wall clock at an instant as microseconds since 1970-01-01T00:00:00 of that clock.
func (c *Clock) Local(us int64) int64 { return us + c.periodAt(us).offset }

// Date returns the local date at an instant as days since 1970-01-01.
func (c *Clock) Date(us int64) int64 { return floorDiv(c.Local(us), day) }

// Start returns the start of the bucket that holds the instant.
func (c *Clock) Start(g Grain, us int64) int64 {
	if g == None {
		return 0
	}
	c.find(g, us)
	return c.from
}

// End returns the start of the bucket after the one that holds the instant.
func (c *Clock) End(g Grain, us int64) int64 {
	if g == None {
		return farFuture
	}
	c.find(g, us)
	return c.to
}

// find makes the bucket that holds the instant the one remembered: mostly it is that already.
func (c *Clock) find(g Grain, us int64) {
	if g != c.grain || us < c.from || us >= c.to {
		c.turn(g, us)
	}
}

func (c *Clock) turn(g Grain, us int64) {
	switch g {
	case Minute:
		c.from, c.to = c.short(minute, us)
	case Hour:
		c.from, c.to = c.short(hour, us)
	case None, Day, Week, Month, Year:
		c.from, c.to = c.long(g, us)
	}
	c.grain = g
}

// short is the bucket [from, to) of a minute or hour: the wall clock rounded down, but it never reaches
// across a change of the clocks.
func (c *Clock) short(unit, us int64) (from, to int64) {
	p := c.periodAt(us)
	from = floorDiv(us+p.offset, unit)*unit - p.offset
	return max(from, p.from), min(from+unit, p.to)
}

// long is the bucket [from, to) of whole days that holds the instant.
func (c *Clock) long(g Grain, us int64) (from, to int64) {
	first := FirstDay(g, c.Date(us))
	from = c.Midnight(first)
	for from > us { // the clocks went back over midnight: that date has not begun for good
		first = FirstDay(g, first-1)
		from = c.Midnight(first)
	}
	for to = from; to <= us; { // a date that the zone skipped is empty
		first = nextFirst(g, first)
		to = c.Midnight(first)
	}
	return from, to
}

// Midnight returns the instant from which on no earlier local date comes: where the date begins, in
// days since 1970-01-01. Clocks that skip midnight or show it twice make no difference.
func (c *Clock) Midnight(date int64) int64 {
	at := date*day + day // no zone is a whole day behind
	for {
		p := c.periodAt(at)
		end := min(p.to, date*day-p.offset)
		if end > p.from || p.from == farPast {
			return end
		}
		at = p.from - 1
	}
}

// FirstDay returns the first day of the week, month or year that holds the date.
func FirstDay(g Grain, date int64) int64 {
	switch g {
	case Week:
		return date - mod(date+3, 7) // 1970-01-01 was a Thursday
	case Month:
		_, _, d := Civil(date)
		return date - int64(d) + 1
	case Year:
		y, _, _ := Civil(date)
		return Days(y, 1, 1)
	case None, Minute, Hour, Day:
	}
	return date
}

func nextFirst(g Grain, first int64) int64 {
	switch g {
	case Week:
		return first + 7
	case Month:
		return FirstDay(Month, first+31)
	case Year:
		return FirstDay(Year, first+366)
	case None, Minute, Hour, Day:
	}
	return first + 1
}

// Civil returns year, month and day of a date in days since 1970-01-01, in the proleptic Gregorian
// calendar (H. Hinnant, "chrono-Compatible Low-Level Date Algorithms").
func Civil(date int64) (year, month, dayOfMonth int) {
	z := date + 719468
	era := floorDiv(z, 146097)
	doe := z - era*146097
	yoe := (doe - doe/1460 + doe/36524 - doe/146096) / 365
	doy := doe - (365*yoe + yoe/4 - yoe/100)
	mp := (5*doy + 2) / 153
	d := doy - (153*mp+2)/5 + 1
	m := mp + 3
	if m > 12 {
		m -= 12
	}
	y := yoe + era*400
	if m <= 2 {
		y++
	}
	return int(y), int(m), int(d)
}

// Days returns a date as days since 1970-01-01.
func Days(year, month, dayOfMonth int) int64 {
	return floorDiv(time.Date(year, time.Month(month), dayOfMonth, 0, 0, 0, 0, time.UTC).Unix(), 86400)
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

func mod(a, b int64) int64 { return a - floorDiv(a, b)*b }

// Zone is the zone the clock shows.
func (c *Clock) Zone() *Zone { return c.zone }

// Hour returns the hour of the day that the wall clock shows at an instant.
func (c *Clock) Hour(us int64) int64 { return mod(floorDiv(c.Local(us), hour), 24) }
