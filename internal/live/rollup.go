package live

import (
	"context"
	"time"

	"github.com/pinflow/pinflow/internal/calendar"
	"github.com/pinflow/pinflow/internal/fold"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/segment"
)

// rollUp merges the segments of a tier whose buckets are closed into the next tier. What comes later for
// the same buckets is a segment of its own, which a later pass rolls up: states merge in any order. What
// the coarsest tier does not keep is rolled up into nothing.
func (c *Compactor) rollUp(ctx context.Context, lease ledger.Lease, v version, tier calendar.Grain) error {
	all, err := c.segments(ctx, v, tier, false)
	if err != nil {
		return err
	}
	now := time.Now().UnixMicro()
	shelf, floor := segment.NewShelf(v.c, tier, now), segment.Floor(v.c, tier, now)
	var ready []ledger.Segment
	for _, s := range all {
		if shelf.Closed(s.To) && (tier < calendar.Day || s.To < floor) {
			ready = append(ready, s)
		}
	}
	for _, group := range segment.PlanRollup(shelve(shelf, ready)) {
		var out []ledger.Segment
		if tier < calendar.Day {
			merged, err := c.merge(ctx, v, ready, group, tier+1)
			if merged == nil || err != nil {
				return err
			}
			cut := calendar.NewClock(v.c.Zone).Date
			if out, err = c.encode(v, merged.Split(fold.MaxBlock, cut), tier+1, ledger.SourceRolled); err != nil {
				return err
			}
		}
		if err := c.replace(ctx, lease, ledger.RolledUp, idsOf(ready, group), out); err != nil {
			return err
		}
	}
	return nil
}

// drop forgets what the tier does not keep and the next one has.
func (c *Compactor) drop(ctx context.Context, lease ledger.Lease, v version, tier calendar.Grain) error {
	floor := segment.Floor(v.c, tier, time.Now().UnixMicro())
	if floor == calendar.Beginning {
		return nil
	}
	n, err := c.store.DropRolled(ctx, lease, v.id, tier.String(), floor)
	if err != nil {
		return err
	}
	if n > 0 {
		c.log.Debug("dropped what is kept no longer", "view", v.view, "tier", tier.String(), "segments", n)
	}
	return nil
}
