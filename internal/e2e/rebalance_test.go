package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pinflow/pinflow/internal/prove"
	"github.com/pinflow/pinflow/internal/testbed"
)

// L2: one of two batch units is put to sleep under load until the other has taken over its partitions and its
// tables, and woken: what it held it can commit nothing of, and it goes on as one of two. It takes the time of
// a session and of a lease each time, so it is for the soak alone.
func TestWokenBatchUnitCommitsNothing(t *testing.T) {
	if os.Getenv("PINFLOW_SOAK") == "" {
		t.Skip("a lease has to end: for the soak (PINFLOW_SOAK=1)")
	}
	place := testbed.Servers(t)
	prove.Invariant(t, "L1 L2 M1 D1", append(place.On, prove.Kafka)...)
	rnd := rand.New(rand.NewPCG(testbed.Seed(t), 9))
	all := unitsOn(t, place, "serve", "collect", "live", "batch", "batch")
	batches := all[3:]
	a := assault{rate: 1_500, events: 60_000, kills: 4}
	truth := a.run(t, rnd, all[1], func() {
		asleep := batches[rnd.IntN(len(batches))]
		signal(t, asleep.cmd, syscall.SIGSTOP)
		all[0].until(func() bool { return holds(t, place.DSN, asleep) == 0 }, "the other unit does not take over")
		signal(t, asleep.cmd, syscall.SIGCONT)
		all[0].until(func() bool { return holds(t, place.DSN, asleep) > 0 }, "the woken unit gets nothing to do")
	})
	t.Log(must(t, "verify", "--url", all[0].url(), "--truth", truth))
	compareLake(t, all[0])
	for _, s := range all {
		s.stop()
	}
}

// L1, L2: three batch units join and leave the group all the time, some of them by kill -9. A minute even in its
// shortest form, so for the soak; TestUnitsOfTheirOwn is the short one.
func TestRebalanceStorm(t *testing.T) {
	if os.Getenv("PINFLOW_SOAK") == "" {
		t.Skip("rebalances take their time: for the soak (PINFLOW_SOAK=1)")
	}
	place := testbed.Servers(t)
	prove.Invariant(t, "L1 L2 M1 D1", append(place.On, prove.Kafka)...)
	a := assault{rate: 3_000, events: 200_000, kills: 30}
	rnd := rand.New(rand.NewPCG(testbed.Seed(t), 10))
	all := unitsOn(t, place, "serve", "collect", "live", "batch", "batch", "batch")
	batches := all[3:]
	truth := a.run(t, rnd, all[1], func() {
		s := batches[rnd.IntN(len(batches))]
		if rnd.IntN(4) == 0 {
			s.kill()
		} else {
			s.stop() // it has to end well in the middle of a rebalance, too
		}
		s.run()
	})
	t.Log(must(t, "verify", "--url", all[0].url(), "--truth", truth))
	compareLake(t, all[0])
	for _, s := range all {
		s.stop()
	}
}

// unitsOn starts units as processes of their own on servers and a Kafka.
func unitsOn(t *testing.T, place testbed.Place, verbs ...string) (all []*server) {
	t.Helper()
	env := append(onServers(place), startKafka(t).settings()...)
	if r := pinflowIn(t, env, "init", "--infra"); r.code != 0 {
		t.Fatalf("init --infra: %d\n%s", r.code, r.stderr)
	}
	dir := t.TempDir()
	for _, verb := range verbs {
		all = append(all, launch(t, verb, dir, env))
	}
	return all
}

// holds counts the partitions and the tables that a process has.
func holds(t *testing.T, dsn string, s *server) (n int) {
	t.Helper()
	c, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(t.Context()) //nolint:errcheck // it was only read
	err = c.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM positions WHERE unit = 'batch' AND owner_name LIKE $1)
	    + (SELECT count(*) FROM leases WHERE name LIKE 'lake:%' AND holder LIKE $1)`, fmt.Sprintf("%%:%d:%%", s.cmd.Process.Pid)).Scan(&n)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
