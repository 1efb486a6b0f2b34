package icelake

import (
	"bytes"
	"hash/maphash"
	"math/bits"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/pinflow/pinflow/internal/column"
	"github.com/pinflow/pinflow/internal/event"
)

// codes is a column of texts, or of lists of them, as a dictionary and codes.
type codes struct {
	texts *array.String // all different
	at    []int32       // which of them: of every row, 0 where it is NULL, or of every element
	used  []bool        // by text: scratch of the writer
}

// form is how the texts of a file's column are written.
type form int

const (
	byArrow form = iota // Arrow's writer finds out
	asCodes
	plainly
)

// coder makes codes of columns, one after the other. Arrow's own writer looks every text up in a table that
// allocates for each look-up; that was a fifth of what the batch unit did.
type coder struct {
	seed  maphash.Seed
	slots []slot // as many as a power of two, at least half of them free
	offs  []int32
	bytes []byte
	at    []int32 // codes of the column in hand, 0 where it is NULL
	n     int     // of them that are not NULL

	raw    int  // bytes that the texts would take in a file
	looked bool // the first of them were found to pay

	fields  []memories // of the codes of the file in hand, by field; those of the next file have them again
	field   int        // of the column in hand
	scratch scratch
}

// memories are those of a column's codes.
type memories struct {
	offs  []int32
	bytes []byte
	at    []int32
	used  []bool
}

// slot holds a text's number plus one, 0 if it is free, and a part of its hash.
type slot struct {
	entry int32
	tag   uint32
}

// shelf holds coders that are idle. A pool of Go's would lose them before the next stage.
type shelf struct {
	mu   sync.Mutex
	idle []*coder
}

// Most that lies idle: as many coders, and so many bytes of each.
const (
	idleCoders = 4
	idleCoder  = 16 << 20
)

// lend lends a coder until it is given back.
func (l *Lake) lend() (c *coder, back func()) {
	s := &l.coders
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.idle); n > 0 {
		c, s.idle = s.idle[n-1], s.idle[:n-1]
	} else {
		one := newCoder()
		c = &one
	}
	return c, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.idle) < idleCoders && c.memory() <= idleCoder {
			s.idle = append(s.idle, c)
		}
	}
}

func newCoder() coder { return coder{seed: maphash.MakeSeed()} }

// memory is how many bytes a coder holds.
func (c *coder) memory() int {
	n := 8 * cap(c.slots)
	for _, m := range c.fields {
		n += 4*(cap(m.offs)+cap(m.at)) + cap(m.bytes) + cap(m.used)
	}
	return n + 2*(cap(c.scratch.def)+cap(c.scratch.rep)+cap(c.scratch.ones)) + cap(c.scratch.valid)
}

// leastSlots is how many a column begins with: a small one does not pay for the memory of a large one before.
const leastSlots = 256

// begin begins a column.
func (c *coder) begin(field int) {
	c.room(leastSlots)
	for len(c.fields) <= field {
		c.fields = append(c.fields, memories{})
	}
	m := &c.fields[field]
	if m.bytes == nil {
		m.bytes = []byte{} // or a text without bytes would be nil, which has no statistics
	}
	c.field, c.offs, c.bytes, c.at, c.n = field, append(m.offs[:0], 0), m.bytes[:0], m.at[:0], 0
	c.raw, c.looked = 0, false
}

// end keeps what the column in hand took.
func (c *coder) end() {
	m := &c.fields[c.field]
	m.offs, m.bytes, m.at = c.offs, c.bytes, c.at
}

func (c *coder) entries() int { return len(c.offs) - 1 }

// size is what the dictionary takes in a file.
func (c *coder) size() int { return len(c.bytes) + 4*c.entries() }

func (c *coder) text(entry int32) []byte { return c.bytes[c.offs[entry]:c.offs[entry+1]] }

// code is the number of a text.
func (c *coder) code(text []byte) int32 {
	h := maphash.Bytes(c.seed, text)
	mask, tag := uint64(len(c.slots)-1), uint32(h>>32)
	i := h & mask
	for ; c.slots[i].entry != 0; i = (i + 1) & mask {
		if s := c.slots[i]; s.tag == tag && bytes.Equal(c.text(s.entry-1), text) {
			return s.entry - 1
		}
	}
	entry := int32(c.entries())
	c.bytes = append(c.bytes, text...)
	c.offs = append(c.offs, int32(len(c.bytes)))
	c.slots[i] = slot{entry + 1, tag}
	if 2*c.entries() > len(c.slots) {
		c.grow()
	}
	return entry
}

// room makes so many slots, all free.
func (c *coder) room(n int) {
	if cap(c.slots) < n {
		c.slots = make([]slot, n)
		return
	}
	c.slots = c.slots[:n]
	clear(c.slots)
}

func (c *coder) grow() {
	c.room(4 * len(c.slots))
	mask := uint64(len(c.slots) - 1)
	for e := range int32(c.entries()) {
		h := maphash.Bytes(c.seed, c.text(e))
		i := h & mask
		for c.slots[i].entry != 0 {
			i = (i + 1) & mask
		}
		c.slots[i] = slot{e + 1, uint32(h >> 32)}
	}
}

// column chooses the form of a column of texts, or of lists of them, for all rows of a file. As with Arrow's
// writer, a dictionary has to be smaller than what it spares, by the first values, and not to be large.
func (c *coder) column(r rowsOf, field int, name string, lists bool) (*codes, form) {
	c.begin(field)
	defer c.end()
	for _, p := range r.pieces {
		b, n := &r.blocks[p.block], p.len(r.blocks)
		v := &column.Vec{}
		if at := b.Index(name); at >= 0 {
			v = &b.Cols[at]
		}
		if v.Kind == column.Invalid {
			if !lists {
				c.at = append(c.at, make([]int32, n)...)
			}
			continue
		}
		for i := range n {
			row := i
			if p.rows != nil {
				row = int(p.rows[i])
			}
			c.value(v, row)
			if form := c.soFar(); form != asCodes {
				return nil, form
			}
		}
	}
	if form := c.final(); form != asCodes {
		return nil, form
	}
	return c.give(), asCodes
}

// soFar tells whether the column in hand is still to become codes.
func (c *coder) soFar() form {
	switch {
	case c.size() < dictBytes && (c.looked || c.n < pageRows):
	case !c.pays() && (c.n >= pageRows || c.size() >= 2*dictBytes):
		return plainly
	case c.size() >= dictBytes && c.pays():
		return byArrow // which writes codes as long as they fit
	default:
		c.looked = c.n >= pageRows
	}
	return asCodes
}

// final is the form of the column in hand when all of it is there.
func (c *coder) final() form {
	if !c.looked && !c.pays() || c.size() >= dictBytes {
		return plainly
	}
	return asCodes
}

// give makes codes of the column in hand, which are valid until the coder makes those of another file.
func (c *coder) give() *codes {
	m := &c.fields[c.field]
	if n := c.entries(); cap(m.used) < n {
		m.used = make([]bool, n)
	}
	return &codes{texts: dictionary(c.offs, c.bytes), at: c.at, used: m.used[:c.entries()]}
}

// value adds a value.
func (c *coder) value(v *column.Vec, row int) {
	switch {
	case v.Kind == column.List && v.IsNull(row):
	case v.Kind == column.List:
		for e, to := v.List(row); e < to; e++ {
			c.add(v.Text(int(e)))
		}
	case v.IsNull(row):
		c.at = append(c.at, 0)
	default:
		c.add(v.Text(row))
	}
}

// add adds a text.
func (c *coder) add(text []byte) {
	c.at = append(c.at, c.code(text))
	c.n, c.raw = c.n+1, c.raw+len(text)+4
}

// dictionary is texts as an array, which shares their memory.
func dictionary(offs []int32, texts []byte) *array.String {
	buffers := []*memory.Buffer{nil, memory.NewBufferBytes(arrow.Int32Traits.CastToBytes(offs)), memory.NewBufferBytes(texts)}
	return array.NewStringData(array.NewData(arrow.BinaryTypes.String, len(offs)-1, buffers, nil, 0, 0))
}

// pays tells whether the dictionary and codes so far are smaller than the texts, by the most that Arrow's writer
// thinks codes may take.
func (c *coder) pays() bool {
	width := bits.Len(uint(max(1, c.entries()-1)))
	most := (c.n+7)/8*(1+width) + 64*width + 2
	return c.size()+most < c.raw
}

// codesOf makes codes of the columns of texts, by field, for which they pay, and names those that shall be plain.
func codesOf(c *coder, sc *arrow.Schema, r rowsOf) (coded []*codes, plain []string) {
	coded = make([]*codes, sc.NumFields())
	for i, f := range sc.Fields() {
		if c == nil || f.Name == event.ColumnEventID {
			continue
		}
		lists := f.Type.ID() == arrow.LIST
		if !lists && f.Type.ID() != arrow.STRING {
			continue
		}
		var form form
		if r.forms != nil {
			coded[i], form = c.known(r, i, f.Name)
		} else {
			coded[i], form = c.column(r, i, f.Name, lists)
		}
		if form == plainly {
			plain = append(plain, f.Name)
		}
	}
	return coded, plain
}

// known makes codes of a column of one block that are there already.
func (c *coder) known(r rowsOf, field int, name string) (*codes, form) {
	b := &r.blocks[0]
	at := b.Index(name)
	if at < 0 {
		return nil, plainly
	}
	v := &b.Cols[at]
	if v.Codes == nil {
		return nil, r.forms[at]
	}
	c.begin(field)
	defer c.end()
	for _, p := range r.pieces {
		for i := range p.len(r.blocks) {
			if row := rowOf(p.rows, i); v.Kind == column.List {
				from, to := v.List(row)
				c.at = append(c.at, v.Codes[from:to]...)
			} else {
				c.at = append(c.at, v.Codes[row])
			}
		}
	}
	m := &c.fields[field]
	if n := v.Entries(); cap(m.used) < n {
		m.used = make([]bool, n)
	}
	return &codes{texts: dictionary(v.Offs, v.Bytes), at: c.at, used: m.used[:v.Entries()]}, asCodes
}
