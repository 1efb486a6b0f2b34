package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pinflow/pinflow/internal/prove"
	"github.com/pinflow/pinflow/internal/testbed"
)

// D1: rows that another engine deletes, adds or takes back from under a running pinflow stop it with an error that says
// who did what to which rows and what to do; nothing is committed on it, so that it can be undone, and then
// everything accepted is there once.
func TestAnotherEngineChangesRows(t *testing.T) {
	prove.Invariant(t, "D1 L1", prove.EmbeddedLog, prove.Disk, prove.SQLite)
	s := start(t, t.TempDir())
	w := &meddler{t: t, s: s}
	w.events(300)
	older := w.newest()
	w.events(300)
	w.change("rollback", older)
	w.posting(func() { w.stops("put back on its older snapshot "+older, "missing are ") })
	w.undone("rollback")
	for _, c := range []struct{ what, arg, says string }{
		{"delete", "category == 'art'", "missing are "},
		{"update", "category == 'art'", " rows, but not the same: changed are rows of partition "},
		{"append", "7", "too many are 7 of partition "},
	} {
		s.run()
		w.events(300)
		w.change(c.what, c.arg)
		w.posting(func() {
			w.stops("by an engine that gives no name", c.says, "pinflow lake undo pin", "Nothing was committed on it")
		})
		refused(t, 3, []string{"another engine changed the rows of table pin"}, "up", "--data", s.dir, "--listen", s.addr, "--log-listen", s.kafka)
		w.undone("")
	}
	s.run()
	w.settled()
	(&readLake{t: t, folder: filepath.Join(s.dir, "lake"), table: "pin", want: digestOf(s, nil)}).by("pyiceberg")
	s.stop()
}

// D1: Apache Spark that deletes a day or writes rows anew through the same catalog stops pinflow, which commits nothing on it;
// undone, every event is there once. What Spark compacts stops nobody; single rows it cannot change.
func TestSparkChangesRows(t *testing.T) {
	sparkSubmit(t)
	testbed.Everywhere(t, func(t *testing.T, place testbed.Place) {
		prove.Invariant(t, "D1 L1", append(place.On, prove.EmbeddedLog)...)
		var env []string
		if place.S3.Bucket != "" {
			env = onServers(place)
			if r := pinflowIn(t, env, "init", "--infra"); r.code != 0 {
				t.Fatalf("init --infra: %d\n%s", r.code, r.stderr)
			}
		}
		s := startIn(t, env, t.TempDir())
		w := &meddler{t: t, s: s}
		changes := []struct{ what, arg, operation, says string }{
			{"spark", "DELETE FROM {} WHERE _event_time < cast(current_date() AS timestamp)", "delete", "missing are "},
			{"spark-update", "category = 'art'", "overwrite", " rows, but not the same: changed are rows of partition "},
		}
		if env != nil {
			changes = changes[:1] // Spark reads Parquet in S3 by another library
		}
		for _, c := range changes {
			w.yesterday(50)
			w.events(300)
			w.change(c.what, c.arg)
			w.posting(func() {
				w.stops("("+c.operation+" by spark 3.", c.says, "pinflow lake undo pin", "Nothing was committed on it")
			})
			w.undone(c.operation)
			s.run()
			w.settled()
		}
		w.change("spark", "CALL pinflow.system.rewrite_manifests('lake.pin')")
		w.events(300)
		w.settled()
		if env == nil {
			w.change("spark-update", "false") // the same rows in other files
			w.events(300)
			w.settled()
			w.refused("SELECT * FROM {}")
			w.refused("UPDATE {} SET category = 'other' WHERE category = 'art'")
			w.refused("CALL pinflow.system.rewrite_data_files(table => 'lake.pin', options => map('rewrite-all', 'true'))")
		}
		s.stop()
		if said := s.tail(); env == nil && !strings.Contains(said, "another engine wrote to the table, and left its rows as they were") {
			t.Errorf("what Spark did to files is not told:\n%s", said)
		}
		if r := pinflowIn(t, env, "lake", "expire", "pin", "--data", s.dir); r.code != 0 { // which leaves what Spark wrote
			t.Fatalf("lake expire: %d\n%s", r.code, r.stderr)
		}
		s.run()
		w.settled()
		(&readLake{t: t, env: env, folder: filepath.Join(s.dir, "lake"), table: "pin", want: digestOf(s, nil)}).by("pyiceberg")
		s.stop()
	})
}

// What another engine deleted may stay away: a ledger that is built from the lake counts it as lost.
func TestRowsThatAreToStayAway(t *testing.T) {
	prove.Invariant(t, "D1", prove.EmbeddedLog, prove.Disk, prove.SQLite)
	s := start(t, t.TempDir())
	w := &meddler{t: t, s: s}
	w.events(300)
	w.change("delete", "category == 'art'")
	w.posting(func() { w.stops("missing are ") })
	lose(t, s.dir, "ledger.db")
	if r := pinflow(t, "", "lake", "adopt", "--data", s.dir, "--yes"); r.code != 0 {
		t.Fatalf("adopt: exit code %d\n%s", r.code, r.stderr)
	}
	s.run()
	var lost int64
	s.until(func() bool {
		c := conservationOf(s, "pin")
		lost = c.Lost
		return c.OK && c.InFlight == 0 && c.Lost > 0 && c.Accepted == w.accepted.Load() && c.Rows+c.Lost == c.Accepted && s.rows("pin") == c.Rows
	}, "what was deleted is not counted as lost")
	t.Logf("%d of %d events are lost", lost, w.accepted.Load())
	s.post("pin", 5)
	s.stop()
}

// conserved is how the status accounts for a stream.
type conserved struct {
	OK                   bool
	Accepted, Rows, Lost int64
	InFlight             int64 `json:"in_flight"`
}

func conservationOf(s *server, stream string) conserved {
	s.t.Helper()
	var status struct {
		Streams []struct {
			Name         string
			Conservation conserved
		}
	}
	s.get("/v1/status", &status)
	for _, x := range status.Streams {
		if x.Name == stream {
			return x.Conservation
		}
	}
	return conserved{}
}

// D1: on servers the process that commits stops, and the status of the others says why until it is undone.
func TestStatusNamesTheOtherEngine(t *testing.T) {
	place := testbed.Servers(t)
	prove.Invariant(t, "D1 L1", append(place.On, prove.Kafka)...)
	k := startKafka(t)
	env := append(k.settings(), onServers(place)...)
	if r := pinflowIn(t, env, "init", "--infra"); r.code != 0 {
		t.Fatalf("init --infra: %d\n%s", r.code, r.stderr)
	}
	dir := t.TempDir()
	serve, door, batch := launch(t, "serve", dir, env), launch(t, "collect", dir, env), launch(t, "batch", dir, env)
	live := launch(t, "live", dir, env)
	w := &meddler{t: t, s: door, asks: serve, commits: batch}
	problems := func() []string {
		var status struct{ Problems []string }
		serve.get("/v1/status", &status)
		return slices.DeleteFunc(status.Problems, func(p string) bool { return !strings.Contains(p, "another engine") })
	}
	w.events(300)
	w.change("delete", "category == 'art'")
	w.posting(func() {
		w.stops("missing are ")
		serve.until(func() bool { return len(problems()) == 1 }, "the status does not name what was done")
	})
	t.Logf("status: %s", problems()[0])
	w.undone("")
	batch.run()
	w.settled()
	serve.until(func() bool { return len(problems()) == 0 }, "the status still names what was undone")
	for _, s := range []*server{serve, door, batch, live} {
		s.stop()
	}
}

// meddler changes the lake's table behind pinflow's back.
type meddler struct {
	t       *testing.T
	s       *server // that takes events
	asks    *server // that answers; nil: s
	commits *server // that is to stop; nil: s

	accepted atomic.Int64
}

func (w *meddler) asked() *server {
	if w.asks != nil {
		return w.asks
	}
	return w.s
}

func (w *meddler) committing() *server {
	if w.commits != nil {
		return w.commits
	}
	return w.s
}

// posting posts while work runs, and counts what is accepted. An event whose answer was lost is sent again under its id.
func (w *meddler) posting(work func()) {
	w.t.Helper()
	done := make(chan struct{})
	var posts sync.WaitGroup
	url := w.s.url() + "/v1/streams/pin/events"
	posts.Go(func() {
		for n := 0; ; n++ {
			body := fmt.Sprintf(`{"event_id":"%d-%d","category":"%s"}`, w.accepted.Load(), n, []string{"art", "travel", "home"}[n%3])
			for ok := false; !ok; {
				select {
				case <-done:
					return
				default:
				}
				resp, err := http.Post(url, "application/json", strings.NewReader(body))
				if err != nil {
					time.Sleep(time.Millisecond)
					continue
				}
				resp.Body.Close()
				ok = resp.StatusCode == http.StatusAccepted
			}
			w.accepted.Add(1)
		}
	})
	work()
	close(done)
	posts.Wait()
}

// events posts so many at least, and waits until all are in the lake: pinflow commits so often under traffic that another
// engine may not get its turn.
func (w *meddler) events(n int64) {
	w.t.Helper()
	before := w.accepted.Load()
	w.posting(func() {
		w.asked().until(func() bool { return w.accepted.Load() >= before+n }, "events are not taken")
	})
	w.asked().until(func() bool { return w.asked().rows("pin") >= w.accepted.Load() }, "not all events are in the lake")
}

// yesterday posts so many events of yesterday, in one request.
func (w *meddler) yesterday(n int) {
	w.t.Helper()
	at := time.Now().UTC().Add(-24 * time.Hour).Format(time.RFC3339)
	events := make([]string, n)
	for i := range events {
		events[i] = fmt.Sprintf(`{"category":"art","event_time":%q}`, at)
	}
	resp, err := http.Post(w.s.url()+"/v1/streams/pin/events", "application/json", strings.NewReader("["+strings.Join(events, ",")+"]"))
	if err != nil {
		w.t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusAccepted {
		w.t.Fatalf("events of yesterday: %s", resp.Status)
	}
	w.accepted.Add(int64(n))
}

// newest is the snapshot that the table is on.
func (w *meddler) newest() string {
	w.t.Helper()
	return w.table().Snapshot.String()
}

type tableRow struct {
	Table, State, Note string
	Rows               int64
	Snapshot           json.Number
}

func (w *meddler) table() tableRow {
	w.t.Helper()
	r := pinflowIn(w.t, w.s.env, "lake", "status", "--data", w.s.dir, "-o", "json")
	var tables []tableRow
	if err := json.Unmarshal([]byte(r.stdout), &tables); err != nil || r.code > 1 { // 1: a table differs
		w.t.Fatalf("lake status: %d %v\n%s", r.code, err, r.stderr)
	}
	at := slices.IndexFunc(tables, func(x tableRow) bool { return x.Table == "pin" })
	return tables[at]
}

func (w *meddler) change(what, arg string) {
	w.t.Helper()
	out, err := w.changing(what, arg)
	if err != nil {
		w.t.Fatalf("changing the lake: %v\n%s", err, out)
	}
	w.t.Logf("%s %s: snapshot %s", what, arg, out)
}

// changing returns the snapshot that the table is on then, or what was said of it.
func (w *meddler) changing(what, arg string) (string, error) {
	w.t.Helper()
	python := os.Getenv("PINFLOW_PYTHON")
	if strings.HasPrefix(what, "spark") {
		python = os.Getenv("PINFLOW_PYSPARK")
	}
	if python == "" {
		w.t.Fatal("PINFLOW_PYTHON or PINFLOW_PYSPARK is not set: run this with make e2e or make soak")
	}
	cmd := exec.Command(python, "testdata/change_lake.py", filepath.Join(w.s.dir, "lake"), "pin", what, arg)
	cmd.Env = append(os.Environ(), w.s.env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return stderr.String(), err
	}
	return strings.TrimSpace(string(out)), nil
}

// refused wants Spark to refuse a statement that reads whole rows, for one of their columns has a name that Iceberg keeps for
// itself.
func (w *meddler) refused(sql string) {
	w.t.Helper()
	if out, err := w.changing("spark", sql); err == nil || !strings.Contains(out, "reserved for Iceberg metadata columns: [_partition]") {
		w.t.Errorf("%s: %v\n%s", sql, err, out)
	}
}

// stops wants the committing process to end by itself, and to have said so.
func (w *meddler) stops(says ...string) {
	w.t.Helper()
	s := w.committing()
	select {
	case <-s.done:
	case <-time.After(time.Minute):
		w.t.Fatalf("a minute later it still runs:\n%s", s.tail())
	}
	if code := s.cmd.ProcessState.ExitCode(); code != 3 {
		w.t.Errorf("exit code %d", code)
	}
	s.cmd = nil
	said := s.tail()
	at := strings.LastIndex(said, "another engine changed the rows of table pin after commit ")
	if at < 0 {
		w.t.Fatalf("it did not say what happened:\n%s", said)
	}
	line, _, _ := strings.Cut(said[at:], "\n")
	w.t.Log(line)
	for _, want := range says {
		if !strings.Contains(line, want) {
			w.t.Errorf("it does not say %q", want)
		}
	}
	if row := w.table(); row.State != "differs" || !strings.Contains(row.Note, "another engine changed the rows") {
		w.t.Errorf("lake status: %+v", row)
	}
}

// undone undoes it, twice.
func (w *meddler) undone(operation string) {
	w.t.Helper()
	undo := []string{"lake", "undo", "pin", "--data", w.s.dir}
	r := pinflowIn(w.t, w.s.env, undo...)
	if r.code != 0 || !strings.Contains(r.stdout, operation) {
		w.t.Fatalf("lake undo: exit code %d\n%s%s", r.code, r.stderr, r.stdout)
	}
	w.t.Log(r.stdout)
	if r := pinflowIn(w.t, w.s.env, undo...); r.code != 0 || !strings.Contains(r.stderr, "there is nothing to undo") {
		w.t.Errorf("again: exit code %d\n%s%s", r.code, r.stderr, r.stdout)
	}
}

// settled wants everything that was accepted to be in the lake once.
func (w *meddler) settled() {
	w.t.Helper()
	w.asked().until(func() bool { return w.asked().rows("pin") >= w.accepted.Load() }, "not all events are in the lake")
	if rows := w.asked().rows("pin"); rows != w.accepted.Load() {
		w.t.Errorf("%d rows of %d events", rows, w.accepted.Load())
	}
	if row := w.table(); row.State != "ok" || row.Rows != w.accepted.Load() {
		w.t.Errorf("lake status: %+v", row)
	}
	out := pinflowIn(w.t, w.s.env, "lake", "status", "--offsets", "--data", w.s.dir)
	if out.code != 0 || strings.Contains(out.stdout, "differs") {
		w.t.Errorf("lake status --offsets:\n%s%s", out.stdout, out.stderr)
	}
}
