package lake

import (
	"errors"
	"slices"

	"github.com/pinflow/pinflow/internal/column"
)

// Append appends a block of the same columns, copying its values.
func (to *Block) Append(b *Block) error {
	if to.Columns == nil {
		to.Columns, to.Cols = b.Columns, make([]column.Vec, len(b.Cols))
		for i, c := range b.Columns {
			to.Cols[i].Kind = c.Kind
		}
	}
	if !slices.Equal(to.Columns, b.Columns) {
		return errors.New("files of one snapshot have different columns")
	}
	for i := range b.Cols {
		appendVec(&to.Cols[i], &b.Cols[i])
	}
	to.N += b.N
	return nil
}

// Pick returns the rows at the indexes given, as a copy or sharing memory.
func (to *Block) Pick(rows []int32) *Block {
	out := &Block{Columns: to.Columns, N: len(rows), Cols: make([]column.Vec, len(to.Cols)), Origin: to.Origin}
	for i := range to.Cols {
		out.Cols[i] = to.Cols[i].Pick(rows)
	}
	return out
}

// appendVec appends the values of v, whose texts need not begin at 0.
func appendVec(to, v *column.Vec) {
	v = v.Flat()
	if v.Valid != nil || to.Valid != nil {
		for len(to.Valid) < to.Len {
			to.Valid = append(to.Valid, true)
		}
		for i := range v.Len {
			to.Valid = append(to.Valid, !v.IsNull(i))
		}
	}
	to.Len += v.Len
	to.Ints = append(to.Ints, v.Ints...)
	to.Floats = append(to.Floats, v.Floats...)
	if v.Kind == column.List {
		at := int32(max(len(to.Offs)-1, 0))
		first, last := v.ListOffs[0], v.ListOffs[v.Len]
		to.ListOffs = appendOffs(to.ListOffs, v.ListOffs[:v.Len+1], at)
		appendTexts(to, v, int(first), int(last))
	}
	if v.Kind == column.String || v.Kind == column.JSON {
		appendTexts(to, v, 0, v.Len)
	}
}

func appendTexts(to, v *column.Vec, from, until int) {
	at := int32(len(to.Bytes))
	to.Bytes = append(to.Bytes, v.Bytes[v.Offs[from]:v.Offs[until]]...)
	to.Offs = appendOffs(to.Offs, v.Offs[from:until+1], at)
}

// appendOffs appends offsets, moved so that the first one is at.
func appendOffs(to, offs []int32, at int32) []int32 {
	if len(to) == 0 {
		to = append(to, at)
	}
	for _, o := range offs[1:] {
		to = append(to, o-offs[0]+at)
	}
	return to
}
