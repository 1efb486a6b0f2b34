package batch

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/span"
)

// stories are the lives of processes that stage, commit and maintain.
func stories() []story {
	return []story{
		{name: "stage and commit", live: func(b *bench, m every) error { return b.run(m, m) }},
		{
			name:    "a field is added",
			reaches: []string{"missing", "intent schema pin", "evolve pin", "close schema pin", "commit append pin"},
			before:  func(b *bench) { b.settle(); b.declare() },
			reads:   func(b *bench) { b.ts = makeTopics(2 * records) },
			live: func(b *bench, m every) error {
				if err := b.committer("me", m, m).round(b.t.Context()); err != nil { // the column comes before the rows
					return err
				}
				return b.run(m, m)
			},
			after: (*bench).filled,
		},
		{
			name:    "a stage of many files",
			reaches: []string{"open", "stage pin", "add files", "seal", "commit append pin"},
			reads:   (*bench).manyFiles,
			live:    func(b *bench, m every) error { return b.run(m, m) },
		},
		{
			name:    "a stage is given up",
			reaches: []string{"stage dead_letters", "seal", "take over", "sweep", "discard", "forget"},
			reads:   (*bench).manyFiles,
			live:    givenUp,
		},
		{
			name:    "logs are closed",
			reaches: []string{"add log", "finish import", "intent close logs", "closed logs", "stage logs", "commit append logs", "close close logs", "booked logs"},
			before:  (*bench).settle,
			live: func(b *bench, m every) error {
				if err := imported(b.t.Context(), m, 3); err != nil {
					return err
				}
				return rounds(b, b.committer("me", m, m))
			},
			after: (*bench).closedOnce,
		},
		{
			name: "compact by hand, then expire",
			reaches: []string{
				"rewrite pin", "intent compact pin", "replace pin", "close compact pin", "intent expire pin", "expire pin", "close expire pin",
				"orphans pin", "file paths", "remove orphans",
			},
			before: (*bench).litter,
			live: func(b *bench, m every) error {
				for _, kind := range []string{lake.Compact, lake.Expire} {
					if _, err := b.maintainer(m).Maintain(b.t.Context(), kind, ""); err != nil {
						return err
					}
				}
				return nil
			},
		},
		{
			name:    "a compaction comes too late",
			reaches: []string{"commit skip pin", "close compact pin", "discard"},
			before:  (*bench).litter,
			live:    tooLate,
		},
		{
			name:    "what nobody knows is removed",
			reaches: []string{"load", "orphans pin", "remove orphans", "abandoned", "remove staged"},
			before:  (*bench).litter,
			live: func(b *bench, m every) error {
				c := b.cleaner("me", -time.Hour, m)
				c.led = m
				return c.pass(b.t.Context())
			},
			after: func(b *bench) {
				if err := b.cleaner("me", -time.Hour, b.lake).pass(b.t.Context()); err != nil {
					b.t.Fatal(err)
				}
				if jobs, err := b.lake.Abandoned(b.t.Context(), time.Now().Add(time.Hour)); err != nil || len(jobs) > 0 {
					b.t.Errorf("what an engine left is still there: %q, %v", jobs, err)
				}
			},
		},
	}
}

// declare adds a field.
func (b *bench) declare() {
	b.t.Helper()
	def := definition()
	def.Fields = append(def.Fields, event.Field{Name: "extra0", Type: "json", From: "extra"})
	def.SetDefaults()
	if err := b.led.Apply(b.t.Context(), ledger.Change{Stream: "pin", Epoch: epochOf(b), Schema: &def}); err != nil {
		b.t.Fatal(err)
	}
}

// filled wants a value of the field that declare added in the rows under its schema, and only there.
func (b *bench) filled() {
	b.t.Helper()
	filled := 0
	_, err := b.lake.Scan(b.t.Context(), lake.Selection{Table: "pin", Columns: []string{"extra0", "_schema", "_offset"}}, func(blk *lake.Block) error {
		x, v := &blk.Cols[blk.Index("extra0")], &blk.Cols[blk.Index("_schema")]
		for i := range blk.N {
			if (v.Ints[i] == 2) == x.IsNull(i) {
				b.t.Errorf("schema %d, column is null: %v", v.Ints[i], x.IsNull(i))
			}
			if v.Ints[i] == 2 {
				filled++
			}
		}
		return nil
	})
	if err != nil || filled == 0 {
		b.t.Errorf("%d rows under the new schema, %v", filled, err)
	}
}

// manyFiles is a stage whose files are more than one transaction may take.
func (b *bench) manyFiles() {
	b.ts, b.step, b.piece = makeTopicsApart(records, 24*time.Hour), records, 4<<10
}

// rebalanced is a reader's life with trouble: files cannot be written, and a partition is another's when the stage is sealed.
type rebalanced struct {
	every
	b      *bench
	stages int
	lost   bool
}

func (r *rebalanced) Stage(ctx context.Context, table string, blocks []lake.Block) ([]ledger.LakeFile, error) {
	if table == "pin" {
		r.stages++
		switch r.stages {
		case 1:
			return nil, fault.New(fault.Transient, "busy", "injected: it is tried again")
		case 2:
			return nil, fault.New(fault.Ambiguous, "unknown", "injected: all that is held is dropped")
		}
	}
	return r.every.Stage(ctx, table, blocks)
}

func (r *rebalanced) Seal(ctx context.Context, s ledger.Seal) error {
	if !r.lost {
		r.lost = true
		if _, err := r.DB.TakeOver(ctx, ledger.Batch, "other", span.Key{Log: r.b.log["pin"]}, 0); err != nil {
			return err
		}
	}
	return r.every.Seal(ctx, s)
}

// givenUp is the life of a reader that has to drop what it holds, and of a committer that sweeps what was left.
func givenUp(b *bench, m every) error {
	r := &rebalanced{every: m, b: b}
	if err := b.run(r, r); err != nil {
		return err
	}
	c := b.committer("me", m, m)
	return c.round(b.t.Context())
}

// rounds are as many as it takes to do everything once.
func rounds(b *bench, c *Committer) error {
	for range 3 {
		if err := c.round(b.t.Context()); err != nil {
			return err
		}
	}
	return nil
}

// closedOnce finishes the import of those files that are not, and wants each in the table of closed logs once.
func (b *bench) closedOnce() {
	b.t.Helper()
	if err := imported(b.t.Context(), every{&mortal{DB: b.led}}, 3); err != nil {
		b.t.Fatal(err)
	}
	if err := rounds(b, b.committer("me", b.led, b.lake)); err != nil {
		b.t.Fatal(err)
	}
	b.eachClosedOnce()
	b.verify()
}

// maintainer is a process that somebody started to maintain the tables.
func (b *bench) maintainer(m every) *Committer {
	b.t.Helper()
	c := b.committer("me", m, byHand{m})
	c.cfg.Shape, c.cfg.OrphanAge = b.shape, -time.Hour
	return c
}

// litter leaves small files that nobody merged, a file that nobody knows, and states that an engine left.
func (b *bench) litter() {
	b.t.Helper()
	shape := b.shape
	b.shape.MinFiles = 1000
	b.settle()
	b.shape = shape
	var block lake.Block
	if _, err := b.lake.Scan(b.t.Context(), lake.Selection{Table: "pin"}, func(some *lake.Block) error { return block.Append(some) }); err != nil {
		b.t.Fatal(err)
	}
	if _, err := b.lake.Stage(b.t.Context(), "pin", []lake.Block{block}); err != nil {
		b.t.Fatal(err)
	}
	const state = "engine-states/task-1-1/0/part"
	if b.place.S3.Bucket != "" {
		b.place.S3.Put(b.t, "lake/"+state, nil)
		return
	}
	at := filepath.Join(b.place.Warehouse, state)
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(at, nil, 0o600); err != nil {
		b.t.Fatal(err)
	}
}

// tooLate is the life of a process that merges files which another one has merged meanwhile.
func tooLate(b *bench, m every) error {
	w, err := b.lake.Rewrite(b.t.Context(), "pin", b.shape)
	if err != nil {
		return err
	}
	if _, err := b.maintainer(every{&mortal{DB: b.led, AlteredLake: b.lake, lk: b.lake}}).Maintain(b.t.Context(), lake.Compact, "pin"); err != nil {
		return err
	}
	c := b.maintainer(m)
	c.work.ended = true
	c.work.ready["pin"] = &waiting{Rewrite: w}
	return c.round(b.t.Context())
}

// imported finishes the import of files without a row, those that are not finished.
func imported(ctx context.Context, led every, files int) error {
	snap, err := led.Load(ctx)
	if err != nil {
		return err
	}
	for n := range files {
		topic := fmt.Sprint(n)
		if slices.ContainsFunc(snap.Logs, func(l ledger.Log) bool { return l.TopicID == topic && !l.ClosedAt.IsZero() }) {
			continue
		}
		id, err := led.AddLog(ctx, ledger.Log{Kind: ledger.KindImport, Stream: "pin", ClusterID: "pin", TopicID: topic, Topic: "file " + topic, Partitions: 1})
		if err != nil {
			return err
		}
		held, err := led.TakeOver(ctx, ledger.Batch, "i", span.Key{Log: id}, 0)
		if err != nil {
			return err
		}
		if err := led.FinishImport(ctx, ledger.Import{Log: id, Owner: held.Owner}); err != nil {
			return err
		}
	}
	return nil
}
