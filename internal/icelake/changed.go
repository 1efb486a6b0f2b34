package icelake

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strings"

	"github.com/pinflow/pinflow/internal/column"
	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/span"
)

// changed are the partitions of which the files of two snapshots hold as many rows, but others: the hashes of all rows
// with all their values are added up (modulo 2^128), so that it takes no memory and no order.
func (l *Lake) changed(ctx context.Context, a *lake.Altered, before, after side) ([]span.Key, error) {
	sums := map[span.Key]*[2]uint64{} // high, low
	for _, s := range []struct {
		side
		add func(x, y, carry uint64) (uint64, uint64)
	}{{before, bits.Sub64}, {after, bits.Add64}} {
		if len(s.files) == 0 {
			continue
		}
		h := rowHasher{sums: sums, add: s.add}
		if _, err := l.Scan(ctx, lake.Selection{Table: a.Table, Snapshot: s.snapshot, Files: s.files}, h.block); err != nil {
			return nil, fmt.Errorf("comparing the rows of the files that differ: %w", err)
		}
	}
	var keys []span.Key
	for k, sum := range sums {
		if *sum != [2]uint64{} && a.Rows[k] == 0 {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, span.Key.Compare)
	return keys, nil
}

// rowHasher adds hashes of rows up by the partition that they came from.
type rowHasher struct {
	sums map[span.Key]*[2]uint64
	add  func(x, y, carry uint64) (uint64, uint64)
	buf  []byte
}

func (h *rowHasher) block(b *lake.Block) error {
	order := make([]int, len(b.Columns))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int { return strings.Compare(b.Columns[i].Name, b.Columns[j].Name) })
	logs, parts := b.Index(event.ColumnLog), b.Index(event.ColumnPartition)
	if logs < 0 || parts < 0 {
		return fmt.Errorf("the rows have no columns %s and %s", event.ColumnLog, event.ColumnPartition)
	}
	for i := range b.N {
		h.buf = h.buf[:0]
		for _, c := range order {
			// A NULL is as good as no column: one that was added changes nothing until it is filled.
			if v := &b.Cols[c]; v.Kind != column.Invalid && !v.IsNull(i) {
				h.buf = append(append(h.buf, b.Columns[c].Name...), 0)
				h.buf = appendValue(h.buf, v, i)
			}
		}
		k := span.Key{Log: span.Log(b.Cols[logs].Ints[i]), Partition: int32(b.Cols[parts].Ints[i])}
		sum := h.sums[k]
		if sum == nil {
			sum = new([2]uint64)
			h.sums[k] = sum
		}
		id := span.IDOf(string(h.buf))
		var carry uint64
		sum[1], carry = h.add(sum[1], binary.BigEndian.Uint64(id[8:]), 0)
		sum[0], _ = h.add(sum[0], binary.BigEndian.Uint64(id[:8]), carry)
	}
	return nil
}

// appendValue appends a value, which is not NULL, so that no two values of a kind look the same.
func appendValue(to []byte, v *column.Vec, i int) []byte {
	text := func(at int) {
		x := v.Text(at)
		to = append(binary.AppendUvarint(to, uint64(len(x))), x...)
	}
	switch v.Kind {
	case column.String, column.JSON:
		text(i)
	case column.List:
		from, until := v.List(i)
		to = binary.AppendUvarint(to, uint64(until-from))
		for at := from; at < until; at++ {
			text(int(at))
		}
	case column.Double:
		x := v.Floats[i]
		if math.IsNaN(x) {
			x = math.NaN() // there are many
		}
		to = binary.BigEndian.AppendUint64(to, math.Float64bits(x))
	case column.Long, column.Boolean, column.Timestamptz, column.Date:
		to = binary.BigEndian.AppendUint64(to, uint64(v.Ints[i]))
	case column.Invalid:
	}
	return to
}
