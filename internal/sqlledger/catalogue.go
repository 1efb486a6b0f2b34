package sqlledger

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/span"
)

// Epochs implements ledger.Catalogue.
func (d *DB) Epochs(ctx context.Context) (map[string]int64, error) {
	epochs := map[string]int64{}
	err := d.read(ctx, func(x *tx) error {
		return x.each(ctx, func(r *sql.Rows) error {
			var stream string
			var epoch int64
			err := r.Scan(&stream, &epoch)
			epochs[stream] = epoch
			return err
		}, "SELECT stream, epoch FROM catalogue")
	})
	if err != nil {
		return nil, err
	}
	return epochs, nil
}

// Load implements ledger.Catalogue.
func (d *DB) Load(ctx context.Context) (*ledger.Snapshot, error) {
	var s ledger.Snapshot
	err := d.read(ctx, func(x *tx) error {
		var err error
		if s.Streams, err = x.streams(ctx, ""); err != nil {
			return err
		}
		if s.Logs, err = x.logs(ctx, ""); err != nil {
			return err
		}
		s.Views, err = x.views(ctx, "")
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("loading the catalogue: %w", err)
	}
	return &s, nil
}

// streams loads one stream, or all for "", by name, with their schemas, oldest first.
func (x *tx) streams(ctx context.Context, name string) ([]ledger.Stream, error) {
	cuts, err := x.cuts(ctx, "schema", "")
	if err != nil {
		return nil, err
	}
	return x.streamsWith(ctx, name, cuts)
}

// streamsWith is streams, with the cuts of schema versions by id.
func (x *tx) streamsWith(ctx context.Context, name string, cuts map[int64]span.Vector) ([]ledger.Stream, error) {
	all, err := list(ctx, x, func(r *sql.Rows) (s ledger.Stream, err error) {
		err = r.Scan(&s.Name, &s.Epoch)
		return s, err
	}, "SELECT stream, epoch FROM catalogue WHERE ? IN ('', stream) ORDER BY stream", name)
	if err != nil {
		return nil, err
	}
	index := make(map[string]int, len(all))
	for i := range all {
		index[all[i].Name] = i
	}
	var broken error
	err = x.each(ctx, func(r *sql.Rows) error {
		var v ledger.SchemaVersion
		var id int64
		var stream string
		var definition []byte
		var created sql.NullInt64
		if err := r.Scan(&id, &stream, &v.Version, &definition, &created); err != nil {
			return err
		}
		if err := json.Unmarshal(definition, &v.Definition); err != nil && broken == nil {
			broken = fault.New(fault.Corrupt, "ledger_corrupt", "reading schema %d of stream %s: %w", v.Version, stream, err)
		}
		v.CreatedAt = moment(created)
		if v.Cut = cuts[id]; v.Cut == nil {
			v.Cut = span.Vector{}
		}
		s := &all[index[stream]]
		s.Schemas = append(s.Schemas, v)
		return nil
	}, "SELECT id, stream, version, definition, created_at FROM schema_versions WHERE ? IN ('', stream) ORDER BY stream, version", name)
	if err == nil {
		err = broken
	}
	return all, err
}

// Log implements ledger.Catalogue.
func (d *DB) Log(ctx context.Context, id span.Log) (*ledger.Log, error) {
	var all []ledger.Log
	err := d.read(ctx, func(x *tx) (err error) {
		all, err = x.logs(ctx, " = ?", id)
		return err
	})
	if err != nil || len(all) == 0 {
		return nil, err
	}
	return &all[0], nil
}

// loose is a condition on ids of logs: those that the lake's table logs does not hold, after a commit of it.
const loose = " IN (SELECT id FROM logs WHERE kept_n IS NULL OR kept_n > ?)"

// logs loads the logs that a condition on their ids picks, all for "", oldest first.
func (x *tx) logs(ctx context.Context, which string, args ...any) ([]ledger.Log, error) {
	kept, err := x.keptUntil(ctx)
	if err != nil {
		return nil, err
	}
	ids, parts := "", ""
	if which != "" {
		ids, parts = " WHERE id"+which, " WHERE log_id"+which
	}
	var all []ledger.Log
	index := map[span.Log]int{}
	err = x.each(ctx, func(r *sql.Rows) error {
		l := ledger.Log{Closing: span.Vector{}}
		var dead int64
		var created, closed, n sql.NullInt64
		if err := r.Scan(&l.ID, &l.Kind, &l.Stream, &dead, &l.ClusterID, &l.TopicID, &l.Topic, &l.Schema, &created, &closed, &n); err != nil {
			return err
		}
		l.Dead, l.CreatedAt, l.ClosedAt, l.Kept = dead != 0, moment(created), moment(closed), n.Valid && n.Int64 <= kept
		index[l.ID] = len(all)
		all = append(all, l)
		return nil
	}, "SELECT id, kind, stream, dead, cluster_id, topic_id, topic, schema_v, created_at, closed_at, kept_n FROM logs"+ids+" ORDER BY id", args...)
	if err != nil {
		return nil, err
	}
	err = x.each(ctx, func(r *sql.Rows) error {
		var k span.Key
		var live, batch sql.NullInt64
		if err := r.Scan(&k.Log, &k.Partition, &live, &batch); err != nil {
			return err
		}
		l := &all[index[k.Log]]
		l.Partitions++
		if live.Valid || batch.Valid {
			l.Closing[k] = max(live.Int64, batch.Int64)
		}
		return nil
	}, "SELECT log_id, part, closing_live, closing_batch FROM partitions"+parts, args...)
	return all, err
}

// keptUntil is the newest commit of the lake's table logs that has landed.
func (x *tx) keptUntil(ctx context.Context) (n int64, err error) {
	_, err = x.one(ctx, []any{&n}, "SELECT coalesce(max(n), 0) FROM lake_intents WHERE table_name = ? AND state = 'closed'", ledger.Logs)
	return n, err
}

// views loads one view, or all for "", by name, without those of which every version is dropped.
func (x *tx) views(ctx context.Context, name string) ([]ledger.View, error) {
	cuts, err := x.cuts(ctx, "view", "")
	if err != nil {
		return nil, err
	}
	all, err := list(ctx, x, func(r *sql.Rows) (v ledger.View, err error) {
		err = r.Scan(&v.Name, &v.Stream, &v.Metadata)
		return v, err
	}, `SELECT name, stream, metadata FROM views v WHERE ? IN ('', name) AND EXISTS
	    (SELECT 1 FROM view_versions vv WHERE vv.view_name = v.name AND vv.state <> 'dropped') ORDER BY name`, name)
	if err != nil {
		return nil, err
	}
	index := make(map[string]int, len(all))
	for i := range all {
		index[all[i].Name] = i
	}
	err = x.each(ctx, func(r *sql.Rows) error {
		var v ledger.ViewVersion
		var view string
		var created, since sql.NullInt64
		if err := r.Scan(&v.ID, &view, &v.Hash, &v.Definition, &v.Metadata, &v.State, &v.Schema, &created, &since); err != nil {
			return err
		}
		i, ok := index[view]
		if !ok {
			return nil
		}
		v.CreatedAt, v.StateAt = moment(created), moment(since)
		if v.Cut = cuts[v.ID]; v.Cut == nil {
			v.Cut = span.Vector{}
		}
		all[i].Versions = append(all[i].Versions, v)
		return nil
	}, `SELECT id, view_name, hash, definition, metadata, state, schema_v, created_at, state_at FROM view_versions
	    WHERE ? IN ('', view_name) ORDER BY view_name, id`, name)
	return all, err
}

// AddLog implements ledger.Catalogue.
func (d *DB) AddLog(ctx context.Context, l ledger.Log) (span.Log, error) {
	var id span.Log
	err := d.write(ctx, exclusive, func(x *tx) error {
		found, err := x.one(ctx, []any{&id}, "SELECT id FROM logs WHERE kind = ? AND cluster_id = ? AND topic_id = ?",
			l.Kind, l.ClusterID, l.TopicID)
		if err != nil {
			return err
		}
		if found {
			return x.grow(ctx, id, l)
		}
		return x.addLog(ctx, l, &id)
	})
	if err != nil {
		return 0, fmt.Errorf("registering the log of topic %s: %w", l.Topic, err)
	}
	return id, nil
}

func (x *tx) addLog(ctx context.Context, l ledger.Log, id *span.Log) error {
	now, err := x.now(ctx)
	if err != nil {
		return err
	}
	raised, err := x.exec(ctx, "UPDATE catalogue SET epoch = epoch + 1 WHERE stream = ?", l.Stream)
	if err != nil {
		return err
	}
	if raised == 0 {
		return fault.New(fault.Config, "unknown_stream", "the ledger knows no stream %q", l.Stream)
	}
	var other string
	reset, err := x.one(ctx, []any{&other}, `SELECT topic_id FROM logs
	    WHERE stream = ? AND dead = ? AND kind = 'kafka' AND closed_at IS NULL`, l.Stream, flag(l.Dead))
	if err != nil {
		return err
	}
	if reset && l.Kind == ledger.KindKafka {
		return fault.New(fault.Config, "topic_recreated",
			"topic %s is not the one that was read before (its id was %s and is %s)", l.Topic, other, l.TopicID).
			WithAdvice("run: pinflow topics accept-reset %s", l.Stream)
	}
	var schema int64
	if _, err := x.one(ctx, []any{&schema}, "SELECT coalesce(max(version), 0) FROM schema_versions WHERE stream = ?", l.Stream); err != nil {
		return err
	}
	_, err = x.one(ctx, []any{id}, `INSERT INTO logs (kind, stream, dead, cluster_id, topic_id, topic, schema_v, created_at)
	    VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING id`,
		l.Kind, l.Stream, flag(l.Dead), l.ClusterID, l.TopicID, l.Topic, schema, now)
	if err != nil {
		return err
	}
	for p := range l.Partitions {
		if _, err := x.exec(ctx, "INSERT INTO partitions (log_id, part) VALUES (?, ?)", *id, p); err != nil {
			return err
		}
	}
	return nil
}

// grow gives a log the partitions that it did not have.
func (x *tx) grow(ctx context.Context, id span.Log, l ledger.Log) error {
	var have int32
	if _, err := x.one(ctx, []any{&have}, "SELECT count(*) FROM partitions WHERE log_id = ?", id); err != nil || have >= l.Partitions {
		return err
	}
	for p := have; p < l.Partitions; p++ {
		if _, err := x.exec(ctx, "INSERT INTO partitions (log_id, part) VALUES (?, ?)", id, p); err != nil {
			return err
		}
	}
	_, err := x.exec(ctx, "UPDATE catalogue SET epoch = epoch + 1 WHERE stream = ?", l.Stream)
	return err
}
