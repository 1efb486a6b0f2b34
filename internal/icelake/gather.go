package icelake

import (
	"errors"
	"slices"

	"github.com/pinflow/pinflow/internal/column"
	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/lake"
)

// gathered is rows of data files in memory, to be written together. Texts that repeat are codes: they are looked
// up once for each dictionary that they are read with, and many more rows fit.
type gathered struct {
	rows  lake.Block
	texts []*gatheredTexts // by column; nil: of no texts
}

// gatheredTexts are those of a column.
type gatheredTexts struct {
	coder
	form  form
	dict  *int32  // begin of the offsets of the dictionary that was read with; no other can be there while we hold it
	codes []int32 // by its entries: our code, or -1
}

// append appends a block.
func (g *gathered) append(b *lake.Block) error {
	if g.rows.Columns == nil {
		g.rows.Columns, g.rows.Cols = b.Columns, make([]column.Vec, len(b.Columns))
		g.texts = make([]*gatheredTexts, len(b.Columns))
		for i, c := range b.Columns {
			g.rows.Cols[i].Kind = c.Kind
			if c.Kind != column.String && c.Kind != column.JSON && c.Kind != column.List {
				continue
			}
			t := &gatheredTexts{coder: newCoder()}
			t.begin(0)
			if g.texts[i] = t; c.Name == event.ColumnEventID {
				t.form = plainly
			} else {
				t.form = asCodes
			}
		}
	}
	if !slices.Equal(g.rows.Columns, b.Columns) {
		return errors.New("files of one snapshot have different columns")
	}
	for i := range b.Cols {
		to, t := &g.rows.Cols[i], g.texts[i]
		if t == nil || t.form != asCodes {
			to.Append(&b.Cols[i])
			continue
		}
		t.gather(to, &b.Cols[i])
		if t.form = t.soFar(); t.form != asCodes {
			t.flatten(to)
		}
	}
	g.rows.N += b.N
	return nil
}

// gather appends the values of v as codes.
func (t *gatheredTexts) gather(to, v *column.Vec) {
	if v.Codes != nil && t.dict != &v.Offs[0] {
		t.dict, t.codes = &v.Offs[0], slices.Grow(t.codes[:0], v.Entries())[:v.Entries()]
		for i := range t.codes {
			t.codes[i] = -1
		}
	}
	lists := v.Kind == column.List
	if lists && len(to.ListOffs) == 0 {
		to.ListOffs = append(to.ListOffs, 0)
	}
	to.AppendValid(v)
	for row := range v.Len {
		switch {
		case v.IsNull(row) && !lists:
			t.at = append(t.at, 0)
		case v.IsNull(row):
		case lists:
			for e, end := v.List(row); e < end; e++ {
				t.one(v, int(e))
			}
		default:
			t.one(v, row)
		}
		if lists {
			to.ListOffs = append(to.ListOffs, int32(len(t.at)))
		}
	}
}

// one appends text i of v.
func (t *gatheredTexts) one(v *column.Vec, i int) {
	if v.Codes == nil {
		t.add(v.Text(i))
		return
	}
	entry := v.Codes[i]
	code := t.codes[entry]
	if code < 0 {
		code = t.code(v.Text(i))
		t.codes[entry] = code
	}
	t.at = append(t.at, code)
	t.n, t.raw = t.n+1, t.raw+int(v.Offs[entry+1]-v.Offs[entry])+4
}

// show lets the column have its codes.
func (t *gatheredTexts) show(to *column.Vec) { to.Codes, to.Offs, to.Bytes = t.at, t.offs, t.bytes }

// flatten makes texts of the codes.
func (t *gatheredTexts) flatten(to *column.Vec) {
	if t.show(to); to.Codes == nil {
		to.Codes = []int32{}
	}
	*to = *to.Flat()
}

// end ends the run: whatever still is codes, and pays, is shown as such.
func (g *gathered) end() {
	for i, t := range g.texts {
		if t == nil || t.form != asCodes {
			continue
		}
		if to := &g.rows.Cols[i]; len(t.at) > 0 && t.final() == asCodes {
			t.show(to)
		} else {
			t.flatten(to)
		}
	}
}

// forms are those of the columns that are no codes.
func (g *gathered) forms() []form {
	out := make([]form, len(g.texts))
	for i, t := range g.texts {
		if out[i] = plainly; t != nil && t.form == byArrow {
			out[i] = byArrow
		}
	}
	return out
}

// reset forgets the rows and keeps memory. What was given up as codes is not tried again.
func (g *gathered) reset() {
	g.rows.N = 0
	for i, t := range g.texts {
		to := &g.rows.Cols[i]
		if to.Codes != nil {
			to.Offs, to.Bytes = nil, nil
		}
		to.Reset()
		if t != nil && t.form == asCodes {
			t.coder.end()
			t.begin(0)
			t.dict = nil
		}
	}
}

// share is how many rows a run may have when so many are left, the run's own included: the dictionaries grow less
// and less, so what a row takes is known better and better.
func (g *gathered) share(left int64, most int) int64 {
	runs := max(1, (left*int64(g.bytes())/int64(g.rows.N)+int64(most)-1)/int64(most))
	return (left + runs - 1) / runs
}

// bytes is about how much memory the run takes.
func (g *gathered) bytes() (n int) {
	for i := range g.rows.Cols {
		c := &g.rows.Cols[i]
		n += len(c.Valid) + 8*(len(c.Ints)+len(c.Floats)) + 4*(len(c.Offs)+len(c.ListOffs)) + len(c.Bytes)
		if t := g.texts[i]; t != nil && t.form == asCodes {
			n += 4*len(t.at) + t.size() + 8*len(t.slots)
		}
	}
	return n
}
