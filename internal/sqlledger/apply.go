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

// Apply implements ledger.Catalogue.
func (d *DB) Apply(ctx context.Context, c ledger.Change) error {
	if c.Schema == nil && len(c.Views) == 0 {
		return nil
	}
	err := d.write(ctx, exclusive, func(x *tx) error {
		now, err := x.now(ctx)
		if err != nil {
			return err
		}
		if err := x.raise(ctx, c, now); err != nil {
			return err
		}
		cut, err := x.cutNow(ctx, c.Stream)
		if err != nil {
			return err
		}
		if c.Schema != nil {
			if err := x.addSchema(ctx, c, cut, now); err != nil {
				return err
			}
		}
		for i := range c.Views {
			if err := x.changeView(ctx, c.Stream, &c.Views[i], cut, now); err != nil {
				return fmt.Errorf("view %s: %w", c.Views[i].Name, err)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("applying a change of stream %s: %w", c.Stream, err)
	}
	return nil
}

// raise compares the stream's epoch with the one the change was planned on, and raises it.
func (x *tx) raise(ctx context.Context, c ledger.Change, now int64) error {
	n, err := x.exec(ctx, "UPDATE catalogue SET epoch = epoch + 1 WHERE stream = ? AND epoch = ?", c.Stream, c.Epoch)
	if err != nil || n == 1 {
		return err
	}
	var epoch int64
	found, err := x.one(ctx, []any{&epoch}, "SELECT epoch FROM catalogue WHERE stream = ?", c.Stream)
	if err != nil {
		return err
	}
	if found || c.Epoch != 0 {
		return fault.New(fault.Stale, "plan_stale", "the catalogue of stream %s moved since the plan (epoch %d, planned on %d)",
			c.Stream, epoch, c.Epoch).WithAdvice("run pinflow plan again").WithExit(fault.ExitConflict)
	}
	if c.Schema == nil {
		return fault.New(fault.Config, "unknown_stream", "the ledger knows no stream %q", c.Stream)
	}
	if _, err := x.exec(ctx, "INSERT INTO streams (name, created_at) VALUES (?, ?)", c.Stream, now); err != nil {
		return err
	}
	_, err = x.exec(ctx, "INSERT INTO catalogue (stream, epoch) VALUES (?, 1)", c.Stream)
	return err
}

// cutNow is where new versions begin: the greater of the two units' positions in every open partition,
// the end of every finished log. An import in progress is not named.
func (x *tx) cutNow(ctx context.Context, stream string) (span.Vector, error) {
	return x.vector(ctx, `SELECT c.log_id, c.part, max(c.at_offset) FROM (
	    SELECT p.log_id, p.part, p.next_offset AS at_offset FROM positions p
	    UNION ALL SELECT log_id, part, closing_live FROM partitions WHERE closing_live IS NOT NULL
	    UNION ALL SELECT log_id, part, closing_batch FROM partitions WHERE closing_batch IS NOT NULL) c
	  JOIN logs l ON l.id = c.log_id
	  WHERE l.stream = ? AND l.dead = 0 AND (l.kind = 'kafka' OR l.closed_at IS NOT NULL)
	  GROUP BY c.log_id, c.part`, stream)
}

func (x *tx) addSchema(ctx context.Context, c ledger.Change, cut span.Vector, now int64) error {
	definition, err := json.Marshal(c.Schema)
	if err != nil {
		return fmt.Errorf("encoding the schema: %w", err)
	}
	var id int64
	_, err = x.one(ctx, []any{&id}, `INSERT INTO schema_versions (stream, version, definition, created_at)
	    VALUES (?, (SELECT coalesce(max(version), 0) + 1 FROM schema_versions WHERE stream = ?), ?, ?) RETURNING id`,
		c.Stream, c.Stream, definition, now)
	if err != nil {
		return err
	}
	return x.insertCut(ctx, "schema", id, cut)
}

func (x *tx) changeView(ctx context.Context, stream string, v *ledger.ViewChange, cut span.Vector, now int64) error {
	var have string
	found, err := x.one(ctx, []any{&have}, "SELECT stream FROM views WHERE name = ?", v.Name)
	switch {
	case err != nil:
		return err
	case found && have != stream:
		return fault.New(fault.Config, "view_of_other_stream", "it reads stream %s, not %s", have, stream)
	case !found && v.Definition == nil:
		return fault.New(fault.Config, "unknown_view", "the ledger knows no view %q", v.Name)
	case v.Drop:
		return x.moveVersions(ctx, v.Name, now, ledger.Dropped, ledger.Serving, ledger.Building, ledger.Standby)
	case !found:
		_, err = x.exec(ctx, "INSERT INTO views (name, stream, metadata) VALUES (?, ?, ?)", v.Name, stream, orEmpty(v.Metadata))
	case v.Metadata != nil:
		_, err = x.exec(ctx, "UPDATE views SET metadata = ? WHERE name = ?", v.Metadata, v.Name)
	}
	if err != nil || v.Definition == nil {
		return err
	}
	return x.addVersion(ctx, stream, v, cut, now)
}

// addVersion makes a version, or switches back to the standby version when it has this definition.
func (x *tx) addVersion(ctx context.Context, stream string, v *ledger.ViewChange, cut span.Vector, now int64) error {
	if v.State != ledger.Serving && v.State != ledger.Building {
		return fault.New(fault.Config, "bad_state", "a new version cannot be %q", v.State)
	}
	if back, err := x.switchBack(ctx, v, now); back || err != nil {
		return err
	}
	var err error
	if v.State == ledger.Serving {
		if err = x.moveVersions(ctx, v.Name, now, ledger.Dropped, ledger.Standby, ledger.Building); err == nil {
			err = x.moveVersions(ctx, v.Name, now, ledger.Standby, ledger.Serving)
		}
	} else {
		err = x.moveVersions(ctx, v.Name, now, ledger.Dropped, ledger.Building)
	}
	if err != nil {
		return err
	}
	var id int64
	_, err = x.one(ctx, []any{&id}, `INSERT INTO view_versions (view_name, hash, definition, state, schema_v, created_at, state_at)
	    VALUES (?, ?, ?, ?, (SELECT coalesce(max(version), 0) FROM schema_versions WHERE stream = ?), ?, ?) RETURNING id`,
		v.Name, v.Hash, v.Definition, v.State, stream, now, now)
	if err != nil {
		return err
	}
	return x.insertCut(ctx, "view", id, cut)
}

// switchBack makes the standby version serve again if it has the definition asked for. A definition
// that is also the serving one asks for a repair: a new version.
func (x *tx) switchBack(ctx context.Context, v *ledger.ViewChange, now int64) (bool, error) {
	var serving, standby sql.NullString
	_, err := x.one(ctx, []any{&serving, &standby}, `SELECT max(CASE WHEN state = 'serving' THEN hash END),
	    max(CASE WHEN state = 'standby' THEN hash END) FROM view_versions WHERE view_name = ?`, v.Name)
	if err != nil || !standby.Valid || standby.String != v.Hash || serving.String == v.Hash {
		return false, err
	}
	if err := x.moveVersions(ctx, v.Name, now, ledger.Dropped, ledger.Building); err != nil {
		return false, err
	}
	_, err = x.exec(ctx, `UPDATE view_versions SET state_at = ?, state = CASE state WHEN 'serving' THEN 'standby' ELSE 'serving' END
	    WHERE view_name = ? AND state IN ('serving', 'standby')`, now, v.Name)
	return true, err
}

func (x *tx) moveVersions(ctx context.Context, view string, now int64, to string, from ...string) error {
	for _, f := range from {
		_, err := x.exec(ctx, "UPDATE view_versions SET state = ?, state_at = ? WHERE view_name = ? AND state = ?", to, now, view, f)
		if err != nil {
			return err
		}
	}
	return nil
}
