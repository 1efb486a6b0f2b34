package sqlledger

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"time"

	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/span"
)

// How marks thin out.
const (
	everySecondFor = time.Hour
	everyMinuteFor = 90 * 24 * time.Hour
)

// AddMark implements ledger.Marks.
func (d *DB) AddMark(ctx context.Context, lease ledger.Lease, m ledger.Mark) error {
	at := m.At.UnixMicro()
	err := d.write(ctx, noLock, func(x *tx) error {
		if err := x.assertLease(ctx, lease); err != nil {
			return err
		}
		// A clock that was put back comes to the later marks' times again: what arrives then is not below them.
		if _, err := x.exec(ctx, "DELETE FROM marks WHERE stream = ? AND at > ?", m.Stream, at); err != nil {
			return err
		}
		minute := m.At.Truncate(time.Minute).UnixMicro()
		_, err := x.exec(ctx, `INSERT INTO marks (stream, at, ends, keep) VALUES (?, ?, ?,
		    CASE WHEN EXISTS (SELECT 1 FROM marks WHERE stream = ? AND at >= ? AND at < ? AND keep = 1) THEN 0 ELSE 1 END)
		    ON CONFLICT DO NOTHING`,
			m.Stream, at, encodeVector(m.End), m.Stream, minute, minute+time.Minute.Microseconds())
		if err != nil {
			return err
		}
		if _, err := x.exec(ctx, "DELETE FROM marks WHERE stream = ? AND keep = 0 AND at < ?",
			m.Stream, at-everySecondFor.Microseconds()); err != nil {
			return err
		}
		_, err = x.exec(ctx, "DELETE FROM marks WHERE stream = ? AND at < ?", m.Stream, at-everyMinuteFor.Microseconds())
		return err
	})
	if err != nil {
		return fmt.Errorf("adding a mark of stream %s: %w", m.Stream, err)
	}
	return nil
}

// FirstMark implements ledger.Marks.
func (d *DB) FirstMark(ctx context.Context, stream string, at time.Time) (*ledger.Mark, error) {
	var m *ledger.Mark
	err := d.read(ctx, func(x *tx) (err error) {
		m, err = x.mark(ctx, stream, "at >= ? ORDER BY at", at.UnixMicro())
		return err
	})
	return m, err
}

func (x *tx) mark(ctx context.Context, stream, where string, args ...any) (*ledger.Mark, error) {
	var at sql.NullInt64
	var ends []byte
	found, err := x.one(ctx, []any{&at, &ends}, "SELECT at, ends FROM marks WHERE stream = ? AND "+where+" LIMIT 1",
		append([]any{stream}, args...)...)
	if err != nil || !found {
		return nil, err
	}
	end, err := decodeVector(ends)
	return &ledger.Mark{Stream: stream, At: moment(at), End: end}, err
}

// CompleteTo implements ledger.Marks.
func (d *DB) CompleteTo(ctx context.Context, stream string, unit ledger.Unit) (time.Time, error) {
	var t time.Time
	err := d.read(ctx, func(x *tx) error {
		positions, err := x.positions(ctx, unit)
		if unit == ledger.Batch && err == nil {
			positions, err = x.lakeVector(ctx)
		}
		if err == nil {
			t, err = x.completeTo(ctx, stream, unit, positions)
		}
		return err
	})
	return t, err
}

// completeTo finds the newest mark that positions reach. Ends only grow, so a mark that is reached
// implies all before it: look at the newest few, then halve.
func (x *tx) completeTo(ctx context.Context, stream string, unit ledger.Unit, positions span.Vector) (time.Time, error) {
	skip, err := x.unread(ctx, stream, unit)
	if err != nil {
		return time.Time{}, err
	}
	reached := func(m *ledger.Mark) bool {
		maps.DeleteFunc(m.End, func(k span.Key, _ int64) bool { return skip[k.Log] })
		return positions.Reaches(m.End)
	}
	newest, err := x.mark(ctx, stream, "1 = 1 ORDER BY at DESC")
	if err != nil || newest == nil {
		return time.Time{}, err
	}
	if reached(newest) {
		return newest.At, nil
	}
	oldest, err := x.mark(ctx, stream, "1 = 1 ORDER BY at")
	if err != nil || oldest == nil || !reached(oldest) {
		return time.Time{}, err
	}
	lo, hi := oldest.At, newest.At // lo is reached, hi is not
	for {
		middle := lo.Add(hi.Sub(lo) / 2)
		m, err := x.mark(ctx, stream, "at > ? AND at <= ? ORDER BY at DESC", lo.UnixMicro(), middle.UnixMicro())
		if err != nil {
			return time.Time{}, err
		}
		if m == nil { // none in the lower half: the first of the upper one decides
			if m, err = x.mark(ctx, stream, "at > ? AND at < ? ORDER BY at", middle.UnixMicro(), hi.UnixMicro()); err != nil {
				return time.Time{}, err
			}
		}
		switch {
		case m == nil:
			return lo, nil
		case reached(m):
			lo = m.At
		default:
			hi = m.At
		}
	}
}

// unread are the logs of the stream that the unit does not read.
func (x *tx) unread(ctx context.Context, stream string, unit ledger.Unit) (map[span.Log]bool, error) {
	skip := map[span.Log]bool{}
	if unit != ledger.Live {
		return skip, nil
	}
	err := x.each(ctx, func(r *sql.Rows) error {
		var id span.Log
		err := r.Scan(&id)
		skip[id] = true
		return err
	}, "SELECT id FROM logs WHERE stream = ? AND dead = 1", stream)
	return skip, err
}

// DayCut implements ledger.Marks.
func (d *DB) DayCut(ctx context.Context, lease ledger.Lease, day ledger.Day) (ledger.Day, error) {
	var have ledger.Day
	err := d.write(ctx, noLock, func(x *tx) error {
		if err := x.assertLease(ctx, lease); err != nil {
			return err
		}
		var id int64
		added, err := x.one(ctx, []any{&id}, `INSERT INTO days (stream, zone, day, cut_at) VALUES (?, ?, ?, ?)
		    ON CONFLICT DO NOTHING RETURNING id`, day.Stream, day.Zone, day.Date, day.CutAt.UnixMicro())
		if err != nil {
			return err
		}
		if added {
			if err := x.insertCut(ctx, "day", id, day.Cut); err != nil {
				return err
			}
		}
		days, err := x.days(ctx, "stream = ? AND zone = ? AND day = ?", day.Stream, day.Zone, day.Date)
		if err == nil {
			have = days[0]
		}
		return err
	})
	if err != nil {
		return ledger.Day{}, fmt.Errorf("storing the cut of day %s (%s) of stream %s: %w", day.Date, day.Zone, day.Stream, err)
	}
	return have, nil
}

// Land implements ledger.Marks.
func (d *DB) Land(ctx context.Context, lease ledger.Lease, day ledger.Day) error {
	err := d.write(ctx, noLock, func(x *tx) error {
		if err := x.assertLease(ctx, lease); err != nil {
			return err
		}
		_, err := x.exec(ctx, `UPDATE days SET landed_at = ?, totals = ?
		    WHERE stream = ? AND zone = ? AND day = ? AND landed_at IS NULL`,
			day.LandedAt.UnixMicro(), orEmpty(day.Totals), day.Stream, day.Zone, day.Date)
		return err
	})
	if err != nil {
		return fmt.Errorf("landing day %s (%s) of stream %s: %w", day.Date, day.Zone, day.Stream, err)
	}
	return nil
}

// Days implements ledger.Marks.
func (d *DB) Days(ctx context.Context, stream string, limit int) ([]ledger.Day, error) {
	var all []ledger.Day
	err := d.read(ctx, func(x *tx) (err error) {
		all, err = x.days(ctx, "stream = ? ORDER BY day DESC, zone LIMIT ?", stream, limit)
		return err
	})
	return all, err
}

func (x *tx) days(ctx context.Context, where string, args ...any) ([]ledger.Day, error) {
	var all []ledger.Day
	var ids []int64
	err := x.each(ctx, func(r *sql.Rows) error {
		var d ledger.Day
		var id int64
		var cut, landed sql.NullInt64
		err := r.Scan(&id, &d.Stream, &d.Zone, &d.Date, &cut, &landed, &d.Totals)
		d.CutAt, d.LandedAt = moment(cut), moment(landed)
		all, ids = append(all, d), append(ids, id)
		return err
	}, "SELECT id, stream, zone, day, cut_at, landed_at, totals FROM days WHERE "+where, args...)
	if err != nil {
		return nil, err
	}
	for i, id := range ids {
		all[i].Cut, err = x.vector(ctx, "SELECT log_id, part, next_offset FROM cuts WHERE kind = 'day' AND version = ?", id)
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}
