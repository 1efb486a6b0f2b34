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
		to.Cols[i].Append(&b.Cols[i])
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
