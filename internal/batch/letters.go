package batch

import (
	"strings"

	"github.com/pinflow/pinflow/internal/column"
	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/lake"
)

// letters collects dead letters as rows of their table.
type letters struct {
	block lake.Block
}

// Received times that a table can be partitioned by, microseconds: 2000 to 2100. Only a record of
// another producer can lie outside.
const (
	earliest = 946_684_800_000_000
	latest   = 4_102_444_800_000_000
)

func (l *letters) add(stream string, r *event.Record, v event.Verdict, schema int32) {
	if l.block.Columns == nil {
		l.block.Columns = lake.DeadLetterTable().Columns
		l.block.Cols = make([]column.Vec, len(l.block.Columns))
		for i, c := range l.block.Columns {
			l.block.Cols[i].Kind = c.Kind
		}
	}
	received := r.Received
	if received < earliest || received >= latest {
		received = min(max(r.Timestamp, earliest), latest-1)
	}
	cols := l.block.Cols // in the order of lake.DeadLetterTable
	addText(&cols[0], stream, false)
	addText(&cols[1], v.Code, false)
	addText(&cols[2], v.Path, true)
	addText(&cols[3], v.Message, true)
	addText(&cols[4], string(r.Value), r.Value == nil)
	addText(&cols[5], r.ID, true)
	for i, n := range [...]int64{received, int64(r.Key.Log), int64(r.Key.Partition), r.Offset, int64(schema)} {
		cols[6+i].Ints = append(cols[6+i].Ints, n)
		cols[6+i].Len++
	}
	l.block.N++
}

// addText appends a text; an empty one is NULL if it may be. Iceberg's strings are UTF-8: other bytes
// become the replacement character.
func addText(v *column.Vec, s string, mayBeNull bool) {
	if len(v.Offs) == 0 {
		v.Offs = append(v.Offs, 0)
	}
	v.Bytes = append(v.Bytes, strings.ToValidUTF8(s, "\uFFFD")...)
	v.Offs = append(v.Offs, int32(len(v.Bytes)))
	v.Valid = append(v.Valid, s != "" || !mayBeNull)
	v.Len++
}

func (l *letters) bytes() (n int) {
	for i := range l.block.Cols {
		c := &l.block.Cols[i]
		n += len(c.Bytes) + 4*len(c.Offs) + 8*len(c.Ints) + len(c.Valid)
	}
	return n
}

func (l *letters) reset() {
	l.block.N = 0
	for i := range l.block.Cols {
		l.block.Cols[i].Reset()
	}
}
