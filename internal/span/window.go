package span

import (
	"encoding/binary"
	"time"

	"github.com/zeebo/xxh3"
)

// ID is the 128-bit hash of an event id, as dedup keeps it.
type ID [16]byte

// IDOf hashes a dedup key (XXH3, 128 bits).
func IDOf(key string) ID { return ID(xxh3.HashString128(key).Bytes()) }

// Window answers whether an id occurred in the previous N offsets of a partition and was received at
// most T before. The answer is a function of the partition's records alone, provided that every
// record was shown to it, from N offsets before the first question on.
//
// Of each id it keeps a queue of occurrences, oldest first, with strictly falling received times: an
// occurrence that is both older and received no later than another can never decide a question. So
// the oldest one kept has the latest received time, and a question looks at one entry.
//
// A window can go back to where Keep was last called: what has left it since then stays in the ring until
// its place is needed.
//
// Occurrences lie in a ring by arrival; an open-addressed table finds an id's newest one. A window of
// 50,000 records takes 3.7 MB.
type Window struct {
	records int64
	within  int64 // microseconds

	ring  []occurrence // power of two long; records without an id are not in it
	first int          // position of the oldest
	count int
	table []int32 // position of an id's newest occurrence, or none; twice as long as the ring

	newest int64 // offset shown last
	kept   int64 // Rewind goes back to here at most; none: it cannot
	left   int   // occurrences before the oldest that left after Keep and are still in the ring
}

type occurrence struct {
	id       ID
	offset   int64
	received int64
	older    int32 // position of the queue's next older one, none, or dominated
	newer    int32 // …of the next newer one, or none
	oldest   int32 // of an id's newest: the queue's oldest
}

const (
	none      = -1
	dominated = -2 // taken out of its queue
)

// NewWindow returns an empty window over that many offsets and that much received time.
func NewWindow(records int, within time.Duration) *Window {
	w := &Window{records: int64(records), within: within.Microseconds(), newest: none, kept: none}
	w.resize(64)
	return w
}

// Records is the number of offsets the window spans.
func (w *Window) Records() int64 { return w.records }

// Seen tells whether the record at offset repeats one in the window, and remembers it, whatever the
// answer. Offsets must rise from call to call. received is in microseconds since the epoch.
func (w *Window) Seen(id ID, offset, received int64) bool {
	for w.count > 0 && w.ring[w.first].offset < offset-w.records {
		w.forget()
	}
	slot, found := w.find(id)
	duplicate := found && w.ring[w.ring[w.table[slot]].oldest].received >= received-w.within
	if w.count == len(w.ring) {
		w.resize(2 * len(w.ring))
	}
	if w.count+w.left == len(w.ring) { // its place is that of one that Rewind would need
		w.kept, w.left = none, 0
	}
	w.push(id, offset, received)
	w.newest = offset
	return duplicate
}

// Keep says that from now on the window may have to go back to what it is now.
func (w *Window) Keep() { w.kept, w.left = w.newest+1, 0 }

// Rewind makes the window what it was before the record at offset at was shown, and tells whether it
// could: not beyond what Keep said, and not when too much has been shown since. If it could not, the window
// is as it was, and has to be built anew.
func (w *Window) Rewind(at int64) bool {
	if w.kept == none || at < w.kept {
		return false
	}
	old, first, count := w.ring, w.first-w.left, w.count+w.left
	w.clear(len(old))
	w.newest = at - 1
	for i := range count {
		o := &old[(first+i)&(len(old)-1)]
		if o.offset >= at-w.records && o.offset < at {
			w.push(o.id, o.offset, o.received)
		}
	}
	w.Keep()
	return true
}

// push appends an occurrence as the newest of its id's queue.
func (w *Window) push(id ID, offset, received int64) {
	at := int32((w.first + w.count) & (len(w.ring) - 1))
	w.count++
	o := occurrence{id: id, offset: offset, received: received, older: none, newer: none, oldest: at}
	slot, found := w.find(id)
	if found {
		newest := w.table[slot]
		oldest, older := w.ring[newest].oldest, newest
		for older >= 0 && w.ring[older].received <= received {
			next := w.ring[older].older
			w.ring[older].older = dominated
			older = next
		}
		if o.older = older; older >= 0 {
			w.ring[older].newer = at
			o.oldest = oldest
		}
	}
	w.ring[at] = o
	w.table[slot] = at
}

// forget drops the oldest occurrence of the ring. If it is in a queue it is that queue's oldest.
func (w *Window) forget() {
	o := &w.ring[w.first]
	w.first = (w.first + 1) & (len(w.ring) - 1)
	w.count--
	if w.kept != none {
		w.left++
	}
	if o.older == dominated {
		return
	}
	slot, _ := w.find(o.id)
	if o.newer == none {
		w.remove(slot)
		return
	}
	w.ring[o.newer].older = none
	w.ring[w.table[slot]].oldest = o.newer
}

// find returns the slot of an id, or the empty one where it belongs.
func (w *Window) find(id ID) (slot int, found bool) {
	mask := len(w.table) - 1
	for slot = home(id) & mask; ; slot = (slot + 1) & mask {
		at := w.table[slot]
		if at == none {
			return slot, false
		}
		if w.ring[at].id == id {
			return slot, true
		}
	}
}

// remove empties a slot and moves back what probing had pushed beyond it (Knuth 6.4, algorithm R).
func (w *Window) remove(slot int) {
	mask := len(w.table) - 1
	for next := (slot + 1) & mask; w.table[next] != none; next = (next + 1) & mask {
		want := home(w.ring[w.table[next]].id) & mask
		if (next-want)&mask >= (next-slot)&mask {
			w.table[slot] = w.table[next]
			slot = next
		}
	}
	w.table[slot] = none
}

func home(id ID) int { return int(binary.LittleEndian.Uint64(id[:8]) >> 1) }

// resize moves everything to a ring of n positions.
func (w *Window) resize(n int) {
	old, first, count := w.ring, w.first, w.count
	w.clear(n)
	for i := range count {
		o := &old[(first+i)&(len(old)-1)]
		w.push(o.id, o.offset, o.received)
	}
}

// clear empties the window, with a ring of n positions.
func (w *Window) clear(n int) {
	w.ring, w.first, w.count, w.left = make([]occurrence, n), 0, 0, 0
	w.table = make([]int32, 2*n)
	for i := range w.table {
		w.table[i] = none
	}
}
