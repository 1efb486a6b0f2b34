package batch

import (
	"context"
	"fmt"

	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
)

// rewriter merges small files outside the lease, one table at a time, beside the commits. What it wrote
// waits for the committer to put it in place.
type rewriter struct {
	lake    Tables
	shape   lake.Shape
	giveWay func(ctx context.Context) string
	behind  func() bool

	fresh  map[string]int      // files added since the last look, by table
	ready  map[string]*waiting // by table
	out    chan rewritten      // of the one that runs
	cancel context.CancelFunc  // nil: none runs
	ended  bool                // none may start
}

type rewritten struct {
	table string
	r     *lake.Rewrite
	err   error
}

// waiting is a rewrite that waits for its commit.
type waiting struct {
	*lake.Rewrite
	intent string // id of the commit that was opened for it
}

func newRewriter(tables Tables, shape lake.Shape, giveWay func(context.Context) string, behind func() bool) *rewriter {
	return &rewriter{lake: tables, shape: shape, giveWay: giveWay, behind: behind, fresh: map[string]int{}, ready: map[string]*waiting{}, out: make(chan rewritten, 1)}
}

// patience is how many times as many new files it takes for a rewrite while the reader is behind. Merging takes
// a good part of the processor and of the memory that catching up wants, and what is merged late is
// merged once, by many files. It does not wait for ever: a reader that never catches up must not fill the
// table with small files.
const patience = 8

// appended notes new files of a table, and starts a rewrite when there may be enough of them.
func (w *rewriter) appended(ctx context.Context, table string, files int) {
	w.fresh[table] += files
	w.consider(ctx, table)
}

// consider starts a rewrite when there may be enough new files of a table.
func (w *rewriter) consider(ctx context.Context, table string) {
	n := w.fresh[table]
	if w.ended || n < w.shape.MinFiles || w.cancel != nil || w.ready[table] != nil {
		return
	}
	if n < patience*w.shape.MinFiles && w.behind() || w.giveWay(ctx) != "" {
		return // the files are counted: it starts in a later round
	}
	ctx, w.cancel = context.WithCancel(ctx)
	go func() {
		r, err := w.lake.Rewrite(ctx, table, w.shape)
		w.out <- rewritten{table, r, err}
	}()
}

// collect takes what has been rewritten. While a table has something to merge it is looked at again
// in the next round.
func (w *rewriter) collect() error {
	if w.cancel == nil {
		return nil
	}
	select {
	case done := <-w.out:
		return w.take(done)
	default:
		return nil
	}
}

func (w *rewriter) take(done rewritten) error {
	w.cancel()
	w.cancel = nil
	if done.err != nil {
		w.fresh[done.table] = 0
		return fmt.Errorf("merging small files of table %s: %w", done.table, done.err)
	}
	if done.r == nil {
		w.fresh[done.table] = 0
		return nil
	}
	w.ready[done.table] = &waiting{Rewrite: done.r}
	return nil
}

// stop ends what runs; a rewrite that is cut off removes its files.
func (w *rewriter) stop() {
	w.ended = true
	if w.cancel == nil {
		return
	}
	w.cancel()
	done := <-w.out
	if done.err != nil {
		done.err, done.r = nil, nil // asked for
	}
	_ = w.take(done)
}

// replace commits the table's rewrite, if one waits.
func (c *Committer) replace(ctx context.Context, lease ledger.Lease, t *kept) error {
	w := c.work.ready[t.Name]
	if w == nil {
		return nil
	}
	in, err := c.led.Intent(ctx, lease, t.Name, lake.Compact, 0)
	if err != nil || in == nil {
		return err
	}
	w.intent = in.ID
	if err := c.finish(ctx, lease, t, in); err != nil {
		return err
	}
	c.log.Debug("merged small files", "table", t.Name, "from", len(w.Inputs), "to", len(w.Files), "rows", w.Rows)
	return nil
}

// compact makes a compaction land. One that this process did not open, and one whose inputs are gone,
// ends as a commit of its number alone.
func (c *Committer) compact(ctx context.Context, in *ledger.Intent) (lake.Landed, error) {
	w := c.work.ready[in.Table]
	if w == nil || w.intent != in.ID {
		return c.skip(ctx, in)
	}
	landed, err := c.lake.Replace(ctx, in, w.Rewrite)
	if fault.CodeOf(err) == "inputs_gone" {
		c.log.Info("dropping a rewrite whose inputs are gone", "table", in.Table, "cause", err)
		if landed, err = c.skip(ctx, in); err == nil {
			delete(c.work.ready, in.Table)
			if left := c.lake.Discard(ctx, w.Files); left != nil {
				c.log.Warn("left files that nothing names", "table", in.Table, "error", left)
			}
		}
		return landed, err
	}
	if err == nil {
		delete(c.work.ready, in.Table)
	}
	return landed, err
}

// skip lands a commit of the number alone: what it was to do can no longer be done.
func (c *Committer) skip(ctx context.Context, in *ledger.Intent) (lake.Landed, error) {
	skip := *in
	skip.Kind = lake.Skip
	return c.lake.Commit(ctx, &skip)
}
