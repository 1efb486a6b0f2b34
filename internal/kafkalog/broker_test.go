package kafkalog_test

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/kafkalog"
	"github.com/pinflow/pinflow/internal/span"
)

var noTimestamp = cmpopts.IgnoreFields(event.Record{}, "Timestamp")

var quiet = slog.New(slog.DiscardHandler)

func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func openBroker(t testing.TB, cfg kafkalog.BrokerConfig) *kafkalog.Broker {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = filepath.Join(t.TempDir(), "log")
	}
	b, err := kafkalog.OpenBroker(testContext(t), cfg, quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func newAdmin(t testing.TB, cfg kafkalog.Config) *kafkalog.Admin {
	t.Helper()
	a, err := kafkalog.NewAdmin(cfg, quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a
}

func newProducer(t testing.TB, cfg kafkalog.Config) *kafkalog.Producer {
	t.Helper()
	p, err := kafkalog.NewProducer(cfg, quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func ensure(t testing.TB, cfg kafkalog.Config, topic string, partitions int32) kafkalog.Topic {
	t.Helper()
	a, err := kafkalog.NewAdmin(cfg, quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	top, _, err := a.EnsureTopic(testContext(t), kafkalog.TopicSpec{Name: topic, Partitions: partitions, Replication: 1})
	if err != nil {
		t.Fatal(err)
	}
	return top
}

func record(partition int32, i int) event.Record {
	return event.Record{
		Key:       span.Key{Partition: partition},
		Partition: fmt.Appendf(nil, "k%d", i),
		Value:     fmt.Appendf(nil, `{"n":%d}`, i),
		ID:        fmt.Sprintf("id-%d", i),
		Received:  1_790_000_000_000_000 + int64(i)*1000,
		Schema:    3,
	}
}

func appendAll(t testing.TB, p *kafkalog.Producer, topic string, recs ...event.Record) {
	t.Helper()
	for i, err := range p.Append(testContext(t), topic, recs) {
		if err != nil {
			t.Fatalf("record %d: %v", i, err)
		}
	}
}

func readAll(t testing.TB, cfg kafkalog.Config, tp kafkalog.TP, from, to int64) []event.Record {
	t.Helper()
	var out []event.Record
	err := kafkalog.ReadBack(testContext(t), cfg, tp, from, to, func(r *event.Record) error {
		out = append(out, *r)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestBrokerKeepsRecordsAndIdentityAcrossRestarts(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	var want []event.Record
	var topic kafkalog.Topic
	var cluster string
	for run := range 3 {
		b := openBroker(t, kafkalog.BrokerConfig{Dir: dir, SegmentBytes: 300})
		got := ensure(t, b.Client(), "pin", 2)
		if run == 0 {
			topic, cluster = got, b.ClusterID()
		}
		if diff := cmp.Diff(topic, got); diff != "" || b.ClusterID() != cluster || cluster == "" {
			t.Fatalf("identity changed: %s %q %q", diff, cluster, b.ClusterID())
		}
		p := newProducer(t, b.Client())
		for range 7 {
			r := record(1, len(want))
			appendAll(t, p, "pin", r)
			r.Offset = int64(len(want))
			want = append(want, r)
		}
		tp := kafkalog.TP{Topic: "pin", Partition: 1}
		if diff := cmp.Diff(want, readAll(t, b.Client(), tp, 0, int64(len(want))), noTimestamp); diff != "" {
			t.Fatal(diff)
		}
		p.Close()
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTruncateKeepsTheLastRecord(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	b := openBroker(t, kafkalog.BrokerConfig{Dir: dir, SegmentBytes: 200})
	ensure(t, b.Client(), "pin", 1)
	p := newProducer(t, b.Client())
	for i := range 20 {
		appendAll(t, p, "pin", record(0, i))
	}
	before := b.Bytes()
	for _, at := range []int64{5, 20, 1000} {
		if err := b.Truncate(testContext(t), "pin", 0, at); err != nil {
			t.Fatal(err)
		}
		starts, err := newAdmin(t, b.Client()).Starts(testContext(t), "pin")
		if err != nil {
			t.Fatal(err)
		}
		if want := min(at, 19); starts[0] != want {
			t.Fatalf("truncated below %d: starts at %d, want %d", at, starts[0], want)
		}
	}
	if after := b.Bytes(); after >= before {
		t.Fatalf("%d bytes before, %d after", before, after)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	b = openBroker(t, kafkalog.BrokerConfig{Dir: dir, SegmentBytes: 200})
	ends, err := newAdmin(t, b.Client()).HighWatermarks(testContext(t), "pin")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[int32]int64{0: 20}, ends); diff != "" {
		t.Fatal(diff)
	}
	got := readAll(t, b.Client(), kafkalog.TP{Topic: "pin"}, 19, 20)
	if len(got) != 1 || got[0].ID != "id-19" {
		t.Fatalf("last record is %v", got)
	}
}

func TestProducerIsRefusedWhileTheLogIsFull(t *testing.T) {
	dir := t.TempDir()
	b := openBroker(t, kafkalog.BrokerConfig{Dir: dir, Cap: 40_000, SegmentBytes: 1000})
	ensure(t, b.Client(), "pin", 1)
	p := newProducer(t, b.Client())
	stored := int64(0)
	var err error
	for err == nil {
		if errs := p.Append(testContext(t), "pin", []event.Record{record(0, int(stored))}); errs != nil {
			err = errs[0]
			break
		}
		stored++
		// What is counted between two looks at the disk is never less than what is on it.
		if onDisk := bytesIn(t, filepath.Join(dir, "partitions")); onDisk > b.Bytes() {
			t.Fatalf("%d bytes on disk after %d records, %d counted", onDisk, stored, b.Bytes())
		}
	}
	if fault.KindOf(err) != fault.Transient || fault.CodeOf(err) != "log_full" {
		t.Fatalf("got %v", err)
	}
	if b.Bytes() > b.Cap() || stored < 100 {
		t.Fatalf("%d bytes after %d records, cap %d", b.Bytes(), stored, b.Cap())
	}
	if p.InFlight() != 0 {
		t.Fatalf("%d bytes in flight", p.InFlight())
	}
	if err := b.Room(0); fault.CodeOf(err) != "log_full" {
		t.Fatalf("producers are refused, yet the log is well: %v", err)
	}
	if err := b.Truncate(testContext(t), "pin", 0, stored); err != nil {
		t.Fatal(err)
	}
	if err := b.Room(0); err != nil {
		t.Fatal(err)
	}
	appendAll(t, p, "pin", record(0, 1))
}

func bytesIn(t *testing.T, dir string) (sum int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			sum += info.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

// However small the cap: what the units have passed makes room, of every partition.
func TestASmallLogMakesRoom(t *testing.T) {
	b := openBroker(t, kafkalog.BrokerConfig{Cap: 4 << 20})
	ensure(t, b.Client(), "pin", 6)
	p := newProducer(t, b.Client())
	var next [6]int64
	fill := func() (stored int) {
		for {
			r := record(int32(stored%len(next)), stored)
			r.Value = bytes.Repeat([]byte{'x'}, 20_000)
			if p.Append(testContext(t), "pin", []event.Record{r}) != nil {
				return stored
			}
			next[r.Key.Partition]++
			stored++
		}
	}
	first := fill()
	for partition, at := range next {
		if err := b.Truncate(testContext(t), "pin", int32(partition), at); err != nil {
			t.Fatal(err)
		}
	}
	if second := fill(); second < first/2 {
		t.Errorf("%d records filled the log, and %d after all of them were passed", first, second)
	}
}

func TestBrokerRefusesAnOpenKafkaPort(t *testing.T) {
	for _, addr := range []string{"0.0.0.0:0", ":0", "192.0.2.1:0", "[::]:0"} {
		_, err := kafkalog.OpenBroker(testContext(t), kafkalog.BrokerConfig{Dir: t.TempDir(), Listen: addr}, quiet)
		if !fault.Is(err, fault.Config) || fault.CodeOf(err) != "kafka_port_open" {
			t.Errorf("%s: got %v", addr, err)
		}
	}
}

func TestAppendToABrokerThatIsGone(t *testing.T) {
	b := openBroker(t, kafkalog.BrokerConfig{})
	ensure(t, b.Client(), "pin", 1)
	cfg := b.Client()
	cfg.DeliveryTimeout = time.Second
	fresh, used := newProducer(t, cfg), newProducer(t, cfg)
	appendAll(t, used, "pin", record(0, 1))
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	errs := fresh.Append(testContext(t), "pin", []event.Record{record(0, 2)})
	if len(errs) != 1 || fault.CodeOf(errs[0]) != "not_stored" || !fault.Is(errs[0], fault.Transient) {
		t.Errorf("never handed over: %v", errs)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	errs = used.Append(ctx, "pin", []event.Record{record(0, 2)})
	if len(errs) != 1 || errs[0] == nil {
		t.Errorf("broker gone: %v", errs)
	}
}

func TestAppendThatCannotBeWrittenIsNotAcknowledged(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	b := openBroker(t, kafkalog.BrokerConfig{Dir: dir, SegmentBytes: 1})
	ensure(t, b.Client(), "pin", 1)
	p := newProducer(t, b.Client())
	appendAll(t, p, "pin", record(0, 0))
	inTheWay := filepath.Join(dir, "partitions", "pin-0", "1.dat") // the next segment cannot be made
	if err := os.Mkdir(inTheWay, 0o755); err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		errs := p.Append(testContext(t), "pin", []event.Record{record(0, 10+i)})
		if len(errs) != 1 || !fault.Is(errs[0], fault.Ambiguous) || fault.CodeOf(errs[0]) != "unknown" {
			t.Fatalf("got %v", errs)
		}
	}
	if err := os.Remove(inTheWay); err != nil {
		t.Fatal(err)
	}
	appendAll(t, p, "pin", record(0, 1))
	appendAll(t, p, "pin", record(0, 2))
	for range 2 {
		var ids []string
		for _, r := range readAll(t, b.Client(), kafkalog.TP{Topic: "pin"}, 0, 3) {
			ids = append(ids, r.ID)
		}
		if diff := cmp.Diff([]string{"id-0", "id-1", "id-2"}, ids); diff != "" {
			t.Fatal(diff)
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		b = openBroker(t, kafkalog.BrokerConfig{Dir: dir})
	}
}

func TestProducerIsRefusedWhileTheDiskIsNearlyFull(t *testing.T) {
	b := openBroker(t, kafkalog.BrokerConfig{MinFree: 1 << 60})
	ensure(t, b.Client(), "pin", 1)
	errs := newProducer(t, b.Client()).Append(testContext(t), "pin", []event.Record{record(0, 1)})
	if len(errs) != 1 || fault.CodeOf(errs[0]) != "log_full" {
		t.Fatalf("got %v", errs)
	}
}

func TestTopicThatIsNotOnDiskIsNotThere(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	b := openBroker(t, kafkalog.BrokerConfig{Dir: dir})
	if err := os.Mkdir(filepath.Join(dir, "topics.json.tmp"), 0o755); err != nil { // kfake writes it first
		t.Fatal(err)
	}
	for range 2 {
		if _, _, err := newAdmin(t, b.Client()).EnsureTopic(testContext(t), kafkalog.TopicSpec{Name: "pin", Partitions: 1}); fault.CodeOf(err) != "data_not_writable" {
			t.Fatalf("got %v", err)
		}
	}
}
