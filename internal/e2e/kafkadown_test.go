package e2e

import (
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/pinflow/pinflow/internal/prove"
	"github.com/pinflow/pinflow/internal/testbed"
)

// The broker is killed with -9 in the middle of the traffic and started again; what was answered is there
// once, and pinflow goes on by itself. In the long run it is also away for a minute.
func TestBrokerAway(t *testing.T) {
	prove.Invariant(t, "C1 C2 L1 M1 D1", prove.Kafka, prove.Disk, prove.SQLite)
	a := assault{rate: 4_000, events: 40_000, kills: 1}
	away := []time.Duration{0}
	if os.Getenv("PINFLOW_SOAK") != "" {
		a.events, a.kills = 400_000, 5
		away = []time.Duration{0, time.Minute, 0, 5 * time.Second, 0}
	}
	rnd := rand.New(rand.NewPCG(testbed.Seed(t), 4))
	k := startKafka(t)
	s := startIn(t, k.settings(), t.TempDir())
	strikes := 0
	truth := a.run(t, rnd, s, func() {
		k.kill()
		down := time.NewTimer(away[strikes])
		select {
		case <-down.C:
		case err := <-s.done:
			t.Fatalf("pinflow ended: %v\n%s", err, s.tail())
		}
		strikes++
		k.run()
	})
	t.Log(must(t, "verify", "--url", s.url(), "--truth", truth))
	compareLake(t, s)
	s.stop()
}
