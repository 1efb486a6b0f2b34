// Package export writes a stream's day out of the lake: the original events as JSON Lines, or the rows
// as CSV or through a columnar writer, ordered by log, partition and offset.
//
// It owns the order and what a text format looks like. It holds the offsets of one day and the rows of
// one piece of it; where a file goes, and what it says of how complete it is, is the caller's.
package export

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/span"
)

// Lake is where rows come from.
type Lake interface {
	Scan(ctx context.Context, sel lake.Selection, fn func(*lake.Block) error) (int64, error)
}

// Writer takes rows in their order: those of a block at the indexes given.
type Writer interface {
	Write(b *lake.Block, rows []int32) error
}

// pieceRows is how many rows are held at once.
const pieceRows = 128 << 10

// piece is a range of one partition's offsets with about pieceRows rows of the day.
type piece struct {
	key      span.Key
	from, to int64
}

// Day writes the rows of a stream's UTC day in a snapshot and returns how many there are.
func Day(ctx context.Context, lk Lake, stream string, snapshot int64, day time.Time, w Writer) (int64, error) {
	return writeDay(ctx, lk, stream, snapshot, day, pieceRows, w)
}

func writeDay(ctx context.Context, lk Lake, stream string, snapshot int64, day time.Time, held int, w Writer) (int64, error) {
	from := day.UnixMicro()
	sel := lake.Selection{Table: stream, Snapshot: snapshot, From: from, To: day.AddDate(0, 0, 1).UnixMicro()}
	pieces, rows, err := cut(ctx, lk, sel, held)
	if err != nil {
		return 0, fmt.Errorf("finding the offsets of %s: %w", day.Format(time.DateOnly), err)
	}
	written := int64(0)
	for _, p := range pieces {
		n, err := writePiece(ctx, lk, sel, p, w)
		if written += n; err != nil {
			return written, err
		}
	}
	if written != rows {
		return written, fault.New(fault.Corrupt, "export_differs", "the snapshot holds %d rows of %s, %d were written", rows, day.Format(time.DateOnly), written).
			WithAdvice("keep the lake as it is and report it")
	}
	return rows, nil
}

// cut lists the offsets of the selection and cuts them into pieces, in order.
func cut(ctx context.Context, lk Lake, sel lake.Selection, held int) (pieces []piece, rows int64, err error) {
	sel.Columns = []string{event.ColumnLog, event.ColumnPartition, event.ColumnOffset}
	offsets := map[span.Key][]int64{}
	_, err = lk.Scan(ctx, sel, func(b *lake.Block) error {
		l, p, o := b.Index(event.ColumnLog), b.Index(event.ColumnPartition), b.Index(event.ColumnOffset)
		if min(l, p, o) < 0 {
			return fault.New(fault.Corrupt, "lake_columns", "table %s lacks the columns of origin", sel.Table)
		}
		for i := range b.N {
			k := span.Key{Log: span.Log(b.Cols[l].Ints[i]), Partition: int32(b.Cols[p].Ints[i])}
			offsets[k] = append(offsets[k], b.Cols[o].Ints[i])
		}
		rows += int64(b.N)
		return nil
	})
	if err != nil {
		return nil, 0, err
	}
	for _, k := range slices.SortedFunc(maps.Keys(offsets), span.Key.Compare) {
		slices.Sort(offsets[k])
		for part := range slices.Chunk(offsets[k], held) {
			pieces = append(pieces, piece{k, part[0], part[len(part)-1] + 1})
		}
	}
	return pieces, rows, nil
}

// writePiece collects the rows of a piece, sorts them and hands them over.
func writePiece(ctx context.Context, lk Lake, sel lake.Selection, p piece, w Writer) (int64, error) {
	sel.Key, sel.FromOffset, sel.ToOffset = p.key, p.from, p.to
	all := &lake.Block{}
	if _, err := lk.Scan(ctx, sel, func(b *lake.Block) error { return all.Append(b) }); err != nil {
		return 0, fmt.Errorf("reading offsets %d to %d of partition %s: %w", p.from, p.to, p.key, err)
	}
	if all.N == 0 {
		return 0, nil
	}
	at := all.Cols[all.Index(event.ColumnOffset)].Ints
	order := make([]int32, all.N)
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(a, b int32) int {
		switch {
		case at[a] < at[b]:
			return -1
		case at[a] > at[b]:
			return 1
		}
		return 0
	})
	return int64(all.N), w.Write(all, order)
}

// Schemas compiles the versions of a stream, by their number.
func Schemas(s *ledger.Stream) (map[int64]*event.Schema, error) {
	all := map[int64]*event.Schema{}
	for _, v := range s.Schemas {
		compiled, err := event.Compile(v.Definition, v.Version)
		if err != nil {
			return nil, fmt.Errorf("compiling schema %d of stream %s: %w", v.Version, s.Name, err)
		}
		all[int64(v.Version)] = compiled
	}
	return all, nil
}
