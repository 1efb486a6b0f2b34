package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pinflow/pinflow/internal/prove"
	"github.com/pinflow/pinflow/internal/testbed"
)

// L1, L7: the ledger of a lake on Apache Kafka is lost that holds imported files, and a log that was closed when its
// topic was made anew. After adopting, the files are known by their content, the closed log is history, and
// everything is there once.
func TestLostLedgerWithClosedLogsIsAdopted(t *testing.T) {
	prove.Invariant(t, "L1 L5 L7 D1 M1", prove.Kafka, prove.Disk, prove.SQLite)
	k := startKafka(t)
	h := &historian{t: t, env: k.settings(), s: startIn(t, k.settings(), t.TempDir()), files: files(t, 30, 20)}
	h.s.post("pin", 25)
	h.rows = 25
	before := kept(t, h.s.dir)
	h.imports("imported")
	h.s.post("pin", 5)
	h.rows += 5
	if now := kept(t, h.s.dir); len(now) > len(before)+100 {
		t.Errorf("30 imported files have made what the table keeps of the ledger grow from %d bytes to %d:\n%s", len(before), len(now), now)
	}
	h.s.stop()
	admin := k.admin()
	if _, err := admin.DeleteTopic(t.Context(), "pin"); err != nil {
		t.Fatal(err)
	}
	k.makeAnew(admin, "pin", 2)
	if r := pinflowIn(t, h.env, "topics", "accept-reset", "pin", "--data", h.s.dir, "--yes"); r.code != 0 {
		t.Fatalf("accept-reset: %d\n%s", r.code, r.stderr)
	}
	h.s.run()
	h.s.until(func() bool { status, _ := h.s.send("pin", 7); return status == http.StatusAccepted }, "the collector takes nothing")
	h.rows += 7
	h.settled()
	for round := range 2 {
		h.s.kill()
		lose(t, h.s.dir, "ledger.db")
		if round > 0 {
			lose(t, h.s.dir, "lake/catalog.db")
			h.refusesWithoutLogs()
		}
		h.adopt()
	}
	h.s.stop()
}

// The same of files alone, on servers: an import that was under way when the ledger was lost goes on.
func TestLostLedgerWithImportsIsAdoptedOnServers(t *testing.T) {
	place := testbed.Servers(t)
	prove.Invariant(t, "L1 L7 D1 M1", append(place.On, prove.EmbeddedLog)...)
	env := onServers(place)
	if r := pinflowIn(t, env, "init", "--infra"); r.code != 0 {
		t.Fatalf("init --infra: %d\n%s", r.code, r.stderr)
	}
	h := &historian{t: t, env: env, s: startIn(t, env, t.TempDir()), files: files(t, 5, 2000)}
	h.s.post("pin", 10)
	h.rows = 10
	cmd := program(t, append([]string{"import", "pin", "--data", h.s.dir, "-q"}, h.files...)...)
	cmd.Env = environ(env...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	h.s.until(func() bool { return h.s.rows("pin") > h.rows }, "nothing is imported")
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	for range 2 { // the second one finds all of them closed
		h.s.kill()
		dropSchema(t, place.DSN, schemaOf(t, place.DSN))
		newSchema(t, place.DSN, schemaOf(t, place.DSN))
		h.adopt()
	}
	h.s.stop()
}

// historian adopts a lake of imported files.
type historian struct {
	t     *testing.T
	env   []string
	s     *server
	files []string
	rows  int64 // posted
}

// imports imports the files, which end in that state ("": any).
func (h *historian) imports(state string) {
	h.t.Helper()
	r := pinflowIn(h.t, h.env, append([]string{"import", "pin", "--data", h.s.dir, "-o", "json"}, h.files...)...)
	var got []struct {
		State          string
		Rows, Accepted int64
	}
	if err := json.Unmarshal([]byte(r.stdout), &got); err != nil || r.code != 0 || len(got) != len(h.files) {
		h.t.Fatalf("import: exit code %d, %v, %+v\n%s", r.code, err, got, r.stderr)
	}
	for i, f := range got {
		if f.Accepted != f.Rows || state != "" && f.State != state {
			h.t.Errorf("%s: %+v, want %s", h.files[i], f, state)
		}
	}
}

// settled wants the lake to hold what was posted and what was imported, once.
func (h *historian) settled() {
	h.t.Helper()
	inLake(h.t, h.s)
	want := h.rows
	for _, f := range h.files {
		text, err := os.ReadFile(f)
		if err != nil {
			h.t.Fatal(err)
		}
		want += int64(strings.Count(string(text), "\n"))
	}
	if n := h.s.rows("pin"); n != want {
		h.t.Errorf("the lake holds %d rows, want %d", n, want)
	}
	if c := h.s.stream("pin").Conservation; !c.OK || c.Lost != 0 || c.Rows != want {
		h.t.Errorf("conservation %+v, want %d rows", c, want)
	}
}

// refusesWithoutLogs: without the table of closed logs the ledger would not know what it held.
func (h *historian) refusesWithoutLogs() {
	h.t.Helper()
	at, away := filepath.Join(h.s.dir, "lake", "warehouse", "logs"), filepath.Join(h.s.dir, "away")
	if err := os.Rename(at, away); err != nil {
		h.t.Fatal(err)
	}
	refusedIn(h.t, h.env, 3, []string{"table logs is at commit 0", "gone or older"}, "lake", "adopt", "--data", h.s.dir, "--yes")
	if err := os.Rename(away, at); err != nil {
		h.t.Fatal(err)
	}
}

// adopt builds the ledger that was lost, imports the files again, and goes on.
func (h *historian) adopt() {
	h.t.Helper()
	refusedIn(h.t, h.env, 3, []string{"its ledger", "is gone", "pinflow lake adopt"}, "up", "--data", h.s.dir, "--listen", h.s.addr, "--log-listen", h.s.kafka)
	r := pinflowIn(h.t, h.env, "lake", "adopt", "--data", h.s.dir, "--yes")
	if r.code != 0 {
		h.t.Fatalf("adopt: exit code %d\n%s", r.code, r.stderr)
	}
	h.t.Logf("adopted:\n%s%s", r.stderr, r.stdout)
	h.s.run()
	h.imports("")
	h.imports("known")
	h.s.post("pin", 5)
	h.rows += 5
	h.settled()
	filledIn(h.t, h.s)
	definer := &definer{t: h.t, s: h.s, files: filepath.Join(h.t.TempDir(), "project")}
	must(h.t, "init", definer.files)
	definer.exact("pins")
}

// files writes files of events of two days ago.
func files(t *testing.T, n, rows int) (all []string) {
	t.Helper()
	dir, at := t.TempDir(), time.Now().UTC().AddDate(0, 0, -2).Format(time.RFC3339)
	for f := range n {
		var b strings.Builder
		for r := range rows {
			fmt.Fprintf(&b, `{"event_id":"%d-%d","event_time":%q,"category":"travel"}`+"\n", f, r, at)
		}
		all = append(all, filepath.Join(dir, fmt.Sprintf("%d.jsonl", f)))
		if err := os.WriteFile(all[f], []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// kept is what table pin of a lake on the disk keeps of the ledger.
func kept(t *testing.T, dir string) string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(dir, "lake", "warehouse", "pin", "metadata", "*.metadata.json"))
	if err != nil || len(all) == 0 {
		t.Fatalf("no metadata: %v", err)
	}
	text, err := os.ReadFile(slices.Max(all)) // their names begin with a number of five digits
	if err != nil {
		t.Fatal(err)
	}
	var meta struct{ Properties map[string]string }
	if err := json.Unmarshal(text, &meta); err != nil {
		t.Fatal(err)
	}
	if _, former := meta.Properties["pinflow.schemas"]; former || meta.Properties["pinflow.ledger"] == "" {
		t.Errorf("properties %v", meta.Properties)
	}
	return meta.Properties["pinflow.ledger"]
}
