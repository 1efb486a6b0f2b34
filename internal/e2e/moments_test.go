package e2e

import (
	"bytes"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pinflow/pinflow/internal/prove"
)

// L7: a part of the data folder that is older than the rest, as after restoring half a backup, is
// noticed, and the lake's catalog, which says what the tables hold, is left as it was.
func TestPartsOfDifferentMoments(t *testing.T) {
	prove.Invariant(t, "L7", prove.EmbeddedLog, prove.Disk, prove.SQLite)
	partsOfDifferentMoments(t, nil, map[string]string{
		"ledger.db": "is ahead of",
		"lake":      "is ahead of",
		"log":       "the log of pin/",
	})
}

// On Kafka the log is elsewhere, and never older than the rest.
func TestPartsOfDifferentMomentsOnKafka(t *testing.T) {
	prove.Invariant(t, "L7", prove.Kafka, prove.Disk, prove.SQLite)
	partsOfDifferentMoments(t, startKafka(t).settings(), map[string]string{
		"ledger.db": "is ahead of",
		"lake":      "is ahead of",
	})
}

func partsOfDifferentMoments(t *testing.T, env []string, parts map[string]string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	s := startIn(t, env, dir)
	s.post("pin", 20)
	s.stop()
	older := dir + ".older"
	copyFolder(t, dir, older)
	s = startIn(t, env, dir)
	s.post("pin", 20)
	s.stop()
	newer := dir + ".newer"
	copyFolder(t, dir, newer)

	for part, code := range parts {
		t.Run(part, func(t *testing.T) {
			replace(t, newer, dir)
			replace(t, filepath.Join(older, part), filepath.Join(dir, part))
			before := read(t, filepath.Join(dir, "lake", "catalog.db"))
			refusedIn(t, env, 3, []string{code, "restore"}, "up", "--data", dir, "--listen", freePort(t), "--log-listen", freePort(t))
			if after := read(t, filepath.Join(dir, "lake", "catalog.db")); !bytes.Equal(before, after) {
				t.Error("the lake's catalog was written")
			}
		})
	}
	embedded := parts["log"] != ""
	for _, lost := range []struct {
		parts []string // that are gone, or ("=NAME") empty files
		says  string
	}{
		{[]string{"ledger.db"}, "its ledger"},
		{[]string{"=ledger.db"}, "its ledger"},
		{[]string{"lake/catalog.db"}, "catalog"},
		{[]string{"=lake/catalog.db"}, "catalog"},
		{[]string{"ledger.db", "lake/catalog.db"}, "table pin of the lake is at commit"},
		{[]string{"=ledger.db", "=lake/catalog.db"}, "table pin of the lake is at commit"},
		{[]string{"ledger.db", "lake"}, "holds events, but its ledger"},
	} {
		if lost.says == "holds events, but its ledger" && !embedded {
			continue
		}
		t.Run("no "+strings.Join(lost.parts, " no "), func(t *testing.T) {
			replace(t, newer, dir)
			for _, part := range lost.parts {
				lose(t, dir, part)
			}
			before := list(t, dir)
			refusedIn(t, env, 3, []string{lost.says, "is gone", "restore"}, "up", "--data", dir, "--listen", freePort(t), "--log-listen", freePort(t))
			if after := list(t, dir); !slices.Equal(before, after) {
				t.Errorf("it was written: before\n%v\nafter\n%v", before, after)
			}
		})
	}
	replace(t, newer, dir) // all of one moment, it goes on
	s = startIn(t, env, dir)
	s.post("pin", 1)
	s.stop()
}

// lose takes a part of the data folder away; of "=NAME" it leaves an empty file.
func lose(t *testing.T, dir, part string) {
	t.Helper()
	name, empty := strings.CutPrefix(part, "=")
	gone := filepath.Join(dir, filepath.FromSlash(name))
	for _, file := range []string{gone, gone + "-wal", gone + "-shm"} {
		if err := os.RemoveAll(file); err != nil {
			t.Fatal(err)
		}
	}
	if empty {
		if err := os.WriteFile(gone, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// list names the files of a folder with their sizes, without what a lock and SQLite's side files are.
func list(t *testing.T, dir string) (all []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(at string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || e.Name() == "up.lock" || strings.HasSuffix(at, "-wal") || strings.HasSuffix(at, "-shm") {
			return err
		}
		info, err := e.Info()
		if err == nil {
			all = append(all, fmt.Sprintf("%s %d", at, info.Size()))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// post sends n events and waits until they are in the lake.
func (s *server) post(stream string, n int) {
	s.t.Helper()
	before := s.rows(stream)
	for range n {
		resp, err := http.Post(s.url()+"/v1/streams/"+stream+"/events", "application/json", bytes.NewReader([]byte(`{"category":"travel"}`)))
		if err != nil {
			s.t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusAccepted {
			s.t.Fatalf("posting: %s", resp.Status)
		}
	}
	for deadline := time.Now().Add(time.Minute); s.rows(stream) != before+int64(n); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("a minute later the lake has %d rows, not %d", s.rows(stream), before+int64(n))
		}
	}
}

// rows are those of a stream in the lake.
func (s *server) rows(stream string) (n int64) {
	s.t.Helper()
	var lake struct {
		Days []dayTotals `json:"days"`
	}
	s.get("/v1/lake/"+stream+"/digest", &lake)
	for _, d := range lake.Days {
		n += d.Rows
	}
	return n
}

func copyFolder(t *testing.T, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

// replace puts a copy of a file or folder in the place of another.
func replace(t *testing.T, from, to string) {
	t.Helper()
	if err := os.RemoveAll(to); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(from)
	if err != nil {
		t.Fatal(err)
	}
	if info.IsDir() {
		copyFolder(t, from, to)
		return
	}
	if err := os.WriteFile(to, read(t, from), info.Mode()); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
