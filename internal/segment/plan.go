package segment

import (
	"cmp"
	"slices"
)

// Info is what the planner needs to know of a segment.
type Info struct {
	Bytes int64 // encoded
	Day   int64 // any number that is the same for segments that may be merged into one: their day in the view's zone
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
