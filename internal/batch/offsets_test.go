package batch

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/icelake"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/prove"
	"github.com/pinflow/pinflow/internal/span"
	"github.com/pinflow/pinflow/internal/testbed"
)

// untilCompared commits until the offsets of both tables have been looked at, or to the first error. Each round is far from
// the one before.
func (b *bench) untilCompared(c *Committer, from time.Time) error {
	b.t.Helper()
	now := from
	c.now = func() time.Time { return now }
	defer c.offsets.end()
	for range 2 { // tables are due offsetsAfter the first round
		for _, table := range []string{"pin", ledger.DeadLetters} {
			if err := c.round(b.t.Context()); err != nil {
				return err
			}
			if c.offsets.stop == nil {
				continue
			}
			done := <-c.offsets.out // as a later round would
			b.t.Logf("compared %+v beside %s", done, table)
			c.offsets.out <- done
			if err := c.round(b.t.Context()); err != nil {
				return err
			}
		}
		now = now.Add(offsetsAfter)
	}
	return nil
}

// D1: once a day the rows of each partition are those that were counted, before and after files were merged, snapshots
// expired, and with stages on their way. Nothing is left pinned.
func TestOffsetsAreThoseCounted(t *testing.T) { testbed.Everywhere(t, offsetsAreThoseCounted) }

func offsetsAreThoseCounted(t *testing.T, p testbed.Place) {
	prove.Invariant(t, "D1", p.On...)
	b := newBench(t, p, 120)
	b.settle()
	b.read()
	start := time.Now()
	for day := range 3 {
		c := b.committer("me", b.led, b.lake)
		if err := b.untilCompared(c, start.AddDate(0, 0, day)); err != nil {
			t.Fatal(err)
		}
		for _, table := range []string{"pin", ledger.DeadLetters} {
			if wait := c.offsets.due[table].Sub(c.now()); wait <= offsetsAfter {
				t.Errorf("the offsets of %s are to be compared in %v", table, wait)
			}
			lease, _, err := c.hold(t.Context(), "lake:"+table)
			if err != nil {
				t.Fatal(err)
			}
			for _, k := range c.tables {
				if k.Name == table {
					if err := c.do(t.Context(), lease, k, lake.Expire); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		c.release(t.Context())
	}
	if tags, err := b.lake.Pins(t.Context(), "pin", ""); err != nil || len(tags) != 0 {
		t.Errorf("left %v, %v", tags, err)
	}
	b.verify()
}

// elsewhere is a ledger or a lake of which some rows are of another partition, or of another offset, while their number
// is right.
type elsewhere struct {
	*icelake.Lake
	harm func(map[span.Key]lake.Extent)
}

func (e elsewhere) Extents(ctx context.Context, table string, snapshot int64) (map[span.Key]lake.Extent, error) {
	all, err := e.Lake.Extents(ctx, table, snapshot)
	if err == nil && table == "pin" {
		e.harm(all)
	}
	return all, err
}

// D1: what the number of a table's rows cannot tell is told by its partitions' offsets, and stops the committer.
func TestMovedRowsStopTheCommitter(t *testing.T) {
	harms := map[string]struct {
		harm func(map[span.Key]lake.Extent)
		says string
	}{
		"a row of another partition": {func(all map[span.Key]lake.Extent) {
			step := int64(1)
			for k, e := range all {
				e.Rows += step
				all[k], step = e, -step
			}
		}, "rows of partition"},
		"an offset that nobody read": {func(all map[span.Key]lake.Extent) {
			for k, e := range all {
				e.Most = 1 << 40
				all[k] = e
			}
		}, "1099511627776"},
		"a partition of no log": {func(all map[span.Key]lake.Extent) { all[span.Key{Log: 99}] = lake.Extent{Rows: 1} }, "the ledger counted 0"},
	}
	for name, h := range harms {
		t.Run(name, func(t *testing.T) {
			p := testbed.Local(t.TempDir())
			prove.Invariant(t, "D1", p.On...)
			b := newBench(t, p, 60)
			b.settle()
			err := b.untilCompared(b.committer("me", b.led, elsewhere{b.lake, h.harm}), time.Now())
			if !fault.Is(err, fault.Corrupt) || fault.CodeOf(err) != "conservation" || !strings.Contains(err.Error(), h.says) {
				t.Errorf("a round over it: %v", err)
			}
		})
	}
}
