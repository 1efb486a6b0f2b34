package batch

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/span"
)

// checkEvery is how often a committer looks whether all of a table is there: it lists its files.
const checkEvery = 10 * time.Minute

const keepAdvice = "keep ledger and lake as they are: rows were lost, repeated or changed by something else. " +
	"Restore log, ledger and lake from one backup; or, if the lake is right as it is, take the ledger away and: pinflow lake adopt"

// conserved compares what the stages counted with what the manifests of their commit hold (D1).
func (c *Committer) conserved(ctx context.Context, in *ledger.Intent, landed lake.Landed) error {
	counts, err := c.led.StageCounts(ctx, in)
	if err != nil {
		return fmt.Errorf("counting the stages of commit %d of table %s: %w", in.N, in.Table, err)
	}
	want := counts.Rows
	if in.Table == ledger.DeadLetters {
		want = counts.Dead
	}
	if landed.Records != want || landed.Files != int64(len(in.Files)) {
		return fault.New(fault.Corrupt, "conservation", "commit %d of table %s added %d files with %d rows, its stages counted %d in %d",
			in.N, in.Table, landed.Files, landed.Records, want, len(in.Files)).
			WithAdvice("keep ledger and lake as they are and report it: rows were lost or repeated")
	}
	return nil
}

// check looks, before this process first commits to a table and then now and again, whether every offset is accounted
// for, the table has the rows that were counted, and its files are there as they were written (D1).
func (c *Committer) check(ctx context.Context, t *kept) error {
	if !t.checked.IsZero() && c.now().Sub(t.checked) < checkEvery {
		return nil
	}
	p, err := c.led.Progress(ctx)
	if err != nil {
		return fmt.Errorf("reading the positions: %w", err)
	}
	var off []span.Key
	for k := range p.Batch {
		if !p.Conserved(k) {
			off = append(off, k)
		}
	}
	if len(off) > 0 {
		k := slices.MinFunc(off, span.Key.Compare)
		return fault.New(fault.Corrupt, "conservation", "%d offsets of partition %s were read for the lake and %d for the live numbers; the ledger accounts for them as %+v and %+v",
			p.Batch[k]-p.Start[k], k, p.Live[k]-p.Start[k], p.BatchCounts[k], p.LiveCounts[k]).WithAdvice(keepAdvice)
	}
	if err := c.accounted(ctx, t.Name); err != nil {
		return err
	}
	if err := c.lake.Whole(ctx, t.Name); err != nil {
		return err
	}
	t.checked = c.now()
	return nil
}

// accounted compares the rows of a table with what the ledger counted (D1). No commit may be open.
func (c *Committer) accounted(ctx context.Context, table string) error {
	head, err := c.lake.Head(ctx, table)
	if err != nil {
		return fmt.Errorf("reading the head of table %s: %w", table, err)
	}
	_, err = Accounted(ctx, c.led, c.lake, table, head)
	return err
}

// BookedLedger is what Accounted needs of the ledger.
type BookedLedger interface {
	Booked(ctx context.Context, table string) (int64, error)
}

// AlteredLake is what Accounted needs of the lake.
type AlteredLake interface {
	LiveRows(ctx context.Context, table string, snapshot int64) (int64, error)
	Altered(ctx context.Context, table string) (*lake.Altered, error)
	Undo(ctx context.Context, a *lake.Altered) error
}

// Accounted compares the rows of a table, of which this is the head, with what the ledger counted (D1), and returns what
// other engines made of it, if they did: a difference is then theirs, fault.Corrupt lake_altered, and so is it if there are
// as many rows, but others. No commit may be open.
func Accounted(ctx context.Context, led BookedLedger, tables AlteredLake, table string, head lake.Head) (*lake.Altered, error) {
	booked, err := led.Booked(ctx, table)
	if err != nil {
		return nil, fmt.Errorf("counting the rows of table %s: %w", table, err)
	}
	rows := head.Rows
	if head.Deletes > 0 {
		if rows, err = tables.LiveRows(ctx, table, head.Snapshot); err != nil {
			return nil, err
		}
	}
	if rows == booked && !head.Foreign {
		return nil, nil
	}
	altered, err := tables.Altered(ctx, table)
	if err != nil {
		return nil, fmt.Errorf("looking for what changed table %s: %w", table, err)
	}
	switch {
	case rows == booked && (altered == nil || altered.Same()):
		return altered, nil
	case altered != nil:
		return altered, altered.Fault(rows, booked)
	}
	return nil, fault.New(fault.Corrupt, "conservation", "table %s has %d rows at commit %d, the ledger counted %d", table, rows, head.Seq, booked).
		WithAdvice(keepAdvice)
}

// looked asserts, when a table is on another snapshot than this process left it on, that it has the rows that were counted:
// before anything is committed on it, so that it can be put back. No open commit may be in it, for the ledger does not
// count it yet.
func (c *Committer) looked(ctx context.Context, t *kept, head lake.Head) error {
	if head.Snapshot == t.base {
		return nil
	}
	altered, err := Accounted(ctx, c.led, c.lake, t.Name, head)
	if err != nil {
		return err
	}
	if altered != nil {
		for _, f := range altered.Made {
			c.log.Warn("another engine wrote to the table, and left its rows as they were", "table", t.Name, "by", f.String())
		}
	}
	t.base = head.Snapshot
	return nil
}
