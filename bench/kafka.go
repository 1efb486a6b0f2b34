package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/google/uuid"

	"github.com/pinflow/pinflow/internal/app"
	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/kafkalog"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/span"
	"github.com/pinflow/pinflow/internal/sqlledger"
)

// kafkaPartitions is how many the topic of pins has on Apache Kafka.
const kafkaPartitions = 6

// kafka is an Apache Kafka of one node.
type kafka struct {
	addr string
	cmd  *exec.Cmd
	done chan error
	out  string
}

// kafka starts a broker of its own, on an empty folder.
func (e *env) kafka(ctx context.Context) (*kafka, error) {
	if err := e.script(ctx, "jars", "kafka"); err != nil {
		return nil, err
	}
	dir, controller := filepath.Join(e.dir, "kafka"), freePort()
	k := &kafka{addr: freePort(), out: filepath.Join(e.dir, "kafka.log")}
	properties := filepath.Join(e.dir, "server.properties")
	if err := os.WriteFile(properties, []byte(strings.Join([]string{
		"process.roles=broker,controller", "node.id=1", "controller.quorum.voters=1@" + controller,
		"listeners=PLAINTEXT://" + k.addr + ",CONTROLLER://" + controller, "advertised.listeners=PLAINTEXT://" + k.addr,
		"controller.listener.names=CONTROLLER", "log.dirs=" + dir, "auto.create.topics.enable=false",
		"offsets.topic.replication.factor=1", "transaction.state.log.replication.factor=1", "transaction.state.log.min.isr=1",
		"offsets.topic.num.partitions=4", "transaction.state.log.num.partitions=4", "group.initial.rebalance.delay.ms=0", "",
	}, "\n")), 0o644); err != nil {
		return nil, err
	}
	java := func(args ...string) *exec.Cmd {
		return exec.CommandContext(ctx, "java", append([]string{"-Xmx512m", "-cp", filepath.Join(e.root, ".cache", "kafka", "libs", "*")}, args...)...)
	}
	id := uuid.New()
	id[0] &= 0x7f // or it may begin with a dash, like an option
	if out, err := java("kafka.tools.StorageTool", "format", "-t", base64.RawURLEncoding.EncodeToString(id[:]), "-c", properties).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("formatting Kafka's folder: %w\n%s", err, out)
	}
	out, err := os.Create(k.out)
	if err != nil {
		return nil, err
	}
	defer out.Close() //nolint:errcheck // the child has its own
	k.cmd = java("kafka.Kafka", properties)
	k.cmd.Stdout, k.cmd.Stderr = out, out
	k.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := k.cmd.Start(); err != nil {
		return nil, err
	}
	k.done = make(chan error, 1)
	go func() { k.done <- k.cmd.Wait() }()
	return k, k.answers(ctx)
}

// answers waits until the broker does.
func (k *kafka) answers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		admin, err := kafkalog.NewAdmin(k.wire(), childLog())
		if err != nil {
			return err
		}
		err = admin.Ping(ctx)
		if admin.Close(); err == nil {
			return nil
		}
		select {
		case ended := <-k.done:
			k.done <- ended
			text, _ := os.ReadFile(k.out) //nolint:errcheck // it is for the message
			return fmt.Errorf("the Kafka broker ended by itself: %w\n%s", errors.Join(ended, err), text[max(0, len(text)-3000):])
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("the Kafka broker does not answer: %w", err), k.stop())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (k *kafka) wire() kafkalog.Config { return kafkalog.Config{Brokers: []string{k.addr}} }

func (k *kafka) settings() []string {
	return []string{"PINFLOW_LOG_KIND=kafka", "PINFLOW_LOG_BROKERS=" + k.addr}
}

// cpu is what it has taken so far.
func (k *kafka) cpu() time.Duration { return cpuOf(k.cmd.Process.Pid) }

// stop kills it: nothing of it is needed again.
func (k *kafka) stop() error {
	if err := k.cmd.Process.Kill(); err != nil {
		return err
	}
	<-k.done
	return nil
}

// onKafka makes the topics, tables and views of a project on Kafka, in a data folder, and tells the
// settings that name them.
func (e *env) onKafka(ctx context.Context, k *kafka, name string, edits ...edit) (data string, settings []string, err error) {
	edits = append(edits, edit{"streams/pin.yaml", "partitions: 2", fmt.Sprint("partitions: ", kafkaPartitions)})
	setting, err := e.project(ctx, name, edits...)
	if err != nil {
		return "", nil, err
	}
	data, settings = filepath.Join(e.dir, name+"-data"), append(k.settings(), setting)
	plain := *e
	plain.profile = ""
	s, err := plain.up(ctx, data, settings...)
	if err != nil {
		return "", nil, err
	}
	return data, settings, s.stop()
}

// backlog puts n real pins into the topic, their event times spread over so many days.
func (k *kafka) backlog(ctx context.Context, n, days int) error {
	w := &workshop{wire: k.wire()}
	f, err := w.feeder()
	if err != nil {
		return err
	}
	defer f.producer.Close()
	f.partitions, f.days = kafkaPartitions, days
	const chunk = 5000
	for at := 0; at < n; at += chunk {
		if _, err := f.append(ctx, at, min(chunk, n-at)); err != nil {
			return fmt.Errorf("filling the topic: %w", err)
		}
	}
	return nil
}

// probe appends one pin that only the reader of probes counts, all to the same partition.
func (f *feeder) probe(ctx context.Context, n int, now time.Time) error {
	name := fmt.Sprint("probe-", now.UnixNano(), "-", n) // of two loads, too, each counts once
	value := `{"event_id":"` + name + `","unique_id":"probe","category":"probe","title":"how fresh","event_time":"` + moment(now) + `"}`
	for _, err := range f.producer.Append(ctx, "pin", []event.Record{{Partition: []byte(name), Value: []byte(value), ID: name, Received: now.UnixMicro(), Schema: 1}}) {
		if err != nil {
			return fmt.Errorf("appending a probe: %w", err)
		}
	}
	return nil
}

// openOnKafka is the ledger of a data folder that `up` made, and the log that it is on.
func openOnKafka(ctx context.Context, data, broker string) (*workshop, error) {
	led, err := sqlledger.Open(ctx, filepath.Join(data, "ledger.db"), childLog())
	if err != nil {
		return nil, err
	}
	w := &workshop{ledger: led, data: data, wire: kafkalog.Config{Brokers: []string{broker}}, group: filepath.Base(data)}
	if w.admin, err = kafkalog.NewAdmin(w.wire, childLog()); err != nil {
		return nil, errors.Join(err, led.Close())
	}
	return w, nil
}

// drained says how a unit read a backlog.
type drained struct {
	spent
	Seconds float64 // of reading, without start-up
	Events  int64
}

// drain lets a unit alone, in a process of its own, read what lies in the topic.
func (e *env) drain(ctx context.Context, unit ledger.Unit, data string, k *kafka) (*drained, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	d := &drained{}
	var out []byte
	if d.spent, out, err = measure(ctx, exec.Command(self, "-child", "drain", string(unit), data, k.addr, e.profile)); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(out, d); err != nil {
		return nil, fmt.Errorf("unit %s said %q: %w", unit, out, err)
	}
	return d, nil
}

// childDrain is the process of drain.
func childDrain(ctx context.Context, unit ledger.Unit, data, broker, profile string) (err error) {
	defer app.FewerCollections()() // as app.Run does, with one unit
	defer app.BoundMemory(app.Units{Batch: unit == ledger.Batch, Live: unit == ledger.Live})()
	w, err := openOnKafka(ctx, data, broker)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	end, err := w.ends(ctx)
	if err != nil {
		return err
	}
	done, err := profiled(profile, "kafka-"+string(unit))
	if err != nil {
		return err
	}
	defer done()
	start := time.Now()
	if unit == ledger.Batch {
		_, err = w.drainBatch(ctx, end)
	} else {
		err = w.drainLive(ctx, end)
	}
	if err != nil {
		return err
	}
	d := drained{Seconds: time.Since(start).Seconds()}
	for _, to := range end {
		d.Events += to
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]any{"Seconds": d.Seconds, "Events": d.Events})
}

// keyOf is a partition of the topic for the n-th event.
func (f *feeder) keyOf(n uint64) span.Key {
	return span.Key{Partition: int32(n % uint64(max(f.partitions, 2)))}
}
