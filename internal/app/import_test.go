package app

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pinflow/pinflow/internal/batch"
	"github.com/pinflow/pinflow/internal/config"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/prove"
	"github.com/pinflow/pinflow/internal/rowfile"
	"github.com/pinflow/pinflow/internal/span"
	"github.com/pinflow/pinflow/internal/testbed"
)

// importing is a project with files to be imported.
type importing struct {
	*testing.T
	*Stores
	dir string
}

func newImporting(t *testing.T, at testbed.Place) *importing {
	t.Helper()
	p, err := config.BuiltIn()
	if err != nil {
		t.Fatal(err)
	}
	p.Settings.Ledger.DSN, p.Settings.Lake.Catalog, p.Settings.Lake.Warehouse = at.DSN, at.Catalog, at.Warehouse
	s3 := &p.Settings.Lake.S3
	s3.Endpoint, s3.Region, s3.PathStyle, s3.AccessKey, s3.SecretKey = at.S3.Endpoint, at.S3.Region, true, at.S3.AccessKey, at.S3.SecretKey
	if err := Infra(t.Context(), p, quiet(), t.Logf); err != nil {
		t.Fatal(err)
	}
	s, err := OpenStores(t.Context(), p, quiet())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return &importing{t, s, t.TempDir()}
}

// file writes a file of its own content and looks at it.
func (w *importing) file(name string, rows int) *rowfile.File {
	w.Helper()
	var text strings.Builder
	for i := range rows {
		fmt.Fprintf(&text, `{"_event_id":"%s-%d","_received_at":"2026-03-0%dT10:00:00Z","category":"art"}`+"\n", name, i, 1+i%5)
	}
	path := filepath.Join(w.dir, name+".jsonl")
	if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
		w.Fatal(err)
	}
	files, err := w.Look(w.Context(), "pin", "", []string{path})
	if err != nil {
		w.Fatal(err)
	}
	return files[0]
}

func (w *importing) bring(f *rowfile.File) (ImportedFile, error) {
	all, err := w.Import(w.Context(), "pin", []*rowfile.File{f}, new(atomic.Int64))
	if err != nil {
		return ImportedFile{}, err
	}
	return all[0], nil
}

// asleep is another process that has registered the file and taken its log over, and then stopped.
func (w *importing) asleep(f *rowfile.File) (*importer, *ledger.Log) {
	w.Helper()
	m := &importer{s: w.Stores, owner: "sleeper", stream: "pin", metrics: batch.NewMetrics(prometheus.NewRegistry()), done: new(atomic.Int64)}
	m.keeper = ledger.NewKeeper(w.ledger, m.owner)
	l, err := m.register(w.Context(), f)
	if err != nil {
		w.Fatal(err)
	}
	if _, err := w.ledger.TakeOver(w.Context(), ledger.Batch, m.owner, span.Key{Log: l.ID}, 0); err != nil {
		w.Fatal(err)
	}
	return m, l
}

// once asserts that the lake holds the file's rows once, all under one log.
func (w *importing) once(f *rowfile.File, log span.Log) {
	w.Helper()
	counts, err := w.ledger.Counts(w.Context(), ledger.Batch)
	if err != nil {
		w.Fatal(err)
	}
	m := &importer{s: w.Stores, stream: "pin", waiting: []*ImportedFile{{Log: log}}}
	days, err := m.days(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	held := int64(0)
	for _, d := range days[log] {
		held += d.Expect
	}
	if held != f.Rows || counts[span.Key{Log: log}] != (ledger.Counts{Rows: f.Rows}) {
		w.Errorf("the lake holds %d rows of %s, counted are %+v, it has %d", held, f.Path, counts[span.Key{Log: log}], f.Rows)
	}
}

// L1: an import that was abandoned before a row of it was taken can be made again, once; who read the file before is told
// when it wakes, and takes nothing.
func TestAbandonedAtNothing(t *testing.T) {
	testbed.Everywhere(t, func(t *testing.T, at testbed.Place) {
		prove.Invariant(t, "L1", at.On...)
		w := newImporting(t, at)
		f := w.file("pins", 50)
		sleeper, old := w.asleep(f)
		gone, err := w.Abandon(t.Context(), "pin", []string{fmt.Sprint(old.ID)})
		if err != nil || len(gone) != 1 || gone[0].State != Abandoned || gone[0].Rows != 0 {
			t.Fatalf("%+v, %v", gone, err)
		}
		if _, err := w.Abandon(t.Context(), "pin", []string{f.Path}); fault.CodeOf(err) != "unknown_import" {
			t.Errorf("abandoned twice: %v", err)
		}
		if err := sleeper.read(t.Context(), f, old); fault.CodeOf(err) != "import_elsewhere" {
			t.Errorf("woken before the file came again: %v", err)
		}
		got, err := w.bring(f)
		if err != nil || got.State != Imported || got.Rows != 50 || got.Log == old.ID {
			t.Fatalf("%+v, %v", got, err)
		}
		if err := sleeper.read(t.Context(), f, old); fault.CodeOf(err) != "import_elsewhere" {
			t.Errorf("woken after it: %v", err)
		}
		if again, err := w.bring(f); err != nil || again.State != Known || again.Log != got.Log {
			t.Errorf("%+v, %v", again, err)
		}
		w.once(f, got.Log)
	})
}

// L1: a file is imported and abandoned at once, however the two meet; imported again afterwards, it is there once, or
// refused because some of it was taken.
func TestAbandonedWhileImported(t *testing.T) {
	testbed.Everywhere(t, func(t *testing.T, at testbed.Place) {
		prove.Invariant(t, "L1", at.On...)
		w := newImporting(t, at)
		rnd := rand.New(rand.NewPCG(testbed.Seed(t), 3))
		outcomes := map[string]int{}
		for i := range 8 {
			f := w.file(fmt.Sprintf("pins-%d", i), 20)
			_, left := w.asleep(f)
			var imported, abandoned error
			var wg sync.WaitGroup
			begin := make(chan struct{})
			ahead := time.Duration(rnd.Int64N(int64(60*time.Millisecond))) - 30*time.Millisecond // of the other: which is first is drawn
			wg.Go(func() {
				<-begin
				time.Sleep(-ahead)
				_, imported = w.bring(f)
			})
			wg.Go(func() {
				<-begin
				time.Sleep(ahead)
				_, abandoned = w.Abandon(t.Context(), "pin", []string{fmt.Sprint(left.ID)})
			})
			close(begin)
			wg.Wait()
			outcomes[fmt.Sprintf("import %s, abandon %s", fault.CodeOf(imported), fault.CodeOf(abandoned))]++
			for _, err := range []error{imported, abandoned} {
				if fault.KindOf(err) == fault.Corrupt {
					t.Fatal(err)
				}
			}
			got, err := w.bring(f)
			if err != nil || got.Rows != f.Rows {
				t.Fatalf("%+v, %v; before: %v", got, err, errors.Join(imported, abandoned))
			}
			w.once(f, got.Log)
		}
		t.Logf("%v", outcomes)
	})
}

// L1: files are ended by many at once; one among them of a content that another has is known, and one that cannot be read
// ends the command after the files before it.
func TestManyFilesAreEndedTogether(t *testing.T) {
	testbed.Everywhere(t, func(t *testing.T, at testbed.Place) {
		prove.Invariant(t, "L1", at.On...)
		w := newImporting(t, at)
		var files []*rowfile.File
		for i := range importTogether + 6 {
			files = append(files, w.file(fmt.Sprintf("pins-%d", i), 3))
		}
		again := *files[3]
		files[10] = &again
		broken := w.file("broken", 3)
		if err := os.WriteFile(broken.Path, []byte("{}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		all, err := w.Import(t.Context(), "pin", append(files, broken, w.file("after", 3)), new(atomic.Int64))
		if fault.CodeOf(err) != "bad_file" || !strings.Contains(err.Error(), broken.Path) {
			t.Errorf("with a file that was changed: %v", err)
		}
		if len(all) != len(files) {
			t.Fatalf("%d files are told of, want %d", len(all), len(files))
		}
		for i, f := range all {
			want := ImportedFile{File: files[i].Path, State: Imported, Log: f.Log, Rows: 3, Counts: ledger.Counts{Rows: 3}, Days: 3}
			if i == 10 {
				want.State, want.Days = Known, 0
			}
			if f != want {
				t.Errorf("%+v, want %+v", f, want)
			}
			w.once(files[i], f.Log)
		}
		if known, err := w.Import(t.Context(), "pin", files, new(atomic.Int64)); err != nil || slices.ContainsFunc(known, func(f ImportedFile) bool { return f.State != Known }) {
			t.Errorf("%+v, %v", known, err)
		}
	})
}
