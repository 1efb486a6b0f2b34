package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pinflow/pinflow/internal/prove"
	"github.com/pinflow/pinflow/internal/testbed"
)

// dayTotals is what a reader finds of one day of a stream.
// dayTotals is a day by pyiceberg, which gives sums, or by us, who give those of longs apart.
type dayTotals struct {
	Day    string             `json:"day"`
	Rows   int64              `json:"rows"`
	Sums   map[string]float64 `json:"sums"`
	Longs  map[string]float64 `json:"longs"`
	Floats map[string]float64 `json:"floats"`
}

func (d dayTotals) sum(field string) float64 { return d.Sums[field] + d.Longs[field] + d.Floats[field] }

// C1, L1, M1, D1: under load, killed with -9 again and again, everything that was answered accepted is
// once in the lake and once in the live numbers, and the counts add up. L6: an independent reader
// finds the same in the lake.
func TestKilledAgainAndAgain(t *testing.T) {
	prove.Invariant(t, "C1 C2 L1 L6 M1 D1", prove.EmbeddedLog, prove.Disk, prove.SQLite)
	rnd := rand.New(rand.NewPCG(testbed.Seed(t), 1))
	a := assault{rate: 20_000, events: 210_000, kills: 6}
	if os.Getenv("PINFLOW_SOAK") != "" {
		a.events, a.kills = 2_000_000, 100
	}
	s := start(t, t.TempDir())
	truth := loadAndKill(t, s, rnd, a)
	compareLake(t, s)

	s.stop()
	s.run() // the second start goes on where the first stopped
	t.Log(must(t, "verify", "--url", s.url(), "--truth", truth))
	s.stop()
}

// The same on servers: PostgreSQL holds the ledger and the catalog, S3 the tables.
func TestKilledOnServers(t *testing.T) {
	place := testbed.Servers(t)
	prove.Invariant(t, "C1 C2 L1 L6 M1 D1", append(place.On, prove.EmbeddedLog)...)
	rnd := rand.New(rand.NewPCG(testbed.Seed(t), 2))
	a := assault{rate: 20_000, events: 140_000, kills: 4}
	if os.Getenv("PINFLOW_SOAK") != "" {
		a.events, a.kills = 1_000_000, 50
	}
	env := onServers(place)
	refusedIn(t, env, 3, []string{"no bucket", "pinflow init --infra"}, "up", "--data", t.TempDir(), "--listen", freePort(t), "--log-listen", freePort(t))
	if r := pinflowIn(t, env, "init", "--infra"); r.code != 0 {
		t.Fatalf("init --infra: %d\n%s", r.code, r.stderr)
	}
	s := startIn(t, env, t.TempDir())
	loadAndKill(t, s, rnd, a)
	compareLake(t, s)
	exportAll(t, s, strings.TrimSuffix(place.Warehouse, "lake")+"exports")
	s.stop()
}

// exportAll exports the days of a stream and wants as many rows as our reader finds.
func exportAll(t *testing.T, s *server, to string) {
	t.Helper()
	var ours struct {
		Days []dayTotals `json:"days"`
	}
	s.get("/v1/lake/pin/digest", &ours)
	args := []string{"export", "pin", "--data", s.dir, "--format", "parquet", "--to", to, "-o", "json"}
	for _, d := range ours.Days {
		args = append(args, "--day", d.Day)
	}
	r := pinflowIn(t, s.env, args...)
	if r.code != 0 {
		t.Fatalf("export: %d\n%s", r.code, r.stderr)
	}
	var wrote []struct {
		Day        string
		Rows       int64
		CompleteTo time.Time `json:"complete_to"`
	}
	if err := json.Unmarshal([]byte(r.stdout), &wrote); err != nil || len(wrote) != len(ours.Days) {
		t.Fatalf("%v: %s", err, r.stdout)
	}
	for i, w := range wrote {
		if w.Day != ours.Days[i].Day || w.Rows != ours.Days[i].Rows || w.CompleteTo.IsZero() {
			t.Errorf("exported %+v, the lake has %d rows", w, ours.Days[i].Rows)
		}
	}
}

// onServers is the environment of a process whose stores are at a place; credentials come by the usual chain.
func onServers(p testbed.Place) []string {
	return []string{
		"PINFLOW_LEDGER_DSN=" + p.DSN, "PINFLOW_LAKE_CATALOG=" + p.Catalog, "PINFLOW_LAKE_WAREHOUSE=" + p.Warehouse,
		"PINFLOW_LAKE_S3_ENDPOINT=" + p.S3.Endpoint, "PINFLOW_LAKE_S3_REGION=" + p.S3.Region, "PINFLOW_LAKE_S3_PATH_STYLE=true",
		"AWS_ACCESS_KEY_ID=" + p.S3.AccessKey, "AWS_SECRET_ACCESS_KEY=" + p.S3.SecretKey,
	}
}

// assault is traffic during which something is killed at random moments.
type assault struct {
	rate   int // events per second
	events int
	kills  int
}

// loadAndKill emulates users while the server is killed again and again, then once more with everything
// in flight, and verifies what became of the events. It returns the file of the truth.
func loadAndKill(t *testing.T, s *server, rnd *rand.Rand, a assault) string {
	t.Helper()
	truth := a.run(t, rnd, s, func() {
		s.kill()
		for rnd.IntN(4) == 0 { // also before it is back
			s.begin()
			time.Sleep(time.Duration(rnd.Int64N(int64(700 * time.Millisecond))))
			s.kill()
		}
		s.run()
	})
	s.kill() // once more, with everything in flight
	s.run()
	t.Log(must(t, "verify", "--url", s.url(), "--truth", truth))
	return truth
}

// run sends the events to the door and strikes meanwhile; again, with others, if they were all there before
// it had struck often enough. It returns the file of the truth.
func (a assault) run(t *testing.T, rnd *rand.Rand, door *server, strike func()) string {
	t.Helper()
	truth := filepath.Join(t.TempDir(), "truth")
	for killed := 0; killed < a.kills; {
		killed += a.pass(t, rnd, door, truth, a.kills-killed, strike)
	}
	return truth
}

// pass emulates once, strikes at most so often meanwhile and says how often it did.
func (a assault) pass(t *testing.T, rnd *rand.Rand, door *server, truth string, kills int, strike func()) (killed int) {
	t.Helper()
	before := lines(t, truth)
	emulate := program(t, fmtArgs("emulate --url %s --users 500 --rate %d/s --events %d --late 1%% --bad 0.1%% --duplicate 0.5%% --malformed 0.1%% --future 0.2%% --burst 3x:1s/4s --seed %d --truth %s",
		door.url(), a.rate, a.events, rnd.Uint32(), truth)...) // it goes on in the file of a pass before
	var said bytes.Buffer
	emulate.Stdout, emulate.Stderr = &said, &said
	if err := emulate.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- emulate.Wait() }()

	// It gives up at once on a server that it never reached: the first kill waits for the first answers.
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if lines(t, truth) > before+3 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("a minute later nothing is sent:\n%s", said.String())
		}
	}
	for {
		wait := time.Duration(rnd.Int64N(int64(a.events) * int64(time.Second) / int64(a.rate) / int64(a.kills+1)))
		if killed >= kills {
			wait = 10 * time.Minute
		}
		select {
		case err := <-ended:
			if err != nil {
				t.Fatalf("emulate: %v\n%s", err, said.String())
			}
			t.Logf("killed %d times; emulate said:\n%s", killed, said.String())
			return killed
		case <-time.After(wait):
			if killed >= kills {
				t.Fatalf("emulate did not end:\n%s", said.String())
			}
			strike()
			killed++
		}
	}
}

// lines are those of a file, 0 while there is none.
func lines(t *testing.T, name string) int {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return bytes.Count(text, []byte("\n"))
}

// compareLake reads the tables with pyiceberg and wants the same as our own reader found.
func compareLake(t *testing.T, s *server) {
	t.Helper()
	python := os.Getenv("PINFLOW_PYTHON")
	if python == "" {
		t.Fatal("PINFLOW_PYTHON is not set: run this with make e2e")
	}
	for stream, fields := range map[string][]string{"pin": {"follower_count", "index"}, "geo": {"ind", "latitude"}, "user": {"ind", "age"}} {
		var ours struct {
			Days []dayTotals `json:"days"`
		}
		s.get(fmt.Sprintf("/v1/lake/%s/digest", stream), &ours)
		args := append([]string{"testdata/read_lake.py", filepath.Join(s.dir, "lake"), stream}, fields...)
		cmd := exec.Command(python, args...)
		cmd.SysProcAttr = withUs()
		cmd.Env = append(os.Environ(), s.env...)
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("reading the lake with pyiceberg: %v\n%s", err, out)
		}
		var theirs struct {
			Days []dayTotals `json:"days"`
		}
		if err := json.Unmarshal(out, &theirs); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		compareDays(t, stream, fields, ours.Days, theirs.Days)
	}
}

func compareDays(t *testing.T, stream string, fields []string, ours, theirs []dayTotals) {
	t.Helper()
	if len(ours) != len(theirs) || len(ours) == 0 {
		t.Fatalf("%s: %d days by our reader, %d by pyiceberg", stream, len(ours), len(theirs))
	}
	total := int64(0)
	for i, o := range ours {
		p := theirs[i]
		if o.Day != p.Day || o.Rows != p.Rows {
			t.Errorf("%s: ours %s with %d rows, pyiceberg %s with %d", stream, o.Day, o.Rows, p.Day, p.Rows)
		}
		for _, f := range fields {
			if d := o.sum(f) - p.sum(f); d*d > 1e-12*(o.sum(f)*o.sum(f)+1) {
				t.Errorf("%s %s: sum of %s: ours %v, pyiceberg %v", stream, o.Day, f, o.sum(f), p.sum(f))
			}
		}
		total += o.Rows
	}
	t.Logf("%s: %d rows in %d days, the same by pyiceberg", stream, total, len(ours))
}
