package icelake

import (
	"context"
	"fmt"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/span"
)

// Extents reads where the rows of a snapshot came from, row by row: no statistics are trusted.
func (l *Lake) Extents(ctx context.Context, name string, snapshot int64) (map[span.Key]lake.Extent, error) {
	all := map[span.Key]lake.Extent{}
	if err := l.origins(ctx, lake.Selection{Table: name, Snapshot: snapshot}, func(k span.Key, offset int64) {
		e, ok := all[k]
		if !ok {
			e.Least, e.Most = offset, offset
		}
		all[k] = lake.Extent{Rows: e.Rows + 1, Least: min(e.Least, offset), Most: max(e.Most, offset)}
	}); err != nil {
		return nil, fmt.Errorf("reading the offsets of table %s: %w", name, err)
	}
	return all, nil
}

// origins shows the partition and the offset of every selected row.
func (l *Lake) origins(ctx context.Context, sel lake.Selection, fn func(k span.Key, offset int64)) error {
	sel.Columns = []string{event.ColumnLog, event.ColumnPartition, event.ColumnOffset}
	_, err := l.Scan(ctx, sel, func(b *lake.Block) error {
		var cols [3][]int64
		for i, c := range sel.Columns {
			j := b.Index(c)
			if j < 0 {
				return fmt.Errorf("table %s has no column %s", sel.Table, c)
			}
			cols[i] = b.Cols[j].Flat().Ints
		}
		for i := range b.N {
			fn(span.Key{Log: span.Log(cols[0][i]), Partition: int32(cols[1][i])}, cols[2][i])
		}
		return nil
	})
	return err
}
