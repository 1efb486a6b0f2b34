package icelake

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"pgregory.net/rapid"

	iceio "github.com/apache/iceberg-go/io"
	"github.com/apache/iceberg-go/table"

	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/prove"
)

// frailFS fails the k-th change of the file system and, if the process dies with it, all later ones. It
// remembers what is on the disk for good: files that were synced under names that were synced.
type frailFS struct {
	hostFS
	mu     sync.Mutex
	calls  int
	at     int   // 0: never
	err    error // what fails fails with
	dies   bool
	struck bool
	synced map[string]bool // contents
	named  map[string]bool // names
}

var errDisk = errors.New("disk failure, injected")

func newFrailFS(at int, dies bool) *frailFS {
	return &frailFS{at: at, dies: dies, err: errDisk, synced: map[string]bool{}, named: map[string]bool{}}
}

func (f *frailFS) step(do func() error) error {
	f.mu.Lock()
	f.calls++
	fail := f.calls == f.at || f.struck && f.dies
	f.struck = f.struck || fail
	f.mu.Unlock()
	if fail {
		return f.err
	}
	return do()
}

func (f *frailFS) note(m map[string]bool, path string) {
	f.mu.Lock()
	m[path] = true
	f.mu.Unlock()
}

type frailFile struct {
	writableFile
	fs   *frailFS
	path string
}

func (w frailFile) Write(p []byte) (n int, err error) {
	err = w.fs.step(func() (err error) { n, err = w.writableFile.Write(p); return err })
	return n, err
}

func (w frailFile) Sync() error {
	return w.fs.step(func() error { w.fs.note(w.fs.synced, w.path); return nil })
}

func (f *frailFS) Create(path string) (file writableFile, err error) {
	err = f.step(func() (err error) { file, err = f.hostFS.Create(path); return err })
	return frailFile{file, f, path}, err
}

func (f *frailFS) Mkdir(path string) error {
	return f.step(func() error { return f.hostFS.Mkdir(path) })
}

func (f *frailFS) Remove(path string) error {
	return f.step(func() error { return f.hostFS.Remove(path) })
}

func (f *frailFS) SyncDir(path string) error {
	return f.step(func() error {
		entries, err := os.ReadDir(path)
		for _, e := range entries {
			f.note(f.named, filepath.Join(path, e.Name()))
		}
		return err
	})
}

func (f *frailFS) Open(path string) (iceio.File, error) { return f.hostFS.Open(path) }

// durable tells whether the file would be there, whole, after a power cut: its content, its name, and
// the names of the folders above it up to the warehouse's parent.
func (f *frailFS) durable(path, top string) error {
	if !f.synced[path] {
		return fmt.Errorf("%s is not synced", path)
	}
	for p := path; p != top; p = filepath.Dir(p) {
		if !f.named[p] {
			return fmt.Errorf("the name of %s is not synced", p)
		}
	}
	return nil
}

// L3: whichever file operation fails, alone or with all after it, repeating the work ends with each row
// once.
func TestAnyFileOperationMayFail(t *testing.T) {
	prove.Invariant(t, "L3", prove.Disk)
	for first, dies := range map[int]bool{1: false, 2: true} {
		t.Run(fmt.Sprintf("dies=%v", dies), func(t *testing.T) {
			for at := first; ; at += 2 {
				fs := newFrailFS(at, dies)
				dir := t.TempDir()
				err := life(t, dir, fs)
				if !fs.struck {
					if err != nil {
						t.Fatal(err)
					}
					break
				}
				if err := life(t, dir, newFrailFS(0, false)); err != nil {
					t.Fatalf("after operation %d failed: %v", at, err)
				}
				l := testLake(t, filepath.Join(dir, "lake"), quickFS{})
				if got := all(t, l); len(got) != 8 {
					t.Fatalf("after operation %d failed: %d rows", at, len(got))
				}
				_ = l.Close()
			}
		})
	}
}

// life makes a table and three commits, whatever of them an earlier life has left to do.
func life(t *testing.T, dir string, fs fileSystem) error {
	l, err := open(t.Context(), Config{Warehouse: filepath.Join(dir, "lake", "warehouse"), Catalog: filepath.Join(dir, "lake", "catalog.db"), Log: slog.New(slog.DiscardHandler)}, fs)
	if errors.Is(err, errDisk) {
		return err
	}
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := l.EnsureTable(t.Context(), pins()); err != nil {
		return err
	}
	for n := int64(1); n <= 3; n++ {
		head, err := l.Head(t.Context(), "pin")
		if err != nil {
			return err
		}
		if head.Seq >= n {
			continue
		}
		in := intent(n, nil)
		if n == 3 {
			in.Kind = lake.Expire
			_, err = l.Expire(t.Context(), in, lake.Retention{Keep: 1})
		} else {
			if in.Files, err = l.Stage(t.Context(), "pin", []lake.Block{rows(int(n)*4, 4, 2)}); err != nil {
				return err
			}
			_, err = l.Commit(t.Context(), in)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// A full disk passes: whichever operation of a stage meets it, the stage may be repeated, and nothing of it
// is left behind to keep the disk full.
func TestFullDiskPasses(t *testing.T) {
	for at := 1; ; at++ {
		dir := t.TempDir()
		fs := newFrailFS(0, false)
		l := testLake(t, dir, fs)
		if err := l.EnsureTable(t.Context(), pins()); err != nil {
			t.Fatal(err)
		}
		fs.at, fs.err = fs.calls+at, &os.PathError{Op: "write", Path: dir, Err: syscall.ENOSPC}
		_, err := l.Stage(t.Context(), "pin", []lake.Block{rows(0, 4, 2)})
		if !fs.struck {
			if at == 1 || err != nil {
				t.Fatalf("%d operations: %v", at, err)
			}
			return
		}
		if !fault.Is(err, fault.Transient) || fault.CodeOf(err) != "disk_full" {
			t.Fatalf("operation %d: %v", at, err)
		}
		left, err := filepath.Glob(filepath.Join(dir, "warehouse", "pin", "data", "*", "*"))
		if err != nil || len(left) > 0 {
			t.Fatalf("operation %d: left behind: %v, %v", at, left, err)
		}
		if files := stage(t, l, rows(0, 4, 2)); len(files) != 2 {
			t.Fatalf("operation %d: then %d files", at, len(files))
		}
	}
}

// What is named must be on the disk: data files before their stage can be sealed, metadata before the
// catalog's row.
func TestNamesComeAfterWhatTheyName(t *testing.T) {
	dir := t.TempDir()
	fs := newFrailFS(0, false)
	l, err := open(t.Context(), Config{Warehouse: filepath.Join(dir, "lake", "warehouse"), Catalog: filepath.Join(dir, "lake", "catalog.db"), Log: slog.New(slog.DiscardHandler)}, fs)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := l.EnsureTable(t.Context(), pins()); err != nil {
		t.Fatal(err)
	}
	for n := int64(1); n <= 25; n++ { // far enough for manifests to be merged
		files := stage(t, l, rows(int(n)*4, 4, 2))
		for _, f := range files {
			path, _ := localPath(f.Path)
			if err := fs.durable(path, dir); err != nil {
				t.Fatalf("staged: %v", err)
			}
		}
		if _, err := l.Commit(t.Context(), intent(n, files)); err != nil {
			t.Fatal(err)
		}
		tbl, err := l.cat.load(t.Context(), "pin")
		if err != nil {
			t.Fatal(err)
		}
		named := []string{tbl.MetadataLocation(), tbl.CurrentSnapshot().ManifestList}
		manifests, err := tbl.CurrentSnapshot().Manifests(l.files)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range manifests {
			named = append(named, m.FilePath())
		}
		for _, at := range named {
			path, _ := localPath(at)
			if err := fs.durable(path, dir); err != nil {
				t.Fatalf("commit %d: %v", n, err)
			}
		}
	}
}

func TestFilesAreNeverOverwritten(t *testing.T) {
	d := newDisk(quickFS{})
	at := fileURI(filepath.Join(t.TempDir(), "new", "a b%.avro"))
	if err := d.WriteFile(at, []byte("one")); err != nil {
		t.Fatal(err)
	}
	if err := d.WriteFile(at, []byte("two")); !errors.Is(err, os.ErrExist) {
		t.Errorf("second write: %v", err)
	}
	if got, err := d.ReadFile(at); string(got) != "one" || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
	if names, err := d.List(at[:strings.LastIndexByte(at, '/')]); err != nil || len(names) != 1 {
		t.Errorf("listed %v, %v", names, err)
	}
}

// hand is one committer's view of the lake, as a process that may be paused anywhere has it.
type hand struct {
	l  *Lake
	in *ledger.Intent
}

// L3: whatever two committers do, in whatever order, each number lands at most once and each file of a
// landed intent is in the table once.
func TestEachNumberLandsAtMostOnce(t *testing.T) {
	prove.Invariant(t, "L3", prove.Disk)
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp("", "lake")
		if err != nil {
			rt.Fatal(err)
		}
		defer os.RemoveAll(dir)
		hands := make([]hand, 3)
		for i := range hands {
			l, err := open(t.Context(), Config{Warehouse: dir + "/warehouse", Catalog: dir + "/catalog.db"}, quickFS{})
			if err != nil {
				rt.Fatal(err)
			}
			defer l.Close()
			hands[i].l = l
		}
		if err := hands[0].l.EnsureTable(t.Context(), pins()); err != nil {
			rt.Fatal(err)
		}
		// The ledger's part: intent n, opened once, with files of its own.
		open, next, landed := intent(1, nil), 0, map[int64]string{}
		renew := func(n int64) {
			open = intent(n, nil)
			if rapid.IntRange(0, 3).Draw(rt, "skip") == 0 {
				open.Kind = lake.Skip
				return
			}
			files, err := hands[0].l.Stage(t.Context(), "pin", []lake.Block{rows(next, 2, 1)})
			if err != nil {
				rt.Fatal(err)
			}
			open.Files, next = files, next+2
		}
		renew(1)
		want := 0
		for range rapid.IntRange(1, 12).Draw(rt, "steps") {
			h := &hands[rapid.IntRange(0, 2).Draw(rt, "who")]
			switch rapid.IntRange(0, 2).Draw(rt, "what") {
			case 0: // takes up what is open, and may sleep on it
				h.in = open
			case 1: // two at once
				other := &hands[rapid.IntRange(0, 2).Draw(rt, "other")]
				var wg sync.WaitGroup
				wg.Go(func() { _ = try(h) })
				wg.Go(func() { _ = try(other) })
				wg.Wait()
			case 2:
				if err := try(h); err != nil && !expected(err) {
					rt.Fatal(err)
				}
			}
			head, err := h.l.Head(t.Context(), "pin")
			if err != nil {
				rt.Fatal(err)
			}
			if id, ok := landed[head.Seq]; ok && id != head.CommitID {
				rt.Fatalf("commit %d is %s and was %s", head.Seq, head.CommitID, id)
			}
			landed[head.Seq] = head.CommitID
			if head.Seq == open.N { // the ledger closes it
				want += len(open.Files) * 2
				renew(open.N + 1)
			}
			if head.Rows != int64(want) {
				rt.Fatalf("%d rows at commit %d, want %d", head.Rows, head.Seq, want)
			}
		}
		if got := all(t, hands[0].l); len(got) != want {
			rt.Fatalf("%d rows, want %d", len(got), want)
		}
	})
}

// L3: a committer that sleeps between its look at the table and its commit wakes up to a table that has
// moved on. Its commit changes no snapshot, so that only the number can refuse it.
func TestSleeperCannotTurnTheNumberBack(t *testing.T) {
	prove.Invariant(t, "L3", prove.Disk)
	for _, moved := range []int64{0, 1, 2} {
		l := testLake(t, t.TempDir(), quickFS{})
		if err := l.EnsureTable(t.Context(), pins()); err != nil {
			t.Fatal(err)
		}
		skip := func(n int64) *ledger.Intent {
			in := intent(n, nil)
			in.Kind = lake.Skip
			return in
		}
		_, err := l.commit(t.Context(), skip(1), func(*table.Table, *table.Transaction) error {
			for n := int64(1); n <= moved; n++ {
				if _, err := l.Commit(t.Context(), skip(n)); err != nil {
					t.Fatal(err)
				}
			}
			return nil
		})
		if (err == nil) != (moved <= 1) { // by then it is in the table, whoever put it there
			t.Errorf("moved on by %d: %v", moved, err)
		}
		if head, err := l.Head(t.Context(), "pin"); err != nil || head.Seq != max(moved, 1) {
			t.Errorf("moved on by %d: the table is at %d, %v", moved, head.Seq, err)
		}
	}
}

func try(h *hand) error {
	if h.in == nil {
		return nil
	}
	_, err := h.l.Commit(context.Background(), h.in)
	return err
}

// expected: it did not land yet, or others went past it long ago.
func expected(err error) bool {
	return fault.Is(err, fault.Transient) || fault.CodeOf(err) == "lake_mismatch"
}

func TestDisagreementIsNoticed(t *testing.T) { // L7
	prove.Invariant(t, "L7", prove.Disk)
	l := testLake(t, t.TempDir(), quickFS{})
	if err := l.EnsureTable(t.Context(), pins()); err != nil {
		t.Fatal(err)
	}
	for n := int64(1); n <= 2; n++ {
		if _, err := l.Commit(t.Context(), intent(n, stage(t, l, rows(int(n)*2, 2, 1)))); err != nil {
			t.Fatal(err)
		}
	}
	head, err := l.Head(t.Context(), "pin")
	if err != nil {
		t.Fatal(err)
	}
	closed := func(n int64, id string) *ledger.Intent { return &ledger.Intent{Table: "pin", N: n, ID: id} }
	for name, tc := range map[string]struct {
		last *ledger.Intent
		ok   bool
	}{
		"same":                     {closed(2, "commit-2"), true},
		"landed, not closed":       {intent(2, nil), true},
		"not landed yet":           {intent(3, nil), true},
		"an empty ledger":          {nil, false},
		"ledger restored":          {closed(1, "commit-1"), false},
		"lake restored":            {closed(3, "commit-3"), false},
		"lake restored, one open":  {intent(4, nil), false},
		"another commit 2":         {closed(2, "commit-2-of-another-ledger"), false},
		"another commit 2, opened": {&ledger.Intent{Table: "pin", N: 2, ID: "other", Open: true}, false},
	} {
		err := head.Check("pin", tc.last)
		if (err == nil) != tc.ok || !tc.ok && fault.CodeOf(err) != "lake_mismatch" {
			t.Errorf("%s: %v", name, err)
		}
	}
	other := closed(2, "commit-2-of-another-ledger")
	other.Kind = lake.Append
	if _, err := l.Commit(t.Context(), other); fault.CodeOf(err) != "lake_mismatch" {
		t.Errorf("committing for another ledger: %v", err)
	}
}
