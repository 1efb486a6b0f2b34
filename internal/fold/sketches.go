package fold

import (
	"slices"
	"sort"

	"github.com/pinflow/pinflow/internal/column"
	"github.com/pinflow/pinflow/internal/sketch"
)

// hashes are those of a dictionary's texts; 0: not known yet.
type hashes struct {
	of    *int32
	known []uint64
}

// text is the hash of a value of a column of codes.
func (h *hashes) text(v *column.Vec, code int32) uint64 {
	if h.known[code] == 0 {
		h.known[code] = sketch.HashText(v.Bytes[v.Offs[code]:v.Offs[code+1]])
	}
	return h.known[code]
}

// begin forgets the hashes if the column has another dictionary.
func (h *hashes) begin(v *column.Vec) {
	if h.of != &v.Offs[0] {
		h.of, h.known = &v.Offs[0], sized(h.known, v.Entries())
		clear(h.known)
	}
}

// foldDistinct adds the hashes of the values to the registers of their groups.
func (c *Column) foldDistinct(v *column.Vec, rows []int32, gids []uint32, h *hashes) {
	var hash uint64
	var last []byte
	if v.Codes != nil {
		h.begin(v)
	}
	for k, r := range rows {
		if v.Valid != nil && !v.Valid[r] {
			continue
		}
		switch {
		case v.Codes != nil:
			hash = h.text(v, v.Codes[r])
		case v.Kind == column.String || v.Kind == column.JSON:
			text := v.Text(int(r))
			if last == nil || string(text) != string(last) {
				hash, last = sketch.HashText(text), text
			}
		case v.Kind == column.Double:
			hash = sketch.HashDouble(v.Floats[r])
		default:
			hash = sketch.HashLong(v.Ints[r])
		}
		g := gids[k]
		if h := c.HLLs[g]; h.Dense() { // mostly, and nothing grows
			if register, rank := sketch.Place(hash); h[register] < rank {
				h[register] = rank
			}
			continue
		}
		c.setHLL(g, c.HLLs[g].Add(hash))
	}
}

// DistinctColumn is a column of distinct counts of other making.
func DistinctColumn(hlls []sketch.HLL) Column {
	c := Column{Type: Distinct, HLLs: hlls}
	for _, h := range hlls {
		c.held += cap(h)
	}
	return c
}

// setHLL replaces a group's registers and keeps the account of their memory.
func (c *Column) setHLL(g uint32, h sketch.HLL) {
	c.held += cap(h) - cap(c.HLLs[g])
	c.HLLs[g] = h
}

// foldQuantile counts the values by bucket.
func (c *Column) foldQuantile(x *values) {
	for k, f := range x.floats {
		c.tally.add(x.gids[k], sketch.Bucket(f), 1)
	}
	for k, i := range x.ints {
		c.tally.add(x.gids[k], sketch.Bucket(float64(i)), 1)
	}
}

// tally counts by (group, bucket) in one hash table for all groups.
type tally struct {
	slots []tallySlot // length a power of two
	used  int
	shift uint
}

// tallySlot is a count; 0 is free.
type tallySlot struct {
	key uint64 // group << bucketBits | bucket − least
	n   int64
}

const bucketBits = 19 // 2 · sketch.MaxBucket + 1 < 2^19

func newTally() *tally {
	t := &tally{}
	t.size(64)
	return t
}

func (t *tally) size(n int) {
	t.slots, t.shift = make([]tallySlot, n), 64
	for ; n > 1; n /= 2 {
		t.shift--
	}
}

func (t *tally) add(group uint32, bucket int32, n int64) {
	key := uint64(group)<<bucketBits | uint64(bucket+sketch.MaxBucket)
	mask := uint64(len(t.slots) - 1)
	i := key * 0x9E3779B97F4A7C15 >> t.shift
	for {
		s := &t.slots[i]
		if s.n == 0 {
			*s = tallySlot{key, n}
			if t.used++; 2*t.used > len(t.slots) {
				t.grow()
			}
			return
		}
		if s.key == key {
			s.n += n
			return
		}
		i = (i + 1) & mask
	}
}

func (t *tally) grow() {
	old := t.slots
	t.size(2 * len(old))
	mask := uint64(len(t.slots) - 1)
	for _, s := range old {
		if s.n == 0 {
			continue
		}
		i := s.key * 0x9E3779B97F4A7C15 >> t.shift
		for t.slots[i].n != 0 {
			i = (i + 1) & mask
		}
		t.slots[i] = s
	}
}

func (t *tally) memory() int {
	if t == nil {
		return 0
	}
	return 16 * len(t.slots)
}

// reset forgets the counts. Memory that was hardly used is given back.
func (t *tally) reset() {
	if t == nil || t.used == 0 {
		return
	}
	if 16*t.used < len(t.slots) {
		t.size(64)
	} else {
		clear(t.slots)
	}
	t.used = 0
}

// settle makes the bins of n groups of what was counted.
func (c *Column) settle(n int) {
	if c.Type != Quantile {
		return
	}
	c.Offs = make([]int32, n+1)
	if c.tally == nil {
		return
	}
	for _, s := range c.tally.slots {
		if s.n != 0 {
			c.Offs[s.key>>bucketBits+1]++
		}
	}
	for g := range n {
		c.Offs[g+1] += c.Offs[g]
	}
	c.Bins, c.Counts = make([]int32, c.tally.used), make([]int64, c.tally.used)
	next := slices.Clone(c.Offs)
	for _, s := range c.tally.slots {
		if s.n == 0 {
			continue
		}
		g := s.key >> bucketBits
		c.Bins[next[g]], c.Counts[next[g]] = int32(s.key&(1<<bucketBits-1))-sketch.MaxBucket, s.n
		next[g]++
	}
	for g := range n {
		from, to := c.Offs[g], c.Offs[g+1]
		sort.Sort(&bins{c.Bins[from:to], c.Counts[from:to]})
	}
	c.tally.reset()
}

// bins sorts a group's buckets.
type bins struct {
	numbers []int32
	counts  []int64
}

func (b *bins) Len() int           { return len(b.numbers) }
func (b *bins) Less(i, j int) bool { return b.numbers[i] < b.numbers[j] }
func (b *bins) Swap(i, j int) {
	b.numbers[i], b.numbers[j] = b.numbers[j], b.numbers[i]
	b.counts[i], b.counts[j] = b.counts[j], b.counts[i]
}

// pickBins takes the bins of the groups of o.
func (c *Column) pickBins(o *Column, groups []uint32) {
	c.Offs = make([]int32, 1, len(groups)+1)
	for _, g := range groups {
		from, to := o.Offs[g], o.Offs[g+1]
		c.Bins, c.Counts = append(c.Bins, o.Bins[from:to]...), append(c.Counts, o.Counts[from:to]...)
		c.Offs = append(c.Offs, int32(len(c.Bins)))
	}
}
