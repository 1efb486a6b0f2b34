package batch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/icelake"
	"github.com/pinflow/pinflow/internal/intake"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/prove"
	"github.com/pinflow/pinflow/internal/span"
	"github.com/pinflow/pinflow/internal/sqlledger"
	"github.com/pinflow/pinflow/internal/testbed"
)

const received = int64(1_760_000_000_000_000) // 2025-10-09

// topics are what the test's logs hold; offset = index, a record with nil Value is a gap.
type topics map[intake.TP][]event.Record

// makeTopics fills two partitions with rows, letters, duplicates and gaps, and the dead log with letters.
func makeTopics(n int) topics { return makeTopicsApart(n, time.Hour) }

// makeTopicsApart lets so much time pass from record to record.
func makeTopicsApart(n int, apart time.Duration) topics {
	ts := topics{}
	for p := range int32(2) {
		tp := intake.TP{Topic: "pin", Partition: p}
		for o := range int64(n) {
			r := event.Record{Offset: o, ID: fmt.Sprintf("%d-%d", p, o), Received: received + o*apart.Microseconds(), Schema: 1}
			r.Timestamp = r.Received
			switch {
			case o%11 == 7:
				// a gap
			case o%13 == 5:
				r.Value = []byte(`{"n":"not a number"}`)
			case o%5 == 4:
				r.ID = fmt.Sprintf("%d-%d", p, o-3)
				r.Received -= 3 * apart.Microseconds()
				fallthrough
			default:
				r.Value = fmt.Appendf(nil, `{"n":%d,"title":"pin %s","extra":[%d]}`, o, r.ID, o)
			}
			ts[tp] = append(ts[tp], r)
		}
		dead := intake.TP{Topic: "pin.dead", Partition: p}
		for o := range int64(n / 4) {
			ts[dead] = append(ts[dead], event.Record{
				Offset: o, ID: fmt.Sprintf("dead-%d-%d", p, o), Received: received + o, Timestamp: received,
				Value: []byte("{"), Reason: "not_json", Path: "", Message: "unexpected end",
			})
		}
	}
	return ts
}

// want is what has to be in the lake when all was read: offsets by table.
func (ts topics) want() map[string][]string {
	got := map[string][]string{}
	for tp, records := range ts {
		seen := map[string]int64{}
		for _, r := range records {
			if r.Value == nil {
				continue
			}
			if at, dup := seen[r.ID]; dup && r.Received-at <= int64(time.Hour/time.Microsecond) {
				continue
			}
			seen[r.ID] = r.Received
			table := "pin"
			if tp.Topic == "pin.dead" || string(r.Value[:6]) == `{"n":"` {
				table = ledger.DeadLetters
			}
			got[table] = append(got[table], fmt.Sprintf("%s/%d@%d=%s", tp.Topic, tp.Partition, r.Offset, r.ID))
		}
	}
	for _, ids := range got {
		slices.Sort(ids)
	}
	return got
}

// member is a group of one over the topics. After a while it calls between, on the reader's goroutine.
type member struct {
	ts      topics
	h       intake.Handler
	at      map[intake.TP]int64
	given   []intake.TP
	step    int64
	polls   int
	between func(ctx context.Context, polls int) error
	done    context.CancelFunc
}

func (m *member) open(_ context.Context, names []string, h intake.Handler) (intake.Source, error) {
	m.h, m.at = h, nil
	var tps []intake.TP
	for tp := range m.ts {
		if slices.Contains(names, tp.Topic) {
			tps = append(tps, tp)
		}
	}
	slices.SortFunc(tps, func(a, b intake.TP) int {
		return int(a.Partition-b.Partition) + 10*(len(a.Topic)-len(b.Topic))
	})
	m.given = tps
	return m, nil
}

func (m *member) Poll(ctx context.Context, _ int) ([]intake.Fetch, error) {
	if m.at == nil {
		at, err := m.h.Assigned(ctx, m.given)
		if err != nil {
			return nil, err
		}
		m.at = at
	}
	m.polls++
	if err := m.between(ctx, m.polls); err != nil {
		return nil, err
	}
	var out []intake.Fetch
	for tp, from := range m.at {
		to := min(int64(len(m.ts[tp])), from+m.step)
		if to <= from {
			continue
		}
		f := intake.Fetch{TP: tp, From: from, To: to}
		for _, r := range m.ts[tp][from:to] {
			if r.Value != nil {
				f.Records = append(f.Records, r)
			}
		}
		m.at[tp] = to
		out = append(out, f)
	}
	if len(out) == 0 {
		m.done()
	}
	return out, nil
}

func (m *member) Seek(tp intake.TP, offset int64) { m.at[tp] = offset }

func (m *member) ReadBack(_ context.Context, tp intake.TP, from, to int64, fn func(*event.Record) error) error {
	for _, r := range m.ts[tp][from:to] {
		if r.Value != nil {
			if err := fn(&r); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *member) Start(context.Context, intake.TP) (int64, error) { return 0, nil }
func (m *member) Close(context.Context) error                     { return nil }

// bench is a real ledger and a real lake in a folder.
type bench struct {
	t    *testing.T
	led  *sqlledger.DB
	lake *icelake.Lake
	ts   topics
	log  map[string]span.Log

	place testbed.Place
	step  int64      // records of a partition that a reader gets at once
	piece int        // bytes of a transaction that notes files; 0: as ever
	shape lake.Shape // that tables are kept in
}

func definition() event.Stream {
	return event.Stream{
		Name: "pin", Topic: "pin", Partitions: 2, Dedup: event.Dedup{Records: 50, Within: time.Hour},
		Fields: []event.Field{{Name: "n", Type: "long"}, {Name: "title", Type: "string"}},
	}
}

func newBench(t *testing.T, p testbed.Place, n int) *bench {
	t.Helper()
	b := openBench(t, p, n)
	def := definition()
	def.SetDefaults()
	if err := b.led.Apply(t.Context(), ledger.Change{Stream: "pin", Schema: &def}); err != nil {
		t.Fatal(err)
	}
	for _, topic := range []string{"pin", "pin.dead"} {
		id, err := b.led.AddLog(t.Context(), ledger.Log{
			Kind: ledger.KindKafka, Stream: "pin", Dead: topic == "pin.dead", ClusterID: "c", TopicID: topic, Topic: topic, Partitions: 2,
		})
		if err != nil {
			t.Fatal(err)
		}
		b.log[topic] = id
	}
	return b
}

// openBench opens the stores of a place and makes nothing in them.
func openBench(t *testing.T, p testbed.Place, n int) *bench {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	led, err := sqlledger.Open(t.Context(), p.DSN, log)
	if err != nil {
		t.Fatal(err)
	}
	cfg := icelake.Config{Warehouse: p.Warehouse, Catalog: p.Catalog, Log: log, S3: icelake.S3{
		Endpoint: p.S3.Endpoint, Region: p.S3.Region, PathStyle: true, AccessKey: p.S3.AccessKey, SecretKey: p.S3.SecretKey,
	}}
	if _, err := icelake.Make(cfg); err != nil {
		t.Fatal(err)
	}
	lk, err := icelake.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = led.Close(), lk.Close() })
	return &bench{
		t: t, led: led, lake: lk, ts: makeTopics(n), log: map[string]span.Log{}, place: p,
		step: 7, shape: lake.Shape{Target: 1 << 20, MinFiles: 3, MaxBytes: 1 << 20},
	}
}

// run is one life of a process: it reads to the end of the topics and commits, every other poll and at
// the end. Its error says how it died.
func (b *bench) run(led interface {
	Store
	Commits
}, lk interface {
	Files
	Tables
},
) error {
	log := slog.New(slog.DiscardHandler)
	m := NewMetrics(prometheus.NewRegistry())
	c, err := NewCommitter(CommitterConfig{
		Owner: "me", Every: time.Millisecond, ExpireEvery: 3, Keep: lake.Retention{Keep: 1},
		Shape: b.shape,
	}, log, m, led, lk)
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, done := context.WithCancel(b.t.Context())
	defer done()
	defer c.work.stop()
	src := &member{ts: b.ts, step: b.step, done: done, between: func(_ context.Context, polls int) error {
		if polls%2 == 1 {
			return nil
		}
		err := c.round(b.t.Context())
		if err == nil && c.work.cancel != nil { // so that every run is the same
			err = c.work.take(<-c.work.out)
		}
		return err
	}}
	unit, err := New(Config{Owner: "me", StageEvery: time.Nanosecond, PieceBytes: b.piece}, log, m, led, lk, src.open)
	if err != nil {
		b.t.Fatal(err)
	}
	if err := unit.Run(ctx); err != nil {
		return err
	}
	return c.round(b.t.Context())
}

// settle commits what is still open or sealed.
func (b *bench) settle() {
	b.t.Helper()
	if err := b.run(b.led, b.lake); err != nil {
		b.t.Fatal(err)
	}
}

// verify compares lake and ledger with what the topics hold: exact ids, conservation, nothing on the
// disk that nothing names.
func (b *bench) verify() {
	b.t.Helper()
	ctx := b.t.Context()
	got := map[string][]string{}
	names := map[int64]string{}
	for topic, id := range b.log {
		names[int64(id)] = topic
	}
	for _, table := range []string{"pin", ledger.DeadLetters} {
		sel := lake.Selection{Table: table, Columns: []string{"_event_id", "_log", "_partition", "_offset"}}
		_, err := b.lake.Scan(ctx, sel, func(blk *lake.Block) error {
			id, log := &blk.Cols[blk.Index("_event_id")], &blk.Cols[blk.Index("_log")]
			p, o := &blk.Cols[blk.Index("_partition")], &blk.Cols[blk.Index("_offset")]
			for i := range blk.N {
				got[table] = append(got[table], fmt.Sprintf("%s/%d@%d=%s", names[log.Ints[i]], p.Ints[i], o.Ints[i], id.Text(i)))
			}
			return nil
		})
		if err != nil {
			b.t.Fatal(err)
		}
		slices.Sort(got[table])
	}
	if diff := cmp.Diff(b.ts.want(), got); diff != "" {
		b.t.Error(diff)
	}
	pr, err := b.led.Progress(ctx)
	if err != nil {
		b.t.Fatal(err)
	}
	var sum ledger.Counts
	for tp, records := range b.ts {
		k := span.Key{Log: b.log[tp.Topic], Partition: tp.Partition}
		end := int64(len(records))
		if pr.Batch[k] != end || pr.Lake[k] != end || pr.BatchCounts[k].Sum() != end {
			b.t.Errorf("%v: position %d, lake %d, counts %+v; want %d", tp, pr.Batch[k], pr.Lake[k], pr.BatchCounts[k], end)
		}
		sum = sum.Add(pr.BatchCounts[k])
	}
	if sum.Rows != int64(len(got["pin"])) || sum.Dead != int64(len(got[ledger.DeadLetters])) {
		b.t.Errorf("counts %+v", sum)
	}
	for _, table := range []string{"pin", ledger.DeadLetters} {
		head, err := b.lake.Head(ctx, table)
		if err != nil {
			b.t.Fatal(err)
		}
		last, err := b.led.LastIntent(ctx, table)
		if err != nil {
			b.t.Fatal(err)
		}
		if err := head.Check(table, last); err != nil || last.Open {
			b.t.Errorf("head %+v, newest intent %+v: %v", head, last, err)
		}
	}
}

func TestEveryRecordIsOnceInTheLake(t *testing.T) { testbed.Everywhere(t, everyRecordIsOnceInTheLake) } // L1

func everyRecordIsOnceInTheLake(t *testing.T, p testbed.Place) {
	prove.Invariant(t, "L1", p.On...)
	b := newBench(t, p, 120)
	b.settle()
	b.verify()
	head, err := b.lake.Head(t.Context(), "pin")
	if err != nil || head.Seq < 8 || head.Files*2 > head.Seq*3 {
		t.Errorf("nothing was merged: head %+v, %v", head, err)
	}
}

var errCrash = errors.New("the process is gone")

// mortal fails one call, counted over ledger and lake together, before or after it took effect: with a
// fault that the process survives, or so that every later call fails too.
type mortal struct {
	*sqlledger.DB
	AlteredLake
	lk     *icelake.Lake
	calls  int
	at     int
	after  bool
	with   error
	dead   bool
	struck string
	said   func(name string) // of each call; nil: nobody asks
}

func (m *mortal) do(name string, call func() error) error {
	if m.dead {
		return errCrash
	}
	m.calls++
	if m.said != nil {
		m.said(name)
	}
	if m.calls != m.at {
		return call()
	}
	m.struck = name
	m.dead = errors.Is(m.with, errCrash)
	if m.after {
		if err := call(); err != nil && !errors.Is(m.with, errKilled) {
			return err
		}
	}
	if errors.Is(m.with, errKilled) {
		die()
	}
	return m.with
}

func get[T any](m *mortal, name string, call func() (T, error)) (v T, err error) {
	err = m.do(name, func() (err error) { v, err = call(); return err })
	if err != nil {
		var none T
		return none, err
	}
	return v, nil
}

func (m *mortal) Open(ctx context.Context, w ledger.Write) (int64, error) {
	return get(m, "open", func() (int64, error) { return m.DB.Open(ctx, w) })
}

func (m *mortal) Seal(ctx context.Context, s ledger.Seal) error {
	return m.do("seal", func() error { return m.DB.Seal(ctx, s) })
}

func (m *mortal) Acquire(ctx context.Context, name, holder string, ttl time.Duration) (ledger.Lease, error) {
	return get(m, "acquire", func() (ledger.Lease, error) { return m.DB.Acquire(ctx, name, holder, ttl) })
}

func (m *mortal) Intent(ctx context.Context, l ledger.Lease, table, kind string, limit int) (*ledger.Intent, error) {
	return get(m, "intent "+kind+" "+table, func() (*ledger.Intent, error) { return m.DB.Intent(ctx, l, table, kind, limit) })
}

func (m *mortal) CloseIntent(ctx context.Context, l ledger.Lease, in *ledger.Intent, snapshot int64) error {
	return m.do("close "+in.Kind+" "+in.Table, func() error { return m.DB.CloseIntent(ctx, l, in, snapshot) })
}

func (m *mortal) LastIntent(ctx context.Context, table string) (*ledger.Intent, error) {
	return get(m, "last", func() (*ledger.Intent, error) { return m.DB.LastIntent(ctx, table) })
}

func (m *mortal) StageCounts(ctx context.Context, in *ledger.Intent) (ledger.Counts, error) {
	return get(m, "counts", func() (ledger.Counts, error) { return m.DB.StageCounts(ctx, in) })
}

func (m *mortal) Booked(ctx context.Context, table string) (int64, error) {
	return get(m, "booked "+table, func() (int64, error) { return m.DB.Booked(ctx, table) })
}

func (m *mortal) Whole(ctx context.Context, table string) error {
	return m.do("whole "+table, func() error { return m.lk.Whole(ctx, table) })
}

func (m *mortal) PinFor(ctx context.Context, table, tag string, snapshot int64, most time.Duration) (int64, error) {
	return m.lk.PinFor(ctx, table, tag, snapshot, most)
}

func (m *mortal) Unpin(ctx context.Context, table string, tags ...string) error {
	return m.lk.Unpin(ctx, table, tags...)
}

func (m *mortal) Extents(ctx context.Context, table string, snapshot int64) (map[span.Key]lake.Extent, error) {
	return m.lk.Extents(ctx, table, snapshot)
}

func (m *mortal) Memo(ctx context.Context, in *ledger.Intent) ([]byte, error) {
	return get(m, "memo", func() ([]byte, error) { return m.DB.Memo(ctx, in) })
}

func (m *mortal) ClosedLogs(ctx context.Context, in *ledger.Intent) ([]ledger.ClosedLog, error) {
	return get(m, "closed logs", func() ([]ledger.ClosedLog, error) { return m.DB.ClosedLogs(ctx, in) })
}

func (m *mortal) Orphans(ctx context.Context, table string, before time.Time, known func(context.Context) ([]string, error)) ([]lake.Orphan, error) {
	return get(m, "orphans "+table, func() ([]lake.Orphan, error) { return m.lk.Orphans(ctx, table, before, known) })
}

func (m *mortal) RemoveOrphans(ctx context.Context, orphans []lake.Orphan) error {
	return m.do("remove orphans", func() error { return m.lk.RemoveOrphans(ctx, orphans) })
}

func (m *mortal) EnsureTable(ctx context.Context, t lake.Table) error {
	return m.do("ensure", func() error { return m.lk.EnsureTable(ctx, t) })
}

func (m *mortal) Stage(ctx context.Context, table string, blocks []lake.Block) ([]ledger.LakeFile, error) {
	return get(m, "stage "+table, func() ([]ledger.LakeFile, error) { return m.lk.Stage(ctx, table, blocks) })
}

func (m *mortal) Commit(ctx context.Context, in *ledger.Intent) (lake.Landed, error) {
	return get(m, "commit "+in.Kind+" "+in.Table, func() (lake.Landed, error) { return m.lk.Commit(ctx, in) })
}

func (m *mortal) Expire(ctx context.Context, in *ledger.Intent, keep lake.Retention) (lake.Landed, error) {
	return get(m, "expire "+in.Table, func() (lake.Landed, error) { return m.lk.Expire(ctx, in, keep) })
}

func (m *mortal) Evolve(ctx context.Context, in *ledger.Intent, t lake.Table) (lake.Landed, error) {
	return get(m, "evolve "+in.Table, func() (lake.Landed, error) { return m.lk.Evolve(ctx, in, t) })
}

func (m *mortal) Rewrite(ctx context.Context, table string, shape lake.Shape) (*lake.Rewrite, error) {
	return m.lk.Rewrite(ctx, table, shape) // runs beside the rest: counting it would make runs differ
}

func (m *mortal) Replace(ctx context.Context, in *ledger.Intent, r *lake.Rewrite) (lake.Landed, error) {
	return get(m, "replace "+in.Table, func() (lake.Landed, error) { return m.lk.Replace(ctx, in, r) })
}

func (m *mortal) Head(ctx context.Context, table string) (lake.Head, error) {
	return get(m, "head", func() (lake.Head, error) { return m.lk.Head(ctx, table) })
}

func (m *mortal) Missing(ctx context.Context, t lake.Table) ([]lake.Column, error) {
	return get(m, "missing", func() ([]lake.Column, error) { return m.lk.Missing(ctx, t) })
}

func (m *mortal) Discard(ctx context.Context, files []ledger.LakeFile) error {
	return m.do("discard", func() error { return m.lk.Discard(ctx, files) })
}

// L1, L3: whichever call fails, and however, nothing is lost and nothing is there twice.
func TestAnyCallMayFail(t *testing.T) { testbed.Everywhere(t, anyCallMayFail) }

func anyCallMayFail(t *testing.T, p testbed.Place) {
	prove.Invariant(t, "L1 L3", p.On...)
	for first, with := range []error{
		errCrash,
		fault.New(fault.Transient, "busy", "injected"),
		fault.New(fault.Ambiguous, "unknown", "injected"),
	} {
		for _, after := range []bool{false, true} {
			if after && fault.Is(with, fault.Transient) {
				continue // a transient fault promises that nothing happened
			}
			t.Run(fmt.Sprintf("%v after=%v", with, after), func(t *testing.T) {
				step := 7
				if p.S3.Bucket != "" {
					step = 83 // a life there takes a hundred times as long
				}
				for at := 1 + first; ; at += step {
					b := newBench(t, p.Fresh(t), 28)
					m := &mortal{DB: b.led, AlteredLake: b.lake, lk: b.lake, at: at, after: after, with: with}
					err := b.run(m, m)
					if m.struck == "" {
						break // fewer calls than that: all were tried
					}
					if err != nil && !errors.Is(err, errCrash) {
						t.Errorf("call %d (%s): %v", at, m.struck, err)
					}
					b.settle()
					b.verify()
					if t.Failed() {
						t.Fatalf("call %d (%s) failed with %v, after=%v", at, m.struck, with, after)
					}
				}
			})
		}
	}
}
