package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/pinflow/pinflow/internal/kafkalog"
	"github.com/pinflow/pinflow/internal/ledger"
)

var lakeBench = bench{
	name: "batch", title: "Apache Kafka → lake, beside Spark, Kafka Connect and a consumer in Python",
	how: "`-events` real pins (about 1 KB each) lie in a topic of six partitions on Apache Kafka 4.1.1, which runs on the same two cores and is not counted. After a reading that warms the broker up and is not measured, one after the other read them from the first to the last: pinflow's batch unit and committer with the settings of `up` (merging of small files waits while a reader is far behind; judged, duplicates looked for, 14 typed columns and the rest as JSON, sorted by day, zstd, committed to Iceberg each second); Spark 3.5.7 Structured Streaming (local[2], 2 GB, trigger availableNow, `from_json` of 16 fields, no cleaning, no dedup) to Parquet and to an Iceberg table; Kafka Connect 3.9.1 with Apache Iceberg's sink 1.10.1 (2 tasks, a commit every 5 s); and `-sample` of them a consumer in Python that puts each message as an object of its own, on the disk (not synced) and into S3. Rates are without the time a JVM takes to start, which stands beside. Memory is of the process and its children at most; CPU of the same, start-up included.",
	run: runLake,
}

// batchMemory is what the batch unit alone may take, MiB.
const batchMemory = 512

func runLake(ctx context.Context, e *env) (_ []figure, err error) {
	if err := errors.Join(e.install(ctx), e.script(ctx, "venv", "spark"), e.script(ctx, "jars", "peer-spark"), e.script(ctx, "jars", "peer-connect")); err != nil {
		return nil, err
	}
	stop, err := e.s3()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	k, err := e.kafka(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, k.stop()) }()
	data, _, err := e.onKafka(ctx, k, "project")
	if err != nil {
		return nil, err
	}
	before, _, err := e.onKafka(ctx, k, "before")
	if err != nil {
		return nil, err
	}
	if err := k.backlog(ctx, e.events, 1); err != nil {
		return nil, err
	}
	e.say("%d events in the topic", e.events)
	// The broker has compiled what it reads with, and its files are on the disk, before anybody is measured:
	// else the first one would pay for all.
	plain := *e
	plain.profile = ""
	if _, err := plain.drain(ctx, ledger.Batch, before, k); err != nil {
		return nil, err
	}
	syscall.Sync()
	began := k.cpu()
	ours, err := e.drain(ctx, ledger.Batch, data, k)
	if err != nil {
		return nil, err
	}
	broker := k.cpu() - began
	if ours.Events != int64(e.events) {
		return nil, fmt.Errorf("the topic ends at %d for %d events", ours.Events, e.events)
	}
	rate := float64(e.events) / ours.Seconds
	out := []figure{
		fact("pinflow", rate, "events/s"), fact("pinflow, CPU", ours.cpu.Seconds()/float64(e.events)*1e6, "µs/event"),
		most("pinflow, memory at most", ours.peak, "MiB", batchMemory),
		fact("pinflow, the broker's CPU meanwhile", broker.Seconds()/float64(e.events)*1e6, "µs/event"),
	}
	more, err := e.sparks(ctx, k, ours)
	if err != nil {
		return nil, err
	}
	out = append(out, more...)
	more, err = e.connect(ctx, k, rate)
	if err != nil {
		return nil, fmt.Errorf("by Kafka Connect: %w", err)
	}
	out = append(out, more...)
	more, err = e.consumers(ctx, k, rate)
	return append(out, more...), err
}

// sparks lets Spark read the backlog to Parquet and to Iceberg, beside what pinflow took.
func (e *env) sparks(ctx context.Context, k *kafka, ours *drained) (out []figure, err error) {
	rate := float64(e.events) / ours.Seconds
	for _, to := range []string{"parquet", "iceberg"} {
		began := k.cpu()
		theirs, seconds, err := e.sparkToLake(ctx, k, to)
		if err != nil {
			return nil, fmt.Errorf("to %s by Spark: %w", to, err)
		}
		broker := k.cpu() - began
		what := "Spark → " + map[string]string{"parquet": "Parquet", "iceberg": "Iceberg"}[to]
		peer := float64(e.events) / seconds
		out = append(append(out, fact(what, peer, "events/s")), e.took(what, theirs)...)
		out = append(out, fact(what+", the broker's CPU meanwhile", broker.Seconds()/float64(e.events)*1e6, "µs/event"),
			fact(what+", start-up and end", theirs.wall.Seconds()-seconds, "s"), least("pinflow ÷ "+what, rate/peer, "times", 5),
			fact("pinflow ÷ "+what+", a core", theirs.cpu.Seconds()/ours.cpu.Seconds(), "times"))
		e.say("%s: %.0f events/s, pinflow %.0f", what, peer, rate)
	}
	return out, nil
}

// took is what a reader of the whole backlog took.
func (e *env) took(what string, s spent) []figure {
	return []figure{
		fact(what+", CPU", s.cpu.Seconds()/float64(e.events)*1e6, "µs/event"), fact(what+", memory at most", s.peak, "MiB"),
	}
}

// sparkToLake lets Spark read the backlog; seconds are those of its batches.
func (e *env) sparkToLake(ctx context.Context, k *kafka, to string) (s spent, seconds float64, err error) {
	dir := filepath.Join(e.dir, "spark-"+to)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return s, 0, err
	}
	cmd, err := e.peerCommand(e.spark(), "spark.py", map[string]any{
		"job": "to_lake", "to": to, "dir": dir, "jars": e.jars("spark"), "brokers": k.addr, "topic": "pin",
		"catalog": e.peerCatalog(), "warehouse": filepath.Join(e.dir, "peers"),
	})
	if err != nil {
		return s, 0, err
	}
	s, out, err := measure(ctx, cmd)
	if err != nil {
		return s, 0, err
	}
	var told struct {
		Rows    int
		Seconds float64
	}
	if err := json.Unmarshal(out, &told); err != nil {
		return s, 0, fmt.Errorf("it said %q: %w", out, err)
	}
	if told.Rows != e.events {
		return s, 0, fmt.Errorf("it read %d events of %d", told.Rows, e.events)
	}
	return s, told.Seconds, os.RemoveAll(dir)
}

// peerCatalog is the catalog of the peers' tables: Spark makes them, and Kafka Connect writes to its own.
func (e *env) peerCatalog() string { return filepath.Join(e.dir, "peers.db") }

func (e *env) spark() string { return filepath.Join(e.root, ".cache", "venv-spark", "bin", "python") }

// connect lets Kafka Connect with the sink of Iceberg read the backlog into a table.
func (e *env) connect(ctx context.Context, k *kafka, ours float64) ([]figure, error) {
	admin, err := kafkalog.NewAdmin(k.wire(), e.log)
	if err != nil {
		return nil, err
	}
	_, _, err = admin.EnsureTopic(ctx, kafkalog.TopicSpec{Name: "control-iceberg", Partitions: 1})
	if admin.Close(); err != nil {
		return nil, err
	}
	files, err := e.connectFiles(k)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("java", append([]string{
		"-Xmx1g", "-cp", filepath.Join(e.jars("connect"), "*"), "-Dorg.slf4j.simpleLogger.defaultLogLevel=info",
		"org.apache.kafka.connect.cli.ConnectStandalone",
	}, files...)...)
	name := filepath.Join(e.dir, "connect.log")
	log, err := os.Create(name)
	if err != nil {
		return nil, err
	}
	defer log.Close() //nolint:errcheck // the child has its own
	cmd.Stdout, cmd.Stderr, cmd.Dir = log, log, e.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	w := watchGroup(cmd.Process.Pid)
	began, err := e.committed(ctx, name)
	s := w.end()
	s.wall = time.Since(start)
	err = errors.Join(err, syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL))
	_ = cmd.Wait() // it was killed
	if err != nil {
		text, _ := os.ReadFile(name) //nolint:errcheck // it is for the message
		return nil, fmt.Errorf("%w\n%s", err, text[max(0, len(text)-4000):])
	}
	what, peer := "Kafka Connect → Iceberg", float64(e.events)/(s.wall-began.Sub(start)).Seconds()
	e.say("%s: %.0f events/s", what, peer)
	out := append([]figure{fact(what, peer, "events/s")}, e.took(what, s)...)
	return append(out, fact(what+", start-up", began.Sub(start).Seconds(), "s"), fact("pinflow ÷ "+what, ours/peer, "times")), nil
}

// connectFiles are the settings of the worker and of the sink.
func (e *env) connectFiles(k *kafka) ([]string, error) {
	files := map[string][]string{
		"worker.properties": {
			"bootstrap.servers=" + k.addr, "listeners=http://" + freePort(), "offset.storage.file.filename=" + filepath.Join(e.dir, "connect.offsets"),
			"key.converter=org.apache.kafka.connect.storage.StringConverter", "value.converter=org.apache.kafka.connect.json.JsonConverter",
			"value.converter.schemas.enable=false", "consumer.max.poll.records=5000", "consumer.fetch.min.bytes=1000000",
		},
		"sink.properties": {
			"name=iceberg", "connector.class=org.apache.iceberg.connect.IcebergSinkConnector", "tasks.max=2", "topics=pin",
			"iceberg.tables=lake.connect", "iceberg.catalog=pinflow", "iceberg.control.commit.interval-ms=5000",
			"iceberg.catalog.catalog-impl=org.apache.iceberg.jdbc.JdbcCatalog", "iceberg.catalog.uri=jdbc:sqlite:" + e.peerCatalog() + "?journal_mode=WAL&busy_timeout=30000",
			"iceberg.catalog.warehouse=file://" + filepath.Join(e.dir, "peers"),
		},
	}
	var names []string
	for _, name := range []string{"worker.properties", "sink.properties"} {
		path := filepath.Join(e.dir, name)
		if err := os.WriteFile(path, []byte(strings.Join(files[name], "\n")+"\n"), 0o644); err != nil {
			return nil, err
		}
		names = append(names, path)
	}
	return names, nil
}

// committed waits until the table of Connect holds every event, and tells when its worker had started.
func (e *env) committed(ctx context.Context, log string) (began time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Minute)
	defer cancel()
	for looked := 0; ; {
		select {
		case <-ctx.Done():
			return began, fmt.Errorf("waiting for its commits: %w", context.Cause(ctx))
		case <-time.After(50 * time.Millisecond):
		}
		if began.IsZero() {
			text, err := os.ReadFile(log)
			if err != nil {
				return began, err
			}
			if strings.Contains(string(text), "Kafka Connect started") {
				began = time.Now()
			}
			continue
		}
		if looked++; looked%40 == 0 {
			text, err := os.ReadFile(log)
			if err != nil {
				return began, err
			}
			if strings.Contains(string(text), "Task is being killed") {
				return began, errors.New("a task of it failed")
			}
		}
		n, err := tableRecords(ctx, e.peerCatalog(), "connect")
		if err != nil {
			return began, err
		}
		if n > e.events {
			return began, fmt.Errorf("its table holds %d events of %d", n, e.events)
		}
		if n == e.events {
			return began, nil
		}
	}
}

// tableRecords is how many records the newest snapshot of a table has, 0 while there is none.
func tableRecords(ctx context.Context, catalog, table string) (int, error) {
	if _, err := os.Stat(catalog); err != nil {
		return 0, nil //nolint:nilerr // it is not there yet
	}
	db, err := sql.Open("sqlite", "file:"+catalog+"?mode=ro&_pragma=busy_timeout(5000)")
	if err != nil {
		return 0, err
	}
	defer db.Close() //nolint:errcheck // it only read
	var at string
	err = db.QueryRowContext(ctx, "SELECT metadata_location FROM iceberg_tables WHERE table_name = ?", table).Scan(&at)
	if errors.Is(err, sql.ErrNoRows) || err != nil && strings.Contains(err.Error(), "no such table") {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("reading the catalog: %w", err)
	}
	text, err := os.ReadFile(strings.TrimPrefix(at, "file:"))
	if err != nil {
		return 0, err
	}
	var m struct {
		Current   int64 `json:"current-snapshot-id"`
		Snapshots []struct {
			ID      int64 `json:"snapshot-id"`
			Summary struct {
				Records int `json:"total-records,string"`
			}
		}
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return 0, fmt.Errorf("reading %s: %w", at, err)
	}
	for _, s := range m.Snapshots {
		if s.ID == m.Current {
			return s.Summary.Records, nil
		}
	}
	return 0, nil
}

// consumers store each message by itself.
func (e *env) consumers(ctx context.Context, k *kafka, ours float64) ([]figure, error) {
	var out []figure
	for _, p := range []place{{name: "disk"}, {name: "S3", warehouse: "s3://objects"}} {
		job := map[string]any{"brokers": k.addr, "topic": "pin", "group": "objects-" + p.name, "sample": e.sample, "dir": e.dir, "bucket": "objects"}
		if s := p.s3(); s != nil {
			job["s3"] = s
		}
		var told struct{ Seconds float64 }
		peak, err := e.ask(ctx, e.python(), "consumer.py", job, &told)
		if err != nil {
			return nil, err
		}
		what, peer := "Python, an object a message → "+p.name, float64(e.sample)/told.Seconds
		out = append(out, fact(what, peer, "events/s"), fact(what+", memory at most", peak, "MiB"), fact("pinflow ÷ "+what, ours/peer, "times"))
	}
	return out, nil
}
