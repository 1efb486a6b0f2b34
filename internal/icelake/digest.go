package icelake

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/big"
	"math/bits"
	"slices"
	"time"

	"github.com/pinflow/pinflow/internal/column"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/span"
)

// Digest reads a table's declared columns and event ids and sums them up by day.
func (l *Lake) Digest(ctx context.Context, name string) ([]lake.DayDigest, error) {
	tbl, err := l.cat.load(ctx, name)
	if err != nil {
		return nil, err
	}
	by := partitionColumn(tbl)
	cols := []string{by, "_event_id"}
	for _, f := range tbl.Schema().Fields() {
		if k := kindOf(f); f.Name[0] != '_' && (k == column.Long || k == column.Double) {
			cols = append(cols, f.Name)
		}
	}
	days := map[int64]*daySums{}
	_, err = l.Scan(ctx, lake.Selection{Table: name, Columns: cols}, func(b *lake.Block) error { return digest(days, b, by) })
	if err != nil {
		return nil, fmt.Errorf("digesting table %s: %w", name, err)
	}
	order := make([]int64, 0, len(days))
	for d := range days {
		order = append(order, d)
	}
	slices.Sort(order)
	out := make([]lake.DayDigest, len(order))
	for i, d := range order {
		out[i] = days[d].digest(d)
	}
	return out, nil
}

// EventIDs shows the event ids of a day (UTC, 2006-01-02) to fn, in no particular order.
func (l *Lake) EventIDs(ctx context.Context, name, date string, fn func(id []byte) error) error {
	at, err := time.Parse(time.DateOnly, date)
	if err != nil {
		return fmt.Errorf("parsing day %q: %w", date, err)
	}
	sel := lake.Selection{Table: name, Columns: []string{"_event_id"}, From: at.UnixMicro(), To: at.UnixMicro() + usPerDay}
	_, err = l.Scan(ctx, sel, func(b *lake.Block) error {
		ids := &b.Cols[b.Index("_event_id")]
		for i := range b.N {
			if ids.IsNull(i) {
				continue
			}
			if err := fn(ids.Text(i)); err != nil {
				return err
			}
		}
		return nil
	})
	return err
}

// daySums are a day's.
type daySums struct {
	rows   int64
	hi, lo uint64
	longs  map[string]*[2]uint64 // 128 bits, two's complement: high, low
	floats map[string]float64
}

func digest(days map[int64]*daySums, b *lake.Block, by string) error {
	times, ids := &b.Cols[b.Index(by)], &b.Cols[b.Index("_event_id")]
	of := make([]*daySums, b.N)
	for i := range b.N {
		d := day(times.Ints[i])
		s := days[d]
		if s == nil {
			s = &daySums{longs: map[string]*[2]uint64{}, floats: map[string]float64{}}
			days[d] = s
		}
		of[i] = s
		s.rows++
		if !ids.IsNull(i) {
			s.addID(span.IDOf(string(ids.Text(i))))
		}
	}
	for c, col := range b.Columns {
		v := &b.Cols[c]
		switch {
		case col.Name == by || col.Name == "_event_id":
		case col.Kind == column.Long:
			for i, s := range of {
				if !v.IsNull(i) {
					s.addLong(col.Name, v.Ints[i])
				}
			}
		case col.Kind == column.Double:
			for i, s := range of {
				if !v.IsNull(i) {
					s.floats[col.Name] += v.Floats[i]
				}
			}
		}
	}
	return nil
}

func (s *daySums) addID(id span.ID) {
	var carry uint64
	s.lo, carry = bits.Add64(s.lo, binary.BigEndian.Uint64(id[8:]), 0)
	s.hi, _ = bits.Add64(s.hi, binary.BigEndian.Uint64(id[:8]), carry)
}

func (s *daySums) addLong(name string, v int64) {
	t := s.longs[name]
	if t == nil {
		t = new([2]uint64)
		s.longs[name] = t
	}
	var carry uint64
	t[1], carry = bits.Add64(t[1], uint64(v), 0)
	t[0], _ = bits.Add64(t[0], uint64(v>>63), carry)
}

func (s *daySums) digest(d int64) lake.DayDigest {
	out := lake.DayDigest{Day: time.Unix(d*86400, 0).UTC().Format(time.DateOnly), Rows: s.rows, Longs: map[string]*big.Int{}, Floats: map[string]float64{}}
	var id [16]byte
	binary.BigEndian.PutUint64(id[:8], s.hi)
	binary.BigEndian.PutUint64(id[8:], s.lo)
	out.IDs = hex.EncodeToString(id[:])
	for name, t := range s.longs {
		sum := new(big.Int).SetInt64(int64(t[0]))
		sum.Lsh(sum, 64)
		out.Longs[name] = sum.Add(sum, new(big.Int).SetUint64(t[1]))
	}
	for name, f := range s.floats {
		out.Floats[name] = f
	}
	return out
}
