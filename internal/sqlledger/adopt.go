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
	if name == ledger.DeadLetters {
		name = ""
	}
	streams, err := x.streams(ctx, name)
	if err != nil {
		return nil, err
	}
	logs, err := x.logs(ctx)
	if err != nil {
		return nil, err
	}
	at, err := x.reached(ctx, in, "")
	if err != nil {
		return nil, err
	}
	parts, err := x.memoParts(ctx, at)
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
			if l.Stream != s.Name {
				continue
			}
			m := ledger.MemoLog{
				ID: l.ID, Kind: l.Kind, Dead: l.Dead, ClusterID: l.ClusterID, TopicID: l.TopicID, Topic: l.Topic,
				Schema: l.Schema, CreatedAt: l.CreatedAt, Parts: parts[l.ID],
			}
			if !l.ClosedAt.IsZero() {
				m.ClosedAt = &l.ClosedAt
			}
			all[i].Logs = append(all[i].Logs, m)
		}
	}
	doc, err := json.Marshal(ledger.NewMemo(all))
	if err != nil {
		return nil, fmt.Errorf("noting the ledger for the lake: %w", err)
	}
	return doc, nil
}

func (x *tx) memoParts(ctx context.Context, at span.Vector) (map[span.Log][]ledger.MemoPart, error) {
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
	    LEFT JOIN counts c ON c.log_id = p.log_id AND c.part = p.part AND c.unit = 'batch' ORDER BY p.log_id, p.part`)
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
			if err := x.adoptStream(ctx, &a.Streams[i], a.Counts, now); err != nil {
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

func (x *tx) adoptStream(ctx context.Context, s *ledger.MemoStream, counts map[span.Key]ledger.Counts, now int64) error {
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
		if err := x.adoptLog(ctx, s.Name, &s.Logs[i], counts); err != nil {
			return fmt.Errorf("log %d: %w", s.Logs[i].ID, err)
		}
	}
	return nil
}

func (x *tx) adoptLog(ctx context.Context, stream string, l *ledger.MemoLog, counts map[span.Key]ledger.Counts) error {
	var closed any
	if l.ClosedAt != nil {
		closed = micros(*l.ClosedAt)
	}
	if _, err := x.exec(ctx, `INSERT INTO logs (id, kind, stream, dead, cluster_id, topic_id, topic, schema_v, created_at, closed_at)
	    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		l.ID, l.Kind, stream, flag(l.Dead), l.ClusterID, l.TopicID, l.Topic, l.Schema, micros(l.CreatedAt), closed); err != nil {
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
		c := counts[k]
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
