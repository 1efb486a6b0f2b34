package sqlledger

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/span"
)

// encodeVector writes a vector as text, "log/partition:offset" in order, separated by spaces.
func encodeVector(v span.Vector) []byte {
	keys := slices.SortedFunc(maps.Keys(v), span.Key.Compare)
	b := make([]byte, 0, 20*len(keys))
	for i, k := range keys {
		if i > 0 {
			b = append(b, ' ')
		}
		b = strconv.AppendInt(b, int64(k.Log), 10)
		b = append(b, '/')
		b = strconv.AppendInt(b, int64(k.Partition), 10)
		b = append(b, ':')
		b = strconv.AppendInt(b, v[k], 10)
	}
	return b
}

func decodeVector(b []byte) (span.Vector, error) {
	v := span.Vector{}
	for i := 0; i < len(b); {
		var n [3]int64
		for f, end := range [3]byte{'/', ':', ' '} {
			start := i
			for i < len(b) && b[i] != end {
				i++
			}
			x, err := strconv.ParseInt(string(b[start:i]), 10, 64)
			if err != nil {
				return nil, fault.New(fault.Corrupt, "ledger_corrupt", "reading a stored vector: %w", err)
			}
			n[f] = x
			i++
		}
		v[span.Key{Log: span.Log(n[0]), Partition: int32(n[1])}] = n[2]
	}
	return v, nil
}

// vector reads rows of (log, partition, offset).
func (x *tx) vector(ctx context.Context, query string, args ...any) (span.Vector, error) {
	v := span.Vector{}
	err := x.each(ctx, func(r *sql.Rows) error {
		var k span.Key
		var at int64
		if err := r.Scan(&k.Log, &k.Partition, &at); err != nil {
			return err
		}
		v[k] = at
		return nil
	}, query, args...)
	if err != nil {
		return nil, err
	}
	return v, nil
}

func (x *tx) insertCut(ctx context.Context, kind string, version int64, v span.Vector) error {
	for _, k := range slices.SortedFunc(maps.Keys(v), span.Key.Compare) {
		_, err := x.exec(ctx, "INSERT INTO cuts (kind, version, log_id, part, next_offset) VALUES (?, ?, ?, ?, ?)",
			kind, version, k.Log, k.Partition, v[k])
		if err != nil {
			return fmt.Errorf("storing the cut of %s %d: %w", kind, version, err)
		}
	}
	return nil
}

// cuts returns the cuts of a kind by what they belong to.
func (x *tx) cuts(ctx context.Context, kind, which string, args ...any) (map[int64]span.Vector, error) {
	all := map[int64]span.Vector{}
	err := x.each(ctx, func(r *sql.Rows) error {
		var version, at int64
		var k span.Key
		if err := r.Scan(&version, &k.Log, &k.Partition, &at); err != nil {
			return err
		}
		if all[version] == nil {
			all[version] = span.Vector{}
		}
		all[version][k] = at
		return nil
	}, "SELECT version, log_id, part, next_offset FROM cuts WHERE kind = ?"+which, append([]any{kind}, args...)...)
	return all, err
}
