package simtest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pinflow/pinflow/internal/prove"
	"github.com/pinflow/pinflow/internal/testbed"
)

// C1, C2, L1, L2, M1, D1, D2: over days of virtual time, with broken connections, lost replies, members that
// are thrown out, restarts and crashes, everything accepted is once in the lake and once in the live
// numbers, the counts add up, and no day was called complete too early.
func TestDaysOfFaults(t *testing.T) {
	prove.Invariant(t, "C1 C2 L1 L2 M1 D1 D2", prove.EmbeddedLog, prove.Disk, prove.SQLite)
	seeds, hours := 1, hours()
	if os.Getenv("PINFLOW_SOAK") != "" {
		seeds, hours = 2, 24*7
	}
	everySeed(t, seeds, func(w *world) { w.days(time.Duration(hours) * time.Hour) })
}

const alone = "PINFLOW_SIM_ALONE"

// everySeed simulates a world for each of so many seeds, each in a process of its own, which runs the
// calling test again: the Parquet library keeps decoders in a pool for the whole process, and what was
// made in one bubble may not be used in another. A bubble keeps one processor busy, so seeds share them.
func everySeed(t *testing.T, seeds int, simulate func(w *world)) {
	t.Helper()
	first := testbed.Seed(t)
	if os.Getenv(alone) != "" {
		testbed.Bubble(t, func(t *testing.T) { simulate(newWorld(t, first)) })
		return
	}
	t.Parallel()
	test := t.Name()
	for n := range seeds {
		t.Run(fmt.Sprint("seed ", n), func(t *testing.T) {
			t.Parallel()
			inProcess(t, test, first+uint64(n))
		})
	}
}

// inProcess runs a test for one seed, which ends before this process's time is up.
func inProcess(t *testing.T, test string, seed uint64) {
	t.Helper()
	left := time.Duration(0) // no limit
	if at, ok := t.Deadline(); ok {
		left = max(time.Second, time.Until(at)-10*time.Second)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+test+"$", "-test.v", "-test.timeout="+left.String())
	cmd.Env = append(os.Environ(), alone+"=1", fmt.Sprintf("PINFLOW_SEED=%d", seed))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("PINFLOW_SEED=%d: %v\n%.8000s", seed, err, out)
	}
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "posts, ") {
			t.Log(strings.TrimSpace(line))
		}
	}
}

// hours of virtual time: PINFLOW_SIM_HOURS, or a little more than two days.
func hours() int {
	if n, err := strconv.Atoi(os.Getenv("PINFLOW_SIM_HOURS")); err == nil {
		return n
	}
	return 54
}

func (w *world) days(long time.Duration) {
	w.start()
	crashes, restarts, answered := 0, 0, answers{}
	for end := time.Now().Add(long); time.Now().Before(end); {
		w.sky.set(w.rnd.IntN(3) != 0)
		for range 1 + w.rnd.IntN(12) {
			w.post(1 + w.rnd.IntN(40))
			answered.note(w)
			time.Sleep(time.Duration(w.rnd.Int64N(int64(10 * time.Minute))))
		}
		switch w.rnd.IntN(8) {
		case 0:
			w.sky.set(false)
			w.end()
			w.start()
			restarts++
		case 1:
			w.crash()
			crashes++
		}
	}
	w.sky.set(false)
	for tries := 0; len(w.unsure) > 0; tries++ {
		if tries > 100 {
			w.t.Fatalf("%d events are still not accepted", len(w.unsure))
		}
		batch := w.unsure
		w.unsure = nil
		w.send(batch)
		answered.note(w)
		time.Sleep(time.Second)
	}
	w.settle()
	w.compare()
	w.end()
	w.compareDays(answered)
	w.start() // and what is on disk says the same
	w.compare()
	w.end()
	w.t.Logf("%d posts, %d accepted, %d dead, %d restarts, %d crashes, faults %v", w.posts, len(w.truth), w.dead, restarts, crashes, &w.sky)
}

// crash takes the data folder as it is at this instant, ends the app, and goes on with the copy: what
// the app did while it ended never happened. The files are those that a killed process leaves, for
// everything in the bubble stands still.
func (w *world) crash() {
	synctest.Wait()
	image := w.dir + ".image"
	w.run("cp", "-a", w.dir, image)
	w.sky.set(false)
	w.end()
	if err := os.RemoveAll(w.dir); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Rename(image, w.dir); err != nil {
		w.t.Fatal(err)
	}
	w.start()
}

func (w *world) run(name string, args ...string) {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		w.t.Fatalf("%s %v: %v: %s", name, args, err, out)
	}
}

// status is what of /v1/status we look at.
type status struct {
	OK       bool     `json:"ok"`
	Problems []string `json:"problems"`
	Streams  []struct {
		Name         string `json:"name"`
		Conservation struct {
			Accepted, Rows, Dead, Duplicates, Gaps, Lost int64
			InFlight                                     int64 `json:"in_flight"`
			Uncommitted                                  int64
			OK                                           bool
		} `json:"conservation"`
		CompleteTo *time.Time `json:"complete_to"`
	} `json:"streams"`
}

func (w *world) get(path string, into any) {
	resp, err := w.http.Get(base + path)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		w.t.Fatalf("GET %s: %s %v: %s", path, resp.Status, err, text)
	}
	if err := json.Unmarshal(text, into); err != nil {
		w.t.Fatalf("GET %s: %v: %s", path, err, text)
	}
}

// settle waits until everything is in the lake and in the live numbers.
func (w *world) settle() {
	asked := time.Now()
	for range 200 {
		time.Sleep(10 * time.Second)
		var s status
		w.get("/v1/status", &s)
		done := s.OK
		for _, st := range s.Streams {
			c := st.Conservation
			done = done && c.InFlight == 0 && c.Uncommitted == 0 && st.CompleteTo != nil && st.CompleteTo.After(asked)
		}
		if done {
			return
		}
	}
	var s status
	w.get("/v1/status", &s)
	w.t.Fatalf("2,000 virtual seconds later not settled: %+v", s)
}

func (w *world) compare() {
	var s status
	w.get("/v1/status", &s)
	for _, st := range s.Streams {
		if st.Name != "pin" {
			continue
		}
		c := st.Conservation
		if !c.OK || c.Lost != 0 || c.Rows != int64(len(w.truth)) || c.Accepted != c.Rows+c.Dead+c.Duplicates+c.Gaps {
			w.t.Errorf("conservation: %+v, accepted %d", c, len(w.truth))
		}
		if c.Dead == 0 && w.dead > 0 {
			w.t.Errorf("no dead letter, %d were promised", w.dead)
		}
	}
	w.compareLake()
	w.compareLive()
	if w.t.Failed() {
		w.t.Logf("data kept for a look: %s", filepath.Dir(w.dir))
	}
}

func (w *world) compareLake() {
	type day struct {
		Rows, Followers int64
	}
	want, got := map[string]day{}, map[string]day{}
	for _, r := range w.truth {
		d := want[r.day]
		want[r.day] = day{d.Rows + 1, d.Followers + r.followers}
	}
	var lake struct {
		Days []struct {
			Day   string           `json:"day"`
			Rows  int64            `json:"rows"`
			Longs map[string]int64 `json:"longs"`
		} `json:"days"`
	}
	w.get("/v1/lake/pin/digest", &lake)
	for _, d := range lake.Days {
		got[d.Day] = day{d.Rows, d.Longs["follower_count"]}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		w.t.Errorf("the lake differs from what was accepted:\n%s", diff)
	}
}

func (w *world) compareLive() {
	type cell struct{ Time, Category string }
	type value struct{ Posted, Reach float64 }
	want, got := map[cell]value{}, map[cell]value{}
	first, last := time.Now(), time.Time{}
	kept := time.Now().Add(-6 * 24 * time.Hour).Truncate(24 * time.Hour) // minutes of what is older are not
	for _, r := range w.truth {
		c := cell{r.minute.Format(time.RFC3339), r.category}
		if r.minute.Before(kept) {
			c.Time = r.minute.Truncate(time.Hour).Format(time.RFC3339)
		}
		v := want[c]
		want[c] = value{v.Posted + 1, v.Reach + float64(r.followers)}
		if r.minute.Before(first) {
			first = r.minute
		}
		if r.minute.After(last) {
			last = r.minute
		}
	}
	for from := first.Truncate(24 * time.Hour); !from.After(last); from = from.Add(24 * time.Hour) {
		q := url.Values{
			"view": {"pins"}, "measures": {"posted,reach"}, "by": {"category"}, "grain": {"minute"}, "limit": {"100000"},
			"from": {from.Format(time.RFC3339)}, "to": {from.Add(24 * time.Hour).Format(time.RFC3339)},
		}
		if from.Before(kept) {
			q.Set("grain", "hour")
		}
		var answer struct {
			Rows [][]any
		}
		w.get("/v1/query?"+q.Encode(), &answer)
		for _, r := range answer.Rows {
			v := value{number(r[2]), number(r[3])}
			if v.Posted > 0 {
				at, err := time.Parse(time.RFC3339, fmt.Sprint(r[0]))
				if err != nil {
					w.t.Fatalf("a row's time: %v", err)
				}
				got[cell{at.UTC().Format(time.RFC3339), fmt.Sprint(r[1])}] = v
			}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		w.t.Errorf("the live numbers differ from what was accepted:\n%.4000s", diff)
	}
}

func number(v any) float64 {
	f, _ := v.(float64)
	return f
}
