package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/prove"
)

// streamStatus is what /v1/status says of a stream.
type streamStatus struct {
	Name         string `json:"name"`
	Conservation struct {
		Accepted, Rows, Dead, Duplicates, Gaps, Lost int64
		InFlight                                     int64 `json:"in_flight"`
		OK                                           bool
	} `json:"conservation"`
	Partitions []struct {
		Topic string `json:"topic"`
		Lake  int64  `json:"lake"`
		Live  *struct {
			Position int64 `json:"position"`
		} `json:"live"`
	} `json:"partitions"`
}

func (s *server) stream(name string) streamStatus {
	s.t.Helper()
	var report struct{ Streams []streamStatus }
	s.get("/v1/status", &report)
	for _, st := range report.Streams {
		if st.Name == name {
			return st
		}
	}
	s.t.Fatalf("there is no stream %s", name)
	return streamStatus{}
}

// settled waits until both units have read everything of a stream and the lake holds it.
func (s *server) settled(name string, accepted int64) streamStatus {
	s.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		st := s.stream(name)
		done := st.Conservation.Accepted == accepted && st.Conservation.InFlight == 0 && st.Conservation.OK
		live, lake := int64(0), int64(0)
		for _, p := range st.Partitions {
			if p.Live != nil {
				live += p.Live.Position
				lake += p.Lake
			}
		}
		if done && live == lake {
			return st
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("a minute later it is not settled at %d accepted: %+v", accepted, st)
		}
	}
}

// send posts n events and returns the status and the code of the answer.
func (s *server) send(stream string, n int) (status int, code string) {
	s.t.Helper()
	body := "[" + strings.Repeat(`{"category":"travel"},`, n-1) + `{"category":"travel"}]`
	resp, err := http.Post(s.url()+"/v1/streams/"+stream+"/events", "application/json", bytes.NewReader([]byte(body)))
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct {
		Code string `json:"code"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		s.t.Fatal(err)
	}
	return resp.StatusCode, answer.Code
}

func (k *kafka) admin() *kadm.Client {
	k.t.Helper()
	cl := k.client()
	k.t.Cleanup(cl.Close)
	return kadm.NewClient(cl)
}

// A topic that is deleted and made anew: the units that read it stop and say what to do, the collector takes
// nothing for it, and after accept-reset everything goes on. What nobody had read is booked as lost.
func TestTopicMadeAnew(t *testing.T) {
	prove.Invariant(t, "L1 D1", prove.Kafka, prove.Disk, prove.SQLite)
	k := startKafka(t)
	dir := t.TempDir()
	serve := launch(t, "serve", dir, k.settings())
	door := launch(t, "collect", dir, k.settings())
	batch, live := launch(t, "batch", dir, k.settings()), launch(t, "live", dir, k.settings())
	if status, code := door.send("pin", 20); status != http.StatusAccepted {
		t.Fatalf("%d %s", status, code)
	}
	serve.settled("pin", 20)

	batch.stop() // so that the units stand at different offsets
	if status, code := door.send("pin", 5); status != http.StatusAccepted {
		t.Fatalf("%d %s", status, code)
	}
	for deadline := time.Now().Add(time.Minute); livePosition(serve) < 25; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the live unit did not read on")
		}
	}
	admin := k.admin()
	if _, err := admin.DeleteTopic(t.Context(), "pin"); err != nil {
		t.Fatal(err)
	}
	k.makeAnew(admin, "pin", 2)
	select {
	case <-live.done:
	case <-time.After(2 * time.Minute):
		t.Fatal("the live unit went on")
	}
	if code := live.cmd.ProcessState.ExitCode(); code != fault.ExitInvalid {
		t.Errorf("the live unit ended with %d, want %d: a supervisor should not start it again", code, fault.ExitInvalid)
	}
	live.cmd = nil
	oneLine(t, live.tail(), "pin was made anew", "pinflow topics accept-reset pin")
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		status, code := door.send("pin", 1)
		if status == http.StatusServiceUnavailable && code == "not_stored" {
			break
		}
		if status == http.StatusAccepted || time.Now().After(deadline) {
			t.Fatalf("an event for an incarnation that nobody knows: %d %s", status, code)
		}
	}
	r := pinflowIn(t, k.settings(), "batch", "--data", dir)
	if r.code != fault.ExitInvalid || !strings.Contains(r.stderr, "pinflow topics accept-reset pin") {
		t.Errorf("batch started on it: %d %s", r.code, r.stderr)
	}
	r = pinflowIn(t, k.settings(), "topics", "accept-reset", "pin", "--data", dir)
	if r.code != fault.ExitUsage || !strings.Contains(r.stderr, "--yes") {
		t.Errorf("it did not ask: %d %s", r.code, r.stderr)
	}
	r = pinflowIn(t, k.settings(), "topics", "accept-reset", "pin", "--data", dir, "--yes", "-o", "csv")
	t.Logf("accept-reset: %d\n%s%s", r.code, r.stdout, r.stderr)
	if r.code != 0 || !strings.Contains(r.stderr, "view pins is built anew") {
		t.Fatal("the reset was not accepted")
	}
	batch.run()
	live.run()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		if status, _ := door.send("pin", 7); status == http.StatusAccepted {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("a minute later the collector still takes nothing")
		}
	}
	// 20 are in the lake, 5 only live had read, 7 came after it.
	st := serve.settled("pin", 32)
	if c := st.Conservation; c.Rows != 27 || c.Lost != 5 || !c.OK {
		t.Errorf("conservation %+v", c)
	}
	for _, s := range []*server{door, batch, live, serve} {
		s.stop()
	}
}

func livePosition(s *server) (n int64) {
	for _, p := range s.stream("pin").Partitions {
		if p.Live != nil {
			n += p.Live.Position
		}
	}
	return n
}

// makeAnew makes a topic as soon as the one before is gone.
func (k *kafka) makeAnew(admin *kadm.Client, topic string, partitions int32) {
	k.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		resp, err := admin.CreateTopic(k.t.Context(), partitions, 1, nil, topic)
		if err == nil && resp.Err == nil {
			return
		}
		if time.Now().After(deadline) {
			k.t.Fatalf("making %s anew: %v %v", topic, err, resp.Err)
		}
	}
}

// Records that others write to the topic: in transactions that commit and that abort, without headers, with
// absurd timestamps, with bodies that are no JSON. Each offset is accounted for.
func TestForeignProducers(t *testing.T) {
	prove.Invariant(t, "L1 M1 D1", prove.Kafka, prove.Disk, prove.SQLite)
	k := startKafka(t)
	s := startIn(t, k.settings(), t.TempDir())
	plain := k.client(kgo.DefaultProduceTopic("geo"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	defer plain.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	put := func(cl *kgo.Client, value string, at time.Time) {
		t.Helper()
		must(cl.ProduceSync(ctx, &kgo.Record{Value: []byte(value), Timestamp: at}).FirstErr())
	}
	now := time.Now()
	put(plain, `{"country":"UK","ind":1}`, now)
	put(plain, `{"country":"UK","ind":1}`, now)                                        // no id: no duplicate
	put(plain, `this is no JSON`, now)                                                 // dead
	put(plain, `{"country":`, now)                                                     // dead
	put(plain, `{"country":"UK","ind":2}`, time.UnixMilli(0))                          // dead: bad_timestamp
	put(plain, `{"country":"UK","ind":3}`, time.UnixMilli(1<<47))                      // dead: bad_timestamp
	put(plain, string([]byte{0, 0xff, 0xfe}), now)                                     // dead
	must(plain.ProduceSync(ctx, &kgo.Record{Value: nil, Key: []byte("k")}).FirstErr()) // a tombstone: dead

	tx := k.client(kgo.DefaultProduceTopic("geo"), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.TransactionalID("foreign"), kgo.RetryTimeout(30*time.Second))
	defer tx.Close()
	for i, end := range []kgo.TransactionEndTry{kgo.TryCommit, kgo.TryAbort, kgo.TryCommit, kgo.TryAbort} {
		must(tx.BeginTransaction())
		put(tx, fmt.Sprintf(`{"country":"DE","ind":%d}`, i), now)
		put(tx, fmt.Sprintf(`{"country":"DE","ind":%d}`, i), now)
		must(tx.EndTransaction(ctx, end))
	}
	// 8 plain ones; 4 transactions of 2 records and a control record each.
	st := s.settled("geo", 20)
	c := st.Conservation
	if c.Rows != 6 || c.Dead != 6 || c.Gaps != 8 || c.Duplicates != 0 || c.Lost != 0 {
		t.Errorf("conservation %+v, want 6 rows, 6 dead letters, 4 control records and 4 of aborted transactions as gaps", c)
	}
	var answer struct {
		Rows [][]int64 `json:"rows"`
	}
	s.get("/v1/query?view=geos&measures=located&from=now-1d&to=now%2B1h", &answer)
	if len(answer.Rows) != 1 || answer.Rows[0][0] != 6 {
		t.Errorf("live says %v, want 6", answer.Rows)
	}
	if n := s.rows("geo"); n != 6 {
		t.Errorf("the lake has %d rows", n)
	}
	s.stop()
}
