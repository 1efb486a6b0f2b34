package e2e

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/pinflow/pinflow/internal/prove"
)

// L7: a part of the data folder that is older than the rest, as after restoring half a backup, is
// noticed, and the lake's catalog, which says what the tables hold, is left as it was.
func TestPartsOfDifferentMoments(t *testing.T) {
	prove.Invariant(t, "L7", prove.EmbeddedLog, prove.Disk, prove.SQLite)
	partsOfDifferentMoments(t, nil, map[string]string{
		"ledger.db": "the ledger's newest is commit",
		"lake":      "the ledger's newest is commit",
		"log":       "the log of pin/",
	})
}

// On Kafka the log is elsewhere, and never older than the rest.
func TestPartsOfDifferentMomentsOnKafka(t *testing.T) {
	prove.Invariant(t, "L7", prove.Kafka, prove.Disk, prove.SQLite)
	partsOfDifferentMoments(t, startKafka(t).settings(), map[string]string{
		"ledger.db": "the ledger's newest is commit",
		"lake":      "the ledger's newest is commit",
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
	for part, says := range map[string]string{"ledger.db": "its ledger", "lake/catalog.db": "catalog"} {
		t.Run("no "+part, func(t *testing.T) {
			replace(t, newer, dir)
			gone := filepath.Join(dir, filepath.FromSlash(part))
			for _, file := range []string{gone, gone + "-wal", gone + "-shm"} {
				if err := os.RemoveAll(file); err != nil {
					t.Fatal(err)
				}
			}
			refusedIn(t, env, 3, []string{says, "is gone", "restore"}, "up", "--data", dir, "--listen", freePort(t), "--log-listen", freePort(t))
			if _, err := os.Stat(gone); err == nil {
				t.Errorf("%s was made anew", part)
			}
		})
	}
	replace(t, newer, dir) // all of one moment, it goes on
	s = startIn(t, env, dir)
	s.post("pin", 1)
	s.stop()
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
