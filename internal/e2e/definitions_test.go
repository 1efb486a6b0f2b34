package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pinflow/pinflow/internal/prove"
	"github.com/pinflow/pinflow/internal/testbed"
)

// M4, M5, P1: under load, with kill -9 of the server and of a back-fill worker of its own at random moments,
// definitions and schemas change in a row. The old version serves until the new one is whole; then every day
// of it audits exactly and its coverage has no hole. Planning leaves the ledger as it was.
func TestDefinitionsChangeUnderLoad(t *testing.T) {
	prove.Invariant(t, "M1 M4 M5", prove.EmbeddedLog, prove.Disk, prove.SQLite)
	rnd := rand.New(rand.NewPCG(testbed.Seed(t), 7))
	rate, changes := 2000, 2
	if os.Getenv("PINFLOW_SOAK") != "" {
		rate, changes = 20_000, 20
	}
	d := &definer{t: t, rnd: rnd, s: start(t, t.TempDir()), files: filepath.Join(t.TempDir(), "project")}
	d.underFire(rate, changes)
	d.s.stop()
}

// The same with units as processes of their own, two of a kind, on Apache Kafka, PostgreSQL and S3; any of
// them is killed while `apply` runs, and while the history is filled in.
func TestDefinitionsChangeAcrossProcesses(t *testing.T) {
	place := testbed.Servers(t)
	prove.Invariant(t, "M1 M4 M5", append(place.On, prove.Kafka)...)
	rnd := rand.New(rand.NewPCG(testbed.Seed(t), 8))
	rate, changes := 1000, 1
	if os.Getenv("PINFLOW_SOAK") != "" {
		rate, changes = 20_000, 20
	}
	env := append(onServers(place), startKafka(t).settings()...)
	if r := pinflowIn(t, env, "init", "--infra"); r.code != 0 {
		t.Fatalf("init --infra: %d\n%s", r.code, r.stderr)
	}
	d := &definer{t: t, rnd: rnd, files: filepath.Join(t.TempDir(), "project")}
	dir := t.TempDir()
	for _, verb := range []string{"serve", "collect", "batch", "batch", "live", "live"} {
		d.all = append(d.all, launch(t, verb, dir, env))
	}
	d.s = d.all[0]
	d.underFire(rate, changes)
	for _, s := range d.all {
		s.stop()
	}
}

// definer changes the definitions of a server that runs.
type definer struct {
	t     *testing.T
	rnd   *rand.Rand
	s     *server   // answers questions
	all   []*server // with units of their own: all of them
	files string    // folder of the project
	from  string    // of what is asked
	w     *watcher
	kills map[string]int // by what was killed, since the last change
	hit   int            // times that an apply was interrupted since then
	gone  time.Duration  // the door was away since then
}

// underFire changes definitions in a row while users post at a rate, and says how many events were taken meanwhile.
func (d *definer) underFire(rate, changes int) {
	d.t.Helper()
	d.from = time.Now().UTC().AddDate(0, 0, -9).Format(time.DateOnly)
	must(d.t, "init", d.files)
	l := startLoad(d.t, d.door().url(), rate, d.rnd.Uint64())
	d.s.until(func() bool { return d.rows() > int64(2*rate) }, "nothing is in the lake")
	d.w = d.watch()
	d.w.on("pins", d.answer("pins").version)
	begin, first := time.Now(), l.stored()
	for k := range changes {
		at, before := time.Now(), l.stored()
		d.kills, d.hit, d.gone = map[string]int{}, 0, 0
		view := d.change(k)
		old := d.answer(view).version
		d.w.on(view, old)
		d.apply(view, old)
		probes, missed := d.w.off(view, d.answer(view).version)
		d.exact(view)
		d.s.until(func() bool { return l.stored() >= before+int64(5*rate) }, "nothing is taken any more")
		d.w.fine()
		took := time.Since(at).Seconds()
		n := l.stored() - before
		d.t.Logf("change %d, of %s: %.1f s, %d events taken, %.0f/s; killed %v, the door away for %.1f s; asked %d times, %d more met a kill",
			k+1, view, took, n, float64(n)/took, d.kills, d.gone.Seconds(), probes, missed)
	}
	took, n := time.Since(begin).Seconds(), l.stored()-first
	d.t.Logf("%d changes in %.0f s: %d events offered at %d/s were taken, %.0f/s", changes, took, n, rate, float64(n)/took)
	l.end()
}

// door is where events are posted.
func (d *definer) door() *server {
	if len(d.all) > 0 {
		return d.all[1]
	}
	return d.s
}

// strike kills a process, whichever, and starts it again.
func (d *definer) strike() {
	s := d.s
	if len(d.all) > 0 {
		s = d.all[d.rnd.IntN(len(d.all))]
	}
	at := time.Now()
	if s == d.s {
		d.w.away.Add(1)
		defer d.w.away.Add(1)
	}
	s.kill()
	s.run()
	d.kills[s.verb]++
	if s == d.door() {
		d.gone += time.Since(at)
	}
}

// rows counts the lake's rows.
func (d *definer) rows() int64 {
	var lake struct{ Days []struct{ Rows int64 } }
	d.s.get("/v1/lake/pin/digest", &lake)
	n := int64(0)
	for _, day := range lake.Days {
		n += day.Rows
	}
	return n
}

func (d *definer) edit(file, before, after string) {
	d.t.Helper()
	path := filepath.Join(d.files, file)
	text, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(text), before) {
		d.t.Fatalf("%s has no %q (%v)", file, before, err)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(text), before, after, 1)), 0o644); err != nil {
		d.t.Fatal(err)
	}
}

// change makes the k-th change in the files and names the view it is about.
func (d *definer) change(k int) string {
	switch k % 3 {
	case 0:
		d.edit("metrics/pins.yaml", "filter: is_test is not true", fmt.Sprintf("filter: is_test is not true and follower_count <> %d", k))
	case 1: // a field that is declared now, of a member that an older one reads, too
		d.edit("streams/pin.yaml", "fields:\n", fmt.Sprintf("fields:\n  - {name: poster%d, type: string, from: poster_name, lower: true}\n", k))
		d.edit("metrics/pins.yaml", "measures:\n", fmt.Sprintf("measures:\n  - {name: people%d, agg: count_distinct_approx, expr: poster%d}\n", k, k))
	case 2:
		name := fmt.Sprintf("titles%d", k)
		text := fmt.Sprintf("version: 1\nname: %s\nstream: pin\ntime_zone: Asia/Kolkata\nmeasures:\n  - {name: n, agg: count}\n  - {name: long, agg: count, filter: length(title) > 20}\n", name)
		if err := os.WriteFile(filepath.Join(d.files, "metrics", name+".yaml"), []byte(text), 0o644); err != nil {
			d.t.Fatal(err)
		}
		return name
	}
	return "pins"
}

// apply applies the files and goes on, with kills, until the history is filled in.
func (d *definer) apply(view, old string) {
	d.t.Helper()
	d.s.until(d.applied, "the plan's base always moved")
	kills := 0
	for done := false; !done; {
		if d.kills["backfill"] < 4 { // each may leave a day whose lease has to run out
			worker := d.worker()
			time.Sleep(time.Duration(d.rnd.Int64N(int64(3 * time.Second))))
			_ = worker.Process.Kill()
			_ = worker.Wait()
			d.kills["backfill"]++
		} else {
			time.Sleep(time.Duration(d.rnd.Int64N(int64(time.Second))))
		}
		if kills < 3 && d.rnd.IntN(2) == 0 {
			d.strike()
			kills++
		}
		state := d.backfill()
		done = state == "done"
		d.w.fine()
		switch now := d.answer(view); {
		case state == "failed" || state == "cancelled":
			d.t.Fatalf("the back-fill is %s:\n%s", state, must(d.t, "backfill", "show", view, "--url", d.s.url()))
		case now.hole != "":
			d.t.Fatalf("view %s has a hole while its back-fill is %s: %s", view, state, now.hole)
		case done && (now.filling || now.version == old):
			d.t.Fatalf("view %s is filled in, and answers %+v as if it were not", view, now)
		}
	}
}

// applied applies the files, the first times while something is killed, and tells whether it went through.
func (d *definer) applied() bool {
	d.t.Helper()
	var stderr bytes.Buffer
	cmd := program(d.t, "apply", "--yes", "--url", d.s.url())
	cmd.Dir, cmd.Stderr = d.files, &stderr
	if err := cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	if d.hit++; d.hit <= 3 { // after that it may end: on a slow machine it would never do
		time.Sleep(time.Duration(d.rnd.Int64N(int64(300 * time.Millisecond))))
		d.strike()
	}
	_ = cmd.Wait()
	code := cmd.ProcessState.ExitCode()
	if code != 0 && code != 4 && code != 7 { // its base moved, or the server is away
		d.t.Fatalf("apply: exit code %d\n%s", code, stderr.String())
	}
	return code == 0
}

// worker is a back-fill worker of its own.
func (d *definer) worker() *exec.Cmd {
	d.t.Helper()
	cmd := program(d.t, "backfill", "run", "--data", d.s.dir, "--workers", "2", "-q")
	cmd.Dir = d.t.TempDir()
	cmd.Env = environ(d.s.env...)
	if err := cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	return cmd
}

// backfill is the state of the newest one.
func (d *definer) backfill() string {
	d.t.Helper()
	state, err := d.newest(d.t.Context())
	if err != nil {
		d.t.Fatal(err)
	}
	return state
}

func newestBackfill(body []byte) (state string, err error) {
	var list struct{ Backfills []struct{ State string } }
	if err := json.Unmarshal(body, &list); err != nil || len(list.Backfills) == 0 {
		return "", err
	}
	return list.Backfills[0].State, nil
}

// worth is what a view's numbers are worth.
type worth struct {
	version string // "": there is no such view
	filling bool
	hole    string
}

func (d *definer) answer(view string) worth {
	d.t.Helper()
	a, err := d.ask(d.t.Context(), view)
	if err != nil {
		d.t.Fatalf("asking view %s: %v", view, err)
	}
	return a.worth
}

// answered is the part of an answer that says what it is worth.
type answered struct {
	Meta struct {
		Versions map[string]string
		Coverage []struct{ From, To, Source, Reason string }
	}
}

func (a *answered) worth(view string) worth {
	w := worth{version: a.Meta.Versions[view]}
	for _, c := range a.Meta.Coverage {
		w.filling = w.filling || c.Source == "backfilling"
		if c.Source == "missing" && c.Reason != "before the first event" {
			w.hole = fmt.Sprint(c)
		}
	}
	return w
}

// exact audits all days of a view, and that planning changed nothing.
func (d *definer) exact(view string) {
	d.t.Helper()
	var epochs [2]string
	for i := range epochs {
		if i == 1 {
			must(d.t, "plan", "--url", d.s.url(), "--config", filepath.Join(d.files, "pinflow.yaml"))
		}
		var v json.RawMessage
		d.s.get("/v1/views/"+url.PathEscape(view)+"/versions", &v)
		epochs[i] = string(v)
	}
	if epochs[0] != epochs[1] {
		d.t.Fatalf("planning changed %s to %s", epochs[0], epochs[1])
	}
	now := time.Now().UTC()
	days := now.AddDate(0, 0, -8).Format(time.DateOnly) + ".." + now.AddDate(0, 0, 1).Format(time.DateOnly)
	d.s.until(func() bool { // the lake may be behind for a while after a kill
		r := pinflow(d.t, d.files, "audit", view, "--range", days, "-o", "json", "--url", d.s.url())
		if r.code != 0 && !strings.Contains(r.stderr, "the lake has not caught up") {
			d.t.Fatalf("the audit of %s: exit code %d\n%s%s", view, r.code, r.stdout, r.stderr)
		}
		if r.code == 0 {
			d.t.Log(r.stdout)
		}
		return r.code == 0
	}, "the lake is still behind")
}
