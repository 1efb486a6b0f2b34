package batch

import (
	"context"
	"fmt"
	"slices"

	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/lake"
)

// Undo puts a table back on what pinflow left, if another engine changed its rows since, and returns what that had done;
// nil: the table has the rows that were counted. As Maintain it is for when no process commits to the table.
func (c *Committer) Undo(ctx context.Context, table string) (*lake.Altered, error) {
	defer c.release(context.WithoutCancel(ctx))
	if err := c.reload(ctx); err != nil {
		return nil, err
	}
	at := slices.IndexFunc(c.tables, func(t *kept) bool { return t.Name == table })
	if at < 0 {
		return nil, fault.New(fault.Config, "no_table", "the lake has no table %s", table).
			WithAdvice("see those there are with: pinflow lake status")
	}
	lease, err := c.must(ctx, table)
	if err != nil {
		return nil, err
	}
	last, head, err := c.agree(ctx, table)
	if err != nil {
		return nil, err
	}
	if last != nil && last.Open && head.Seq == last.N { // the ledger is to count it, too
		if err := c.finish(ctx, lease, c.tables[at], last); err != nil {
			return nil, err
		}
	}
	altered, err := Accounted(ctx, c.led, c.lake, table, head)
	if fault.CodeOf(err) != "lake_altered" {
		return nil, err
	}
	booked, err := c.led.Booked(ctx, table)
	if err != nil {
		return nil, fmt.Errorf("counting the rows of table %s: %w", table, err)
	}
	was, err := c.lake.LiveRows(ctx, table, altered.Base)
	if err != nil {
		return nil, err
	}
	if was != booked {
		return nil, fault.New(fault.Corrupt, "conservation", "table %s had %d rows before another engine changed it, the ledger counted %d: it was not put back", table, was, booked).
			WithAdvice(keepAdvice)
	}
	if err := c.lake.Undo(ctx, altered); err != nil {
		return nil, err
	}
	if err := c.accounted(ctx, table); err != nil {
		return altered, err
	}
	return altered, c.lake.Whole(ctx, table)
}
