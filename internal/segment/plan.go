package segment

import (
	"cmp"
	"math"
	"slices"

	"github.com/pinflow/pinflow/internal/calendar"
	"github.com/pinflow/pinflow/internal/metric"
)

// Info is what the planner needs to know of a segment.
type Info struct {
	Bytes int64 // encoded
	Day   int64 // any number that is the same for segments that may be merged into one: Shelf.Of
}

// Shelf says which segments of a tier may be merged into one: those of one day of the view's zone, once
// all their buckets are closed, that is in buckets of the next tier that get no more events on time; and
// those that are open or of several days, whose merge is cut at buckets of the next tier.
type Shelf struct {
	clock  *calendar.Clock
	next   calendar.Grain
	closed int64
}

// open is the shelf's number for segments that are not whole.
const open = math.MinInt64

// NewShelf returns the shelf of a tier of a view at a moment (microseconds).
func NewShelf(c *metric.Compiled, tier calendar.Grain, now int64) *Shelf {
	s := &Shelf{clock: calendar.NewClock(c.Zone), next: min(tier+1, calendar.Day)}
	s.closed = s.clock.Start(s.next, now-c.Grace)
	return s
}

// Of is the number of a segment with bucket starts from … to.
func (s *Shelf) Of(from, to int64) int64 {
	day := s.clock.Date(from)
	if to >= s.closed || s.clock.Date(to) != day {
		return open
	}
	return day
}

// Closed tells whether a segment with bucket starts up to to gets no more events on time.
func (s *Shelf) Closed(to int64) bool { return to < s.closed }

// Cut is a key per bucket that no merged segment of the number may span.
func (s *Shelf) Cut(number int64) func(bucket int64) int64 {
	if number != open {
		return s.clock.Date
	}
	return func(bucket int64) int64 { return s.clock.Start(s.next, bucket) }
}

// Target is about how large a compacted segment becomes; segments of half that are left alone.
const Target = 1 << 20

const (
	fanIn    = 8       // so many of a class make one of the next: each byte is rewritten log8(Target/first) times
	firstMax = 4 << 10 // largest of the first class
)

// PlanCompaction chooses what to merge: groups of indices into small, each of at least two segments
// of one day. Segments are merged with others of their size class once there are fanIn of them; with
// settle, whatever there is of a day is merged. Its groups never overlap.
func PlanCompaction(small []Info, settle bool) [][]int {
	type key struct {
		day   int64
		class int
	}
	classes := map[key][]int{}
	for i, s := range small {
		if s.Bytes >= Target/2 {
			continue
		}
		k := key{s.Day, classOf(s.Bytes)}
		if settle {
			k.class = 0
		}
		classes[k] = append(classes[k], i)
	}
	keys := make([]key, 0, len(classes))
	for k := range classes {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b key) int { return cmp.Or(cmp.Compare(a.day, b.day), cmp.Compare(a.class, b.class)) })
	var out [][]int
	for _, k := range keys {
		least := fanIn
		if settle {
			least = 2
		}
		out = append(out, groupsOf(small, classes[k], least)...)
	}
	return out
}

func classOf(size int64) int {
	class := 0
	for limit := int64(firstMax); size > limit && class < 16; limit *= fanIn {
		class++
	}
	return class
}

// groupsOf cuts a class into groups of about Target bytes; a last one of fewer than least is left.
func groupsOf(small []Info, class []int, least int) [][]int {
	var out [][]int
	for len(class) >= least {
		n, size := 0, int64(0)
		for n < len(class) && (n < 2 || size+small[class[n]].Bytes <= Target) {
			size += small[class[n]].Bytes
			n++
		}
		out = append(out, slices.Clone(class[:n]))
		class = class[n:]
	}
	return out
}

// PlanRollup cuts segments, by size and number as listed, into groups of one number whose merge fits
// into memory.
func PlanRollup(all []Info) [][]int {
	byDay := map[int64][]int{}
	var days []int64
	for i, s := range all {
		if byDay[s.Day] == nil {
			days = append(days, s.Day)
		}
		byDay[s.Day] = append(byDay[s.Day], i)
	}
	slices.Sort(days)
	var out [][]int
	for _, d := range days {
		group, size := []int(nil), int64(0)
		for _, i := range byDay[d] {
			if len(group) > 0 && size+all[i].Bytes > rollMax {
				out, group, size = append(out, group), nil, 0
			}
			group, size = append(group, i), size+all[i].Bytes
		}
		out = append(out, group)
	}
	return out
}

// rollMax is the most bytes that are rolled up at once; a larger segment is rolled up alone.
const rollMax = 4 * Target
