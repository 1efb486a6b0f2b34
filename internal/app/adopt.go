package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/pinflow/pinflow/internal/config"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/icelake"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/span"
	"github.com/pinflow/pinflow/internal/sqlledger"
)

// AdoptedTable is a table that a new ledger, or a new catalog, is told of.
type AdoptedTable struct {
	Table      string
	Commit     int64
	Rows       int64
	Registered bool  // the catalog did not name it
	Withdrawn  int64 // dead letters whose events are read again
}

// AdoptedLog is a log that a new ledger goes on with.
type AdoptedLog struct {
	Stream, Topic string
	Key           span.Key
	Position      int64
	Counts        ledger.Counts
}

// Adopted is what an adoption does, or would do.
type Adopted struct {
	Tables []AdoptedTable
	Logs   []AdoptedLog
	Ledger bool // it was there, only the catalog was not
	Fresh  bool // no table has a commit: the log is read from its beginning
}

// adopter builds a lost ledger, or a lost catalog, from what the lake says.
type adopter struct {
	p     *config.Project
	s     config.Settings
	log   *slog.Logger
	found map[string]string // metadata by table
	named map[string]string // of these, what the catalog says
	view  *icelake.Lake     // the lake by a catalog of our own, to be looked at
	done  Adopted
	plan  ledger.Adoption
	at    span.Vector
	extra map[span.Key]int64 // dead letters at or beyond the positions
}

// Adopt builds a new ledger from the lake, and registers tables that the catalog does not name. Nothing else may
// run on them. With dry it only says what it would do. fault.Config ledger_not_empty: the ledger was not lost.
func Adopt(ctx context.Context, p *config.Project, log *slog.Logger, dry bool) (_ *Adopted, err error) {
	s := p.Settings
	if err := supported(s, allUnits); err != nil {
		return nil, err
	}
	open := useFolder
	if s.Log.Kind == config.Embedded {
		open = openFolder
	}
	folder, err := open(s.Data)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, folder.close()) }()
	blank, err := sqlledger.Blank(ctx, s.Ledger.DSN)
	if err != nil {
		return nil, err
	}
	left, err := icelake.Look(ctx, lakeConfig(s, log), true)
	if err != nil {
		return nil, fmt.Errorf("looking at the lake: %w", err)
	}
	defer left.Close()
	a := &adopter{p: p, s: s, log: log, found: left.Found(), named: left.Named}
	if len(a.found) == 0 {
		return nil, fault.New(fault.Config, "nothing_to_adopt", "there is no table in the warehouse %s", s.Lake.Warehouse).
			WithAdvice("start pinflow: it makes a lake, or set lake.warehouse to where it is")
	}
	closeView, err := a.look(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, closeView()) }()
	if !blank {
		a.done.Ledger = true
		return a.catalogAlone(ctx, dry)
	}
	if err := a.prepare(ctx); err != nil || dry {
		return &a.done, err
	}
	return &a.done, a.adopt(ctx)
}

// look opens the lake by a catalog of our own.
func (a *adopter) look(ctx context.Context) (closing func() error, err error) {
	dir, err := os.MkdirTemp("", "pinflow-adopt")
	if err != nil {
		return nil, fmt.Errorf("making a folder: %w", err)
	}
	cfg := lakeConfig(a.s, a.log)
	cfg.Catalog = filepath.Join(dir, "catalog.db")
	if a.view, err = icelake.Open(ctx, cfg); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	closing = func() error { return errors.Join(a.view.Close(), os.RemoveAll(dir)) }
	for _, t := range slices.Sorted(maps.Keys(a.found)) {
		if err := a.view.Register(ctx, t, a.found[t]); err != nil {
			return nil, errors.Join(err, closing())
		}
		head, err := a.view.Head(ctx, t)
		if err != nil {
			return nil, errors.Join(err, closing())
		}
		a.done.Tables = append(a.done.Tables, AdoptedTable{Table: t, Commit: head.Seq, Rows: head.Rows, Registered: a.named[t] != a.found[t]})
	}
	return closing, nil
}

// catalogAlone registers tables of a ledger that was not lost.
func (a *adopter) catalogAlone(ctx context.Context, dry bool) (_ *Adopted, err error) {
	lost := slices.ContainsFunc(a.done.Tables, func(t AdoptedTable) bool { return t.Registered })
	led, err := sqlledger.Open(ctx, a.s.Ledger.DSN, a.log)
	if err != nil {
		return nil, fmt.Errorf("opening the ledger: %w", err)
	}
	defer func() { err = errors.Join(err, led.Close()) }()
	if !lost {
		return nil, fault.New(fault.Config, "ledger_not_empty", "the ledger knows of streams, and the catalog of every table: neither was lost").
			WithAdvice("to build the ledger anew, take it away first: move the file, or name an empty database").WithExit(fault.ExitConflict)
	}
	for _, t := range a.done.Tables {
		last, err := led.LastIntent(ctx, t.Table)
		if err != nil {
			return nil, fmt.Errorf("reading the newest commit of table %s: %w", t.Table, err)
		}
		head, err := a.view.Head(ctx, t.Table)
		if err != nil {
			return nil, err
		}
		if err := head.Check(t.Table, last); err != nil {
			return nil, err
		}
	}
	if dry {
		return &a.done, nil
	}
	lk, err := a.register(ctx)
	if err != nil {
		return nil, err
	}
	return &a.done, lk.Close()
}

// register makes the catalog name what was found.
func (a *adopter) register(ctx context.Context) (*icelake.Lake, error) {
	lk, err := icelake.Open(ctx, lakeConfig(a.s, a.log))
	if err != nil {
		return nil, fmt.Errorf("opening the lake: %w", err)
	}
	for _, t := range a.done.Tables {
		if !t.Registered {
			continue
		}
		if err := lk.Register(ctx, t.Table, a.found[t.Table]); err != nil {
			return nil, errors.Join(err, lk.Close())
		}
	}
	return lk, nil
}

// prepare computes the new ledger.
func (a *adopter) prepare(ctx context.Context) error {
	var memos []*ledger.Memo
	for _, t := range a.done.Tables {
		head, err := a.view.Head(ctx, t.Table)
		if err != nil {
			return err
		}
		if head.Seq == 0 {
			continue
		}
		a.plan.Heads = append(a.plan.Heads, ledger.Intent{Table: t.Table, N: head.Seq, ID: head.CommitID, Kind: lake.Append, Snapshot: head.Snapshot, Offsets: head.Offsets})
		if head.Memo == nil {
			return fault.New(fault.Config, "no_memo", "table %s does not keep what a ledger is built of: a version that did not write it made its newest commit", t.Table).
				WithAdvice("restore log, ledger and lake from one backup")
		}
		m, err := ledger.ParseMemo(head.Memo)
		if err != nil {
			return fmt.Errorf("table %s: %w", t.Table, err)
		}
		memos = append(memos, m)
	}
	a.done.Fresh = len(memos) == 0
	a.plan.Streams = ledger.MergeMemos(memos)
	if err := a.closed(ctx, memos); err != nil {
		return err
	}
	a.at = a.plan.Positions()
	return a.count(ctx)
}

// closed adds the closed logs, which are in a table of their own.
func (a *adopter) closed(ctx context.Context, memos []*ledger.Memo) error {
	at := a.plan.Head(ledger.Logs)
	for _, m := range memos {
		if m.Closed > at {
			return fault.New(fault.Config, "lake_mismatch", "the lake's table %s is at commit %d, another table knows of its commit %d: it is gone or older than the others", ledger.Logs, at, m.Closed).
				WithAdvice("restore log, ledger and lake from one backup; nothing was written")
		}
	}
	if at == 0 {
		return nil
	}
	var logs []ledger.ClosedLog
	_, err := a.view.Scan(ctx, lake.Selection{Table: ledger.Logs}, func(b *lake.Block) error {
		some, err := lake.ParseLogs(b)
		logs = append(logs, some...)
		return err
	})
	if err != nil {
		return fmt.Errorf("reading the closed logs: %w", err)
	}
	return ledger.WithClosed(a.plan.Streams, logs)
}

// count counts what the lake holds of each partition.
func (a *adopter) count(ctx context.Context) error {
	rows, dead := map[span.Key]int64{}, map[span.Key]int64{}
	for i := range a.done.Tables {
		t := &a.done.Tables[i]
		if t.Table == ledger.Logs {
			continue
		}
		o, err := a.view.CountOffsets(ctx, t.Table, a.at)
		if err != nil {
			return err
		}
		if t.Table == ledger.DeadLetters {
			dead, a.extra = o.Below, o.Beyond
			for _, n := range o.Beyond {
				t.Withdrawn += n
			}
			continue
		}
		for k, n := range o.Below {
			rows[k] += n
		}
		for k, n := range o.Beyond {
			return fault.New(fault.Corrupt, "conservation", "table %s holds %d rows of partition %s at or beyond offset %d, up to which it says that it goes", t.Table, n, k, a.at[k]).
				WithAdvice("keep the lake as it is and report it")
		}
	}
	a.plan.Counts = map[span.Key]ledger.Counts{}
	for _, s := range a.plan.Streams {
		for _, l := range s.Logs {
			for _, p := range l.Parts {
				if p.Start == nil {
					continue
				}
				k := span.Key{Log: l.ID, Partition: p.Partition}
				c, err := p.Account(k, l.ClosedAt != nil, rows[k], dead[k])
				if err != nil {
					return err
				}
				a.plan.Counts[k] = c
				a.done.Logs = append(a.done.Logs, AdoptedLog{s.Name, l.Topic, k, a.at[k], c})
			}
		}
	}
	return nil
}

// adopt registers the tables, takes out what is read again, and fills the ledger, which comes last: until
// then everything can be repeated.
func (a *adopter) adopt(ctx context.Context) (err error) {
	led, err := sqlledger.Open(ctx, a.s.Ledger.DSN, a.log)
	if err != nil {
		return fmt.Errorf("opening the ledger: %w", err)
	}
	defer func() { err = errors.Join(err, led.Close()) }()
	lease, err := led.Acquire(ctx, "adopt", "adopt:"+uuid.NewString(), time.Minute)
	if fault.Is(err, fault.Lost) {
		return fault.New(fault.Lost, "lease_held", "another process adopts the lake").WithAdvice("wait until it is done").WithExit(fault.ExitConflict)
	} else if err != nil {
		return fmt.Errorf("taking the lease: %w", err)
	}
	defer func() { err = errors.Join(err, led.Release(context.WithoutCancel(ctx), lease)) }()
	lk, err := a.register(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lk.Close()) }()
	if err := a.withdraw(ctx, lk); err != nil {
		return err
	}
	for _, t := range a.done.Tables {
		if err := lk.Accept(ctx, t.Table); err != nil {
			return err
		}
	}
	if a.done.Fresh { // whatever was accepted is in the log
		return applyStreams(ctx, a.p, &ledger.Snapshot{}, led)
	}
	return led.Adopt(ctx, &a.plan)
}

// withdraw takes dead letters out whose stage was not in the lake as a whole: its events are read again.
func (a *adopter) withdraw(ctx context.Context, lk *icelake.Lake) error {
	if len(a.extra) == 0 {
		return nil
	}
	i := slices.IndexFunc(a.plan.Heads, func(in ledger.Intent) bool { return in.Table == ledger.DeadLetters })
	head := &a.plan.Heads[i]
	in := *head
	in.N, in.ID = head.N+1, uuid.NewString()
	if err := lk.Withdraw(ctx, &in, a.at, slices.Collect(maps.Keys(a.extra))); err != nil {
		return err
	}
	now, err := lk.Head(ctx, in.Table)
	if err != nil {
		return err
	}
	head.N, head.ID, head.Snapshot = in.N, in.ID, now.Snapshot
	return nil
}
