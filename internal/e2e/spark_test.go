package e2e

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/pinflow/pinflow/internal/calendar"
	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/fold"
	"github.com/pinflow/pinflow/internal/icelake"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/metric"
	"github.com/pinflow/pinflow/internal/prove"
	"github.com/pinflow/pinflow/internal/segment"
	"github.com/pinflow/pinflow/internal/sqlledger"
	"github.com/pinflow/pinflow/internal/testbed"
)

// M3, M4: the same back-fill by the kernel and by Apache Spark gives equal segments: over several days and three
// versions of the schema, where a view reads a field that is younger than rows, from a member that only _extra
// kept; with every kind of dimension and state, and with a list's elements. Both audit exactly.
func TestSparkFillsInWhatTheKernelDoes(t *testing.T) {
	submit := sparkSubmit(t)
	testbed.Everywhere(t, func(t *testing.T, place testbed.Place) {
		prove.Invariant(t, "M3 M4", append(place.On, prove.EmbeddedLog)...)
		env := sparkEnv(submit)
		if place.S3.Bucket != "" {
			env = append(append(env, onServers(place)...), "PINFLOW_BACKFILL_SPARK_JARS="+strings.Join(sparkJars(t), ","))
			if _, err := icelake.Make(icelake.Config{Warehouse: place.Warehouse, Log: slog.New(slog.DiscardHandler), S3: icelake.S3{
				Endpoint: place.S3.Endpoint, Region: place.S3.Region, PathStyle: true, AccessKey: place.S3.AccessKey, SecretKey: place.S3.SecretKey,
			}}); err != nil {
				t.Fatal(err)
			}
		}
		s := &seller{definer: &definer{t: t, s: startIn(t, env, filepath.Join(t.TempDir(), "my [data] ü")), files: filepath.Join(t.TempDir(), "project")}, rnd: rand.New(rand.NewPCG(testbed.Seed(t), 3))}
		s.begin()
		s.post(4000)
		s.stream(scoreField)
		s.post(4000)
		s.stream(scoreField + moodField)
		s.post(4000)
		for _, engine := range []string{"kernel", "spark"} {
			for _, view := range []string{"sales", "tagged"} {
				s.view(view, engine)
			}
		}
		for _, engine := range []string{"kernel", "spark"} {
			s.apply(engine)
		}
		for _, view := range []string{"sales", "tagged"} {
			s.exact(view + "_kernel")
			s.exact(view + "_spark")
		}
		s.refusesKernelOnly()
		dsn := place.DSN
		if place.S3.Bucket == "" {
			dsn = filepath.Join(s.s.dir, "ledger.db")
		}
		s.s.stop()
		for _, view := range []string{"sales", "tagged"} {
			kernel, spark := segmentsOf(t, dsn, view+"_kernel"), segmentsOf(t, dsn, view+"_spark")
			if len(kernel) < 100 {
				t.Errorf("%s: only %d groups", view, len(kernel))
			}
			if d := gocmp.Diff(kernel, spark); d != "" {
				t.Errorf("%s: -kernel +Spark\n%.4000s", view, d)
			}
			t.Logf("%s: %d groups", view, len(kernel))
		}
	})
}

// sparkSubmit is the command of a real Spark.
func sparkSubmit(t *testing.T) string {
	t.Helper()
	submit := os.Getenv("PINFLOW_SPARK_SUBMIT")
	if submit == "" {
		t.Skip("PINFLOW_SPARK_SUBMIT is not set: make soak sets it")
	}
	return submit
}

// sparkJars are what Spark needs beside itself to read S3.
func sparkJars(t *testing.T) []string {
	t.Helper()
	jars, err := filepath.Glob(filepath.Join(os.Getenv("PINFLOW_SPARK_JARS"), "*.jar"))
	if err != nil || len(jars) == 0 {
		t.Fatalf("PINFLOW_SPARK_JARS names no folder with jars: make soak does (%v)", err)
	}
	return jars
}

func sparkEnv(submit string, conf ...string) []string {
	env := []string{"PINFLOW_BACKFILL_ENGINE=spark", "PINFLOW_BACKFILL_SPARK_SUBMIT=" + submit, "PINFLOW_BACKFILL_SPARK_MASTER=local[2]", "PINFLOW_BACKFILL_SHARE=1"}
	if len(conf) > 0 {
		env = append(env, "PINFLOW_BACKFILL_SPARK_CONF="+strings.Join(conf, ","))
	}
	return env
}

// seller has a stream of sales that grows.
type seller struct {
	*definer
	rnd  *rand.Rand
	sent int64
	days int // of the events, back from now; 0: 6
}

const (
	scoreField = "  - {name: score, type: long, from: points, parse: human_number, on_error: \"null\"}\n"
	moodField  = "  - {name: mood, type: string, lower: true}\n"
)

// begin makes the project and the stream, of which nobody has a view yet.
func (s *seller) begin() {
	s.t.Helper()
	must(s.t, "init", s.files)
	s.stream("")
}

func (s *seller) write(name, text string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.files, name), []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

// stream declares the stream with more fields than it has.
func (s *seller) stream(more string) {
	s.t.Helper()
	s.write("streams/sale.yaml", `version: 1
name: sale
partitions: 2
event_time: at
grace: 10m
fields:
  - {name: category, type: string}
  - {name: pieces, type: long, on_error: "null"}
  - {name: price, type: double}
  - {name: gift, type: boolean}
  - {name: shipped, type: timestamptz}
  - {name: due, type: date}
  - {name: tags, type: list<string>}
`+more)
	s.run()
}

// run applies the project's files.
func (s *seller) run(args ...string) {
	s.t.Helper()
	all := append([]string{"apply", "--yes", "--wait", "--url", s.s.url(), "--config", filepath.Join(s.files, "pinflow.yaml")}, args...)
	if r := pinflow(s.t, s.files, all...); r.code != 0 {
		s.t.Fatalf("apply: exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
}

// apply adds the views of an engine.
func (s *seller) apply(engine string) {
	s.t.Helper()
	for _, v := range []string{"sales", "tagged"} {
		from, to := filepath.Join(s.files, v+"_"+engine+".later"), filepath.Join(s.files, "metrics", v+"_"+engine+".yaml")
		if err := os.Rename(from, to); err != nil {
			s.t.Fatal(err)
		}
	}
	s.run("--engine", engine)
	var list struct {
		Backfills []struct{ View, Engine, State string }
	}
	s.s.get("/v1/backfills", &list)
	for _, b := range list.Backfills {
		if strings.HasSuffix(b.View, "_"+engine) && (b.Engine != engine || b.State != "done") {
			s.t.Errorf("%+v", b)
		}
	}
}

// view writes a view to be applied later.
func (s *seller) view(name, engine string) {
	s.t.Helper()
	unnest, tag := "", ""
	if name == "tagged" {
		unnest = "  - {name: tag, expr: tags, unnest: true}\n"
	} else {
		tag = "  - {name: band, expr: \"case when pieces > 100 then 'many' when pieces is null then 'unsaid' else 'few' end\"}\n" +
			"  - {name: gift}\n  - {name: due_month, expr: \"extract(month from due)\"}\n"
	}
	s.write(name+"_"+engine+".later", fmt.Sprintf(`version: 1
name: %s_%s
stream: sale
time_zone: Europe/London
grain: minute
keep: {minute: 2d, hour: 4d, day: forever}
filter: category is null or category <> 'test'
dimensions:
  - {name: category}
%smeasures:
  - {name: n, agg: count}
  - {name: gifts, agg: count, filter: gift}
  - {name: moods, agg: count_distinct_approx, expr: mood}
  - {name: scores, agg: sum, expr: score}
  - {name: pieces, agg: sum, expr: pieces, filter: "category in ('a', 'b', 'ü')"}
  - {name: revenue, agg: sum, expr: price}
  - {name: least, agg: min, expr: price}
  - {name: most, agg: max, expr: pieces}
  - {name: last_shipped, agg: max, expr: shipped}
  - {name: mean, agg: avg, expr: score}
  - {name: buyers, agg: count_distinct_approx, expr: pieces}
  - {name: median, agg: percentile, percentile: 0.5, expr: price}
  - {name: doubled, agg: sum, expr: pieces * 4611686018427387904}
late: {accept: 1d}
backfill: {from: earliest}
`, name, engine, tag+unnest))
}

// post sends events of six days and waits until they are in the lake.
func (s *seller) post(n int) {
	s.t.Helper()
	now := time.Now().UTC()
	for sent := 0; sent < n; {
		var events []json.RawMessage
		for ; len(events) < 500 && sent < n; sent++ {
			events = append(events, s.event(now))
		}
		body, err := json.Marshal(events)
		if err != nil {
			s.t.Fatal(err)
		}
		s.s.until(func() bool {
			resp, err := http.Post(s.s.url()+"/v1/streams/sale/events", "application/json", bytes.NewReader(body))
			if err != nil {
				s.t.Fatal(err)
			}
			said, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			notYet := resp.StatusCode == http.StatusNotFound || resp.StatusCode == http.StatusServiceUnavailable // of a stream just made
			if err != nil || !notYet && (resp.StatusCode != http.StatusAccepted || bytes.Contains(said, []byte("dead_lettered\":1"))) {
				s.t.Fatalf("%s: %v %.2000s", resp.Status, err, said)
			}
			return resp.StatusCode == http.StatusAccepted
		}, "the front door does not hear of the stream")
	}
	s.sent += int64(n)
	s.s.until(func() bool {
		var lake struct{ Days []struct{ Rows int64 } }
		s.s.get("/v1/lake/sale/digest", &lake)
		rows := int64(0)
		for _, day := range lake.Days {
			rows += day.Rows
		}
		return rows == s.sent
	}, "the lake does not get the events")
}

// event is one of an odd shop. Prices are whole quarters, so that sums do not depend on their order.
func (s *seller) event(now time.Time) json.RawMessage {
	r := s.rnd
	e := map[string]any{"at": now.Add(-time.Duration(r.Int64N(int64(cmp.Or(s.days, 6)) * int64(24*time.Hour)))).Format(time.RFC3339Nano), "gift": r.IntN(2) == 0}
	some := func(name string, v any) {
		if r.IntN(10) > 0 {
			e[name] = v
		}
	}
	some("category", []string{"a", "b", "ü", "test", "it's \\ \"", ""}[r.IntN(6)])
	some("pieces", r.IntN(300)-20)
	some("price", float64(r.IntN(4000)-400)/4)
	some("shipped", now.Add(time.Duration(r.Int64N(1e15)-5e14)).Format(time.RFC3339Nano))
	some("due", now.AddDate(0, 0, r.IntN(100)).Format(time.DateOnly))
	some("tags", [][]string{{}, {"x"}, {"x", "x", "y"}, {"z", ""}}[r.IntN(4)])
	some("points", []any{"12", "3.5k", "2M", 7, "many", nil}[r.IntN(6)])
	some("mood", []string{"GLAD", "Sad", "glad"}[r.IntN(3)])
	some("undeclared", map[string]any{"deep": r.IntN(5)})
	text, err := json.Marshal(e)
	if err != nil {
		s.t.Fatal(err)
	}
	return text
}

// refusesKernelOnly: what only the kernel can do is refused with the reason, and done by the kernel when asked.
func (s *seller) refusesKernelOnly() {
	s.t.Helper()
	s.write("metrics/deep.yaml", `version: 1
name: deep
stream: sale
grain: hour
measures:
  - {name: depth, agg: sum, expr: cast(_extra.undeclared.deep as long)}
`)
	config := filepath.Join(s.files, "pinflow.yaml")
	refused(s.t, 3, nil, "apply", "--yes", "--url", s.s.url(), "--config", config)
	r := pinflow(s.t, s.files, "plan", "--url", s.s.url(), "--config", config)
	if !strings.Contains(r.stdout, "refused") || !strings.Contains(r.stdout, "only the kernel has") {
		s.t.Errorf("plan says:\n%s%s", r.stdout, r.stderr)
	}
	s.run("--engine", "kernel")
	s.exact("deep")
	refused(s.t, 1, []string{"only the kernel has", "--engine kernel"}, "backfill", "start", "deep", "--yes", "--url", s.s.url())
}

// segmentsOf is what the ledger has of a view: its minutes, and everything by days; by bucket and group the states.
func segmentsOf(t *testing.T, dsn, view string) map[string]string {
	t.Helper()
	led, err := sqlledger.Open(context.Background(), dsn, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer led.Close()
	read := func(tier string) *ledger.Data {
		data, err := led.Read(t.Context(), ledger.Read{View: view, Tier: tier, From: -1 << 62, To: 1 << 62})
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	data := read("day")
	first, newest := data.Stream.Schemas[0], data.Stream.Schemas[len(data.Stream.Schemas)-1]
	schema, err := event.CompileAfter(newest.Definition, newest.Version, first.Definition)
	if err != nil {
		t.Fatal(err)
	}
	c, err := metric.CompileStored(data.Version.Definition, data.Version.Metadata, schema)
	if err != nil {
		t.Fatal(err)
	}
	codec, err := segment.NewCodec()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	// Nothing is rolled up into minutes; whatever was rolled up or merged meanwhile, by days it is all that there is.
	for _, grain := range []calendar.Grain{calendar.Minute, calendar.Day} {
		var blocks []*fold.States
		for _, x := range read(grain.String()).Segments {
			st, err := codec.Decode(x.Data)
			if err != nil {
				t.Fatal(err)
			}
			blocks = append(blocks, st)
		}
		all, err := fold.Regroup(c, fold.Everything(c, grain), blocks...)
		if err != nil || all.N == 0 {
			t.Fatalf("%d groups by %s: %v", all.N, grain, err)
		}
		for i := range all.N {
			var b strings.Builder
			for k := range all.Cols {
				fmt.Fprintf(&b, "s%d=%s ", k, stateText(&all.Cols[k], i))
			}
			out[fmt.Sprintf("%s %s %q", grain, time.UnixMicro(all.Buckets[i]).UTC().Format(time.RFC3339), all.Key(i))] = b.String()
		}
	}
	return out
}

func stateText(c *fold.Column, i int) string {
	switch c.Type {
	case fold.SumLong:
		return fmt.Sprintf("%d:%d", c.High[i], uint64(c.Ints[i]))
	case fold.SumDouble, fold.MinDouble, fold.MaxDouble:
		if c.Rest != nil {
			return fmt.Sprint(c.Floats[i], "+", c.Rest[i])
		}
		return fmt.Sprint(c.Floats[i])
	case fold.Distinct:
		var b strings.Builder
		c.HLLs[i].Each(func(r int, rank uint8) { fmt.Fprintf(&b, "%d:%d,", r, rank) })
		return b.String()
	case fold.Quantile:
		return fmt.Sprint(c.Bins[c.Offs[i]:c.Offs[i+1]], c.Counts[c.Offs[i]:c.Offs[i+1]])
	case fold.Invalid, fold.Count, fold.MinLong, fold.MaxLong:
	}
	if c.Ints == nil {
		return "0"
	}
	return fmt.Sprint(c.Ints[i])
}

// A Spark that cannot start, and a statement that fails, are told with Spark's own reason, and done when it is set
// right; a back-fill that is paused or cancelled, and a server that is killed, leave no Spark behind. (M4)
func TestSparkFailsAndIsStopped(t *testing.T) {
	submit := sparkSubmit(t)
	prove.Invariant(t, "M4", prove.EmbeddedLog, prove.Disk, prove.SQLite)
	tmp := t.TempDir()
	with := func(conf ...string) []string { return append(sparkEnv(submit, conf...), "TMPDIR="+tmp) }
	s := &seller{definer: &definer{t: t, s: startIn(t, with("spark.driver.memory=64m"), t.TempDir()), files: filepath.Join(t.TempDir(), "project")}, rnd: rand.New(rand.NewPCG(testbed.Seed(t), 4)), days: 1}
	s.begin()
	s.stream(scoreField + moodField)
	s.post(3000)
	s.view("sales", "spark")
	if err := os.Rename(filepath.Join(s.files, "sales_spark.later"), filepath.Join(s.files, "metrics", "sales_spark.yaml")); err != nil {
		t.Fatal(err)
	}
	applied := func() {
		t.Helper()
		if r := pinflow(t, s.files, "apply", "--yes", "--url", s.s.url()); r.code != 0 {
			t.Fatalf("apply: exit code %d\n%s%s", r.code, r.stdout, r.stderr)
		}
	}
	applied()
	s.s.until(func() bool { return s.backfill() == "failed" }, "a Spark that cannot start does not fail")
	if text := must(t, "backfill", "show", "sales_spark", "--url", s.s.url()); !strings.Contains(text, "must be at least") {
		t.Errorf("nobody says why:\n%s", text)
	}

	// Slow enough to be met at work.
	s.again(with("spark.sql.shuffle.partitions=5000", "spark.sql.adaptive.enabled=false"))
	working := func() bool { return len(drivers(t, tmp)) > 0 && s.task("running") }
	must(t, "backfill", "retry", s.id(), "--url", s.s.url())
	s.s.until(working, "Spark does not begin")
	s.s.until(func() bool { return s.done() > 0 }, "nobody tells how far Spark is")
	must(t, "backfill", "pause", s.id(), "--url", s.s.url())
	s.s.until(func() bool { return len(drivers(t, tmp)) == 0 && !s.task("running") }, "Spark goes on although its back-fill is paused")
	must(t, "backfill", "resume", s.id(), "--url", s.s.url())
	s.s.until(working, "Spark does not go on")
	s.s.kill()
	s.s.t.Log("killed the server")
	s.s.until(func() bool { return len(drivers(t, tmp)) == 0 }, "Spark outlives the server")
	s.s.run()
	s.s.until(working, "Spark does not begin again")
	must(t, "backfill", "cancel", s.id(), "--url", s.s.url())
	s.s.until(func() bool { return len(drivers(t, tmp)) == 0 }, "Spark goes on although its back-fill is cancelled")

	// A statement fails: this Spark cannot read the lake's files.
	s.again(with("spark.hadoop.fs.file.impl=no.such.FileSystem"))
	applied()
	s.s.until(func() bool { return s.backfill() == "failed" }, "Spark reads what it cannot read")
	if text := must(t, "backfill", "show", "sales_spark", "--url", s.s.url()); !strings.Contains(text, "no.such.FileSystem not found") {
		t.Errorf("nobody says why:\n%s", text)
	}
	s.again(with())
	must(t, "backfill", "retry", s.id(), "--url", s.s.url())
	s.s.until(func() bool { return s.backfill() == "done" }, "what is set right is not done")
	s.exact("sales_spark")
	if left, err := filepath.Glob(filepath.Join(s.s.dir, "lake/warehouse/engine-states/*")); err != nil || len(left) > 0 {
		t.Errorf("left in the lake: %v %v", left, err)
	}
	s.s.stop()
	if left, err := filepath.Glob(filepath.Join(tmp, "pinflow-spark-*/driver.py")); err != nil || len(left) > 1 { // of the server that was killed
		t.Errorf("left behind: %v %v", left, err)
	}
}

// again starts the server anew in another environment.
func (s *seller) again(env []string) {
	s.t.Helper()
	s.s.stop()
	s.s.env = env
	s.s.run()
}

// id is that of the newest back-fill.
func (s *seller) id() string {
	s.t.Helper()
	var list struct{ Backfills []struct{ ID int64 } }
	s.s.get("/v1/backfills", &list)
	return fmt.Sprint(list.Backfills[0].ID)
}

// task tells whether a task of the newest back-fill is in a state.
func (s *seller) task(state string) bool {
	s.t.Helper()
	var b struct{ Tasks []backfillTask }
	s.s.get("/v1/backfills/"+s.id(), &b)
	for _, x := range b.Tasks {
		if x.State == state {
			return true
		}
	}
	return false
}

// done is how many rows the newest back-fill has folded, about.
func (s *seller) done() int64 {
	s.t.Helper()
	var b struct {
		RowsDone int64 `json:"rows_done"`
	}
	s.s.get("/v1/backfills/"+s.id(), &b)
	return b.RowsDone
}

// drivers are the processes that were started on a driver of Spark below the folder.
func drivers(t *testing.T, tmp string) []int {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	var out []int
	for _, e := range entries {
		var pid int
		if _, err := fmt.Sscan(e.Name(), &pid); err != nil {
			continue
		}
		text, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err == nil && strings.Contains(string(text), tmp+"/pinflow-spark-") && syscall.Kill(pid, 0) == nil {
			out = append(out, pid)
		}
	}
	return out
}
