package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/pinflow/pinflow/internal/batch"
	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/export"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/intake"
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
	schemas map[int64]*event.Schema

	waiting []*ImportedFile // sealed, to be ended
	rows    int64           // of them
	hashes  map[string]bool // of them
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

// Files that wait to be ended together: each waits for a commit, and many share one.
const (
	importTogether = 64
	importRows     = 1_000_000 // of the files that wait, at which they are ended
)

// Import makes files that were looked at part of a stream, each exactly once by its content. What was
// interrupted goes on where it stopped when it is asked for again. done counts rows.
func (s *Stores) Import(ctx context.Context, stream string, files []*rowfile.File, done *atomic.Int64) ([]ImportedFile, error) {
	all := make([]ImportedFile, 0, len(files)) // what waits points into it
	err := s.importing(ctx, stream, done, func(ctx context.Context, m *importer) error {
		for _, f := range files {
			if m.waits(f) {
				if err := m.end(ctx, Imported); err != nil {
					return err
				}
			}
			one, sealed, err := m.file(ctx, f)
			if err != nil {
				err = fmt.Errorf("importing %s: %w", f.Path, err)
				if ctx.Err() == nil {
					err = errors.Join(err, m.end(ctx, Imported))
				}
				return err
			}
			if all = append(all, one); sealed {
				m.waiting, m.rows = append(m.waiting, &all[len(all)-1]), m.rows+f.Rows
				m.hashes[f.Hash] = true
			}
		}
		return m.end(ctx, Imported)
	})
	return slices.DeleteFunc(all, func(f ImportedFile) bool { return f.State == "" }), err
}

// waits tells whether what waits has to be ended before a file is looked at: it is long, or one of this content is among it.
func (m *importer) waits(f *rowfile.File) bool {
	return len(m.waiting) >= importTogether || m.rows >= importRows || m.hashes[f.Hash]
}

// importing runs work as an importer of the stream, beside a committer.
func (s *Stores) importing(ctx context.Context, stream string, done *atomic.Int64, work func(context.Context, *importer) error) (err error) {
	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("naming this process: %w", err)
	}
	m := &importer{s: s, owner: fmt.Sprintf("import:%s:%d:%.8s", host, os.Getpid(), uuid.NewString()), stream: stream, metrics: batch.NewMetrics(prometheus.NewRegistry()), done: done, hashes: map[string]bool{}}
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

// file imports a file, or goes on with it. sealed: it is to be ended.
func (m *importer) file(ctx context.Context, f *rowfile.File) (out ImportedFile, sealed bool, err error) {
	before := m.done.Load()
	defer func() { m.done.Store(before + f.Rows) }()
	l, err := m.own(ctx, f)
	if err != nil {
		return out, false, err
	}
	out = ImportedFile{File: f.Path, Log: l.ID, Rows: f.Rows}
	if l.ClosedAt.IsZero() {
		return out, true, m.read(ctx, f, l)
	}
	if at := l.Closing[span.Key{Log: l.ID}]; at < f.Rows {
		return out, false, fault.New(fault.Config, "import_abandoned", "its import was abandoned after %d of %d rows", at, f.Rows).
			WithAdvice("those rows stay: import the rows after them as a file of their own").WithExit(fault.ExitConflict)
	}
	counts, err := m.counts(ctx)
	out.State, out.Counts = Known, counts[span.Key{Log: l.ID}]
	return out, false, err
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
	l, err := m.s.ledger.Log(ctx, id)
	if err == nil && l == nil {
		err = fault.New(fault.Corrupt, "no_log", "log %d was registered and is not in the catalogue", id)
	}
	return l, err
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
		return m.holding(ctx, l.ID)
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
	now, err := m.s.ledger.Log(ctx, l.ID)
	if err != nil || now != nil && now.Importing() {
		return err
	}
	return fault.New(fault.Config, "import_elsewhere", "another process has ended the import of this file meanwhile").
		WithAdvice("run the same command again: it says what became of the file, or goes on with it").WithExit(fault.ExitConflict)
}

// holding asserts that the leases of what waits, and of one log more, are held for a while yet.
func (m *importer) holding(ctx context.Context, log span.Log) error {
	logs := []span.Log{log}
	for _, f := range m.waiting {
		logs = append(logs, f.Log)
	}
	for _, log := range logs {
		_, ok, err := m.keeper.Hold(ctx, ledger.ImportLease(log))
		if err == nil && !ok {
			err = elsewhere()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (m *importer) schema(ctx context.Context, version int32) (*event.Schema, error) {
	if s := m.schemas[int64(version)]; s != nil {
		return s, nil
	}
	def, err := m.s.stream(ctx, m.stream)
	if err != nil {
		return nil, err
	}
	if m.schemas, err = export.Schemas(def); err != nil {
		return nil, err
	}
	s := m.schemas[int64(version)]
	if s == nil {
		return nil, fault.New(fault.Corrupt, "no_schema", "stream %s has no schema %d", m.stream, version)
	}
	return s, nil
}
