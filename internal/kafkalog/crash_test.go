package kafkalog_test

import (
	"context"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/kafkalog"
	"github.com/pinflow/pinflow/internal/prove"
)

// image is a data folder as a crash may leave it: files by relative path.
type image map[string][]byte

func takeImage(t *testing.T, dir string) image {
	t.Helper()
	im := make(image)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		im[rel], err = os.ReadFile(path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return im
}

func (im image) restore(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "log")
	for rel, data := range im {
		path := filepath.Join(dir, rel)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// torn is what a crash may leave while the folder went from im to later: of every file that grew, a
// random part of the growth, its last bytes perhaps garbage.
func (im image) torn(rnd *rand.Rand, later image) image {
	out := make(image)
	for rel, after := range later {
		before, was := im[rel]
		if filepath.Ext(rel) != ".dat" && filepath.Ext(rel) != ".idx" {
			if was {
				out[rel] = before
			}
			continue
		}
		if !was && rnd.IntN(2) == 0 {
			continue // not even made
		}
		n := len(before)
		if grown := len(after) - n; grown > 0 {
			n += rnd.IntN(grown + 1)
		}
		data := append([]byte(nil), after[:n]...)
		if n > len(before) && n < len(after) && rnd.IntN(3) == 0 {
			for i := len(before) + rnd.IntN(n-len(before)); i < n; i++ {
				data[i] = byte(rnd.Uint32())
			}
		}
		out[rel] = data
	}
	return out
}

// Invariant C1: what was acknowledged survives a crash at any moment, at any byte of the write under way.
func TestAcknowledgedRecordsSurviveACrash(t *testing.T) {
	prove.Invariant(t, "C1", prove.EmbeddedLog)
	const seed = 42
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	dir := filepath.Join(t.TempDir(), "log")
	b := openBroker(t, kafkalog.BrokerConfig{Dir: dir, SegmentBytes: 700})
	ensure(t, b.Client(), "pin", 2)
	p := newProducer(t, b.Client())
	images := []image{takeImage(t, dir)}
	acked := [][2][]event.Record{{}}
	for n := 0; n < 45; {
		batch := make([]event.Record, 1+rnd.IntN(5))
		now := acked[len(acked)-1]
		for i := range batch {
			batch[i] = record(int32(rnd.IntN(2)), n)
			n++
		}
		appendAll(t, p, "pin", batch...)
		for _, r := range batch {
			part := r.Key.Partition
			r.Offset = int64(len(now[part]))
			now[part] = append(now[part][:len(now[part]):len(now[part])], r)
		}
		images = append(images, takeImage(t, dir))
		acked = append(acked, now)
	}
	for i := range len(images) - 1 {
		left := images[i].torn(rnd, images[i+1]).restore(t)
		checkSurvivors(t, left, acked[i], acked[i+1], 1+i%2)
	}
}

// checkSurvivors opens the folder: everything acknowledged is there in order, what was under way may
// be, and appending goes on; a second start, if asked for, finds it all again.
func checkSurvivors(t *testing.T, dir string, acked, later [2][]event.Record, starts int) {
	t.Helper()
	for range starts {
		b := openBroker(t, kafkalog.BrokerConfig{Dir: dir, SegmentBytes: 700})
		ends, err := newAdmin(t, b.Client()).HighWatermarks(testContext(t), "pin")
		if err != nil {
			t.Fatal(err)
		}
		for part := range int32(2) {
			if ends[part] < int64(len(acked[part])) {
				t.Fatalf("partition %d: %d records left of %d acknowledged", part, ends[part], len(acked[part]))
			}
			got := readAll(t, b.Client(), kafkalog.TP{Topic: "pin", Partition: part}, 0, ends[part])
			want := later[part][:min(len(got), len(later[part]))]
			if diff := cmp.Diff(want, got[:len(want)], noTimestamp, cmpopts.EquateEmpty()); diff != "" {
				t.Fatal(diff)
			}
			appendAll(t, newProducer(t, b.Client()), "pin", record(part, 1000))
		}
		later = acked // what was under way is no longer where it might have been
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDamageBeforeTheEndIsNotCut(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	b := openBroker(t, kafkalog.BrokerConfig{Dir: dir, SegmentBytes: 500})
	ensure(t, b.Client(), "pin", 1)
	p := newProducer(t, b.Client())
	for i := range 12 {
		appendAll(t, p, "pin", record(0, i))
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	whole := takeImage(t, dir)
	for rel, data := range whole {
		if filepath.Ext(rel) != ".dat" {
			continue
		}
		spoiled := append([]byte(nil), data...)
		spoiled[30] ^= 1
		im := image{}
		for k, v := range whole {
			im[k] = v
		}
		im[rel] = spoiled
		left := im.restore(t)
		_, err := kafkalog.OpenBroker(testContext(t), kafkalog.BrokerConfig{Dir: left}, quiet)
		if !fault.Is(err, fault.Corrupt) || fault.CodeOf(err) != "log_corrupt" {
			t.Errorf("%s: %v", rel, err)
		}
		if kept, err := os.ReadFile(filepath.Join(left, rel)); err != nil || string(kept) != string(spoiled) {
			t.Errorf("%s: the bytes were not kept (%v)", rel, err)
		}
	}
}

func TestRecordsWithoutTheirTopicAreSetAside(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	b := openBroker(t, kafkalog.BrokerConfig{Dir: dir})
	before := takeImage(t, dir)
	ensure(t, b.Client(), "pin", 1)
	appendAll(t, newProducer(t, b.Client()), "pin", record(0, 1))
	after := takeImage(t, dir)
	after["topics.json"] = before["topics.json"]
	left := after.restore(t)
	b = openBroker(t, kafkalog.BrokerConfig{Dir: left})
	ensure(t, b.Client(), "pin", 1)
	appendAll(t, newProducer(t, b.Client()), "pin", record(0, 2))
	if got := readAll(t, b.Client(), kafkalog.TP{Topic: "pin"}, 0, 1); got[0].ID != "id-2" {
		t.Fatalf("read %v", got)
	}
	for _, name := range []string{"meta.json", "topics.json"} {
		lost := takeImage(t, dir)
		delete(lost, name)
		_, err := kafkalog.OpenBroker(testContext(t), kafkalog.BrokerConfig{Dir: lost.restore(t)}, quiet)
		if !fault.Is(err, fault.Corrupt) {
			t.Errorf("without %s: %v", name, err)
		}
	}
}

// A transaction that nobody will end must not hide what follows it, however the broker stopped.
func TestOpenTransactionDoesNotHideTheLogAfterARestart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	b := openBroker(t, kafkalog.BrokerConfig{Dir: dir, Listen: "127.0.0.1:0"})
	ensure(t, b.Client(), "pin", 1)
	cl, err := kgo.NewClient(kgo.SeedBrokers(b.Addr()), kgo.TransactionalID("tx"), kgo.DefaultProduceTopic("pin"))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if err := cl.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := cl.ProduceSync(testContext(t), kgo.StringRecord("{}")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	once := takeImage(t, dir)
	delete(once, "session_state.json") // as after a start that was killed at once
	for _, left := range []string{dir, once.restore(t)} {
		b := openBroker(t, kafkalog.BrokerConfig{Dir: left})
		appendAll(t, newProducer(t, b.Client()), "pin", record(0, 7))
		got := readAll(t, b.Client(), kafkalog.TP{Topic: "pin"}, 0, 2)
		if len(got) != 1 || got[0].Offset != 1 {
			t.Fatalf("read %v", got)
		}
	}
}

// lossyConn loses the broker's answer to some produce requests: the request arrives, then the
// connection breaks.
type lossyConn struct {
	net.Conn
	lose func() bool
	lost atomic.Bool
}

func (c *lossyConn) Write(b []byte) (int, error) {
	if len(b) > 6 && b[4] == 0 && b[5] == 0 && c.lose() { // key 0: produce
		c.lost.Store(true)
	}
	return c.Conn.Write(b)
}

func (c *lossyConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.lost.Load() {
		c.Conn.Close()
		return 0, io.ErrUnexpectedEOF
	}
	return n, err
}

// A lost answer makes the client send again: the record may be there twice, under one id and in order,
// for the dedup window to see. Nothing acknowledged is missing.
func TestLostAnswersRepeatRecordsAndLoseNone(t *testing.T) {
	const seed, n = 7, 30
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	b := openBroker(t, kafkalog.BrokerConfig{})
	ensure(t, b.Client(), "pin", 1)
	cfg := b.Client()
	dial, lost := cfg.Dialer, 0
	cfg.Dialer = func(ctx context.Context, network, host string) (net.Conn, error) {
		c, err := dial(ctx, network, host)
		if err != nil {
			return nil, err
		}
		return &lossyConn{Conn: c, lose: func() bool {
			if rnd.IntN(5) > 0 {
				return false
			}
			lost++
			return true
		}}, nil
	}
	p := newProducer(t, cfg)
	for i := range n {
		appendAll(t, p, "pin", record(0, i))
	}
	p.Close()
	ends, err := newAdmin(t, b.Client()).HighWatermarks(testContext(t), "pin")
	if err != nil {
		t.Fatal(err)
	}
	var once []string
	seen := map[string]bool{}
	for _, r := range readAll(t, b.Client(), kafkalog.TP{Topic: "pin"}, 0, ends[0]) {
		if !seen[r.ID] {
			seen[r.ID] = true
			once = append(once, r.ID)
		}
	}
	var want []string
	for i := range n {
		want = append(want, record(0, i).ID)
	}
	if diff := cmp.Diff(want, once); diff != "" {
		t.Fatal(diff)
	}
	if lost == 0 || ends[0] < n || ends[0] > int64(n+lost) {
		t.Fatalf("%d answers lost, %d records for %d", lost, ends[0], n)
	}
}
