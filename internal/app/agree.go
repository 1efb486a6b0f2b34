package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/icelake"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
)

// missingFile tells whether a store that is kept in a file is not there. A URL is a server's affair.
func missingFile(name string) (bool, error) {
	if strings.Contains(name, "://") {
		return false, nil
	}
	_, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	return false, err
}

// noOrphan refuses to make a new ledger beside a lake that another one has filled: its ledger is lost (L7).
// Tables without commits are nobody's loss.
func (p *parts) noOrphan(ctx context.Context) (err error) {
	s := p.cfg.Project.Settings
	if strings.Contains(s.Lake.Catalog, "://") {
		return nil // looked at by agree, when it is open
	}
	fresh, err := missingFile(s.Ledger.DSN)
	if err != nil || !fresh {
		return err
	}
	none, err := missingFile(s.Lake.Catalog)
	if err != nil || none {
		return err
	}
	lk, err := icelake.Open(ctx, lakeConfig(s, p.log))
	if err != nil {
		return fmt.Errorf("opening the lake: %w", err)
	}
	defer func() { err = errors.Join(err, lk.Close()) }()
	tables, err := lk.Tables(ctx)
	if err != nil {
		return fmt.Errorf("listing the lake's tables: %w", err)
	}
	for _, t := range tables {
		head, err := lk.Head(ctx, t)
		if err != nil {
			return fmt.Errorf("reading the head of table %s: %w", t, err)
		}
		if head.Seq > 0 {
			return fault.New(fault.Config, "lake_mismatch", "table %s of the lake is at commit %d, but its ledger %s is gone", t, head.Seq, s.Ledger.DSN).
				WithAdvice("restore log, ledger and lake from one backup; nothing was written")
		}
	}
	return nil
}

// noAmnesia refuses to make a new catalog under a ledger that knows of commits (L7).
func (p *parts) noAmnesia(ctx context.Context) error {
	s := p.cfg.Project.Settings
	none, err := missingFile(s.Lake.Catalog)
	if err != nil || !none {
		return err
	}
	tables, err := p.knownTables(ctx)
	if err != nil {
		return err
	}
	for _, t := range tables {
		last, err := p.ledger.LastIntent(ctx, t)
		if err != nil {
			return fmt.Errorf("reading the newest commit of table %s: %w", t, err)
		}
		if last != nil {
			return fault.New(fault.Config, "lake_mismatch", "the ledger knows of commit %d of table %s, but the lake's catalog %s is gone", last.N, t, s.Lake.Catalog).
				WithAdvice("restore log, ledger and lake from one backup; nothing was written")
		}
	}
	return nil
}

// agree compares every table with the ledger before a port is open or anything is read (L7).
func (p *parts) agree(ctx context.Context) error {
	known, err := p.knownTables(ctx)
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
			return lake.Mismatch(t, lake.Head{}, last)
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

// knownTables are the tables that the ledger's streams fill.
func (p *parts) knownTables(ctx context.Context) ([]string, error) {
	snap, err := p.ledger.Load(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the catalogue: %w", err)
	}
	tables := []string{ledger.DeadLetters}
	for _, s := range snap.Streams {
		tables = append(tables, s.Name)
	}
	return tables, nil
}
