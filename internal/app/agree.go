package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/pinflow/pinflow/internal/config"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/icelake"
	"github.com/pinflow/pinflow/internal/kafkalog"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/sqlledger"
)

// compare looks, before anything is made or written, whether a ledger or a catalog that is to be made new
// would be made beside what an earlier one left (L7). It counts the tables that the catalog names.
func compare(ctx context.Context, s config.Settings, log *slog.Logger) (tables int, err error) {
	blank, err := sqlledger.Blank(ctx, s.Ledger.DSN)
	if err != nil {
		return 0, err
	}
	left, err := icelake.Look(ctx, lakeConfig(s, log), blank)
	if err != nil {
		return 0, fmt.Errorf("opening the lake: %w", err)
	}
	defer left.Close()
	if blank {
		return len(left.Named), nothingLeft(s, left)
	}
	if len(left.Named) > 0 {
		return len(left.Named), nil
	}
	led, err := sqlledger.Open(ctx, s.Ledger.DSN, log)
	if err != nil {
		return 0, fmt.Errorf("opening the ledger: %w", err)
	}
	return 0, errors.Join(noAmnesia(ctx, s, led), led.Close())
}

const (
	adoptAdvice   = "build a new one from the lake with: pinflow lake adopt; or restore log, ledger and lake from one backup; nothing was written"
	restoreAdvice = "restore log, ledger and lake from one backup; nothing was written"
)

// nothingLeft refuses to make a new ledger beside a lake that another one has filled, or a log that another
// one was reading: its ledger is lost. Tables without commits are nobody's loss.
func nothingLeft(s config.Settings, left *icelake.Remains) error {
	for _, tables := range []map[string]string{left.Named, left.Newest} {
		for _, t := range slices.Sorted(maps.Keys(tables)) {
			seq, err := left.Seq(tables[t])
			if err != nil {
				return err
			}
			if seq > 0 {
				return fault.New(fault.Config, "lake_mismatch", "table %s of the lake is at commit %d, but its ledger %s", t, seq, gone(s.Ledger.DSN)).
					WithAdvice("%s", adoptAdvice)
			}
		}
	}
	if s.Log.Kind != config.Embedded {
		return nil
	}
	dir := logFolder(s)
	held, err := kafkalog.Holds(dir)
	if err != nil || !held {
		return err
	}
	lost := fault.New(fault.Config, "log_orphaned", "the log in %s holds events, but its ledger %s", dir, gone(s.Ledger.DSN))
	if len(left.Named)+len(left.Newest) > 0 { // nothing was committed yet: it is all in the log
		return lost.WithAdvice("%s", adoptAdvice)
	}
	return lost.WithAdvice("restore log, ledger and lake from one backup, or move the log away to begin anew without what is in it; nothing was written")
}

// gone says of a store that it is not there, or new. A URL may hold a password.
func gone(at string) string {
	if strings.Contains(at, "://") {
		return "in PostgreSQL is gone: that database knows of nothing"
	}
	if info, err := os.Stat(at); err == nil {
		return fmt.Sprintf("%s is gone: the file of %d bytes knows of nothing", at, info.Size())
	}
	return at + " is gone"
}

// noAmnesia refuses to make a new catalog under a ledger that knows of commits.
func noAmnesia(ctx context.Context, s config.Settings, led *sqlledger.DB) error {
	tables, err := knownTables(ctx, led)
	if err != nil {
		return err
	}
	for _, t := range tables {
		last, err := led.LastIntent(ctx, t)
		if err != nil {
			return fmt.Errorf("reading the newest commit of table %s: %w", t, err)
		}
		if last != nil {
			return unregistered(t, last, "but the lake's catalog "+gone(s.Lake.Catalog))
		}
	}
	return nil
}

// unregistered is the fault of a table that the ledger knows and the catalog does not.
func unregistered(table string, last *ledger.Intent, but string) error {
	return fault.New(fault.Config, "lake_mismatch", "the ledger knows of commit %d of table %s, %s", last.N, table, but).
		WithAdvice("register the tables that are in the warehouse again with: pinflow lake adopt; or %s", restoreAdvice)
}

// agree compares every table with the ledger before a port is open or anything is read (L7).
func (p *parts) agree(ctx context.Context) error {
	if err := p.lake.CheckAge(ctx); err != nil {
		return err
	}
	known, err := knownTables(ctx, p.ledger)
	if err != nil {
		return err
	}
	have, err := p.lake.Tables(ctx)
	if err != nil {
		return fmt.Errorf("listing the lake's tables: %w", err)
	}
	for _, t := range have {
		if err := p.agreeOn(ctx, t); err != nil {
			return err
		}
	}
	for _, t := range known {
		if slices.Contains(have, t) {
			continue
		}
		last, err := p.ledger.LastIntent(ctx, t)
		if err != nil {
			return fmt.Errorf("reading the newest commit of table %s: %w", t, err)
		}
		if last != nil {
			return unregistered(t, last, "which the lake's catalog does not have")
		}
	}
	return nil
}

// agreeOn reads the ledger before and after the table: another process may commit meanwhile.
func (p *parts) agreeOn(ctx context.Context, table string) error {
	before, err := p.ledger.LastIntent(ctx, table)
	if err != nil {
		return fmt.Errorf("reading the newest commit of table %s: %w", table, err)
	}
	head, err := p.lake.Head(ctx, table)
	if err != nil {
		return fmt.Errorf("reading the head of table %s: %w", table, err)
	}
	if head.Check(table, before) == nil {
		return nil
	}
	after, err := p.ledger.LastIntent(ctx, table)
	if err != nil {
		return fmt.Errorf("reading the newest commit of table %s: %w", table, err)
	}
	if before != nil && after != nil && before.N <= head.Seq && head.Seq < after.N {
		return nil
	}
	return head.Check(table, after)
}

// knownTables are the tables that the ledger fills.
func knownTables(ctx context.Context, led *sqlledger.DB) ([]string, error) {
	snap, err := led.Load(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the catalogue: %w", err)
	}
	tables := []string{ledger.DeadLetters, ledger.Logs}
	for _, s := range snap.Streams {
		tables = append(tables, s.Name)
	}
	return tables, nil
}
