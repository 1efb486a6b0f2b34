package batch

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/span"
)

const (
	// offsetsAfter is how long after the start of a process, and after the end of each day (UTC), the offsets of a
	// table are looked at: they are read from all its files.
	offsetsAfter = 10 * time.Minute
	// offsetsPin is how long the snapshot that is read is kept at most. A reader that takes longer begins again.
	offsetsPin  = 6 * time.Hour
	unpinBudget = 10 * time.Second
)

// OffsetsLedger is what Moment needs of the ledger.
type OffsetsLedger interface {
	LastIntent(ctx context.Context, table string) (*ledger.Intent, error)
	BookedOffsets(ctx context.Context, table string) (map[span.Key]ledger.BookedOffsets, error)
}

// OffsetsLake is what comparing needs of the lake.
type OffsetsLake interface {
	Head(ctx context.Context, table string) (lake.Head, error)
	PinFor(ctx context.Context, table, tag string, snapshot int64, most time.Duration) (int64, error)
	Unpin(ctx context.Context, table string, tags ...string) error
	Extents(ctx context.Context, table string, snapshot int64) (map[span.Key]lake.Extent, error)
}

// Moment is a table of the lake, and what the ledger says of where its rows came from, at the same time.
type Moment struct {
	table  string
	head   lake.Head
	booked map[span.Key]ledger.BookedOffsets
}

// MomentOf asks both, also while others commit; nil: a commit was under way.
func MomentOf(ctx context.Context, led OffsetsLedger, tables OffsetsLake, table string) (*Moment, error) {
	before, err := led.LastIntent(ctx, table)
	if err != nil {
		return nil, fmt.Errorf("reading the newest commit of table %s: %w", table, err)
	}
	m := &Moment{table: table}
	if m.head, err = tables.Head(ctx, table); err != nil {
		return nil, fmt.Errorf("reading the head of table %s: %w", table, err)
	}
	if m.booked, err = led.BookedOffsets(ctx, table); err != nil {
		return nil, err
	}
	after, err := led.LastIntent(ctx, table)
	if err != nil {
		return nil, fmt.Errorf("reading the newest commit of table %s: %w", table, err)
	}
	n := int64(0)
	if after != nil {
		n = after.N
	}
	if (before == nil) != (after == nil) || before != nil && (before.Open || after.Open || before.ID != after.ID) || m.head.Seq != n {
		return nil, nil
	}
	return m, nil
}

// Compare reads where each row came from and returns their number. The tag keeps the files from being deleted
// meanwhile. fault.Corrupt conservation: a partition has not the rows that the ledger counted, or others (D1).
func (m *Moment) Compare(ctx context.Context, tables OffsetsLake, tag string) (rows int64, err error) {
	found := map[span.Key]lake.Extent{}
	if m.head.Snapshot != 0 {
		if _, err := tables.PinFor(ctx, m.table, tag, m.head.Snapshot, offsetsPin); err != nil {
			return 0, err
		}
		defer func() {
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), unpinBudget)
			defer cancel()
			if left := tables.Unpin(last, m.table, tag); err == nil {
				err = left // the tag ends by itself
			}
		}()
		if found, err = tables.Extents(ctx, m.table, m.head.Snapshot); err != nil {
			return 0, err
		}
	}
	for _, e := range found {
		rows += e.Rows
	}
	return rows, differ(m.table, m.head, found, m.booked)
}

// offsets compares, beside the commits and one table at a time, where the rows of a table came from with what the
// ledger counted (D1). Counts of a whole table cannot tell a row that was lost from one that came twice.
type offsets struct {
	due  map[string]time.Time // by table, when it is looked at next
	out  chan compared        // of the one that runs
	stop context.CancelFunc   // nil: none runs
}

type compared struct {
	table string
	rows  int64
	err   error
}

func newOffsets() *offsets {
	return &offsets{due: map[string]time.Time{}, out: make(chan compared, 1)}
}

// compareOffsets starts to look at a table if it is time to.
func (c *Committer) compareOffsets(ctx context.Context, table string) error {
	o, now := c.offsets, c.now()
	if _, known := o.due[table]; !known {
		o.due[table] = now.Add(offsetsAfter)
	}
	if table == ledger.Logs || c.ending || o.stop != nil || now.Before(o.due[table]) || c.cfg.GiveWay(ctx) != "" {
		return nil
	}
	m, err := MomentOf(ctx, c.led, c.lake, table)
	if err != nil || m == nil {
		return err
	}
	ctx, o.stop = context.WithCancel(ctx)
	go func() {
		rows, err := m.Compare(ctx, c.lake, "offsets-"+c.cfg.Owner)
		o.out <- compared{table, rows, err}
	}()
	return nil
}

// differ names the first partition of which a table does not hold what was counted.
func differ(table string, head lake.Head, found map[span.Key]lake.Extent, booked map[span.Key]ledger.BookedOffsets) error {
	keys := maps.Clone(found)
	for k := range booked {
		keys[k] = found[k]
	}
	for _, k := range slices.SortedFunc(maps.Keys(keys), span.Key.Compare) {
		e, b := found[k], booked[k]
		what := ""
		switch {
		case e.Rows != b.Rows:
			what = fmt.Sprintf("%d rows of partition %s, the ledger counted %d", e.Rows, k, b.Rows)
		case e.Rows > 0 && (e.Least < b.From || e.Most >= b.To):
			what = fmt.Sprintf("rows of partition %s with offsets from %d to %d, the ledger has read those from %d to %d", k, e.Least, e.Most, b.From, b.To-1)
		default:
			continue
		}
		return fault.New(fault.Corrupt, "conservation", "table %s has at commit %d %s", table, head.Seq, what).WithAdvice(keepAdvice)
	}
	return nil
}

// collectOffsets takes the result of the comparison that ran, if it has ended. One that failed is made again in a while, for
// it disturbs nobody; a difference is an alarm.
func (c *Committer) collectOffsets() error {
	o := c.offsets
	if o.stop == nil {
		return nil
	}
	var done compared
	select {
	case done = <-o.out:
	default:
		return nil
	}
	o.stop()
	o.stop = nil
	now := c.now()
	if done.err != nil {
		o.due[done.table] = now.Add(offsetsAfter)
		if fault.CodeOf(done.err) == "no_snapshot" {
			c.log.Info("comparing the offsets of the lake begins again", "table", done.table, "cause", done.err)
			return nil
		}
		return fmt.Errorf("comparing the offsets of table %s: %w", done.table, done.err)
	}
	o.due[done.table] = now.UTC().Truncate(24 * time.Hour).Add(24*time.Hour + offsetsAfter)
	c.m.OffsetsCompared.WithLabelValues(done.table).Set(float64(now.Unix()))
	c.log.Info("compared the offsets of the lake with the ledger", "table", done.table, "rows", done.rows)
	return nil
}

// end cuts off what runs.
func (o *offsets) end() {
	if o.stop != nil {
		o.stop()
		<-o.out
		o.stop = nil
	}
}
