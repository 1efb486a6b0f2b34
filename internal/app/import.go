package app

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/pinflow/pinflow/internal/batch"
	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/export"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/intake"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/rowfile"
	"github.com/pinflow/pinflow/internal/span"
)

// States of an imported file.
const (
	Imported  = "imported"  // now
	Known     = "known"     // it, or another file of this content, was imported before
	Abandoned = "abandoned" // its log ends at the rows that were taken
)

// ImportedFile says what became of a file.
type ImportedFile struct {
	File   string
	State  string // Imported | Known | Abandoned
	Log    span.Log
	Rows   int64 // of the file; those that were taken of an abandoned one
	Counts ledger.Counts
	Days   int // of the lake that hold its rows; of a known file not looked at
	Views  int // that get these days
}

// importDrain is how long the last stage of a file may take.
const importDrain = 2 * time.Minute

// importer brings one file after another into the lake.
type importer struct {
	s       *Stores
	owner   string
	keeper  *ledger.Keeper
	stream  string
	metrics *batch.Metrics
	done    *atomic.Int64 // rows that are sealed or were known
}

// Look reads files that are to be imported, and refuses what cannot be.
func (s *Stores) Look(ctx context.Context, stream, format string, paths []string) ([]*rowfile.File, error) {
	def, err := s.stream(ctx, stream)
	if err != nil {
		return nil, err
	}
	schemas, err := export.Schemas(def)
	if err != nil {
		return nil, err
	}
	var files []*rowfile.File
	for _, path := range paths {
		f, err := rowfile.Look(ctx, path, rowfile.Config{Format: format, MaxRow: int(s.settings.Limits.Event), Schemas: schemas})
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	return files, nil
}

// Import makes files that were looked at part of a stream, each exactly once by its content. What was
// interrupted goes on where it stopped when it is asked for again. done counts rows.
func (s *Stores) Import(ctx context.Context, stream string, files []*rowfile.File, done *atomic.Int64) ([]ImportedFile, error) {
	var all []ImportedFile
	err := s.importing(ctx, stream, done, func(ctx context.Context, m *importer) error {
		for _, f := range files {
			one, err := m.file(ctx, f)
			if err != nil {
				return fmt.Errorf("importing %s: %w", f.Path, err)
			}
			all = append(all, one)
		}
		return nil
	})
	return all, err
}

// importing runs work as an importer of the stream, beside a committer.
func (s *Stores) importing(ctx context.Context, stream string, done *atomic.Int64, work func(context.Context, *importer) error) (err error) {
	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("naming this process: %w", err)
	}
	m := &importer{s: s, owner: fmt.Sprintf("import:%s:%d:%.8s", host, os.Getpid(), uuid.NewString()), stream: stream, metrics: batch.NewMetrics(prometheus.NewRegistry()), done: done}
	m.keeper = ledger.NewKeeper(s.ledger, m.owner)
	defer func() { err = errors.Join(err, m.keeper.Release(context.WithoutCancel(ctx))) }()
	// Whoever holds the lease of a table commits to it: this process, if no other does.
	committer, err := batch.NewCommitter(batch.CommitterConfig{Owner: m.owner, Every: time.Second}, s.log, m.metrics, s.ledger, s.lake)
	if err != nil {
		return err
	}
	return beside(ctx, committer.Run, func(ctx context.Context) error { return work(ctx, m) })
}

// beside runs work while job runs, which is told to end after it. Whichever fails ends the other.
func beside(ctx context.Context, job, work func(context.Context) error) error {
	during, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ended := make(chan error, 1)
	go func() {
		err := job(during)
		cancel(err)
		ended <- err
	}()
	err := work(during)
	cancel(nil)
	failed := <-ended
	if failed != nil && errors.Is(err, context.Canceled) {
		return failed // that is why the work stopped
	}
	return errors.Join(err, failed)
}

// file imports a file, or goes on with it.
func (m *importer) file(ctx context.Context, f *rowfile.File) (ImportedFile, error) {
	before := m.done.Load()
	defer func() { m.done.Store(before + f.Rows) }()
	l, err := m.own(ctx, f)
	if err != nil {
		return ImportedFile{}, err
	}
	if l.ClosedAt.IsZero() {
		if err := m.read(ctx, f, l); err != nil {
			return ImportedFile{}, err
		}
		return m.finish(ctx, f, l)
	}
	if at := l.Closing[span.Key{Log: l.ID}]; at < f.Rows {
		return ImportedFile{}, fault.New(fault.Config, "import_abandoned", "its import was abandoned after %d of %d rows", at, f.Rows).
			WithAdvice("those rows stay: import the rows after them as a file of their own")
	}
	counts, err := m.counts(ctx, l.ID)
	return ImportedFile{File: f.Path, State: Known, Log: l.ID, Rows: f.Rows, Counts: counts}, err
}

// own registers a file and holds its lease, unless its log is closed. Who had the lease before may have finished it,
// or given it up with no row taken: then the file is another log by now, which has a lease of its own.
func (m *importer) own(ctx context.Context, f *rowfile.File) (*ledger.Log, error) {
	var had span.Log
	for {
		l, err := m.register(ctx, f)
		if err != nil || !l.ClosedAt.IsZero() || l.ID == had {
			return l, err
		}
		if err := m.hold(ctx, l.ID); err != nil {
			return nil, err
		}
		had = l.ID
	}
}

// register finds the file's log, or makes one.
func (m *importer) register(ctx context.Context, f *rowfile.File) (*ledger.Log, error) {
	id, err := m.s.ledger.AddLog(ctx, ledger.Log{
		Kind: ledger.KindImport, Stream: m.stream, ClusterID: m.stream, TopicID: f.Hash, Topic: filepath.Base(f.Path), Partitions: 1,
	})
	if err != nil {
		return nil, err
	}
	snap, err := m.s.ledger.Load(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the catalogue: %w", err)
	}
	at := slices.IndexFunc(snap.Logs, func(l ledger.Log) bool { return l.ID == id })
	if at < 0 {
		return nil, fault.New(fault.Corrupt, "no_log", "log %d was registered and is not in the catalogue", id)
	}
	return &snap.Logs[at], nil
}

// hold waits for the file's lease: a process that was killed leaves one behind for a while.
func (m *importer) hold(ctx context.Context, log span.Log) error {
	for begin := time.Now(); ; {
		_, ok, err := m.keeper.Hold(ctx, ledger.ImportLease(log))
		if err != nil || ok {
			return err
		}
		if time.Since(begin) > ledger.LeaseTTL+2*time.Second {
			return elsewhere()
		}
		if err := pauseFor(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
}

func elsewhere() error {
	return fault.New(fault.Config, "import_elsewhere", "another process is importing this file").
		WithAdvice("wait until it has ended; to stop it, end that process").WithExit(fault.ExitConflict)
}

func pauseFor(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

// read stages the file's rows, from where the ledger says to the end.
func (m *importer) read(ctx context.Context, f *rowfile.File, l *ledger.Log) error {
	schema, err := m.schema(ctx, l.Schema)
	if err != nil {
		return err
	}
	reading, stop := context.WithCancel(ctx)
	defer stop()
	before := m.done.Load()
	log := &rowfile.Log{File: f, ID: l.ID, At: l.CreatedAt, Schema: schema, Ended: stop, Held: func(ctx context.Context) error {
		_, ok, err := m.keeper.Hold(ctx, ledger.ImportLease(l.ID))
		if err == nil && !ok {
			err = elsewhere()
		}
		return err
	}, Taken: func(rows int64) { m.done.Store(before + rows) }}
	open := log.Opener()
	unit, err := batch.New(batch.Config{Owner: m.owner, DrainBudget: importDrain}, m.s.log, m.metrics, m.s.ledger, m.s.lake,
		func(ctx context.Context, topics []string, h intake.Handler) (intake.Source, error) {
			if err := m.goesOn(ctx, l); err != nil {
				return nil, err
			}
			return open(ctx, topics, h)
		})
	if err != nil {
		return err
	}
	if err := unit.Run(reading); err != nil {
		return err
	}
	return ctx.Err()
}

// goesOn asserts that nobody ended the import while this process slept, or waited for its lease.
func (m *importer) goesOn(ctx context.Context, l *ledger.Log) error {
	snap, err := m.s.ledger.Load(ctx)
	if err != nil {
		return fmt.Errorf("reading the catalogue: %w", err)
	}
	if slices.ContainsFunc(snap.Logs, func(x ledger.Log) bool { return x.ID == l.ID && x.Importing() }) {
		return nil
	}
	return fault.New(fault.Config, "import_elsewhere", "another process has ended the import of this file meanwhile").
		WithAdvice("run the same command again: it says what became of the file, or goes on with it").WithExit(fault.ExitConflict)
}

func (m *importer) schema(ctx context.Context, version int32) (*event.Schema, error) {
	def, err := m.s.stream(ctx, m.stream)
	if err != nil {
		return nil, err
	}
	schemas, err := export.Schemas(def)
	if err != nil {
		return nil, err
	}
	s := schemas[int64(version)]
	if s == nil {
		return nil, fault.New(fault.Corrupt, "no_schema", "stream %s has no schema %d", m.stream, version)
	}
	return s, nil
}

// finish waits until the rows are in the lake and gives their days to the views.
func (m *importer) finish(ctx context.Context, f *rowfile.File, l *ledger.Log) (ImportedFile, error) {
	out := ImportedFile{File: f.Path, State: Imported, Log: l.ID, Rows: f.Rows}
	// Under a number of its own: a process that has slept can finish nothing.
	held, err := m.s.ledger.TakeOver(ctx, ledger.Batch, m.owner, span.Key{Log: l.ID}, 0)
	if err != nil {
		return out, err
	}
	if held.Position != f.Rows {
		return out, fault.New(fault.Config, "not_imported", "%d of %d rows are imported", held.Position, f.Rows).WithAdvice("run the same command again: it goes on from there").WithExit(fault.ExitNotComplete)
	}
	return m.end(ctx, held, out)
}

// end closes a log at the position where it is held, once all before it is in the lake, and gives its days to the views.
func (m *importer) end(ctx context.Context, held ledger.Held, out ImportedFile) (ImportedFile, error) {
	log := out.Log
	if err := m.arrived(ctx, held.Position, log); err != nil {
		return out, err
	}
	in := ledger.Import{Log: log, Owner: held.Owner, Rows: held.Position}
	var err error
	if in.Days, err = m.days(ctx, log); err != nil {
		return out, err
	}
	out.Days = len(in.Days)
	if err := m.s.ledger.FinishImport(ctx, in); err != nil {
		return out, err
	}
	if out.Counts, err = m.counts(ctx, log); err != nil {
		return out, err
	}
	out.Views, err = m.views(ctx)
	return out, err
}

// arrived waits until all rows are in the lake: days that are listed before would lack some.
func (m *importer) arrived(ctx context.Context, rows int64, log span.Log) error {
	for {
		at, err := m.s.ledger.LakeVector(ctx)
		if err != nil {
			return fmt.Errorf("asking how far the lake is: %w", err)
		}
		if at[span.Key{Log: log}] >= rows {
			return nil
		}
		if _, ok, err := m.keeper.Hold(ctx, ledger.ImportLease(log)); err != nil || !ok {
			return errors.Join(err, elsewhere())
		}
		if err := pauseFor(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

// views counts those that get the days.
func (m *importer) views(ctx context.Context) (n int, err error) {
	snap, err := m.s.ledger.Load(ctx)
	if err != nil {
		return 0, fmt.Errorf("reading the catalogue: %w", err)
	}
	for _, v := range snap.Views {
		if v.Stream == m.stream && slices.ContainsFunc(v.Versions, func(x ledger.ViewVersion) bool { return x.State != ledger.Dropped }) {
			n++
		}
	}
	return n, nil
}

func (m *importer) counts(ctx context.Context, log span.Log) (ledger.Counts, error) {
	all, err := m.s.ledger.Counts(ctx, ledger.Batch)
	if err != nil {
		return ledger.Counts{}, fmt.Errorf("reading what became of the rows: %w", err)
	}
	return all[span.Key{Log: log}], nil
}

// days lists the days of the lake that hold rows of a log, and how many.
func (m *importer) days(ctx context.Context, log span.Log) ([]ledger.Task, error) {
	rows := map[string]int64{}
	_, err := m.s.lake.Scan(ctx, lake.Selection{
		Table: m.stream, Columns: []string{event.ColumnEventTime}, Key: span.Key{Log: log}, ToOffset: math.MaxInt64,
	}, func(b *lake.Block) error {
		for _, at := range b.Cols[0].Ints[:b.N] {
			rows[time.UnixMicro(at).UTC().Format(time.DateOnly)]++
		}
		return nil
	})
	if err != nil && fault.CodeOf(err) != "no_table" {
		return nil, fmt.Errorf("looking for the days of the file: %w", err)
	}
	var days []ledger.Task
	for day, n := range rows {
		days = append(days, ledger.Task{Day: day, Expect: n})
	}
	slices.SortFunc(days, func(a, b ledger.Task) int { return strings.Compare(a.Day, b.Day) })
	return days, nil
}
