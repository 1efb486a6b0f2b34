package app

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/pinflow/pinflow/internal/batch"
	"github.com/pinflow/pinflow/internal/config"
	"github.com/pinflow/pinflow/internal/days"
	"github.com/pinflow/pinflow/internal/export"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/icelake"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/span"
	"github.com/pinflow/pinflow/internal/sqlledger"
)

// Stores are a project's ledger and lake, opened beside whatever runs on them.
type Stores struct {
	settings config.Settings
	log      *slog.Logger
	ledger   *sqlledger.DB
	lake     *icelake.Lake
}

// OpenStores opens what is there. It makes nothing.
func OpenStores(ctx context.Context, p *config.Project, log *slog.Logger) (*Stores, error) {
	s := &Stores{settings: p.Settings, log: log}
	if err := supported(p.Settings, allUnits); err != nil {
		return nil, err
	}
	if dsn := p.Settings.Ledger.DSN; !icelake.IsPostgres(dsn) {
		if _, err := os.Stat(strings.TrimPrefix(dsn, "file:")); errors.Is(err, fs.ErrNotExist) {
			return nil, fault.New(fault.Config, "no_ledger", "there is no ledger at %s", dsn).
				WithAdvice("name the data folder with --data, or ledger.dsn in pinflow.yaml; a new project gets one by: pinflow init --infra, or pinflow up")
		}
	}
	_, err := compare(ctx, p.Settings, log)
	if err != nil {
		return nil, err
	}
	if s.ledger, err = sqlledger.Open(ctx, p.Settings.Ledger.DSN, log); err != nil {
		return nil, fmt.Errorf("opening the ledger: %w", err)
	}
	if s.lake, err = icelake.Open(ctx, lakeConfig(p.Settings, log)); err != nil {
		return nil, errors.Join(fmt.Errorf("opening the lake: %w", err), s.ledger.Close())
	}
	return s, nil
}

// Close closes them.
func (s *Stores) Close() error { return errors.Join(s.lake.Close(), s.ledger.Close()) }

// exportPin is how long an export may take before an expiry may take its snapshot away.
const exportPin = 24 * time.Hour

// Formats of an export.
const (
	JSONL   = "jsonl"
	CSV     = "csv"
	Parquet = "parquet"
)

// Exported says what an export holds; it is written beside the file as NAME.meta.json.
type Exported struct {
	FormatVersion int       `json:"format_version"`
	Stream        string    `json:"stream"`
	Day           string    `json:"day"` // UTC, of the event time
	Format        string    `json:"format"`
	File          string    `json:"file"` // where it is
	Rows          int64     `json:"rows"`
	Bytes         int64     `json:"bytes"`
	SHA256        string    `json:"sha256"`
	Snapshot      int64     `json:"snapshot"`             // of the Iceberg table; 0: the table is empty
	CompleteTo    time.Time `json:"complete_to,omitzero"` // events received before are all in it
	Complete      bool      `json:"complete"`             // the day had ended, grace included; later events may still come
	Importing     []string  `json:"importing,omitempty"`  // files under import, of which it may hold some rows
}

// Export writes a stream's day to a folder or s3://bucket/prefix, the file first and then what it holds.
func (s *Stores) Export(ctx context.Context, stream string, day time.Time, format, to string) (*Exported, error) {
	before, err := s.catalogue(ctx)
	if err != nil {
		return nil, err
	}
	def, err := streamOf(before, stream)
	if err != nil {
		return nil, err
	}
	e := &Exported{FormatVersion: 1, Stream: stream, Day: day.Format(time.DateOnly), Format: format}
	name := fmt.Sprintf("%s-%s.%s", stream, e.Day, format)
	// The time comes before the snapshot: what is in the lake by then is in every later snapshot.
	if e.CompleteTo, err = s.ledger.CompleteTo(ctx, stream, ledger.Batch); err != nil {
		return nil, fmt.Errorf("asking how complete the lake is: %w", err)
	}
	grace := time.Duration(def.Schemas[len(def.Schemas)-1].Definition.Grace)
	e.Complete = !e.CompleteTo.Before(day.AddDate(0, 0, 1).Add(grace + days.Wait))
	pin := "export-" + uuid.NewString()
	if e.Snapshot, err = s.lake.PinFor(ctx, stream, pin, 0, exportPin); err != nil {
		return nil, err
	}
	defer func() {
		if err := s.lake.Unpin(context.WithoutCancel(ctx), stream, pin); err != nil {
			s.log.Warn("left a pinned snapshot", "table", stream, "tag", pin, "error", err)
		}
	}()
	after, err := s.catalogue(ctx)
	if err != nil {
		return nil, err
	}
	e.Importing = importedBetween(before, after, stream)
	e.Complete = e.Complete && len(e.Importing) == 0
	remote := strings.HasPrefix(to, "s3://")
	dir := to
	if remote {
		if dir, err = os.MkdirTemp("", "pinflow-export"); err != nil {
			return nil, fmt.Errorf("making a folder: %w", err)
		}
		defer os.RemoveAll(dir) //nolint:errcheck // a temporary folder
	} else if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fault.New(fault.Config, "not_writable", "the folder %s cannot be made: %w", dir, err).WithAdvice("name another with --to")
	}
	e.File = strings.TrimRight(to, "/") + "/" + name
	err = inPlace(filepath.Join(dir, name), func(f *os.File) error { return s.writeDay(ctx, f, def, day, e) })
	if err != nil {
		return nil, fmt.Errorf("exporting %s: %w", name, err)
	}
	doc, err := json.MarshalIndent(e, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("describing the export: %w", err)
	}
	err = inPlace(filepath.Join(dir, name+".meta.json"), func(f *os.File) error {
		_, err := f.Write(append(doc, '\n'))
		return err
	})
	if err != nil || !remote {
		return e, err
	}
	for _, n := range []string{name, name + ".meta.json"} {
		if err := icelake.Upload(lakeConfig(s.settings, s.log), filepath.Join(dir, n), strings.TrimRight(to, "/")+"/"+n); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// importedBetween names the files of a stream that were under import at some moment between two looks at the catalogue.
func importedBetween(before, after *ledger.Snapshot, stream string) []string {
	ended := map[span.Log]bool{}
	for i := range before.Logs {
		ended[before.Logs[i].ID] = !before.Logs[i].Importing()
	}
	var names []string
	for i := range after.Logs {
		if l := &after.Logs[i]; l.Kind == ledger.KindImport && l.Stream == stream && !ended[l.ID] {
			names = append(names, l.Topic)
		}
	}
	slices.Sort(names)
	return names
}

func (s *Stores) catalogue(ctx context.Context) (*ledger.Snapshot, error) {
	snap, err := s.ledger.Load(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the catalogue: %w", err)
	}
	return snap, nil
}

// stream finds a stream in the ledger.
func (s *Stores) stream(ctx context.Context, name string) (*ledger.Stream, error) {
	snap, err := s.catalogue(ctx)
	if err != nil {
		return nil, err
	}
	return streamOf(snap, name)
}

// streamOf finds a stream in the catalogue.
func streamOf(snap *ledger.Snapshot, name string) (*ledger.Stream, error) {
	var names []string
	for i := range snap.Streams {
		if snap.Streams[i].Name == name {
			return &snap.Streams[i], nil
		}
		names = append(names, snap.Streams[i].Name)
	}
	return nil, fault.New(fault.Config, "unknown_stream", "there is no stream %q", name).
		WithAdvice("the streams are: %s", strings.Join(names, ", ")).WithExit(fault.ExitUsage)
}

// writeDay writes the day to f and fills in what came of it.
func (s *Stores) writeDay(ctx context.Context, f io.Writer, def *ledger.Stream, day time.Time, e *Exported) error {
	hash := sha256.New()
	count := &counter{w: io.MultiWriter(f, hash)}
	out := bufio.NewWriterSize(count, 1<<20)
	schemas, err := export.Schemas(def)
	if err != nil {
		return err
	}
	columns := lake.Columns(schemas[int64(def.Schemas[len(def.Schemas)-1].Version)])
	var w export.Writer
	end := func() error { return nil }
	switch e.Format {
	case JSONL:
		w = export.NewJSONLines(out, schemas)
	case CSV:
		w, err = export.NewCSV(out, columns)
	case Parquet:
		var p *icelake.ParquetWriter
		if p, err = icelake.NewParquetWriter(out, columns, map[string]string{
			"pinflow.stream": e.Stream, "pinflow.day": e.Day, "pinflow.complete_to": e.CompleteTo.Format(time.RFC3339Nano),
		}); err == nil {
			w, end = p, p.Close
		}
	}
	if err != nil {
		return err
	}
	if e.Snapshot != 0 {
		if e.Rows, err = export.Day(ctx, s.lake, e.Stream, e.Snapshot, day, w); err != nil {
			return err
		}
	}
	if err := end(); err != nil {
		return err
	}
	if err := out.Flush(); err != nil {
		return err
	}
	e.Bytes, e.SHA256 = count.n, hex.EncodeToString(hash.Sum(nil))
	return nil
}

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// inPlace writes a file under another name, syncs it and gives it its own: whoever sees it sees all of it.
func inPlace(name string, write func(*os.File) error) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".export-*")
	if err != nil {
		return fault.New(fault.Config, "not_writable", "a file cannot be made in %s: %w", filepath.Dir(name), err).WithAdvice("name another folder with --to")
	}
	err = write(f)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// TableState is a table of the lake beside what the ledger says of it.
type TableState struct {
	Name        string
	Rows, Files int64
	Commit      int64
	Snapshot    int64
	Uncommitted int64  // files that are sealed and not in the table yet
	State       string // ok | committing | differs | damaged | missing
	Note        string
	Orphans     int64 // data files older than batch.OrphanAge that nobody knows, when they were asked for
	OrphanBytes int64
}

// Wrong tells whether table and ledger do not agree, for more than the moment of a commit.
func (t *TableState) Wrong() bool {
	return t.State == "differs" || t.State == "damaged" || t.State == "missing" && t.Commit > 0
}

// Look says what Tables looks at besides the newest commits and the files that they name.
type Look struct {
	Orphans bool // all files of the lake
	Offsets bool // where each row came from
}

// Tables looks at every table of the lake.
func (s *Stores) Tables(ctx context.Context, look Look) ([]TableState, error) {
	snap, err := s.catalogue(ctx)
	if err != nil {
		return nil, err
	}
	names := []string{ledger.DeadLetters, ledger.Logs}
	for _, st := range snap.Streams {
		names = append(names, st.Name)
	}
	var all []TableState
	for _, name := range names {
		t := TableState{Name: name, State: "ok"}
		// The ledger first: a commit that lands in between then is one that was open.
		last, err := s.ledger.LastIntent(ctx, name)
		if err != nil {
			return nil, err
		}
		head, err := s.lake.Head(ctx, name)
		switch {
		case fault.CodeOf(err) == "no_table" && name == ledger.Logs && last == nil:
			continue // no log was closed yet
		case fault.CodeOf(err) == "no_table":
			if t.State = "missing"; last != nil {
				t.Commit = last.N
			}
		case err != nil:
			return nil, err
		default:
			t.Rows, t.Files, t.Commit, t.Snapshot = head.Rows, head.Files, head.Seq, head.Snapshot
			if last != nil && last.Open {
				t.State, t.Uncommitted = "committing", int64(len(last.Files))
			}
			if now, err := s.ledger.LastIntent(ctx, name); err == nil && sameIntent(last, now) {
				if err := head.Check(name, last); err != nil {
					t.State, t.Note = "differs", err.Error()
				}
			}
			if t.State == "ok" || t.State == "committing" {
				if err := s.whole(ctx, &t); err != nil {
					return nil, err
				}
			}
			if look.Offsets && t.State == "ok" && name != ledger.Logs {
				if err := s.offsets(ctx, &t); err != nil {
					return nil, err
				}
			}
			if look.Orphans {
				if err := s.orphans(ctx, &t); err != nil {
					return nil, err
				}
			}
		}
		all = append(all, t)
	}
	return all, nil
}

// whole looks whether the table's files are there, and whether it has as many rows as the ledger counted.
func (s *Stores) whole(ctx context.Context, t *TableState) error {
	err := s.lake.Whole(ctx, t.Name)
	switch {
	case fault.Is(err, fault.Corrupt):
		t.State, t.Note = "damaged", err.Error()
		return nil
	case err != nil:
		return err
	}
	c, err := batch.Examine(ctx, s.ledger, s.lake, t.Name)
	if err == nil && c.AtRest && c.Wrong != nil {
		t.State, t.Note = "differs", c.Wrong.Error()
	}
	return err
}

// offsetsTries is how often a moment without a commit is waited for, offsetsPause what lies between.
const (
	offsetsTries = 50
	offsetsPause = 100 * time.Millisecond
)

// offsets compares where each row of the table came from with what the ledger counted.
func (s *Stores) offsets(ctx context.Context, t *TableState) error {
	for range offsetsTries {
		m, err := batch.MomentOf(ctx, s.ledger, s.lake, t.Name)
		if err != nil {
			return err
		}
		if m == nil {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(offsetsPause):
			}
			continue
		}
		rows, err := m.Compare(ctx, s.lake, "offsets-"+uuid.NewString())
		switch {
		case fault.CodeOf(err) == "conservation":
			t.State, t.Note = "differs", err.Error()
		case err == nil:
			t.Note = fmt.Sprintf("offsets of %d rows are those counted", rows)
		default:
			return err
		}
		return nil
	}
	t.State, t.Note = "committing", "its offsets were not compared: a commit was under way each time; ask again"
	return nil
}

func (s *Stores) orphans(ctx context.Context, t *TableState) error {
	found, err := s.lake.Orphans(ctx, t.Name, time.Now().Add(-batch.OrphanAge), func(ctx context.Context) ([]string, error) {
		return s.ledger.FilePaths(ctx, t.Name)
	})
	for _, f := range found {
		t.Orphans++
		t.OrphanBytes += f.Bytes
	}
	return err
}

func sameIntent(a, b *ledger.Intent) bool {
	return a == nil && b == nil || a != nil && b != nil && a.N == b.N && a.Open == b.Open
}

// Undo puts a table back on what pinflow left, if another engine changed its rows; nil: none did.
func (s *Stores) Undo(ctx context.Context, table string) (*lake.Altered, error) {
	c, err := s.committer("lake undo", batch.CommitterConfig{})
	if err != nil {
		return nil, err
	}
	return c.Undo(ctx, table)
}

// committer is one that a command runs by itself.
func (s *Stores) committer(what string, cfg batch.CommitterConfig) (*batch.Committer, error) {
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("naming this process: %w", err)
	}
	cfg.Owner, cfg.LeaseWait = fmt.Sprintf("%s:%s:%d", what, host, os.Getpid()), batch.LeaseWait
	return batch.NewCommitter(cfg, s.log, batch.NewMetrics(prometheus.NewRegistry()), s.ledger, s.lake)
}

// Maintain merges small files, as many of a day as minFiles says or more, or drops old snapshots, of one table
// or ("") all.
func (s *Stores) Maintain(ctx context.Context, kind, table string, minFiles int, orphanAge time.Duration) ([]batch.Maintained, error) {
	shape := lake.DefaultShape()
	shape.MinFiles = minFiles
	c, err := s.committer("lake "+kind, batch.CommitterConfig{OrphanAge: orphanAge, Shape: shape})
	if err != nil {
		return nil, err
	}
	return c.Maintain(ctx, kind, table)
}
