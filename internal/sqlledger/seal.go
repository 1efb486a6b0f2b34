package sqlledger

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/span"
)

// Seal implements ledger.Writes.
func (d *DB) Seal(ctx context.Context, s ledger.Seal) error {
	if err := checkSeal(&s); err != nil {
		return err
	}
	err := d.write(ctx, shared, func(x *tx) error {
		if err := x.assertEpoch(ctx, &s.Write); err != nil {
			return err
		}
		now, err := x.now(ctx)
		if err != nil {
			return err
		}
		id, err := x.sealWrite(ctx, &s, now)
		if err != nil {
			return err
		}
		if err := x.move(ctx, &s); err != nil {
			return err
		}
		if err := x.insertSegments(ctx, id, s.Segments); err != nil {
			return err
		}
		if err := x.insertFiles(ctx, id, s.Files); err != nil {
			return err
		}
		if s.Write.Kind != ledger.Stage {
			return nil
		}
		return x.sealStage(ctx, id, &s)
	})
	if err != nil {
		return fmt.Errorf("sealing a %s of stream %s: %w", s.Write.Kind, s.Write.Stream, err)
	}
	return nil
}

// checkSeal refuses what can be seen without the database.
func checkSeal(s *ledger.Seal) error {
	size := 0
	for i := range s.Segments {
		size += segmentSize(&s.Segments[i])
	}
	for i := range s.Files {
		size += fileSize(&s.Files[i])
	}
	if size > ledger.MaxTx && len(s.Segments)+len(s.Files) > 1 {
		return tooBig(size)
	}
	seen := make(map[span.Key]bool, len(s.Moves))
	for _, m := range s.Moves {
		c := m.Counts
		if seen[m.Key] || m.To < m.From || min(c.Rows, c.Dead, c.Duplicates, c.Gaps, c.Lost) < 0 {
			return fault.New(fault.Corrupt, "bad_move", "the move of partition %s to [%d, %d) with counts %+v is not one",
				m.Key, m.From, m.To, c)
		}
		if m.To-m.From != c.Sum() {
			return fault.New(fault.Corrupt, "counts_differ", "partition %s: %d offsets in [%d, %d), but %d are accounted for: %+v",
				m.Key, m.To-m.From, m.From, m.To, c.Sum(), c).WithAdvice("this is a bug: keep the data and report it")
		}
		seen[m.Key] = true
	}
	return nil
}

func keysOf(moves []ledger.Move) []span.Key {
	keys := make([]span.Key, len(moves))
	for i := range moves {
		keys[i] = moves[i].Key
	}
	return keys
}

func (x *tx) assertEpoch(ctx context.Context, w *ledger.Write) error {
	var epoch int64
	found, err := x.one(ctx, []any{&epoch}, "SELECT epoch FROM catalogue WHERE stream = ?", w.Stream)
	if err != nil {
		return err
	}
	if !found || epoch != w.Epoch {
		return fault.New(fault.Stale, "epoch_moved", "the catalogue moved (epoch %d, held %d)", epoch, w.Epoch)
	}
	return nil
}

// sealWrite marks the write sealed, by compare-and-set against the sweeper, or makes it here.
func (x *tx) sealWrite(ctx context.Context, s *ledger.Seal, now int64) (int64, error) {
	w := &s.Write
	if s.ID == 0 {
		var id int64
		_, err := x.one(ctx, []any{&id}, `INSERT INTO writes (kind, stream, epoch, owner, state, opened_at, ended_at, seal, pending)
		    VALUES (?, ?, ?, ?, 'sealed', ?, ?, `+x.d.nextSeal+`, 0) RETURNING id`, w.Kind, w.Stream, w.Epoch, w.Owner, now, now)
		return id, err
	}
	n, err := x.exec(ctx, `UPDATE writes SET state = 'sealed', ended_at = ?, seal = `+x.d.nextSeal+`
	    WHERE id = ? AND state = 'open' AND kind = ? AND stream = ? AND owner = ? AND epoch = ?`,
		now, s.ID, w.Kind, w.Stream, w.Owner, w.Epoch)
	if n == 1 || err != nil {
		return s.ID, err
	}
	var state, owner string
	var epoch int64
	found, err := x.one(ctx, []any{&state, &owner, &epoch}, "SELECT state, owner, epoch FROM writes WHERE id = ?", s.ID)
	switch {
	case err != nil:
		return 0, err
	case found && state == "open" && owner == w.Owner && epoch != w.Epoch:
		return 0, fault.New(fault.Stale, "epoch_moved", "write %d was opened under epoch %d, the catalogue is at %d", s.ID, epoch, w.Epoch)
	case !found:
		state = "gone"
	}
	return 0, ledger.NewLost("write_not_open", keysOf(s.Moves), "write %d is %s, of owner %q", s.ID, state, owner)
}

// move asserts owner and position of every partition and moves it. It looks at all of them, so that
// the fault names every lost one.
func (x *tx) move(ctx context.Context, s *ledger.Seal) error {
	var lost []span.Key
	for i := range s.Moves {
		m := &s.Moves[i]
		n, err := x.exec(ctx, `UPDATE positions SET next_offset = ?
		    WHERE log_id = ? AND part = ? AND unit = ? AND owner = ? AND next_offset = ?
		      AND EXISTS (SELECT 1 FROM logs WHERE id = ? AND stream = ? AND closed_at IS NULL)`,
			m.To, m.Key.Log, m.Key.Partition, s.Unit, m.Owner, m.From, m.Key.Log, s.Write.Stream)
		if err != nil {
			return err
		}
		if n == 0 {
			lost = append(lost, m.Key)
			continue
		}
		c := &m.Counts
		_, err = x.exec(ctx, `UPDATE counts SET n_rows = n_rows + ?, dead = dead + ?, duplicates = duplicates + ?, gaps = gaps + ?,
		    lost = lost + ? WHERE log_id = ? AND part = ? AND unit = ?`,
			c.Rows, c.Dead, c.Duplicates, c.Gaps, c.Lost, m.Key.Log, m.Key.Partition, s.Unit)
		if err != nil {
			return err
		}
	}
	if len(lost) == 0 {
		return nil
	}
	return x.lostMoves(ctx, s, lost)
}

func (x *tx) lostMoves(ctx context.Context, s *ledger.Seal, lost []span.Key) error {
	what := ""
	for i := range s.Moves {
		m := &s.Moves[i]
		if m.Key != lost[0] {
			continue
		}
		var owner, position int64
		var name string
		found, err := x.one(ctx, []any{&owner, &name, &position}, `SELECT owner, owner_name, next_offset FROM positions
		    WHERE log_id = ? AND part = ? AND unit = ?`, m.Key.Log, m.Key.Partition, s.Unit)
		if err != nil {
			return err
		}
		what = "it was never taken over"
		if found {
			what = fmt.Sprintf("owner %d (%s) is at %d, not owner %d at %d", owner, name, position, m.Owner, m.From)
		}
	}
	return ledger.NewLost("partition_lost", lost, "partition %s is not held: %s", lost[0], what)
}

// sealStage checks that the stage's files hold what was counted, and keeps its moves until every file
// is in its table.
func (x *tx) sealStage(ctx context.Context, id int64, s *ledger.Seal) error {
	var want, have ledger.Counts
	for i := range s.Moves {
		want = want.Add(s.Moves[i].Counts)
	}
	var files int64
	err := x.each(ctx, func(r *sql.Rows) error {
		var table string
		var n, records int64
		err := r.Scan(&table, &n, &records)
		if files += n; table == ledger.DeadLetters {
			have.Dead += records
		} else {
			have.Rows += records
		}
		return err
	}, "SELECT table_name, count(*), CAST(sum(records) AS BIGINT) FROM lake_files WHERE write_id = ? GROUP BY table_name", id)
	if err != nil {
		return err
	}
	if have.Rows != want.Rows || have.Dead != want.Dead {
		return fault.New(fault.Corrupt, "counts_differ", "the stage counted %d rows and %d dead letters, but its files hold %d and %d",
			want.Rows, want.Dead, have.Rows, have.Dead).WithAdvice("this is a bug: keep the data and report it")
	}
	if files == 0 {
		return nil
	}
	if _, err := x.exec(ctx, "UPDATE writes SET pending = ? WHERE id = ?", files, id); err != nil {
		return err
	}
	for _, m := range s.Moves {
		c := m.Counts
		_, err := x.exec(ctx, `INSERT INTO stage_moves
		    (write_id, log_id, part, from_offset, to_offset, n_rows, dead, duplicates, gaps, lost) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
			id, m.Key.Log, m.Key.Partition, m.From, m.To, c.Rows, c.Dead, c.Duplicates, c.Gaps, c.Lost)
		if err != nil {
			return err
		}
	}
	return nil
}
