package sqlledger

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/span"
)

// Apply implements ledger.Catalogue.
func (d *DB) Apply(ctx context.Context, changes ...ledger.Change) error {
	changes = slices.DeleteFunc(slices.Clone(changes), func(c ledger.Change) bool { return c.Schema == nil && len(c.Views) == 0 })
	if len(changes) == 0 {
		return nil
	}
	names := make([]string, len(changes))
	for i := range changes {
		names[i] = changes[i].Stream
	}
	err := d.write(ctx, exclusive, func(x *tx) error {
		now, err := x.now(ctx)
		if err != nil {
			return err
		}
		for i := range changes {
			if err := x.change(ctx, &changes[i], now); err != nil {
				return err
			}
		}
		return x.cancelDropped(ctx, now)
	})
	if err != nil {
		return fmt.Errorf("applying a change of stream %s: %w", strings.Join(names, ", "), err)
	}
	return nil
}

func (x *tx) change(ctx context.Context, c *ledger.Change, now int64) error {
	if err := x.raise(ctx, *c, now); err != nil {
		return err
	}
	cut, err := x.cutNow(ctx, c.Stream)
	if err != nil {
		return err
	}
	if c.Schema != nil {
		if err := x.addSchema(ctx, *c, cut, now); err != nil {
			return err
		}
	}
	for i := range c.Views {
		if err := x.changeView(ctx, c.Stream, &c.Views[i], cut, now); err != nil {
			return fmt.Errorf("view %s: %w", c.Views[i].Name, err)
		}
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
	var metadata []byte
	found, err := x.one(ctx, []any{&have, &metadata}, "SELECT stream, metadata FROM views WHERE name = ?", v.Name)
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
	}
	if err != nil {
		return err
	}
	own := v.Metadata
	if own == nil {
		own = orEmpty(metadata)
	}
	if v.Definition != nil {
		serves, err := x.addVersion(ctx, stream, v, own, cut, now)
		if err != nil || serves || v.Shown == nil {
			return x.show(ctx, v.Name, own, err)
		}
		return x.show(ctx, v.Name, v.Shown, nil)
	}
	target := ledger.Building
	if v.Keep {
		if err := x.moveVersions(ctx, v.Name, now, ledger.Dropped, ledger.Building); err != nil {
			return err
		}
	}
	n, err := x.exec(ctx, "UPDATE view_versions SET metadata = ? WHERE view_name = ? AND state = ?", own, v.Name, target)
	if err == nil && n == 0 {
		_, err = x.exec(ctx, "UPDATE view_versions SET metadata = ? WHERE view_name = ? AND state = ?", own, v.Name, ledger.Serving)
	}
	if v.Shown != nil {
		own = v.Shown
	}
	return x.show(ctx, v.Name, own, err)
}

// show sets the names that a view answers to.
func (x *tx) show(ctx context.Context, view string, metadata []byte, err error) error {
	if err != nil {
		return err
	}
	_, err = x.exec(ctx, "UPDATE views SET metadata = ? WHERE name = ?", metadata, view)
	return err
}

// addVersion makes a version, or switches back to the standby version when it has this definition. It
// tells whether the version serves.
func (x *tx) addVersion(ctx context.Context, stream string, v *ledger.ViewChange, metadata []byte, cut span.Vector, now int64) (bool, error) {
	if v.State != ledger.Serving && v.State != ledger.Building {
		return false, fault.New(fault.Config, "bad_state", "a new version cannot be %q", v.State)
	}
	if !v.Anew {
		if back, err := x.switchBack(ctx, v, metadata, now); back || err != nil {
			return back, err
		}
	}
	state, err := x.stateOfNew(ctx, v, cut)
	if err != nil {
		return false, err
	}
	if err := x.makeRoom(ctx, v.Name, state, now); err != nil {
		return false, err
	}
	var id int64
	_, err = x.one(ctx, []any{&id}, `INSERT INTO view_versions (view_name, hash, definition, metadata, state, schema_v, created_at, state_at)
	    VALUES (?, ?, ?, ?, ?, (SELECT coalesce(max(version), 0) FROM schema_versions WHERE stream = ?), ?, ?) RETURNING id`,
		v.Name, v.Hash, v.Definition, metadata, state, stream, now, now)
	if err != nil {
		return false, err
	}
	if err := x.addBackfill(ctx, id, state, v, now); err != nil {
		return false, err
	}
	return state == ledger.Serving, x.insertCut(ctx, "view", id, cut)
}

// stateOfNew is the state of a new version: one that has nothing below its cut has no history.
func (x *tx) stateOfNew(ctx context.Context, v *ledger.ViewChange, cut span.Vector) (string, error) {
	if v.State == ledger.Serving {
		return v.State, nil
	}
	starts, err := x.vector(ctx, "SELECT log_id, part, start_offset FROM partitions WHERE start_offset IS NOT NULL")
	if err != nil {
		return "", err
	}
	for k, at := range cut {
		if at > starts[k] {
			return ledger.Building, nil
		}
	}
	return ledger.Serving, nil
}

// makeRoom moves the versions aside that a new one takes the place of.
func (x *tx) makeRoom(ctx context.Context, view, state string, now int64) error {
	if state == ledger.Building {
		return x.moveVersions(ctx, view, now, ledger.Dropped, ledger.Building)
	}
	if err := x.moveVersions(ctx, view, now, ledger.Dropped, ledger.Standby, ledger.Building); err != nil {
		return err
	}
	return x.moveVersions(ctx, view, now, ledger.Standby, ledger.Serving)
}

// switchBack makes the standby version serve again if it has the definition asked for. A definition
// that is also the serving one asks for a repair: a new version.
func (x *tx) switchBack(ctx context.Context, v *ledger.ViewChange, metadata []byte, now int64) (bool, error) {
	var serving, standby sql.NullString
	_, err := x.one(ctx, []any{&serving, &standby}, `SELECT max(CASE WHEN state = 'serving' THEN hash END),
	    max(CASE WHEN state = 'standby' THEN hash END) FROM view_versions WHERE view_name = ?`, v.Name)
	if err != nil || !standby.Valid || standby.String != v.Hash || serving.String == v.Hash {
		return false, err
	}
	if err := x.moveVersions(ctx, v.Name, now, ledger.Dropped, ledger.Building); err != nil {
		return false, err
	}
	if err := x.swap(ctx, v.Name, now); err != nil {
		return false, err
	}
	if _, err = x.exec(ctx, "UPDATE view_versions SET metadata = ? WHERE view_name = ? AND state = 'serving'", metadata, v.Name); err != nil {
		return false, err
	}
	return true, x.addSwitch(ctx, v, now)
}

// swap lets the standby version serve and the serving one stand by.
func (x *tx) swap(ctx context.Context, view string, now int64) error {
	_, err := x.exec(ctx, `UPDATE view_versions SET state_at = ?, state = CASE state WHEN 'serving' THEN 'standby' ELSE 'serving' END
	    WHERE view_name = ? AND state IN ('serving', 'standby')`, now, view)
	return err
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
