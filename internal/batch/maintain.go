package batch

import (
	"context"
	"fmt"
	"time"

	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
)

// Maintained is what one run of maintenance did to a table.
type Maintained struct {
	Table      string
	Rewrites   int
	In, Out    int   // files before and after
	Rows       int64 // in them
	Expired    bool
	FilesAfter int64
	Orphans    int // data files that nobody knew and that were deleted
	Freed      int64
}

// Maintain commits what is sealed, then merges small files until nothing is worth it, or with kind
// lake.Expire drops old snapshots, in every table or the one named. It ends its own run: the committer is not for Run
// afterwards. fault.Lost lease_held: a running process commits to the table, and maintains it.
func (c *Committer) Maintain(ctx context.Context, kind, table string) ([]Maintained, error) {
	c.work.ended = true // rewrites are made here, one after the other
	defer c.release(context.WithoutCancel(ctx))
	if err := c.reload(ctx); err != nil {
		return nil, err
	}
	var all []Maintained
	for _, t := range c.tables {
		if table != "" && t.Name != table {
			continue
		}
		m, err := c.maintain(ctx, kind, t)
		if err != nil {
			return all, fmt.Errorf("maintaining table %s: %w", t.Name, err)
		}
		all = append(all, *m)
	}
	if table != "" && len(all) == 0 {
		return nil, fault.New(fault.Config, "no_table", "the lake has no table %s", table).
			WithAdvice("see those there are with: pinflow lake status")
	}
	return all, nil
}

func (c *Committer) maintain(ctx context.Context, kind string, t *kept) (*Maintained, error) {
	m := &Maintained{Table: t.Name}
	lease, err := c.must(ctx, t.Name)
	if err != nil {
		return nil, err
	}
	if err := c.keep(ctx, lease, t); err != nil {
		return nil, err
	}
	if kind == lake.Expire {
		if err := c.do(ctx, lease, t, lake.Expire); err != nil {
			return nil, err
		}
		m.Expired = true
		gone, err := clean(ctx, c.log, c.led, c.lake, t.Name, c.now().Add(-c.cfg.OrphanAge))
		if err != nil {
			return nil, err
		}
		m.Orphans = len(gone)
		for _, f := range gone {
			m.Freed += f.Bytes
		}
	}
	for kind == lake.Compact {
		r, err := c.lake.Rewrite(ctx, t.Name, c.cfg.Shape)
		if err != nil {
			return nil, err
		}
		if r == nil {
			break
		}
		c.work.ready[t.Name] = &waiting{Rewrite: r}
		if lease, err = c.must(ctx, t.Name); err != nil { // it took a while
			return nil, err
		}
		if err := c.replace(ctx, lease, t); err != nil {
			return nil, err
		}
		m.Rewrites, m.In, m.Out, m.Rows = m.Rewrites+1, m.In+len(r.Inputs), m.Out+len(r.Files), m.Rows+r.Rows
	}
	head, err := c.lake.Head(ctx, t.Name)
	m.FilesAfter = head.Files
	return m, err
}

// must holds the table's lease or says who does. What a killed process held comes free by itself: as long as that may take, it
// waits.
func (c *Committer) must(ctx context.Context, table string) (ledger.Lease, error) {
	until := c.now().Add(c.cfg.LeaseWait)
	for said := false; ; said = true {
		lease, ok, err := c.hold(ctx, "lake:"+table)
		if err != nil || ok {
			return lease, err
		}
		if !c.now().Before(until) {
			return lease, fault.New(fault.Lost, "lease_held", "another process commits to table %s, and keeps it in shape by itself", table).
				WithAdvice("stop it first, or leave it to it").WithExit(fault.ExitConflict)
		}
		if !said {
			c.log.Info("another process holds the table; if it was killed, the table comes free by itself", "table", table, "waiting_until", until.UTC().Format(time.TimeOnly))
		}
		select {
		case <-ctx.Done():
			return lease, context.Cause(ctx)
		case <-time.After(leaseAsk):
		}
	}
}
