package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pinflow/pinflow/internal/app"
	"github.com/pinflow/pinflow/internal/backfill"
	"github.com/pinflow/pinflow/internal/ledger"
)

var historyPeersBench = bench{
	name: "history-peers", title: "a view's history beside DuckDB and Apache Spark's own GROUP BY, on disk and in S3",
	how: "An imported log of `-rows` real pins, some days of a million each (65,536 different rows a day, again and again), lies in the lake, once on disk and once in S3 (versitygw on the same machine). All answer from the same Parquet files, by day, category and country, the five measures of `kernel`, and on disk a count, a distinct count and two percentiles, for which DuckDB and Spark take their own approximations. pinflow: the real back-fill, manager and two workers with `backfill.share` 1, from the days being listed to the version being whole: scan, fold, encode, seal in the ledger, day by day, each from a pinned snapshot. DuckDB (Python, 2 threads) and Spark 3.5.7 (local[2], 2 GB) answer one GROUP BY over all and keep nothing; Spark over the Iceberg table through the same catalog, of the five measures on disk also over the files as plain Parquet. The better of two warm runs; start-up and first run apart. A core: by processor time of the whole process; cores waited for are those that others had meanwhile. What pinflow's query answers afterwards must be what the others answered.",
	run: runHistoryPeers,
}

const historyWarm = 2

// historyViews are the views that are filled in, as files: what is measured, and its name.
var historyViews = []struct{ what, name, file string }{
	{"five measures", "five", historyView + "name: five\nmeasures:" + `
  - {name: posted, agg: count}
  - {name: video, agg: count, filter: is_image_or_video = 'video'}
  - {name: reach, agg: sum, expr: follower_count}
  - {name: reach_max, agg: max, expr: follower_count}
  - {name: reach_avg, agg: avg, expr: follower_count}
`},
	{"sketches", "sketches", historyView + "name: sketches\nmeasures:" + `
  - {name: posted, agg: count}
  - {name: posters, agg: count_distinct_approx, expr: poster_name}
  - {name: followers_p50, agg: percentile, percentile: 0.5, expr: follower_count}
  - {name: followers_p90, agg: percentile, percentile: 0.9, expr: follower_count}
`},
}

const historyView = "version: 1\nstream: pin\nkeep: {minute: 7d, hour: 90d, day: forever}\ndimensions: [{name: category}, {name: country}]\n"

// historyAge is how old the newest day is: only whole days are kept of it, as the others count by days.
const historyAge = 100 * 24 * time.Hour

func runHistoryPeers(ctx context.Context, e *env) ([]figure, error) {
	if err := errors.Join(e.install(ctx), e.script(ctx, "venv", "spark"), e.script(ctx, "jars", "peer-spark")); err != nil {
		return nil, err
	}
	stop, err := e.s3()
	if err != nil {
		return nil, err
	}
	edits := []edit{{file: "metrics/pins.yaml"}, {file: "metrics/geos.yaml"}, {file: "metrics/users.yaml"}, {file: "dashboards/growth.yaml"}}
	for _, v := range historyViews {
		edits = append(edits, edit{file: "metrics/" + v.name + ".yaml", new: v.file})
	}
	setting, err := e.project(ctx, "project", edits...)
	if err != nil {
		return nil, errors.Join(err, stop())
	}
	var out []figure
	for _, p := range []place{{name: "disk"}, {name: "S3", warehouse: "s3://history/lake"}} {
		p.data, p.settings = filepath.Join(e.dir, p.name), append(p.env(), setting)
		figures, err := e.historyAt(ctx, p)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("on %s: %w", p.name, err), stop())
		}
		out = append(out, figures...)
	}
	return out, stop()
}

// place is where a lake lies.
type place struct {
	name, data string
	warehouse  string // "": in the data folder
	settings   []string
}

// s3 tells clients how to reach the server, nil on disk.
func (p *place) s3() map[string]string {
	u, err := url.Parse(os.Getenv(s3At))
	if err != nil || p.warehouse == "" {
		return nil
	}
	secret, _ := u.User.Password()
	return map[string]string{"endpoint": u.Scheme + "://" + u.Host, "region": u.Query().Get("region"), "key": u.User.Username(), "secret": secret}
}

func (p *place) env() []string {
	s := p.s3()
	if s == nil {
		return nil
	}
	at := "PINFLOW_LAKE_S3_"
	return []string{
		"PINFLOW_LAKE_WAREHOUSE=" + p.warehouse, at + "ENDPOINT=" + s["endpoint"], at + "REGION=" + s["region"], at + "PATH_STYLE=true",
		at + "ACCESS_KEY=" + s["key"], at + "SECRET_KEY=" + s["secret"],
	}
}

// peerJob is what a peer is told, beside what it does.
func (p *place) peerJob(e *env, more map[string]any) map[string]any {
	warehouse := p.warehouse
	if warehouse == "" {
		warehouse = filepath.Join(p.data, "lake", "warehouse")
	}
	job := map[string]any{
		"job": "history", "dir": e.dir, "jars": e.jars("spark"), "catalog": filepath.Join(p.data, "lake", "catalog.db"), "warehouse": warehouse, "warm": historyWarm,
	}
	if s := p.s3(); s != nil {
		job["s3"] = s
	}
	for k, v := range more {
		job[k] = v
	}
	return job
}

func (e *env) historyAt(ctx context.Context, p place) ([]figure, error) {
	if p.warehouse != "" {
		cmd := exec.CommandContext(ctx, filepath.Join(e.root, "bin", "pinflow"), "init", "--infra", "--config", strings.TrimPrefix(p.settings[len(p.settings)-1], settingOfProject))
		cmd.Env = append(append(os.Environ(), p.settings...), "PINFLOW_DATA="+p.data)
		if out, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("making the bucket: %w\n%s", err, out)
		}
	}
	s, err := e.up(ctx, p.data, p.settings...)
	if err == nil {
		err = s.stop()
	}
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	if err := e.seed(ctx, p.data, p.warehouse, e.rows, time.Now().Add(-historyAge)); err != nil {
		return nil, err
	}
	rows := int64(seedDays(e.rows)) * seedRows
	bytes, files := folderBytes(filepath.Join(p.data, "lake", "warehouse"), ".parquet")
	e.say("%s: %d rows, %d files, %d MB", p.name, rows, files, bytes>>20)
	out := []figure{fact(p.name+", rows", float64(rows), "")}
	var first []answered
	views := historyViews
	if p.warehouse != "" {
		views = views[:1]
	}
	for _, v := range views {
		ours, err := e.inChild(ctx, self, "fill", p.data, p.warehouse, v.name, e.profile)
		if err != nil {
			return nil, err
		}
		what := p.name + ", " + v.what
		for _, f := range ours {
			f.name = what + ", pinflow, " + f.name
			out = append(out, f)
		}
		theirs, err := e.historyPeers(ctx, p, v.name, rows)
		if err != nil {
			return nil, err
		}
		for _, a := range theirs {
			out = append(out, a.figures(what, rows, ours)...)
		}
		first = append(first, theirs...)
	}
	return out, p.same(ctx, e, first)
}

// childFill fills in the history of a view, as it was listed.
func childFill(ctx context.Context, data, warehouse, view, profile string) (_ []figure, err error) {
	defer app.FewerCollections()() // as app.Run does
	opening := time.Now()
	s, err := openStores(ctx, data, warehouse)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	id, err := s.only(ctx, view)
	if err != nil {
		return nil, err
	}
	m, err := backfill.NewManager(backfill.Config{Owner: "bench"}, childLog(), s.ledger, s.lake)
	if err != nil {
		return nil, err
	}
	roles := []func(context.Context) error{m.Run}
	metrics := backfill.NewMetrics(prometheus.NewRegistry())
	for n := range 2 {
		w, err := backfill.NewWorker(backfill.Config{Owner: fmt.Sprint("bench#", n)}, childLog(), metrics, s.ledger, s.lake)
		if err != nil {
			return nil, err
		}
		roles = append(roles, w.Run)
	}
	done, err := profiled(profile, "history")
	if err != nil {
		return nil, err
	}
	defer done()
	started := time.Since(opening)
	begin, used, stood := time.Now(), cpuTime(), waited()
	var rows int64
	tick := 0
	err = until(ctx, func() (bool, error) {
		if tick++; tick%5 != 0 {
			return false, nil // asking is work of this process, too
		}
		all, err := s.ledger.Backfills(ctx, id)
		if err != nil {
			return false, err
		}
		if all[0].State == ledger.Failed {
			return false, fmt.Errorf("the back-fill of %s failed", view)
		}
		rows = all[0].Rows
		return all[0].State == ledger.Done, nil
	}, roles...)
	if err != nil {
		return nil, err
	}
	wall, cpu := time.Since(begin), cpuTime()-used
	asked := cpu + waited() - stood
	_, peak := memory(os.Getpid())
	return []figure{
		fact("a core", float64(rows)/cpu.Seconds(), "rows/s"), fact("as it ran on 2 cores", float64(rows)/wall.Seconds(), "rows/s"),
		fact("opening ledger and lake", started.Seconds(), "s"), fact("memory at most", peak, "MiB"),
		fact("cores used", cpu.Seconds()/wall.Seconds(), ""), fact("cores used or waited for", asked.Seconds()/wall.Seconds(), ""),
	}, nil
}

// only lets one view's history be filled in; what else there is goes on waiting.
func (s *stores) only(ctx context.Context, view string) (id int64, err error) {
	all, err := s.ledger.Backfills(ctx, 0)
	if err != nil {
		return 0, err
	}
	for _, b := range all {
		if b.View == view && b.State == ledger.Paused {
			return b.ID, s.ledger.Steer(ctx, b.ID, ledger.Resume)
		}
	}
	return 0, fmt.Errorf("view %s has no history to fill in", view)
}

// answered is how a peer answered.
type answered struct {
	who     string
	Started float64
	Runs    []struct{ Seconds, CPU float64 } // the first is cold
	Rows    int64
	Groups  int
	Reach   string
	peak    float64
}

// historyPeers lets each peer answer, one after the other.
func (e *env) historyPeers(ctx context.Context, p place, view string, rows int64) ([]answered, error) {
	files := filepath.Join(p.data, "lake", "warehouse", "pin", "data", "*", "*.parquet")
	if p.warehouse != "" {
		files = p.warehouse + "/pin/data/*/*.parquet"
	}
	spark := e.spark()
	peers := []struct {
		who, python, script string
		job                 map[string]any
	}{
		{"DuckDB", e.python(), "duck.py", p.peerJob(e, map[string]any{"view": view, "files": files})},
		{"Spark", spark, "spark.py", p.peerJob(e, map[string]any{"view": view, "to": "table"})},
	}
	if p.warehouse == "" && view == "five" {
		peers = append(peers, peers[1])
		peers[2].who, peers[2].job = "Spark over the files", p.peerJob(e, map[string]any{"view": view, "to": "files", "files": files})
	}
	var out []answered
	for _, peer := range peers {
		a := answered{who: peer.who}
		var err error
		if a.peak, err = e.ask(ctx, peer.python, peer.script, peer.job, &a); err != nil {
			return nil, fmt.Errorf("%s: %w", peer.who, err)
		}
		if a.Rows != rows || len(a.Runs) != 1+historyWarm {
			return nil, fmt.Errorf("%s counted %d rows of %d", peer.who, a.Rows, rows)
		}
		out = append(out, a)
	}
	return out, nil
}

// ask runs a script of a peer with a job, and reads its one answer.
func (e *env) ask(ctx context.Context, python, script string, job map[string]any, into any) (peak float64, err error) {
	cmd, err := e.peerCommand(python, script, job)
	if err != nil {
		return 0, err
	}
	took, out, err := measure(ctx, cmd)
	if err != nil {
		return 0, err
	}
	if err := json.Unmarshal(out, into); err != nil {
		return 0, fmt.Errorf("%s said %q: %w", script, out, err)
	}
	return took.peak, nil
}

// peerCommand is a script of a peer with its job in a file.
func (e *env) peerCommand(python, script string, job map[string]any) (*exec.Cmd, error) {
	text, err := json.Marshal(job)
	if err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(e.dir, "job-*.json")
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // what was not written is missed by the peer
	if _, err := f.Write(text); err != nil {
		return nil, err
	}
	cmd := exec.Command(python, filepath.Join(e.root, "bench", "peer", script), f.Name())
	cmd.Dir = e.dir
	return cmd, nil
}

// same wants pinflow's answer to be that of the others.
func (p *place) same(ctx context.Context, e *env, theirs []answered) error {
	s, err := e.up(ctx, p.data, p.settings...)
	if err != nil {
		return err
	}
	var a struct {
		Rows [][]json.Number `json:"rows"`
	}
	err = s.ask(ctx, "/v1/query?view=five&measures=posted,reach&from=2000-01-01", &a)
	if err := errors.Join(err, s.stop()); err != nil {
		return err
	}
	for _, t := range theirs {
		if t.Reach == "" {
			continue
		}
		if len(a.Rows) != 1 || len(a.Rows[0]) != 2 || a.Rows[0][0].String() != fmt.Sprint(t.Rows) || a.Rows[0][1].String() != t.Reach {
			return fmt.Errorf("pinflow answers %v, %s %d rows and a reach of %s", a.Rows, t.who, t.Rows, t.Reach)
		}
	}
	return nil
}

// figures of a peer, and how pinflow compares.
func (a *answered) figures(where string, rows int64, ours []figure) []figure {
	warm, cpu := a.Runs[1].Seconds, a.Runs[1].CPU
	for _, r := range a.Runs[2:] {
		warm, cpu = min(warm, r.Seconds), min(cpu, r.CPU)
	}
	core, ran := float64(rows)/cpu, float64(rows)/warm
	what := where + ", " + a.who + ", "
	ratio := where + ", pinflow ÷ " + a.who + ", "
	out := []figure{
		fact(what+"a core", core, "rows/s"), fact(what+"as it ran on 2 cores", ran, "rows/s"),
		fact(what+"first run", float64(rows)/a.Runs[0].Seconds, "rows/s"), fact(what+"start-up", a.Started, "s"), fact(what+"memory at most", a.peak, "MiB"),
		fact(ratio+"a core", ours[0].value/core, "times"), fact(ratio+"as they ran", ours[1].value/ran, "times"),
	}
	if a.who != "DuckDB" {
		out[6].target = 10
	}
	return out
}

// script runs one of the scripts that install things.
func (e *env) script(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, filepath.Join(e.root, "scripts", name), args...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("scripts/%s: %w", name, err)
	}
	return nil
}

// jars is the folder of a peer's jars.
func (e *env) jars(peer string) string { return filepath.Join(e.root, ".cache", "peer-"+peer, "libs") }
