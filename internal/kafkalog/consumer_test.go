package kafkalog_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/kafkalog"
)

// member is a handler that starts where its starts say, else at 0, and notes what it has.
type member struct {
	mu     sync.Mutex
	starts map[kafkalog.TP]int64
	has    map[kafkalog.TP]bool
	fail   error
}

func (m *member) Assigned(_ context.Context, parts []kafkalog.TP) (map[kafkalog.TP]int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		err := m.fail
		m.fail = nil
		return nil, err
	}
	at := make(map[kafkalog.TP]int64)
	for _, tp := range parts {
		m.mark(tp, true)
		at[tp] = m.starts[tp]
	}
	return at, nil
}

func (m *member) Revoked(_ context.Context, parts []kafkalog.TP) { m.gone(parts) }
func (m *member) Lost(_ context.Context, parts []kafkalog.TP)    { m.gone(parts) }

func (m *member) gone(parts []kafkalog.TP) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, tp := range parts {
		m.mark(tp, false)
	}
}

func (m *member) mark(tp kafkalog.TP, has bool) {
	if m.has == nil {
		m.has = make(map[kafkalog.TP]bool)
	}
	m.has[tp] = has
}

func (m *member) count() (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, has := range m.has {
		if has {
			n++
		}
	}
	return n
}

func newConsumer(t testing.TB, cfg kafkalog.Config, group string, h kafkalog.Handler, topics ...string) *kafkalog.Consumer {
	t.Helper()
	c, err := kafkalog.NewConsumer(cfg, group, topics, h, quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// pollUntil polls until done says so, checking that what is read has no hole and no overlap.
func pollUntil(t testing.TB, c *kafkalog.Consumer, next map[kafkalog.TP]int64, done func() bool) []event.Record {
	t.Helper()
	ctx := testContext(t)
	var out []event.Record
	for !done() {
		fetches, err := c.Poll(ctx, 5000)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range fetches {
			if f.From != next[f.TP] || f.To <= f.From {
				t.Fatalf("%s: read [%d,%d), %d was due", f.TP, f.From, f.To, next[f.TP])
			}
			if f.End < f.To {
				t.Fatalf("%s: read to %d of a log that ends at %d", f.TP, f.To, f.End)
			}
			next[f.TP] = f.To
			for _, r := range f.Records {
				if r.Offset < f.From || r.Offset >= f.To {
					t.Fatalf("%s: offset %d in [%d,%d)", f.TP, r.Offset, f.From, f.To)
				}
			}
			out = append(out, f.Records...)
		}
	}
	return out
}

func TestConsumerStartsWhereTheHandlerSays(t *testing.T) {
	b := openBroker(t, kafkalog.BrokerConfig{})
	ensure(t, b.Client(), "pin", 2)
	p := newProducer(t, b.Client())
	for i := range 10 {
		appendAll(t, p, "pin", record(0, i), record(1, 100+i))
	}
	tp0, tp1 := kafkalog.TP{Topic: "pin", Partition: 0}, kafkalog.TP{Topic: "pin", Partition: 1}
	m := &member{starts: map[kafkalog.TP]int64{tp0: 4, tp1: 9}}
	c := newConsumer(t, b.Client(), "live", m, "pin")
	next := map[kafkalog.TP]int64{tp0: 4, tp1: 9}
	got := pollUntil(t, c, next, func() bool { return next[tp0] == 10 && next[tp1] == 10 })
	if len(got) != 7 {
		t.Fatalf("%d records", len(got))
	}
	c.Seek(tp0, 2)
	next[tp0] = 2
	got = pollUntil(t, c, next, func() bool { return next[tp0] == 10 })
	if len(got) != 8 || got[0].ID != "id-2" {
		t.Fatalf("after Seek: %d records, first %v", len(got), got[0])
	}
	c.Close()
	if m.count() != 0 {
		t.Fatal("Close did not give the partitions back")
	}
}

func TestConsumerCountsAbortedAndControlRecordsAsGaps(t *testing.T) {
	b := openBroker(t, kafkalog.BrokerConfig{Listen: "127.0.0.1:0"})
	ensure(t, b.Client(), "pin", 1)
	p := newProducer(t, b.Client())
	cl, err := kgo.NewClient(kgo.SeedBrokers(b.Addr()), kgo.TransactionalID("tx"), kgo.DefaultProduceTopic("pin"))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx := testContext(t)
	for _, commit := range []kgo.TransactionEndTry{kgo.TryCommit, kgo.TryAbort, kgo.TryCommit} {
		if err := cl.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := cl.ProduceSync(ctx, kgo.StringRecord("{}"), kgo.StringRecord("{}")).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if err := cl.EndTransaction(ctx, commit); err != nil {
			t.Fatal(err)
		}
	}
	appendAll(t, p, "pin", record(0, 1))
	tp := kafkalog.TP{Topic: "pin"}
	next := map[kafkalog.TP]int64{}
	var offsets []int64
	for _, r := range pollUntil(t, newConsumer(t, b.Client(), "live", &member{}, "pin"), next, func() bool { return next[tp] == 10 }) {
		offsets = append(offsets, r.Offset)
		if r.Received == 0 {
			t.Errorf("offset %d has no received time", r.Offset)
		}
	}
	if diff := cmp.Diff([]int64{0, 1, 6, 7, 9}, offsets); diff != "" {
		t.Fatal(diff)
	}
}

func TestConsumerNamesAnOffsetThatIsGone(t *testing.T) {
	b := openBroker(t, kafkalog.BrokerConfig{})
	ensure(t, b.Client(), "pin", 1)
	p := newProducer(t, b.Client())
	for i := range 10 {
		appendAll(t, p, "pin", record(0, i))
	}
	if err := b.Truncate(testContext(t), "pin", 0, 5); err != nil {
		t.Fatal(err)
	}
	tp := kafkalog.TP{Topic: "pin"}
	for name, at := range map[string]int64{"before the start": 2, "past the end": 11} {
		t.Run(name, func(t *testing.T) {
			c := newConsumer(t, b.Client(), "group "+name, &member{starts: map[kafkalog.TP]int64{tp: at}}, "pin")
			_, err := c.Poll(testContext(t), 10)
			if !fault.Is(err, fault.Config) || fault.CodeOf(err) != "log_truncated" {
				t.Fatalf("got %v", err)
			}
		})
	}
	for from, to := range map[int64]int64{2: 8, 6: 11} { // cut off before, and ending too early
		err := kafkalog.ReadBack(testContext(t), b.Client(), tp, from, to, func(*event.Record) error { return nil })
		if fault.CodeOf(err) != "log_truncated" {
			t.Fatalf("read back [%d, %d): %v", from, to, err)
		}
	}
}

func TestConsumerReturnsTheHandlersErrorAndJoinsAgain(t *testing.T) {
	b := openBroker(t, kafkalog.BrokerConfig{})
	ensure(t, b.Client(), "pin", 1)
	appendAll(t, newProducer(t, b.Client()), "pin", record(0, 0))
	want := errors.New("the ledger is away")
	c := newConsumer(t, b.Client(), "live", &member{fail: want}, "pin")
	if _, err := c.Poll(testContext(t), 10); !errors.Is(err, want) {
		t.Fatalf("got %v", err)
	}
	tp := kafkalog.TP{Topic: "pin"}
	next := map[kafkalog.TP]int64{}
	pollUntil(t, c, next, func() bool { return next[tp] == 1 })
}

// Two members share the partitions; what one reads and gives back, the other goes on with.
func TestGroupRebalancesBetweenPolls(t *testing.T) {
	b := openBroker(t, kafkalog.BrokerConfig{})
	const parts = 4
	ensure(t, b.Client(), "pin", parts)
	p := newProducer(t, b.Client())
	shared := &positions{next: make(map[kafkalog.TP]int64)}
	first, second := &tracker{all: shared}, &tracker{all: shared}
	ctx, cancel := context.WithCancel(testContext(t))
	defer cancel()
	c1 := newConsumer(t, b.Client(), "live", first, "pin")
	done1 := make(chan struct{})
	go func() { defer close(done1); first.run(ctx, c1) }()
	defer func() { cancel(); <-done1 }()
	send := func(n int) {
		for i := range n {
			appendAll(t, p, "pin", record(int32(i%parts), i))
		}
	}
	send(40)
	shared.wait(t, 40)
	c2 := newConsumer(t, b.Client(), "live", second, "pin")
	done2 := make(chan struct{})
	ctx2, cancel2 := context.WithCancel(ctx)
	go func() { defer close(done2); second.run(ctx2, c2) }()
	second.waitOwned(t, 2)
	first.waitOwned(t, 2)
	send(40)
	shared.wait(t, 80)
	cancel2()
	<-done2
	c2.Close()
	first.waitOwned(t, parts)
	send(40)
	shared.wait(t, 120)
	if shared.broken != "" {
		t.Fatal(shared.broken)
	}
}

// positions is the ledger of the rebalance test: reads must join without hole or overlap.
type positions struct {
	mu     sync.Mutex
	next   map[kafkalog.TP]int64
	total  int64
	broken string
	moved  chan struct{}
}

func (s *positions) signal() chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.moved == nil {
		s.moved = make(chan struct{})
	}
	return s.moved
}

func (s *positions) announce() {
	if s.moved != nil {
		close(s.moved)
		s.moved = nil
	}
}

func (s *positions) await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx := testContext(t)
	for {
		ch := s.signal()
		s.mu.Lock()
		done := ok()
		s.mu.Unlock()
		if done {
			return
		}
		select {
		case <-ch:
		case <-ctx.Done():
			t.Fatal("no progress: " + what)
		}
	}
}

func (s *positions) wait(t *testing.T, total int64) {
	t.Helper()
	s.await(t, "records", func() bool { return s.total >= total })
}

// tracker is a member that moves the shared positions.
type tracker struct {
	all   *positions
	owned int
}

func (m *tracker) waitOwned(t *testing.T, n int) {
	t.Helper()
	m.all.await(t, "partitions", func() bool { return m.owned == n })
}

func (m *tracker) Assigned(_ context.Context, parts []kafkalog.TP) (map[kafkalog.TP]int64, error) {
	m.all.mu.Lock()
	defer m.all.mu.Unlock()
	at := make(map[kafkalog.TP]int64)
	for _, tp := range parts {
		at[tp] = m.all.next[tp]
	}
	m.owned += len(parts)
	m.all.announce()
	return at, nil
}

func (m *tracker) Revoked(_ context.Context, parts []kafkalog.TP) {
	m.all.mu.Lock()
	defer m.all.mu.Unlock()
	m.owned -= len(parts)
	m.all.announce()
}

func (m *tracker) Lost(ctx context.Context, parts []kafkalog.TP) { m.Revoked(ctx, parts) }

func (m *tracker) run(ctx context.Context, c *kafkalog.Consumer) {
	for {
		fetches, err := c.Poll(ctx, 7)
		if ctx.Err() != nil {
			return
		}
		m.all.mu.Lock()
		if err != nil {
			m.all.broken = err.Error()
		}
		for _, f := range fetches {
			if f.From != m.all.next[f.TP] {
				m.all.broken = "a hole or an overlap at " + f.TP.String()
			}
			m.all.next[f.TP] = f.To
			m.all.total += f.To - f.From
		}
		m.all.announce()
		m.all.mu.Unlock()
	}
}
