package e2e

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pinflow/pinflow/internal/prove"
	"github.com/pinflow/pinflow/internal/testbed"
)

// L1, L7: under traffic everything is killed with -9 and the ledger is lost. A new one is built from the lake,
// traffic goes on, and in the end everything accepted is there once.
func TestLostLedgerIsAdopted(t *testing.T) {
	prove.Invariant(t, "L1 L7 D1 M1", prove.EmbeddedLog, prove.Disk, prove.SQLite)
	adopted(t, nil, func(s *server, round int) {
		lose(t, s.dir, "ledger.db")
		if round > 0 { // the catalog too
			lose(t, s.dir, "lake/catalog.db")
		}
	})
}

// The same on servers.
func TestLostLedgerIsAdoptedOnServers(t *testing.T) {
	place := testbed.Servers(t)
	prove.Invariant(t, "L1 L7 D1 M1", append(place.On, prove.EmbeddedLog)...)
	env := onServers(place)
	if r := pinflowIn(t, env, "init", "--infra"); r.code != 0 {
		t.Fatalf("init --infra: %d\n%s", r.code, r.stderr)
	}
	adopted(t, env, func(*server, int) {
		dropSchema(t, place.DSN, schemaOf(t, place.DSN)) // ledger and catalog
		newSchema(t, place.DSN, schemaOf(t, place.DSN))
	})
}

func adopted(t *testing.T, env []string, lost func(s *server, round int)) {
	t.Helper()
	rnd := rand.New(rand.NewPCG(testbed.Seed(t), 7))
	s := startIn(t, env, t.TempDir())
	truth := filepath.Join(t.TempDir(), "truth")
	adopt := []string{"lake", "adopt", "--data", s.dir, "--yes"}
	a := assault{rate: 10_000, events: 20_000, kills: 1}
	for round := range 2 {
		a.pass(t, rnd, s, truth, 1, func() {
			s.kill()
			lost(s, round)
			refusedIn(t, env, 3, []string{"its ledger", "is gone", "pinflow lake adopt"}, "up", "--data", s.dir, "--listen", s.addr, "--log-listen", s.kafka)
			for range 2 { // a plan changes nothing
				if r := pinflowIn(t, env, append(adopt, "--dry-run")...); r.code != 0 || !strings.Contains(r.stderr, "nothing was changed") {
					t.Fatalf("adopt --dry-run: exit code %d\n%s", r.code, r.stderr)
				}
			}
			if r := pinflowIn(t, env, adopt...); r.code != 0 {
				t.Fatalf("adopt: exit code %d\n%s", r.code, r.stderr)
			} else {
				t.Logf("adopted:\n%s%s", r.stderr, r.stdout)
			}
			refusedIn(t, env, 4, []string{"the ledger knows of"}, adopt...)
			s.run()
		})
	}
	t.Log(must(t, "verify", "--url", s.url(), "--truth", truth))
	compareLake(t, s)
	s.stop()
}

// A catalog that was lost beside a ledger that was not is made again from the warehouse.
func TestLostCatalogIsRegistered(t *testing.T) {
	prove.Invariant(t, "L7", prove.EmbeddedLog, prove.Disk, prove.SQLite)
	s := start(t, t.TempDir())
	s.post("pin", 10)
	s.post("pin", 10)
	s.kill()
	lose(t, s.dir, "lake/catalog.db")
	if r := pinflow(t, "", "lake", "adopt", "--data", s.dir, "--yes"); r.code != 0 || !strings.Contains(r.stderr, "the ledger was not lost") {
		t.Fatalf("adopt: exit code %d\n%s", r.code, r.stderr)
	}
	s.run()
	if n := s.rows("pin"); n != 20 {
		t.Errorf("%d rows, want 20", n)
	}
	s.post("pin", 10)
	s.stop()
	if _, err := os.Stat(filepath.Join(s.dir, "lake", "catalog.db")); err != nil {
		t.Error(err)
	}
}
