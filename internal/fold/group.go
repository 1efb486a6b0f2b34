package fold

import (
	"hash/maphash"
	"math/bits"
	"slices"

	"github.com/pinflow/pinflow/internal/column"
)

// dict gives texts codes from 1 on, in order of first sight.
type dict struct {
	seed  maphash.Seed
	offs  []int32
	bytes []byte
	slots []uint32 // code, 0 is free; length a power of two
	tags  []uint32 // of the code's hash, per slot
	ints  map[int64]uint32

	// Of a column of codes: what they are here, by the column's own code; 0: not known yet.
	known   []uint32
	knownOf *int32
}

func newDict() *dict {
	return &dict{seed: maphash.MakeSeed(), offs: []int32{0}, slots: make([]uint32, 16), tags: make([]uint32, 16), ints: map[int64]uint32{}}
}

func (d *dict) size() int { return len(d.offs) - 1 }

func (d *dict) text(code uint32) []byte { return d.bytes[d.offs[code-1]:d.offs[code]] }

func (d *dict) code(text []byte) uint32 {
	h := maphash.Bytes(d.seed, text)
	mask, tag := uint64(len(d.slots)-1), uint32(h>>32)
	for i := h & mask; ; i = (i + 1) & mask {
		code := d.slots[i]
		if code == 0 {
			return d.insert(text, h)
		}
		if d.tags[i] == tag && string(d.text(code)) == string(text) {
			return code
		}
	}
}

func (d *dict) insert(text []byte, h uint64) uint32 {
	d.bytes = append(d.bytes, text...)
	d.offs = append(d.offs, int32(len(d.bytes)))
	code := uint32(d.size())
	if 2*d.size() > len(d.slots) {
		n := 2 * len(d.slots)
		d.slots, d.tags = make([]uint32, n), make([]uint32, n)
		for c := uint32(1); c < code; c++ {
			d.place(c, maphash.Bytes(d.seed, d.text(c)))
		}
	}
	d.place(code, h)
	return code
}

func (d *dict) place(code uint32, h uint64) {
	mask := uint64(len(d.slots) - 1)
	i := h & mask
	for d.slots[i] != 0 {
		i = (i + 1) & mask
	}
	d.slots[i], d.tags[i] = code, uint32(h>>32)
}

// codes fills out with the codes of the chosen rows of a column.
func (d *dict) codes(v *column.Vec, rows []int32, out []uint32) {
	if v.Kind == column.String || v.Kind == column.JSON {
		d.textCodes(v, rows, out)
		return
	}
	var last int64
	var lastCode uint32
	for k, r := range rows {
		if v.Valid != nil && !v.Valid[r] {
			out[k] = 0
			continue
		}
		var x int64
		if v.Kind == column.Double {
			x = floatBits(v.Floats[r])
		} else {
			x = v.Ints[r]
		}
		if lastCode == 0 || x != last {
			code, ok := d.ints[x]
			if !ok {
				code = d.code(appendValue(nil, v, int(r)))
				d.ints[x] = code
			}
			last, lastCode = x, code
		}
		out[k] = lastCode
	}
}

// recode looks each text of a dictionary up at most once.
func (d *dict) recode(v *column.Vec, rows []int32, out []uint32) {
	if d.knownOf != &v.Offs[0] {
		d.knownOf, d.known = &v.Offs[0], sized(d.known, v.Entries())
		clear(d.known)
	}
	for k, r := range rows {
		if v.Valid != nil && !v.Valid[r] {
			out[k] = 0
			continue
		}
		code := v.Codes[r]
		if d.known[code] == 0 {
			d.known[code] = d.code(v.Bytes[v.Offs[code]:v.Offs[code+1]])
		}
		out[k] = d.known[code]
	}
}

func (d *dict) textCodes(v *column.Vec, rows []int32, out []uint32) {
	if v.Codes != nil {
		d.recode(v, rows, out)
		return
	}
	offs, data := v.Offs, v.Bytes
	var last []byte
	var lastCode uint32
	for k, r := range rows {
		if v.Valid != nil && !v.Valid[r] {
			out[k] = 0
			continue
		}
		t := data[offs[r]:offs[r+1]]
		if lastCode == 0 || string(t) != string(last) {
			last, lastCode = t, d.code(t)
		}
		out[k] = lastCode
	}
}

func (d *dict) memory() int {
	return 4*cap(d.offs) + cap(d.bytes) + 8*cap(d.slots) + 40*len(d.ints) + 4*cap(d.known)
}

func (d *dict) dim(codes []uint32) Dim { return Dim{Codes: codes, Offs: d.offs, Bytes: d.bytes} }

// groups numbers the distinct (bucket, dimension codes) it is shown, from 0 on. It numbers the
// distinct codes first ("combos"); each bucket then has a row of a grid that gives the group of a
// combo by its position. A grid that would stay mostly empty is given up for a hash table.
type groups struct {
	buckets []int64
	codes   [][]uint32 // per dimension, per group
	combos  combos

	grid  map[int64]*gridRow
	cells int
	last  *gridRow // row of lastB
	lastB int64

	hashed bool
	combo  []uint32 // per group
	slots  []uint32 // group + 1, 0 is free

	ids []uint32 // of the batch in hand: combo of each row
}

type gridRow struct{ groups []uint32 } // group + 1 by combo, 0 is none

func newGroups(dims int) *groups {
	return &groups{codes: make([][]uint32, dims), grid: map[int64]*gridRow{}}
}

func (g *groups) size() int { return len(g.buckets) }

// assign writes the group of every row into out: row k has buckets[k] and codes[d][k].
func (g *groups) assign(buckets []int64, codes [][]uint32, out []uint32) {
	g.place(buckets, g.combos.assign(codes, len(out), &g.ids), out)
}

// place is assign of rows whose combos are known; nil: there are no dimensions.
func (g *groups) place(buckets []int64, ids, out []uint32) {
	for k := range out {
		combo := uint32(0)
		if ids != nil {
			combo = ids[k]
		}
		if row := g.last; row != nil && g.lastB == buckets[k] && int(combo) < len(row.groups) && row.groups[combo] != 0 {
			out[k] = row.groups[combo] - 1
			continue
		}
		out[k] = g.one(buckets[k], combo)
	}
}

// placeIn is place of rows of one bucket.
func (g *groups) placeIn(bucket int64, ids, out []uint32) {
	if ids == nil {
		id := g.one(bucket, 0)
		for k := range out {
			out[k] = id
		}
		return
	}
	var known []uint32
	for k, combo := range ids[:len(out)] {
		if int(combo) < len(known) && known[combo] != 0 {
			out[k] = known[combo] - 1
			continue
		}
		out[k] = g.one(bucket, combo)
		if known = nil; !g.hashed {
			known = g.row(bucket).groups
		}
	}
}

// one is the group of a bucket and a combo.
func (g *groups) one(bucket int64, combo uint32) uint32 {
	if g.hashed {
		return g.find(bucket, combo)
	}
	row := g.last
	if row == nil || g.lastB != bucket {
		row = g.row(bucket)
	}
	if int(combo) < len(row.groups) && row.groups[combo] != 0 {
		return row.groups[combo] - 1
	}
	id := g.insert(bucket, combo)
	g.widen(row, combo)
	row.groups[combo] = id + 1
	if g.cells > 1<<20 && g.cells > 16*len(g.buckets) {
		g.toHash()
	}
	return id
}

func (g *groups) row(bucket int64) *gridRow {
	row := g.grid[bucket]
	if row == nil {
		row = &gridRow{}
		g.grid[bucket] = row
	}
	g.last, g.lastB = row, bucket
	return row
}

func (g *groups) widen(row *gridRow, combo uint32) {
	if n := int(combo) + 1; n > len(row.groups) {
		n = max(n, 2*len(row.groups), 8)
		g.cells += n - len(row.groups)
		row.groups = append(make([]uint32, 0, n), row.groups...)[:n]
	}
}

func (g *groups) insert(bucket int64, combo uint32) uint32 {
	id := uint32(len(g.buckets))
	g.buckets = append(g.buckets, bucket)
	g.combo = append(g.combo, combo)
	for d := range g.codes {
		code := combo
		if len(g.codes) > 1 {
			code = g.combos.codes[d][combo]
		}
		g.codes[d] = append(g.codes[d], code)
	}
	return id
}

func hashKey(bucket int64, combo uint32) uint64 {
	h := (uint64(bucket) ^ uint64(combo)*0x9E3779B97F4A7C15) * 0xBF58476D1CE4E5B9
	h = (h ^ h>>29) * 0x94D049BB133111EB
	return h ^ h>>32
}

// find is one by hash.
func (g *groups) find(bucket int64, combo uint32) uint32 {
	mask := uint64(len(g.slots) - 1)
	i := hashKey(bucket, combo) & mask
	for ; g.slots[i] != 0; i = (i + 1) & mask {
		if id := g.slots[i] - 1; g.buckets[id] == bucket && g.combo[id] == combo {
			return id
		}
	}
	id := g.insert(bucket, combo)
	g.slots[i] = id + 1
	if 2*len(g.buckets) > len(g.slots) {
		g.rehash()
	}
	return id
}

func (g *groups) toHash() {
	g.hashed, g.grid, g.last, g.cells = true, nil, nil, 0
	g.rehash()
}

func (g *groups) rehash() {
	n := 64
	for n < 4*len(g.buckets) {
		n *= 2
	}
	g.slots = make([]uint32, n)
	mask := uint64(n - 1)
	for id, bucket := range g.buckets {
		i := hashKey(bucket, g.combo[id]) & mask
		for g.slots[i] != 0 {
			i = (i + 1) & mask
		}
		g.slots[i] = uint32(id) + 1
	}
}

func (g *groups) reset() {
	g.buckets, g.combo = g.buckets[:0], g.combo[:0]
	for d := range g.codes {
		g.codes[d] = g.codes[d][:0]
	}
	g.combos = combos{}
	g.grid, g.last, g.cells = map[int64]*gridRow{}, nil, 0
	g.hashed, g.slots = false, nil
}

func (g *groups) memory() int {
	n := 12*cap(g.buckets) + 4*g.cells + 64*len(g.grid) + 4*cap(g.slots) + g.combos.memory()
	for _, c := range g.codes {
		n += 4 * cap(c)
	}
	return n
}

// combos numbers the distinct code tuples of two or more dimensions; of one dimension the code is
// the number itself.
type combos struct {
	codes  [][]uint32 // per dimension, per combo
	hashes []uint64
	slots  []uint32 // combo + 1, 0 is free

	// While all codes of a tuple fit into a few bits: combo + 1 by these, 0 is not known.
	table  []uint32
	widths []int // bits of each dimension

	tuple [][]uint32 // the one that is asked for
}

// tableBits is how many bits the codes of a tuple may have for the table: it stays in the cache.
const tableBits = 14

// assign returns the combo of each of n rows, in scratch; nil if there are no dimensions.
func (c *combos) assign(codes [][]uint32, n int, scratch *[]uint32) []uint32 {
	switch len(codes) {
	case 0:
		return nil
	case 1:
		return codes[0]
	}
	c.begin(len(codes))
	*scratch = sized(*scratch, n)
	out := *scratch
	if c.tabled(codes) {
		c.look(codes, out)
		return out
	}
	for k := range out {
		if k > 0 && same(codes, k, k-1) {
			out[k] = out[k-1]
			continue
		}
		out[k] = c.find(codes, k)
	}
	return out
}

func (c *combos) begin(dims int) {
	if c.slots == nil {
		c.codes, c.slots = make([][]uint32, dims), make([]uint32, 64)
	}
}

// one is the combo of a tuple, of at least one dimension.
func (c *combos) one(codes []uint32) uint32 {
	if len(codes) == 1 {
		return codes[0]
	}
	c.begin(len(codes))
	c.tuple = sized(c.tuple, len(codes))
	for d := range codes {
		c.tuple[d] = codes[d : d+1]
	}
	return c.find(c.tuple, 0)
}

// tabled makes the table wide enough for the codes, if it can be.
func (c *combos) tabled(codes [][]uint32) bool {
	if c.widths == nil {
		c.widths = make([]int, len(codes))
	}
	all, wider := 0, c.table == nil
	for d := range codes {
		most := uint32(0)
		for _, code := range codes[d] {
			most = max(most, code)
		}
		if w := bits.Len32(most); w > c.widths[d] {
			c.widths[d], wider = w, true
		}
		all += c.widths[d]
	}
	if all > tableBits {
		c.table = nil
		return false
	}
	if wider {
		c.table = make([]uint32, 1<<all)
	}
	return true
}

// look is assign by the table.
func (c *combos) look(codes [][]uint32, out []uint32) {
	copy(out, codes[0])
	shift := c.widths[0]
	for d := 1; d < len(codes); d++ {
		for k, code := range codes[d] {
			out[k] |= code << shift
		}
		shift += c.widths[d]
	}
	for k, at := range out {
		id := c.table[at]
		if id == 0 {
			id = c.find(codes, k) + 1
			c.table[at] = id
		}
		out[k] = id - 1
	}
}

func (c *combos) find(codes [][]uint32, k int) uint32 {
	h := uint64(0)
	for _, d := range codes {
		h = (h ^ h>>29 ^ uint64(d[k])) * 0xBF58476D1CE4E5B9
	}
	h ^= h >> 32
	mask := uint64(len(c.slots) - 1)
	i := h & mask
	for ; c.slots[i] != 0; i = (i + 1) & mask {
		if id := c.slots[i] - 1; c.hashes[id] == h && c.matches(id, codes, k) {
			return id
		}
	}
	id := uint32(len(c.hashes))
	c.hashes = append(c.hashes, h)
	for d := range codes {
		c.codes[d] = append(c.codes[d], codes[d][k])
	}
	c.slots[i] = id + 1
	if 2*len(c.hashes) > len(c.slots) {
		c.rehash()
	}
	return id
}

func (c *combos) matches(id uint32, codes [][]uint32, k int) bool {
	for d, x := range codes {
		if c.codes[d][id] != x[k] {
			return false
		}
	}
	return true
}

func (c *combos) rehash() {
	c.slots = make([]uint32, 2*len(c.slots))
	mask := uint64(len(c.slots) - 1)
	for id, h := range c.hashes {
		i := h & mask
		for c.slots[i] != 0 {
			i = (i + 1) & mask
		}
		c.slots[i] = uint32(id) + 1
	}
}

func (c *combos) memory() int {
	return len(c.hashes)*(8+4*len(c.codes)) + 4*(cap(c.slots)+cap(c.table))
}

func same(codes [][]uint32, a, b int) bool {
	for _, c := range codes {
		if c[a] != c[b] {
			return false
		}
	}
	return true
}

func sized[T any](s []T, n int) []T {
	if cap(s) < n {
		return slices.Grow(s[:0], n)[:n]
	}
	return s[:n]
}
