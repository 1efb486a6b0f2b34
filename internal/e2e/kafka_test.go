package e2e

import (
	"context"
	"database/sql"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"
	_ "modernc.org/sqlite" // driver "sqlite"

	"github.com/pinflow/pinflow/internal/prove"
	"github.com/pinflow/pinflow/internal/testbed"
)

// kafka is an Apache Kafka of one node, in a process of its own.
type kafka struct {
	t    *testing.T
	dir  string
	addr string
	cmd  *exec.Cmd
	done chan error
}

// startKafka formats and starts a Kafka. lines are more of its server.properties.
func startKafka(t *testing.T, lines ...string) *kafka {
	t.Helper()
	k := &kafka{t: t, dir: t.TempDir(), addr: freePort(t)}
	controller := freePort(t)
	properties := append([]string{
		"process.roles=broker,controller", "node.id=1",
		"controller.quorum.voters=1@" + controller,
		"listeners=PLAINTEXT://" + k.addr + ",CONTROLLER://" + controller,
		"advertised.listeners=PLAINTEXT://" + k.addr,
		"controller.listener.names=CONTROLLER",
		"log.dirs=" + filepath.Join(k.dir, "data"),
		"offsets.topic.replication.factor=1", "transaction.state.log.replication.factor=1", "transaction.state.log.min.isr=1",
		"offsets.topic.num.partitions=4", "transaction.state.log.num.partitions=4",
		"broker.session.timeout.ms=2000", "broker.heartbeat.interval.ms=500", "group.initial.rebalance.delay.ms=0",
		"auto.create.topics.enable=false",
	}, lines...)
	// Of a property that is given twice the last one holds.
	text := strings.NewReplacer("//ADDR", "//"+k.addr, "//CONTROLLER", "//"+controller).Replace(strings.Join(properties, "\n") + "\n")
	if err := os.WriteFile(k.properties(), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	id := uuid.New()
	id[0] &= 0x7f // or it may begin with a dash, like an option
	k.java("kafka.tools.StorageTool", "format", "-t", base64.RawURLEncoding.EncodeToString(id[:]), "-c", k.properties())
	k.run()
	t.Cleanup(func() {
		if k.cmd != nil {
			k.kill()
		}
		if t.Failed() {
			out, err := os.ReadFile(k.out())
			t.Logf("the end of what Kafka printed (%v):\n%s", err, out[max(0, len(out)-3000):])
		}
	})
	return k
}

func (k *kafka) properties() string { return filepath.Join(k.dir, "server.properties") }
func (k *kafka) out() string        { return filepath.Join(k.dir, "kafka.log") }

// command is a program of Kafka's.
func (k *kafka) command(class string, args ...string) *exec.Cmd {
	k.t.Helper()
	libs := os.Getenv("PINFLOW_KAFKA")
	if libs == "" {
		k.t.Fatal("PINFLOW_KAFKA is not set: run this with make e2e")
	}
	cmd := exec.Command("java", append([]string{"-Xmx512m", "-cp", filepath.Join(libs, "*"), class}, args...)...)
	cmd.SysProcAttr = withUs()
	return cmd
}

// java runs a program of Kafka's to its end.
func (k *kafka) java(class string, args ...string) string {
	k.t.Helper()
	out, err := k.command(class, args...).CombinedOutput()
	if err != nil {
		k.t.Fatalf("%s %v: %v\n%s", class, args, err, out)
	}
	return string(out)
}

// run starts the broker on its folder, and waits until it answers.
func (k *kafka) run() {
	k.t.Helper()
	out, err := os.OpenFile(k.out(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		k.t.Fatal(err)
	}
	defer out.Close()
	k.cmd = k.command("kafka.Kafka", k.properties())
	k.cmd.Stdout, k.cmd.Stderr = out, out
	if err := k.cmd.Start(); err != nil {
		k.t.Fatal(err)
	}
	k.done = make(chan error, 1)
	go func() { k.done <- k.cmd.Wait() }()
	cl := k.client()
	defer cl.Close()
	ctx, cancel := context.WithTimeout(k.t.Context(), time.Minute)
	defer cancel()
	for tick := time.NewTicker(100 * time.Millisecond); cl.Ping(ctx) != nil; {
		select {
		case err := <-k.done:
			text, _ := os.ReadFile(k.out())
			k.t.Fatalf("Kafka ended by itself: %v\n%s", err, text[max(0, len(text)-3000):])
		case <-ctx.Done():
			k.t.Fatal("Kafka does not answer after a minute")
		case <-tick.C:
		}
	}
}

// kill ends the broker with SIGKILL.
func (k *kafka) kill() {
	k.t.Helper()
	if err := k.cmd.Process.Kill(); err != nil {
		k.t.Fatal(err)
	}
	<-k.done
	k.cmd = nil
}

// client is a client of the broker.
func (k *kafka) client(opts ...kgo.Opt) *kgo.Client {
	k.t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(k.addr), kgo.RetryTimeout(time.Second)}, opts...)...)
	if err != nil {
		k.t.Fatal(err)
	}
	return cl
}

// settings put a pinflow onto this Kafka.
func (k *kafka) settings() []string {
	return []string{"PINFLOW_LOG_KIND=kafka", "PINFLOW_LOG_BROKERS=" + k.addr}
}

// What holds on the embedded log holds on Apache Kafka: pinflow is killed with -9 again and again under load.
func TestKafkaKilledAgainAndAgain(t *testing.T) {
	prove.Invariant(t, "C1 C2 L1 M1 D1", prove.Kafka, prove.Disk, prove.SQLite)
	a := assault{rate: 8_000, events: 60_000, kills: 4}
	if os.Getenv("PINFLOW_SOAK") != "" {
		a.events, a.kills = 1_000_000, 100
	}
	rnd := rand.New(rand.NewPCG(testbed.Seed(t), 2))
	k := startKafka(t)
	s := startIn(t, k.settings(), t.TempDir())
	loadAndKill(t, s, rnd, a)
	compareLake(t, s)
	s.stop()
}

// Units as processes of their own share topics through consumer groups, and a ledger on SQLite. Whichever of
// them is killed at whatever moment, the others take over, and the numbers are exact.
func TestUnitsOfTheirOwn(t *testing.T) {
	prove.Invariant(t, "C1 C2 L1 M1 D1", prove.Kafka, prove.Disk, prove.SQLite)
	a := assault{rate: 4_000, events: 40_000, kills: 5}
	if os.Getenv("PINFLOW_SOAK") != "" {
		a.events, a.kills = 400_000, 50
	}
	rnd := rand.New(rand.NewPCG(testbed.Seed(t), 3))
	k := startKafka(t)
	dir := t.TempDir()
	var all []*server
	for _, verb := range []string{"serve", "collect", "batch", "batch", "live", "live"} {
		all = append(all, launch(t, verb, dir, k.settings()))
	}
	serve, door := all[0], all[1]
	truth := a.run(t, rnd, door, func() {
		s := all[rnd.IntN(len(all))]
		t.Logf("killing a %s", s.verb)
		s.kill()
		s.run()
	})
	t.Log(must(t, "verify", "--url", serve.url(), "--truth", truth))
	compareLake(t, serve)
	partitionsAreSpread(t, serve)
	for _, s := range all {
		s.stop()
	}
}

// partitionsAreSpread wants both processes of a unit to hold something.
func partitionsAreSpread(t *testing.T, serve *server) {
	t.Helper()
	db := fmt.Sprintf("file:%s?mode=ro", filepath.Join(serve.dir, "ledger.db"))
	for _, unit := range []string{"batch", "live"} {
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
			owners := readOwners(t, db, unit)
			if len(owners) == 2 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("the %s unit's partitions are held by %v, not by two processes", unit, owners)
			}
		}
	}
}

// readOwners lists who holds partitions for a unit.
func readOwners(t *testing.T, dsn, unit string) map[string]int {
	t.Helper()
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.QueryContext(t.Context(), "SELECT owner_name, count(*) FROM positions WHERE unit = ? GROUP BY owner_name", unit)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	owners := map[string]int{}
	for rows.Next() {
		var name string
		var n int
		if err := rows.Scan(&name, &n); err != nil {
			t.Fatal(err)
		}
		owners[name] = n
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return owners
}
