package e2e

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pinflow/pinflow/internal/prove"
	"github.com/pinflow/pinflow/internal/testbed"
)

// L1, M1, D1: files become part of a stream's history exactly once, however often the import, or the server
// beside it, is killed; the numbers of their days are those of the server that the events came from.
func TestImport(t *testing.T) {
	prove.Invariant(t, "L1 M1 D1", prove.EmbeddedLog, prove.Disk, prove.SQLite)
	rnd := rand.New(rand.NewPCG(testbed.Seed(t), 9))
	events, kills := 40_000, 3
	if os.Getenv("PINFLOW_SOAK") != "" {
		events, kills = 600_000, 30
	}
	from := start(t, t.TempDir())
	must(t, fmtArgs("emulate --url %s --users 200 --rate max --events %d --seed %d --since 2d --streams pin", from.url(), events, rnd.Uint32())...)
	days := inLake(t, from)
	dir := t.TempDir()
	args := []string{"export", "pin", "--data", from.dir, "--to", dir, "-q"}
	for _, d := range days {
		args = append(args, "--day", d.Day)
	}
	must(t, append(args, "--format", "jsonl")...)
	must(t, append(args, "--format", "parquet")...)
	want := totals(t, from)
	from.stop()

	s := start(t, t.TempDir())
	files, _ := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	importing := append([]string{"import", "pin", "--data", s.dir, "-o", "json"}, files...)
	for range kills {
		cmd := program(t, importing...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(rnd.Int64N(int64(700 * time.Millisecond))))
		if rnd.IntN(2) == 0 {
			s.kill()
			s.run()
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	result := func(state string) {
		t.Helper()
		var got []struct {
			State                                     string
			Rows, Accepted, Duplicates, Dead_lettered int64
		}
		if err := json.Unmarshal([]byte(must(t, importing...)), &got); err != nil || len(got) != len(files) {
			t.Fatalf("%v, %v", got, err)
		}
		for i, f := range got {
			if f.Rows != days[i].Rows || f.Accepted != f.Rows || state != "" && f.State != state {
				t.Errorf("%s: %+v of %d rows", files[i], f, days[i].Rows)
			}
		}
	}
	result("")
	result("known")
	sameDays(t, days, inLake(t, s), 1)
	filledIn(t, s)
	if got := totals(t, s); got != want {
		t.Errorf("the numbers are\n%s\nthey were\n%s", got, want)
	}
	definer := &definer{t: t, s: s, files: filepath.Join(t.TempDir(), "project")}
	must(t, "init", definer.files)
	definer.exact("pins")

	// Another file, of the same events: they are there twice, as those of two logs are. No server runs.
	s.stop()
	files, _ = filepath.Glob(filepath.Join(dir, "*.parquet"))
	importing = append([]string{"import", "pin", "--data", s.dir, "-o", "json"}, files...)
	other := program(t, importing...)
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	if r := pinflow(t, "", importing...); r.code != 0 && r.code != 4 { // the other one has the file
		t.Errorf("of two imports at once one ended with %d: %s", r.code, r.stderr)
	}
	if err := other.Wait(); err != nil && other.ProcessState.ExitCode() != 4 {
		t.Errorf("of two imports at once the other ended with %v", err)
	}
	result("known")
	s.run()
	sameDays(t, days, inLake(t, s), 2)
	filledIn(t, s)
	definer.exact("pins")
	s.stop()
}

// inLake waits until what was accepted is in the lake, and returns its days.
func inLake(t *testing.T, s *server) []dayTotals {
	t.Helper()
	s.until(func() bool {
		var status struct {
			Streams []struct {
				Conservation struct {
					InFlight    int64 `json:"in_flight"`
					Uncommitted int64
					OK          bool
				}
			}
		}
		s.get("/v1/status", &status)
		for _, x := range status.Streams {
			if c := x.Conservation; !c.OK || c.InFlight > 0 || c.Uncommitted > 0 {
				return false
			}
		}
		return len(status.Streams) > 0
	}, "not everything is in the lake")
	var lake struct {
		Days []dayTotals `json:"days"`
	}
	s.get("/v1/lake/pin/digest", &lake)
	return lake.Days
}

func sameDays(t *testing.T, want, got []dayTotals, times int64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d days, want %d", len(got), len(want))
	}
	for i, d := range got {
		if d.Day != want[i].Day || d.Rows != times*want[i].Rows || d.sum("follower_count") != float64(times)*want[i].sum("follower_count") {
			t.Errorf("got %+v, want %d × %+v", d, times, want[i])
		}
	}
}

// filledIn waits until all that is imported is in the views.
func filledIn(t *testing.T, s *server) {
	t.Helper()
	s.until(func() bool {
		var list struct {
			Backfills []struct{ State, Import string }
		}
		s.get("/v1/backfills", &list)
		for _, b := range list.Backfills {
			if b.State != "done" {
				return false
			}
		}
		return len(list.Backfills) > 0
	}, "the imported days are not filled in")
}

// totals are numbers of all days, by category, as the page would show them.
func totals(t *testing.T, s *server) string {
	t.Helper()
	q := url.Values{"view": {"pins"}, "measures": {"posted,video,reach,posters,followers_p50"}, "by": {"category"}, "grain": {"day"}, "from": {"now-9d/d"}}
	var a struct{ Rows [][]any }
	s.get("/v1/query?"+q.Encode(), &a)
	var b strings.Builder
	for _, r := range a.Rows {
		fmt.Fprintln(&b, r...)
	}
	return b.String()
}
