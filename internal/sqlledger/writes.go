package sqlledger

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/ledger"
)

// Open implements ledger.Writes.
func (d *DB) Open(ctx context.Context, w ledger.Write) (int64, error) {
	var id int64
	err := d.write(ctx, noLock, func(x *tx) (err error) {
		id, err = x.openWrite(ctx, w)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("opening a %s of stream %s: %w", w.Kind, w.Stream, err)
	}
	return id, nil
}

func (x *tx) openWrite(ctx context.Context, w ledger.Write) (int64, error) {
	now, err := x.now(ctx)
	if err != nil {
		return 0, err
	}
	var id int64
	_, err = x.one(ctx, []any{&id}, `INSERT INTO writes (kind, stream, epoch, owner, state, opened_at, pending)
	    VALUES (?, ?, ?, ?, 'open', ?, 0) RETURNING id`, w.Kind, w.Stream, w.Epoch, w.Owner, now)
	return id, err
}

// AddSegments implements ledger.Writes. Pieces that are more than MaxTx together take several transactions.
func (d *DB) AddSegments(ctx context.Context, write int64, segs []ledger.Segment) error {
	return addPieces(ctx, d, write, segs, segmentSize, (*tx).insertSegments)
}

// AddFiles implements ledger.Writes.
func (d *DB) AddFiles(ctx context.Context, write int64, files []ledger.LakeFile) error {
	return addPieces(ctx, d, write, files, fileSize, (*tx).insertFiles)
}

// rowSize is what a piece costs beside its bytes.
const rowSize = 64

func segmentSize(s *ledger.Segment) int { return len(s.Data) + rowSize }

func fileSize(f *ledger.LakeFile) int { return len(f.Entry) + len(f.Path) + rowSize }

func addPieces[T any](ctx context.Context, d *DB, write int64, pieces []T, size func(*T) int,
	insert func(*tx, context.Context, int64, []T) error,
) error {
	for len(pieces) > 0 {
		n, bytes := 0, 0
		for n < len(pieces) && (n == 0 || bytes+size(&pieces[n]) <= ledger.MaxTx) {
			bytes += size(&pieces[n])
			n++
		}
		err := d.write(ctx, noLock, func(x *tx) error {
			if err := x.assertOpen(ctx, write); err != nil {
				return err
			}
			return insert(x, ctx, write, pieces[:n])
		})
		if err != nil {
			return fmt.Errorf("adding pieces to write %d: %w", write, err)
		}
		pieces = pieces[n:]
	}
	return nil
}

func tooBig(bytes int) error {
	return fault.New(fault.Unknown, "piece_too_big", "pieces of %d bytes are more than one ledger transaction may insert (%d)",
		bytes, ledger.MaxTx)
}

func (x *tx) assertOpen(ctx context.Context, write int64) error {
	var state string
	found, err := x.one(ctx, []any{&state}, "SELECT state FROM writes WHERE id = ?"+x.d.forUpdate, write)
	if err != nil {
		return err
	}
	if !found || state != "open" {
		return ledger.NewLost("write_not_open", nil, "write %d is not open any more", write)
	}
	return nil
}

func (x *tx) insertSegments(ctx context.Context, write int64, segs []ledger.Segment) error {
	for i := range segs {
		s := &segs[i]
		_, err := x.exec(ctx, `INSERT INTO segments
		    (version, tier, from_bucket, to_bucket, n_rows, source, rolled, write_id, bytes, data) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
			s.Version, s.Tier, s.From, s.To, s.Rows, s.Source, flag(s.Rolled), write, len(s.Data), orEmpty(s.Data))
		if err != nil {
			return err
		}
	}
	return nil
}

func (x *tx) insertFiles(ctx context.Context, write int64, files []ledger.LakeFile) error {
	for i := range files {
		f := &files[i]
		_, err := x.exec(ctx, `INSERT INTO lake_files (write_id, table_name, path, records, bytes, committed, entry)
		    VALUES (?, ?, ?, ?, ?, 0, ?)`, write, f.Table, f.Path, f.Records, f.Bytes, orEmpty(f.Entry))
		if err != nil {
			return err
		}
	}
	return nil
}

// keepEnded is how long a write that ended without leaving pieces is remembered.
const keepEnded = time.Hour

// sweepBatch bounds one deleting transaction: at most so many segments, of which hardly one is above MaxTx.
const sweepBatch = 64

// Sweep implements ledger.Writes. The cancelling comes first, in a transaction of its own: from then on
// no seal can make the write true, so its pieces may go in as many steps as it takes.
func (d *DB) Sweep(ctx context.Context, lease ledger.Lease, before time.Time) ([]ledger.LakeFile, error) {
	err := d.write(ctx, noLock, func(x *tx) error {
		if err := x.assertLease(ctx, lease); err != nil {
			return err
		}
		now, err := x.now(ctx)
		if err != nil {
			return err
		}
		_, err = x.exec(ctx, `UPDATE writes SET state = 'cancelled', ended_at = ? WHERE state = 'open' AND opened_at < ?
		    AND NOT EXISTS (SELECT 1 FROM backfill_tasks t WHERE t.write_id = writes.id AND t.state = 'running' AND t.expires > ?)`,
			now, before.UnixMicro(), now)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("cancelling abandoned writes: %w", err)
	}
	for {
		n, err := d.sweepSegments(ctx, lease)
		if err != nil {
			return nil, fmt.Errorf("sweeping segments of cancelled writes: %w", err)
		}
		if n < sweepBatch {
			break
		}
	}
	if err := d.forgetEnded(ctx, lease); err != nil {
		return nil, fmt.Errorf("forgetting ended writes: %w", err)
	}
	var files []ledger.LakeFile
	err = d.read(ctx, func(x *tx) (err error) {
		files, err = x.files(ctx, "w.state = 'cancelled'", "f.id")
		return err
	})
	return files, err
}

func (d *DB) sweepSegments(ctx context.Context, lease ledger.Lease) (n int64, err error) {
	err = d.write(ctx, noLock, func(x *tx) error {
		if err := x.assertLease(ctx, lease); err != nil {
			return err
		}
		n, err = x.exec(ctx, `DELETE FROM segments WHERE id IN (SELECT s.id FROM writes w JOIN segments s ON s.write_id = w.id
		    WHERE w.state = 'cancelled' LIMIT ?)`, sweepBatch)
		return err
	})
	return n, err
}

// forgetEnded drops the rows of writes that ended a while ago and of which no piece is left. The newest
// seal stays, because its number is what the next one counts from.
func (d *DB) forgetEnded(ctx context.Context, lease ledger.Lease) error {
	return d.write(ctx, noLock, func(x *tx) error {
		if err := x.assertLease(ctx, lease); err != nil {
			return err
		}
		now, err := x.now(ctx)
		if err != nil {
			return err
		}
		_, err = x.exec(ctx, `DELETE FROM writes WHERE id IN (SELECT w.id FROM writes w
		    WHERE w.state <> 'open' AND w.ended_at < ? AND w.pending = 0
		      AND (w.seal IS NULL OR w.seal < (SELECT max(seal) FROM writes))
		      AND NOT EXISTS (SELECT 1 FROM segments s WHERE s.write_id = w.id)
		      AND NOT EXISTS (SELECT 1 FROM lake_files f WHERE f.write_id = w.id)
		    ORDER BY w.ended_at LIMIT 10000)`, now-keepEnded.Microseconds())
		return err
	})
}

// Forget implements ledger.Writes.
func (d *DB) Forget(ctx context.Context, lease ledger.Lease, files []ledger.LakeFile) error {
	err := d.write(ctx, noLock, func(x *tx) error {
		if err := x.assertLease(ctx, lease); err != nil {
			return err
		}
		for i := range files {
			_, err := x.exec(ctx, `DELETE FROM lake_files WHERE id = ?
			    AND write_id IN (SELECT id FROM writes WHERE state = 'cancelled')`, files[i].ID)
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("forgetting swept files: %w", err)
	}
	return nil
}

// files loads lake files f of writes w.
func (x *tx) files(ctx context.Context, where, order string, args ...any) ([]ledger.LakeFile, error) {
	return list(ctx, x, func(r *sql.Rows) (f ledger.LakeFile, err error) {
		err = r.Scan(&f.ID, &f.Write, &f.Table, &f.Path, &f.Records, &f.Bytes, &f.Entry)
		return f, err
	}, `SELECT f.id, f.write_id, f.table_name, f.path, f.records, f.bytes, f.entry
	    FROM lake_files f JOIN writes w ON w.id = f.write_id WHERE `+where+" ORDER BY "+order, args...)
}
