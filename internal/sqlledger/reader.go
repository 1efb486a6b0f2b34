package sqlledger

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/ledger"
)

// tiers from fine to coarse: ledger.TierOf is the index.
var tiers = [...]string{"minute", "hour", "day"}

// Read implements ledger.Reader.
func (d *DB) Read(ctx context.Context, q ledger.Read) (*ledger.Data, error) {
	var data ledger.Data
	err := d.read(ctx, func(x *tx) error { return x.readView(ctx, q, &data) })
	if err != nil {
		return nil, fmt.Errorf("reading view %s: %w", q.View, err)
	}
	return &data, nil
}

func (x *tx) readView(ctx context.Context, q ledger.Read, data *ledger.Data) error {
	views, err := x.views(ctx, q.View)
	if err != nil {
		return err
	}
	if q.View == "" || len(views) == 0 || !pick(&views[0], &data.Version) {
		return fault.New(fault.Record, "unknown_view", "there is no view %q", q.View)
	}
	data.View = views[0]
	if q.Version != "" {
		if err := pickNamed(&data.View, q.Version, &data.Version); err != nil {
			return err
		}
	}
	streams, err := x.streams(ctx, data.View.Stream)
	if err != nil {
		return err
	}
	data.Stream = streams[0]
	if data.Positions, err = x.positions(ctx, ledger.Live); err != nil {
		return err
	}
	if data.Lake, err = x.lakeVector(ctx); err != nil {
		return err
	}
	if data.CompleteTo, err = x.completeTo(ctx, data.View.Stream, ledger.Live, data.Positions); err != nil {
		return err
	}
	if data.NewestSeal, err = x.newestSeal(ctx); err != nil {
		return err
	}
	if data.Earliest, err = x.earliest(ctx, data.Version.ID); err != nil {
		return err
	}
	if data.Filling, err = x.filling(ctx, data.Version.ID); err != nil {
		return err
	}
	if data.Importing, err = x.importing(ctx, data.View.Stream); err != nil {
		return err
	}
	if data.Floors, err = x.floors(ctx, data.Version.ID); err != nil {
		return err
	}
	if data.Segments, err = x.segmentsIn(ctx, q, data.Version.ID); err != nil {
		return err
	}
	return x.fill(ctx, data.Segments, q.Cached)
}

func (x *tx) importing(ctx context.Context, stream string) ([]ledger.Importing, error) {
	return list(ctx, x, func(r *sql.Rows) (i ledger.Importing, err error) {
		err = r.Scan(&i.Log, &i.Name, &i.Rows)
		return i, err
	}, `SELECT l.id, l.topic, p.next_offset FROM logs l JOIN positions p ON p.log_id = l.id AND p.unit = 'batch'
	    WHERE l.kind = 'import' AND l.closed_at IS NULL AND l.stream = ? AND p.next_offset > 0 ORDER BY l.id`, stream)
}

// shortest are the shortest buckets of the tiers, microseconds.
var shortest = [len(tiers)]int64{60_000_000, 3_600_000_000, 23 * 3_600_000_000}

// earliest is the oldest bucket that a version ever had, as exactly as the tiers tell: what was rolled up is in a
// coarser bucket, which begins earlier than its events.
func (x *tx) earliest(ctx context.Context, version int64) (at int64, err error) {
	found := false
	for i, tier := range tiers {
		var own sql.NullInt64
		if _, err = x.one(ctx, []any{&own}, `SELECT min(at) FROM (
		    SELECT min(from_bucket) AS at FROM segments s JOIN writes w ON w.id = s.write_id WHERE s.version = ? AND s.tier = ? AND w.state = 'sealed'
		    UNION ALL SELECT min(earliest) FROM tier_floors WHERE version = ? AND tier = ?) t`, version, tier, version, tier); err != nil {
			return 0, err
		}
		if own.Valid && (!found || own.Int64 <= at-shortest[i]) {
			at, found = own.Int64, true
		}
	}
	return at, nil
}

// pick finds the version that answers: the serving one, or the first one while it is built.
func pick(v *ledger.View, version *ledger.ViewVersion) bool {
	for _, state := range [...]string{ledger.Serving, ledger.Building} {
		for i := range v.Versions {
			if v.Versions[i].State == state {
				*version = v.Versions[i]
				return true
			}
		}
	}
	return false
}

// pickNamed finds a version that is asked for by its state, its id or the beginning of its hash, the newest first.
// Such a one answers to its own names.
func pickNamed(v *ledger.View, which string, version *ledger.ViewVersion) error {
	var known []string
	for _, x := range slices.Backward(v.Versions) {
		if x.State == ledger.Dropped { // its segments are going
			continue
		}
		if x.State == which || strconv.FormatInt(x.ID, 10) == which || len(which) >= 4 && strings.HasPrefix(x.Hash, which) {
			*version, v.Metadata = x, x.Metadata
			return nil
		}
		known = append(known, x.State)
	}
	return fault.New(fault.Record, "unknown_version", "view %s has no version %q", v.Name, which).WithAdvice("use one of: %s", strings.Join(known, ", "))
}

// newestSeal is a number that changes with each sealed write.
func (x *tx) newestSeal(ctx context.Context) (int64, error) {
	var n int64
	_, err := x.one(ctx, []any{&n}, x.d.newestSeal)
	return n, err
}

const segmentColumns = "s.id, s.version, s.tier, s.from_bucket, s.to_bucket, s.n_rows, s.source, s.rolled, s.write_id, s.bytes"

func scanSegment(r *sql.Rows, more ...any) (ledger.Segment, error) {
	var s ledger.Segment
	var rolled int64
	err := r.Scan(append([]any{&s.ID, &s.Version, &s.Tier, &s.From, &s.To, &s.Rows, &s.Source, &rolled, &s.Write, &s.Bytes}, more...)...)
	s.Rolled = rolled != 0
	return s, err
}

// segments lists sealed segments without their data.
func (x *tx) segments(ctx context.Context, where string, args ...any) ([]ledger.Segment, error) {
	return list(ctx, x, func(r *sql.Rows) (ledger.Segment, error) { return scanSegment(r) }, "SELECT "+segmentColumns+` FROM segments s JOIN writes w ON w.id = s.write_id
	    WHERE w.state = 'sealed' AND `+where+" ORDER BY s.id", args...)
}

// segmentsIn lists what the parts take, each segment once.
func (x *tx) segmentsIn(ctx context.Context, q ledger.Read, version int64) ([]ledger.Segment, error) {
	parts := q.Parts
	if parts == nil {
		parts = []ledger.Part{{Tier: cmp.Or(q.Tier, tiers[0]), From: q.From, To: q.To}}
	}
	coarsest := -1
	var from, to [len(tiers)]int64 // what parts ask of a tier: their own and the finer ones
	for _, p := range parts {
		asked := ledger.TierOf(p.Tier)
		if asked < 0 {
			return nil, fault.New(fault.Record, "unknown_tier", "there is no tier %q", p.Tier)
		}
		for t := range asked + 1 {
			if t > coarsest {
				from[t], to[t], coarsest = p.From, p.To, t
			}
			from[t], to[t] = min(from[t], p.From), max(to[t], p.To)
		}
	}
	var all []ledger.Segment
	for t, tier := range tiers[:coarsest+1] {
		some, err := x.segments(ctx, "s.version = ? AND s.tier = ? AND s.to_bucket >= ? AND s.from_bucket < ?", version, tier, from[t], to[t])
		if err != nil {
			return nil, err
		}
		for i := range some {
			if slices.ContainsFunc(parts, func(p ledger.Part) bool { return p.Takes(&some[i]) }) {
				all = append(all, some[i])
			}
		}
	}
	return all, nil
}

// floors loads the floors of a version's tiers.
func (x *tx) floors(ctx context.Context, version int64) (map[string]int64, error) {
	floors := map[string]int64{}
	err := x.each(ctx, func(r *sql.Rows) error {
		var tier string
		var from int64
		err := r.Scan(&tier, &from)
		floors[tier] = from
		return err
	}, "SELECT tier, from_bucket FROM tier_floors WHERE version = ?", version)
	return floors, err
}

// fill loads the data of the segments that are not cached, with one prepared statement.
func (x *tx) fill(ctx context.Context, segs []ledger.Segment, cached func(int64) bool) error {
	const query = "SELECT data FROM segments WHERE id = ?"
	var stmt *sql.Stmt
	for i := range segs {
		s := &segs[i]
		if cached != nil && cached(s.ID) {
			continue
		}
		if stmt == nil {
			var err error
			if stmt, err = x.PrepareContext(ctx, x.d.rebind(query)); err != nil {
				return x.wrap(query, err)
			}
			defer stmt.Close() //nolint:errcheck // it ends with the transaction at the latest
		}
		if err := stmt.QueryRowContext(ctx, s.ID).Scan(&s.Data); err != nil {
			return x.wrap(query, err)
		}
	}
	return nil
}

// Status implements ledger.Reader.
func (d *DB) Status(ctx context.Context) (*ledger.Status, error) {
	s := ledger.Status{Segments: map[string]int64{}, NewestMarks: map[string]ledger.Mark{}}
	err := d.read(ctx, func(x *tx) error {
		_, err := x.one(ctx, []any{&s.OpenWrites, &s.UncommittedFiles}, `SELECT (SELECT count(*) FROM writes WHERE state = 'open'),
		    (SELECT count(*) FROM lake_files f JOIN writes w ON w.id = f.write_id WHERE f.committed = 0 AND w.state = 'sealed')`)
		if err != nil {
			return err
		}
		err = x.each(ctx, func(r *sql.Rows) error {
			var tier string
			var n, bytes int64
			err := r.Scan(&tier, &n, &bytes)
			s.Segments[tier] = n
			s.SegmentBytes += bytes
			return err
		}, "SELECT tier, count(*), CAST(sum(bytes) AS BIGINT) FROM segments GROUP BY tier")
		if err != nil {
			return err
		}
		err = x.each(ctx, func(r *sql.Rows) error {
			var l ledger.LeaseInfo
			var expires sql.NullInt64
			err := r.Scan(&l.Name, &l.Holder, &l.Number, &expires)
			l.Expires = moment(expires)
			s.Leases = append(s.Leases, l)
			return err
		}, "SELECT name, holder, number, expires FROM leases WHERE holder <> '' ORDER BY name")
		if err != nil {
			return err
		}
		return x.newestMarks(ctx, s.NewestMarks)
	})
	if err != nil {
		return nil, fmt.Errorf("reading the ledger's status: %w", err)
	}
	return &s, nil
}

func (x *tx) newestMarks(ctx context.Context, marks map[string]ledger.Mark) error {
	var names []string
	err := x.each(ctx, func(r *sql.Rows) error {
		var name string
		err := r.Scan(&name)
		names = append(names, name)
		return err
	}, "SELECT name FROM streams")
	if err != nil {
		return err
	}
	for _, name := range names {
		m, err := x.mark(ctx, name, "1 = 1 ORDER BY at DESC")
		if err != nil {
			return err
		}
		if m != nil {
			marks[name] = *m
		}
	}
	return nil
}
