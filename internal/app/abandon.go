package app

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/span"
)

// Abandon ends imports that cannot go on, because their files were changed or are gone: each log ends after the
// rows that were taken of it. They are true events and stay; their days are given to the views as those of a
// whole file. One of which no row was taken is forgotten. names are numbers of logs or names of files.
func (s *Stores) Abandon(ctx context.Context, stream string, names []string) ([]ImportedFile, error) {
	snap, err := s.catalogue(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := streamOf(snap, stream); err != nil {
		return nil, err
	}
	var logs []ledger.Log
	for _, name := range names {
		l, err := underWay(snap.LogsOf(stream), stream, name)
		if err != nil {
			return nil, err
		}
		logs = append(logs, *l)
	}
	var all []ImportedFile
	err = s.importing(ctx, stream, new(atomic.Int64), func(ctx context.Context, m *importer) error {
		for i := range logs {
			one, err := m.abandon(ctx, &logs[i])
			if err != nil {
				return fmt.Errorf("abandoning the import of %s: %w", logs[i].Topic, err)
			}
			all = append(all, one)
		}
		return nil
	})
	return all, err
}

// underWay finds the unfinished import that a log's number or a file's name means.
func underWay(logs []ledger.Log, stream, name string) (*ledger.Log, error) {
	number, _ := strconv.ParseInt(name, 10, 64)
	var found []*ledger.Log
	var open []string
	for i := range logs {
		l := &logs[i]
		if !l.Importing() {
			continue
		}
		if int64(l.ID) == number {
			return l, nil
		}
		if l.Topic == filepath.Base(name) {
			found = append(found, l)
		}
		open = append(open, fmt.Sprintf("%d (%s)", l.ID, l.Topic))
	}
	if len(found) == 1 {
		return found[0], nil
	}
	if len(open) == 0 {
		open = []string{"none"}
	}
	if len(found) > 1 {
		return nil, fault.New(fault.Config, "unknown_import", "%d imports of %s into %s are under way", len(found), name, stream).
			WithAdvice("name one by its number: %s", strings.Join(open, ", "))
	}
	return nil, fault.New(fault.Config, "unknown_import", "no import of %s into %s is under way", name, stream).
		WithAdvice("under way by number and file: %s", strings.Join(open, ", "))
}

// abandon closes a log where it stands. An import that still runs keeps it.
func (m *importer) abandon(ctx context.Context, l *ledger.Log) (ImportedFile, error) {
	out := ImportedFile{File: l.Topic, State: Abandoned, Log: l.ID}
	if err := m.hold(ctx, l.ID); err != nil {
		return out, err
	}
	if err := m.goesOn(ctx, l); err != nil {
		return out, err
	}
	held, err := m.s.ledger.TakeOver(ctx, ledger.Batch, m.owner, span.Key{Log: l.ID}, 0)
	if err != nil {
		return out, err
	}
	if out.Rows = held.Position; out.Rows == 0 {
		return out, m.s.ledger.FinishImport(ctx, ledger.Import{Log: l.ID, Owner: held.Owner, Void: true})
	}
	m.waiting = []*ImportedFile{&out}
	err = m.end(ctx, Abandoned)
	return out, err
}
