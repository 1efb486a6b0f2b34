package sqlledger

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/span"
)

// Memo implements ledger.Commits.
func (d *DB) Memo(ctx context.Context, in *ledger.Intent) (doc []byte, err error) {
	err = d.read(ctx, func(x *tx) error {
		doc, err = x.memo(ctx, in)
		return err
	})
	return doc, err
}

func (x *tx) memo(ctx context.Context, in *ledger.Intent) ([]byte, error) {
	name := in.Table
	if name == ledger.DeadLetters || name == ledger.Logs {
		name = ""
	}
	closed, err := x.keptUntil(ctx)
	if err != nil {
		return nil, err
	}
	if in.Table == ledger.Logs {
		closed = in.N
	}
	cuts, err := x.cuts(ctx, "schema", " AND log_id"+loose, closed)
	if err != nil {
		return nil, err
	}
	streams, err := x.streamsWith(ctx, name, cuts)
	if err != nil {
		return nil, err
	}
	logs, err := x.logs(ctx, loose, closed)
	if err != nil {
		return nil, err
	}
	at, err := x.reached(ctx, in, " AND log_id"+loose, closed)
	if err != nil {
		return nil, err
	}
	parts, err := x.memoParts(ctx, at, loose, closed)
	if err != nil {
		return nil, err
	}
	all := make([]ledger.MemoStream, len(streams))
	for i, s := range streams {
		all[i] = ledger.MemoStream{Name: s.Name, Epoch: s.Epoch}
		for _, v := range s.Schemas {
			all[i].Schemas = append(all[i].Schemas, ledger.MemoSchema(v))
		}
		for _, l := range logs {
			if l.Stream == s.Name {
				all[i].Logs = append(all[i].Logs, memoLog(l, parts[l.ID]))
			}
		}
	}
	doc, err := json.Marshal(ledger.NewMemo(all, closed))
	if err != nil {
		return nil, fmt.Errorf("noting the ledger for the lake: %w", err)
	}
	return doc, nil
}

func memoLog(l ledger.Log, parts []ledger.MemoPart) ledger.MemoLog {
	m := ledger.MemoLog{
		ID: l.ID, Kind: l.Kind, Dead: l.Dead, ClusterID: l.ClusterID, TopicID: l.TopicID, Topic: l.Topic,
		Schema: l.Schema, CreatedAt: l.CreatedAt, Parts: parts, Kept: l.Kept,
	}
	if !l.ClosedAt.IsZero() {
		m.ClosedAt = &l.ClosedAt
	}
	return m
}

// memoParts are the partitions of the logs that a condition on their ids picks.
func (x *tx) memoParts(ctx context.Context, at span.Vector, which string, args ...any) (map[span.Log][]ledger.MemoPart, error) {
	all := map[span.Log][]ledger.MemoPart{}
	err := x.each(ctx, func(r *sql.Rows) error {
		var p ledger.MemoPart
		k := span.Key{}
		var start, live, batch sql.NullInt64
		err := r.Scan(&k.Log, &k.Partition, &start, &p.Horizon, &p.Duplicates, &p.Gaps, &p.Lost, &live, &batch)
		p.Partition, p.Position = k.Partition, at[k]
		p.Start, p.ClosingLive, p.ClosingBatch = number(start), number(live), number(batch)
		all[k.Log] = append(all[k.Log], p)
		return err
	}, `SELECT p.log_id, p.part, p.start_offset, coalesce(h.next_offset, 0), coalesce(c.duplicates, 0), coalesce(c.gaps, 0), coalesce(c.lost, 0),
	      p.closing_live, p.closing_batch
	    FROM partitions p LEFT JOIN horizons h ON h.log_id = p.log_id AND h.part = p.part
	    LEFT JOIN counts c ON c.log_id = p.log_id AND c.part = p.part AND c.unit = 'batch' WHERE p.log_id`+which+" ORDER BY p.log_id, p.part", args...)
	return all, err
}

// closeLogs gives an intent of table logs the closed logs of which nothing is on its way into the lake any more,
// and tells how many they are.
func (x *tx) closeLogs(ctx context.Context, n int64, limit int) (int64, error) {
	return x.exec(ctx, `UPDATE logs SET kept_n = ? WHERE id IN (SELECT l.id FROM logs l WHERE l.kept_n IS NULL AND l.closed_at IS NOT NULL
	    AND NOT EXISTS (SELECT 1 FROM stage_moves m WHERE m.log_id = l.id) ORDER BY l.id LIMIT ?)`, n, limit)
}

// ClosedLogs implements ledger.Commits.
func (d *DB) ClosedLogs(ctx context.Context, in *ledger.Intent) (closed []ledger.ClosedLog, err error) {
	err = d.read(ctx, func(x *tx) error {
		closed, err = x.closedLogs(ctx, in.N)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the logs of commit %d of table %s: %w", in.N, in.Table, err)
	}
	return closed, nil
}

func (x *tx) closedLogs(ctx context.Context, n int64) ([]ledger.ClosedLog, error) {
	const which = " IN (SELECT id FROM logs WHERE kept_n = ?)"
	logs, err := x.logs(ctx, which, n)
	if err != nil {
		return nil, err
	}
	at, err := x.vector(ctx, "SELECT log_id, part, next_offset FROM positions WHERE unit = 'batch' AND log_id"+which, n)
	if err != nil {
		return nil, err
	}
	parts, err := x.memoParts(ctx, at, which, n)
	if err != nil {
		return nil, err
	}
	all := make([]ledger.ClosedLog, len(logs))
	index := make(map[span.Log]int, len(logs))
	for i, l := range logs {
		all[i] = ledger.ClosedLog{Stream: l.Stream, MemoLog: memoLog(l, parts[l.ID])}
		index[l.ID] = i
	}
	err = x.each(ctx, func(r *sql.Rows) error {
		var log span.Log
		var c ledger.MemoCut
		err := r.Scan(&log, &c.Version, &c.Partition, &c.Offset)
		l := &all[index[log]]
		l.Cuts = append(l.Cuts, c)
		return err
	}, `SELECT c.log_id, v.version, c.part, c.next_offset FROM cuts c JOIN schema_versions v ON v.id = c.version
	    WHERE c.kind = 'schema' AND c.log_id`+which+" ORDER BY c.log_id, v.version, c.part", n)
	return all, err
}

func number(n sql.NullInt64) *int64 {
	if !n.Valid {
		return nil
	}
	return &n.Int64
}

// Adopt implements ledger.Ledger.
func (d *DB) Adopt(ctx context.Context, a *ledger.Adoption) error {
	err := d.write(ctx, exclusive, func(x *tx) error {
		var n int64
		if _, err := x.one(ctx, []any{&n}, "SELECT count(*) FROM streams"); err != nil {
			return err
		}
		if n > 0 {
			return fault.New(fault.Config, "ledger_not_empty", "the ledger knows of %d streams: it was not lost", n).
				WithAdvice("to build it anew, take it away first: move the file, or name an empty database").WithExit(fault.ExitConflict)
		}
		now, err := x.now(ctx)
		if err != nil {
			return err
		}
		for i := range a.Streams {
			if err := x.adoptStream(ctx, &a.Streams[i], a, now); err != nil {
				return fmt.Errorf("stream %s: %w", a.Streams[i].Name, err)
			}
		}
		for _, in := range a.Heads {
			if _, err := x.exec(ctx, `INSERT INTO lake_intents (table_name, n, id, kind, state, snapshot, offsets, opened_at, closed_at)
			    VALUES (?, ?, ?, ?, 'closed', ?, ?, ?, ?)`, in.Table, in.N, in.ID, in.Kind, in.Snapshot, encodeVector(in.Offsets), now, now); err != nil {
				return err
			}
		}
		if x.d.afterIDs == "" {
			return nil
		}
		_, err = x.exec(ctx, x.d.afterIDs)
		return err
	})
	if err != nil {
		return fmt.Errorf("adopting the lake: %w", err)
	}
	return nil
}

func (x *tx) adoptStream(ctx context.Context, s *ledger.MemoStream, a *ledger.Adoption, now int64) error {
	if _, err := x.exec(ctx, "INSERT INTO streams (name, created_at) VALUES (?, ?)", s.Name, now); err != nil {
		return err
	}
	if _, err := x.exec(ctx, "INSERT INTO catalogue (stream, epoch) VALUES (?, ?)", s.Name, s.Epoch+1); err != nil {
		return err
	}
	slices.SortFunc(s.Schemas, func(a, b ledger.MemoSchema) int { return int(a.Version - b.Version) })
	for _, v := range s.Schemas {
		definition, err := json.Marshal(v.Definition)
		if err != nil {
			return fmt.Errorf("encoding schema %d: %w", v.Version, err)
		}
		var id int64
		if _, err := x.one(ctx, []any{&id}, `INSERT INTO schema_versions (stream, version, definition, created_at) VALUES (?, ?, ?, ?) RETURNING id`,
			s.Name, v.Version, definition, micros(v.CreatedAt)); err != nil {
			return err
		}
		if err := x.insertCut(ctx, "schema", id, v.Cut); err != nil {
			return err
		}
	}
	for i := range s.Logs {
		if err := x.adoptLog(ctx, s.Name, &s.Logs[i], a); err != nil {
			return fmt.Errorf("log %d: %w", s.Logs[i].ID, err)
		}
	}
	return nil
}

func (x *tx) adoptLog(ctx context.Context, stream string, l *ledger.MemoLog, a *ledger.Adoption) error {
	var closed, kept any
	if l.ClosedAt != nil {
		closed = micros(*l.ClosedAt)
	}
	if l.Kept {
		kept = a.Head(ledger.Logs)
	}
	if _, err := x.exec(ctx, `INSERT INTO logs (id, kind, stream, dead, cluster_id, topic_id, topic, schema_v, created_at, closed_at, kept_n)
	    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		l.ID, l.Kind, stream, flag(l.Dead), l.ClusterID, l.TopicID, l.Topic, l.Schema, micros(l.CreatedAt), closed, kept); err != nil {
		return err
	}
	for i := range l.Parts {
		p := &l.Parts[i]
		k := span.Key{Log: l.ID, Partition: p.Partition}
		if _, err := x.exec(ctx, "INSERT INTO partitions (log_id, part, closing_live, closing_batch) VALUES (?, ?, ?, ?)",
			k.Log, k.Partition, orNull(p.ClosingLive), orNull(p.ClosingBatch)); err != nil {
			return err
		}
		if p.Start == nil {
			continue
		}
		if err := x.firstTakeOver(ctx, k, *p.Start, l.Dead || l.Kind == ledger.KindImport); err != nil {
			return err
		}
		if _, err := x.exec(ctx, "UPDATE horizons SET next_offset = ? WHERE log_id = ? AND part = ?", p.Horizon, k.Log, k.Partition); err != nil {
			return err
		}
		if _, err := x.exec(ctx, "UPDATE positions SET next_offset = ? WHERE log_id = ? AND part = ?", p.End(l.ClosedAt != nil), k.Log, k.Partition); err != nil {
			return err
		}
		c := a.Counts[k]
		if _, err := x.exec(ctx, `UPDATE counts SET n_rows = ?, dead = ?, duplicates = ?, gaps = ?, lost = ? WHERE log_id = ? AND part = ?`,
			c.Rows, c.Dead, c.Duplicates, c.Gaps, c.Lost, k.Log, k.Partition); err != nil {
			return err
		}
	}
	return nil
}

func orNull(n *int64) any {
	if n == nil {
		return nil
	}
	return *n
}

func micros(t time.Time) int64 { return t.UnixMicro() }
