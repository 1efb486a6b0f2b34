package app

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/span"
)

// end closes the logs that wait at the position where they are said to end, once all before it is in the lake, and gives
// their days to the views. What the lake, the catalogue and the counts are asked for is asked once for all.
func (m *importer) end(ctx context.Context, state string) error {
	if len(m.waiting) == 0 {
		return nil
	}
	if err := m.arrived(ctx); err != nil {
		return err
	}
	days, err := m.days(ctx)
	if err != nil {
		return err
	}
	views, err := m.views(ctx)
	if err != nil {
		return err
	}
	for _, f := range m.waiting {
		if err := m.finish(ctx, f, days[f.Log]); err != nil {
			return fmt.Errorf("ending the import of %s: %w", f.File, err)
		}
		f.State, f.Days, f.Views = state, len(days[f.Log]), views
	}
	counts, err := m.counts(ctx)
	if err != nil {
		return err
	}
	for _, f := range m.waiting {
		f.Counts = counts[span.Key{Log: f.Log}]
	}
	m.waiting, m.rows = nil, 0
	clear(m.hashes)
	return nil
}

// finish closes a log under a number of its own: a process that has slept can finish nothing.
func (m *importer) finish(ctx context.Context, f *ImportedFile, days []ledger.Task) error {
	held, err := m.s.ledger.TakeOver(ctx, ledger.Batch, m.owner, span.Key{Log: f.Log}, 0)
	if err != nil {
		return err
	}
	if held.Position != f.Rows {
		return fault.New(fault.Config, "not_imported", "%d of %d rows are imported", held.Position, f.Rows).
			WithAdvice("run the same command again: it goes on from there").WithExit(fault.ExitNotComplete)
	}
	return m.s.ledger.FinishImport(ctx, ledger.Import{Log: f.Log, Owner: held.Owner, Rows: f.Rows, Days: days})
}

// arrived waits until all rows are in the lake: days that are listed before would lack some.
func (m *importer) arrived(ctx context.Context) error {
	for {
		at, err := m.s.ledger.LakeVector(ctx)
		if err != nil {
			return fmt.Errorf("asking how far the lake is: %w", err)
		}
		if !slices.ContainsFunc(m.waiting, func(f *ImportedFile) bool { return at[span.Key{Log: f.Log}] < f.Rows }) {
			return nil
		}
		if err := m.holding(ctx, m.waiting[0].Log); err != nil {
			return err
		}
		if err := pauseFor(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

// views counts those that get the days.
func (m *importer) views(ctx context.Context) (n int, err error) {
	snap, err := m.s.catalogue(ctx)
	if err != nil {
		return 0, err
	}
	for _, v := range snap.Views {
		if v.Stream == m.stream && slices.ContainsFunc(v.Versions, func(x ledger.ViewVersion) bool { return x.State != ledger.Dropped }) {
			n++
		}
	}
	return n, nil
}

func (m *importer) counts(ctx context.Context) (map[span.Key]ledger.Counts, error) {
	all, err := m.s.ledger.Counts(ctx, ledger.Batch)
	if err != nil {
		return nil, fmt.Errorf("reading what became of the rows: %w", err)
	}
	return all, nil
}

// days lists the days of the lake that hold rows of what waits, and how many.
func (m *importer) days(ctx context.Context) (map[span.Log][]ledger.Task, error) {
	rows := map[span.Log]map[string]int64{}
	for _, f := range m.waiting {
		rows[f.Log] = map[string]int64{}
	}
	logs := lake.Within{Least: int64(m.waiting[0].Log), Most: int64(m.waiting[0].Log)}
	for log := range rows {
		logs.Least, logs.Most = min(logs.Least, int64(log)), max(logs.Most, int64(log))
	}
	_, err := m.s.lake.Scan(ctx, lake.Selection{
		Table: m.stream, Columns: []string{event.ColumnLog, event.ColumnEventTime}, Logs: logs,
	}, func(b *lake.Block) error {
		log, at := b.Cols[b.Index(event.ColumnLog)].Flat().Ints, b.Cols[b.Index(event.ColumnEventTime)].Flat().Ints
		for i := range b.N {
			if of := rows[span.Log(log[i])]; of != nil {
				of[time.UnixMicro(at[i]).UTC().Format(time.DateOnly)]++
			}
		}
		return nil
	})
	if err != nil && fault.CodeOf(err) != "no_table" {
		return nil, fmt.Errorf("looking for the days of the files: %w", err)
	}
	days := map[span.Log][]ledger.Task{}
	for log, of := range rows {
		for day, n := range of {
			days[log] = append(days[log], ledger.Task{Day: day, Expect: n})
		}
		slices.SortFunc(days[log], func(a, b ledger.Task) int { return strings.Compare(a.Day, b.Day) })
	}
	return days, nil
}
