package expr

import (
	"slices"

	"github.com/pinflow/pinflow/internal/column"
)

// memo is the values of a step for each entry of a dictionary, the one of NULL being the last.
type memo struct {
	in    int // the text column that the step reads
	of    *int32
	batch batch
	value column.Vec // its texts are not written to again
	sure  bool       // no entry's value is NULL but perhaps NULL's

	codes []int32
	valid []bool
	out   column.Vec
}

// memorise finds whether the step is a function of one text column alone: then its values are computed
// once for each entry of that column's dictionary, if it comes with one.
func (s *step) memorise() {
	if s.n.form != nodeCall || s.n.kind == list || s.n.kind == json {
		return
	}
	if in := s.reads(); in >= 0 {
		s.memo = &memo{in: in}
	}
}

const (
	readsNothing = -1
	readsMore    = -2
)

// reads is the text column that the step alone reads.
func (s *step) reads() int {
	if s.n.form == nodeColumn {
		if s.n.kind != text || s.n.path != nil {
			return readsMore
		}
		return s.in
	}
	in := readsNothing
	for _, a := range s.args {
		switch x := a.reads(); {
		case x == readsMore || in >= 0 && x >= 0 && x != in:
			return readsMore
		case x >= 0:
			in = x
		}
	}
	return in
}

// byEntry looks the rows' values up among those of the entries.
func (s *step) byEntry(b *batch, active []bool) operand {
	m, v := s.memo, &b.cols[s.memo.in]
	if m.of != &v.Offs[0] {
		s.remember(b.cols, v)
	}
	codes := v.Codes[:b.n]
	if v.Valid != nil {
		null := int32(v.Entries())
		m.codes = size(m.codes, b.n)
		copy(m.codes, codes)
		for i, ok := range v.Valid[:b.n] {
			if !ok {
				m.codes[i] = null
			}
		}
		codes = m.codes
	}
	m.out = column.Vec{Kind: s.n.kind, Len: b.n, Ints: m.out.Ints, Floats: m.out.Floats}
	if m.value.Valid != nil && (v.Valid != nil || !m.sure) {
		m.valid = size(m.valid, b.n)
		m.out.Valid = m.valid
		look(m.valid, m.value.Valid, codes)
	}
	if m.batch.failed > 0 {
		for i, c := range codes {
			if m.batch.errs[c] {
				b.note(i, active)
			}
		}
	}
	switch s.n.kind {
	case text:
		m.out.Codes, m.out.Offs, m.out.Bytes = codes, m.value.Offs, m.value.Bytes
	case double:
		m.out.Floats = size(m.out.Floats, b.n)
		look(m.out.Floats, m.value.Floats, codes)
	default:
		m.out.Ints = size(m.out.Ints, b.n)
		look(m.out.Ints, m.value.Ints, codes)
	}
	return operand{Vec: &m.out}
}

func look[T any](out, values []T, codes []int32) {
	for i, c := range codes {
		out[i] = values[c]
	}
}

// maxEntries is how large a dictionary may be: beyond, most entries would be computed for nothing.
const maxEntries = 4096

// remember computes the step for each text of a dictionary, and for NULL.
func (s *step) remember(cols []column.Vec, v *column.Vec) {
	m, n := s.memo, v.Entries()
	all := column.Vec{Kind: text, Len: n + 1, Valid: make([]bool, n+1), Offs: make([]int32, n+2), Bytes: v.Bytes}
	copy(all.Offs, v.Offs)
	all.Offs[n+1] = all.Offs[n]
	fill(all.Valid[:n], true)
	m.batch.cols = append(m.batch.cols[:0], cols...)
	m.batch.cols[m.in], m.batch.n = all, n+1
	clear(m.batch.errs)
	m.batch.failed = 0
	got := s.call(&m.batch, nil)
	value := *got.Vec
	if got.one || s.n.kind == text { // of its own, for whoever remembers it by its address
		value = column.Vec{Kind: s.n.kind, Len: n + 1, Offs: make([]int32, 1, n+2)}
		for i := range n + 1 {
			if !got.null(i) {
				value.Bytes = append(value.Bytes, got.text(i)...)
			}
			value.Offs = append(value.Offs, int32(len(value.Bytes)))
		}
		value.Valid = append([]bool(nil), got.Valid...)
	}
	m.value, m.of = value, &v.Offs[0]
	m.sure = value.Valid == nil || !slices.Contains(value.Valid[:n], false)
}
