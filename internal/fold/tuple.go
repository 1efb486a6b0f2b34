package fold

import (
	"math/bits"

	"github.com/pinflow/pinflow/internal/column"
)

// tuples is the combo of each tuple of codes that the columns of dimensions come with: a tuple is made texts
// and looked up when it is first seen, and then only by its codes, until another dictionary comes.
type tuples struct {
	of     []*int32 // the dictionaries, by dimension
	shifts []int
	table  []uint32 // combo + 1, 0 is not known
	codes  []uint32 // of a tuple: ours
}

// fit prepares for columns that are few codes all of them, and tells whether they are.
func (t *tuples) fit(vecs []*column.Vec) bool {
	if len(vecs) == 0 {
		return false
	}
	if t.of == nil {
		t.of, t.shifts, t.codes = make([]*int32, len(vecs)), make([]int, len(vecs)), make([]uint32, len(vecs))
	}
	all, same := 0, t.table != nil
	for d, v := range vecs {
		if v.Codes == nil {
			return false
		}
		same = same && t.of[d] == &v.Offs[0]
		t.of[d], t.shifts[d] = &v.Offs[0], all
		all += bits.Len(uint(v.Entries())) // the one after the last is NULL
	}
	if all > tableBits {
		t.table = nil
		return false
	}
	if !same {
		t.table = sized(t.table, 1<<all)
		clear(t.table)
	}
	return true
}

func (t *tuples) reset() { t.table = nil }

// join makes the position in the table of every row; all: rows are all of them, in order.
func (t *tuples) join(vecs []*column.Vec, rows []int32, all bool, out []uint32) {
	for d, v := range vecs {
		shift, null := t.shifts[d]&31, uint32(v.Entries())
		switch {
		case all && v.Valid == nil && d == 0:
			for k, code := range v.Codes[:len(out)] {
				out[k] = uint32(code)
			}
			continue
		case all && v.Valid == nil:
			for k, code := range v.Codes[:len(out)] {
				out[k] |= uint32(code) << shift
			}
			continue
		case d == 0:
			clear(out)
		}
		for k, r := range rows {
			code := null
			if v.Valid == nil || v.Valid[r] {
				code = uint32(v.Codes[r])
			}
			out[k] |= code << shift
		}
	}
}

// byTuple gives every chosen row its combo.
func (f *Folder) byTuple(out []uint32) {
	t := &f.tuples
	t.join(f.vecs, f.rows, f.all, out)
	for k, at := range out {
		id := t.table[at]
		if id == 0 {
			id = f.combo(int(f.rows[k])) + 1
			t.table[at] = id
		}
		out[k] = id - 1
	}
}

// combo is the combo of a row's texts.
func (f *Folder) combo(row int) uint32 {
	for d, v := range f.vecs {
		f.tuples.codes[d] = 0
		if !v.IsNull(row) {
			f.tuples.codes[d] = f.dicts[d].code(v.Text(row))
		}
	}
	return f.groups.combos.one(f.tuples.codes)
}
