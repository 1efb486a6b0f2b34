package batch

import (
	"context"
	"fmt"

	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
)

// closeLogs makes a commit land that brings closed logs. The ledger names the same logs whenever it is repeated;
// their file is written anew, because no ledger knows of it. One that a failed attempt left stays, for the attempt may
// yet land: it is the table's then, or an orphan.
func (c *Committer) closeLogs(ctx context.Context, in *ledger.Intent) (lake.Landed, error) {
	head, err := c.lake.Head(ctx, in.Table)
	if err != nil {
		return lake.Landed{}, fmt.Errorf("reading the head of table %s: %w", in.Table, err)
	}
	c.epoch = nil // whether more is to be done is asked anew
	if head.Seq >= in.N {
		return c.skip(ctx, in) // it finds that it is there
	}
	logs, err := c.led.ClosedLogs(ctx, in)
	if err != nil {
		return lake.Landed{}, err
	}
	rows, err := lake.LogRows(logs)
	if err != nil {
		return lake.Landed{}, err
	}
	add := *in
	add.Kind = lake.Append
	if add.Files, err = c.lake.Stage(ctx, in.Table, []lake.Block{*rows}); err != nil {
		return lake.Landed{}, err
	}
	landed, err := c.lake.Commit(ctx, &add)
	if err != nil {
		return landed, err
	}
	if landed.Records != int64(len(logs)) {
		return landed, fault.New(fault.Corrupt, "conservation", "commit %d of table %s added %d rows, not %d", in.N, in.Table, landed.Records, len(logs)).
			WithAdvice("keep ledger and lake as they are and report it: rows were lost or repeated")
	}
	c.log.Debug("put closed logs into the lake", "logs", len(logs))
	return landed, nil
}
