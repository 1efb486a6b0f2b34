package collect_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/pinflow/pinflow/internal/collect"
	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/prove"
	"github.com/pinflow/pinflow/internal/testbed"
)

var quiet = slog.New(slog.DiscardHandler)

// memLog is a log in memory whose answers a test may set.
type memLog struct {
	mu     sync.Mutex
	recs   map[string][]event.Record
	answer func(topic string, n int) error // of record n of a call; nil: stored
	enter  chan struct{}                   // when set, told of each call,
	leave  chan struct{}                   // which then waits for this
}

func (l *memLog) Append(_ context.Context, topic string, recs []event.Record) []error {
	if l.enter != nil {
		l.enter <- struct{}{}
		<-l.leave
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.recs == nil {
		l.recs = make(map[string][]event.Record)
	}
	var errs []error
	for i := range recs {
		var err error
		if l.answer != nil {
			err = l.answer(topic, i)
		}
		if err == nil {
			l.recs[topic] = append(l.recs[topic], recs[i])
		} else if errs == nil {
			errs = make([]error, len(recs))
		}
		if err != nil {
			errs[i] = err
		}
	}
	return errs
}

func (l *memLog) stored() int { return len(l.recs["pin"]) + len(l.recs["pin.dead"]) }

// catalogue is a ledger of one stream.
type catalogue struct {
	mu    sync.Mutex
	epoch int64
	snap  ledger.Snapshot
	fail  error
}

func (c *catalogue) Epochs(context.Context) (map[string]int64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return map[string]int64{"pin": c.epoch}, c.fail
}

func (c *catalogue) Load(context.Context) (*ledger.Snapshot, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return &c.snap, c.fail
}

func pins() *catalogue {
	def := event.Stream{
		Name: "pin", Topic: "pin", Key: "unique_id", EventID: "event_id", EventTime: "event_time",
		Fields: []event.Field{{Name: "category", Type: "string"}, {Name: "follower_count", Type: "long"}},
	}
	return &catalogue{epoch: 1, snap: ledger.Snapshot{
		Streams: []ledger.Stream{{Name: "pin", Epoch: 1, Schemas: []ledger.SchemaVersion{{Version: 1, Definition: def}}}},
		Logs: []ledger.Log{
			{ID: 1, Kind: ledger.KindKafka, Stream: "pin", Topic: "pin", Partitions: 3},
			{ID: 2, Kind: ledger.KindKafka, Stream: "pin", Topic: "pin.dead", Partitions: 1, Dead: true},
			{ID: 3, Kind: ledger.KindKafka, Stream: "pin", Topic: "gone", Partitions: 9, ClosedAt: time.Unix(1, 0)},
			{ID: 4, Kind: ledger.KindImport, Stream: "pin", Partitions: 1},
		},
	}}
}

var now = time.UnixMilli(1_790_000_000_123)

func newCollector(t testing.TB, cfg collect.Config, to collect.Log, cat collect.Catalogue) *collect.Collector {
	t.Helper()
	if cfg.Now == nil {
		cfg.Now = func() time.Time { return now }
	}
	c := collect.New(cfg, quiet, collect.NewMetrics(prometheus.NewRegistry()), to, cat)
	if err := c.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c
}

func ingest(t testing.TB, c *collect.Collector, body string, o collect.Options) *collect.Result {
	t.Helper()
	res, err := c.Ingest(t.Context(), "pin", []byte(body), o)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// Invariant C2: counts and results add up to the events sent, in order.
func TestIngestTellsEachEventsFate(t *testing.T) {
	prove.Invariant(t, "C2")
	log := &memLog{}
	c := newCollector(t, collect.Config{Event: 100}, log, pins())
	body := `[{"event_id":"a","category":"art"}, {"event_id":"b","follower_count":"12x"}, 7,
		{"event_id":"c","category":"` + strings.Repeat("x", 100) + `"}, {"event_id":"d"}, {"event_id":"e",}]`
	res := ingest(t, c, body, collect.Options{Results: collect.ResultsAll})
	var got []string
	for i, r := range res.Results {
		if r.Index != i {
			t.Errorf("result %d has index %d", i, r.Index)
		}
		got = append(got, strings.TrimRight(strings.Join([]string{r.ID, r.Status, r.Code, r.Path}, " "), " "))
	}
	want := []string{
		"a accepted", "b dead_lettered type_mismatch /follower_count", " rejected not_an_object",
		" rejected event_too_large", "d accepted", " rejected not_json",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if res.Accepted != 2 || res.DeadLettered != 1 || res.Rejected != 3 || res.Retry != 0 {
		t.Errorf("counts %+v", res)
	}
	if len(log.recs["pin"]) != 2 || len(log.recs["pin.dead"]) != 1 || log.stored() != 3 {
		t.Errorf("stored %v", log.recs)
	}
	dead := log.recs["pin.dead"][0]
	if dead.ID != "b" || dead.Reason != "type_mismatch" || dead.Path != "/follower_count" || dead.Message == "" ||
		string(dead.Value) != `{"event_id":"b","follower_count":"12x"}` || dead.Schema != 1 || dead.Received != now.UnixMicro() {
		t.Errorf("dead letter %+v", dead)
	}
	if errs := ingest(t, c, body, collect.Options{}); len(errs.Results) != 4 || errs.Results[0].Index != 1 {
		t.Errorf("results=errors: %+v", errs.Results)
	}
	if none := ingest(t, c, body, collect.Options{Results: collect.ResultsNone}); none.Results != nil || none.Rejected != 3 {
		t.Errorf("results=none: %+v", none)
	}
}

// Invariant C2: what is refused as a whole is stored nowhere.
func TestIngestRefusesWholeBodies(t *testing.T) {
	prove.Invariant(t, "C2")
	log := &memLog{}
	c := newCollector(t, collect.Config{Event: 200, Batch: 3, InFlight: 4000}, log, pins())
	for name, tc := range map[string]struct {
		stream, body, form, code string
		kind                     fault.Kind
	}{
		"empty":             {"pin", " \n ", "json", "empty_body", fault.Record},
		"no events":         {"pin", "[ ]", "json", "empty_body", fault.Record},
		"no lines":          {"pin", "\n\n", "ndjson", "empty_body", fault.Record},
		"not JSON":          {"pin", "hello", "json", "malformed_body", fault.Record},
		"two objects":       {"pin", "{}{}", "json", "malformed_body", fault.Record},
		"open array":        {"pin", `[{"a":1},`, "json", "malformed_body", fault.Record},
		"open string":       {"pin", `[{"a":"1},{}]`, "json", "malformed_body", fault.Record},
		"array, then more":  {"pin", `[{}] {}`, "json", "malformed_body", fault.Record},
		"no comma":          {"pin", `[{} {}]`, "json", "malformed_body", fault.Record},
		"too many":          {"pin", `[{},{},{},{}]`, "json", "batch_too_large", fault.Record},
		"too many lines":    {"pin", "{}\n{}\n{}\n{}", "ndjson", "batch_too_large", fault.Record},
		"one event too big": {"pin", `{"a":"` + strings.Repeat("x", 300) + `"}`, "json", "event_too_large", fault.Record},
		"over capacity":     {"pin", "[{}" + strings.Repeat(" ", 5000) + "]", "json", "over_capacity", fault.Transient},
		"unknown stream":    {"pim", "{}", "json", "unknown_stream", fault.Record},
	} {
		_, err := c.Ingest(t.Context(), tc.stream, []byte(tc.body), collect.Options{Form: tc.form})
		if fault.CodeOf(err) != tc.code || fault.KindOf(err) != tc.kind {
			t.Errorf("%s: %v", name, err)
		}
	}
	if log.stored() != 0 {
		t.Errorf("stored %v", log.recs)
	}
	_, err := c.Ingest(t.Context(), "pim", []byte("{}"), collect.Options{})
	if err == nil || !strings.Contains(err.Error(), `Did you mean "pin"?`) {
		t.Errorf("the nearest stream is not named: %v", err)
	}
	ingest(t, c, "{}", collect.Options{}) // nothing of the above is still held
}

func TestIngestMakesIDs(t *testing.T) {
	log := &memLog{}
	c := newCollector(t, collect.Config{}, log, pins())
	ids := func(body, key, apiKey string) (out []string) {
		for _, r := range ingest(t, c, body, collect.Options{Results: collect.ResultsAll, IdempotencyKey: key, APIKey: apiKey}).Results {
			out = append(out, r.ID)
		}
		return out
	}
	all := ids(`[{"n":1},{"n":1},{"n":2},{"event_id":"mine"}]`, "k", "")
	if all[0] == all[1] || all[0] == all[2] || all[3] != "mine" {
		t.Errorf("ids %v", all)
	}
	for name, other := range map[string][]string{
		"the same request":       ids(`[{"n":1},{"n":1},{"n":2},{"event_id":"mine"}]`, "k", ""),
		"only those that failed": append(ids(`[{"n":1},{"n":1}]`, "k", ""), ids(`[{"n":2},{"event_id":"mine"}]`, "k", "")...),
	} {
		if diff := cmp.Diff(all, other); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	one := ids(`{"n":1}`, "k", "")[0]
	for name, id := range map[string]string{
		"another key": ids(`{"n":1}`, "k2", "")[0], "another sender": ids(`{"n":1}`, "k", "me")[0],
		"other bytes": ids(`{"n": 1}`, "k", "")[0],
	} {
		if id == one || len(id) != 32 {
			t.Errorf("%s: id %s", name, id)
		}
	}
	fresh := ids(`[{"n":1},{"n":1}]`, "", "")
	if fresh[0] == fresh[1] || len(fresh[0]) != 36 || fresh[0][14] != '7' || !strings.HasPrefix(fresh[0], "01a0") {
		t.Errorf("fresh ids %v", fresh)
	}
	for _, r := range log.recs["pin"] {
		if string(r.Partition) != r.ID {
			t.Errorf("without its key member a record is keyed by its id: %q %q", r.Partition, r.ID)
		}
	}
}

func TestIngestChoosesPartitionsByKey(t *testing.T) {
	log := &memLog{}
	c := newCollector(t, collect.Config{}, log, pins())
	var body strings.Builder
	for i := range 300 {
		fmt.Fprintf(&body, `{"unique_id":"user-%d","n":%d}`+"\n", i%100, i)
	}
	ingest(t, c, body.String(), collect.Options{Form: collect.FormNDJSON})
	of := map[string]int32{}
	used := map[int32]int{}
	for _, r := range log.recs["pin"] {
		if p, ok := of[string(r.Partition)]; ok && p != r.Key.Partition {
			t.Fatalf("key %s is in partitions %d and %d", r.Partition, p, r.Key.Partition)
		}
		of[string(r.Partition)] = r.Key.Partition
		used[r.Key.Partition]++
	}
	if len(of) != 100 || len(used) != 3 || used[0] < 50 || used[1] < 50 || used[2] < 50 {
		t.Fatalf("%d keys, partitions %v", len(of), used)
	}
}

func TestIngestAnswersWhatTheLogSays(t *testing.T) {
	log := &memLog{answer: func(topic string, n int) error {
		switch {
		case topic == "pin.dead":
			return fault.New(fault.Transient, "log_full", "/secret/path is full")
		case n == 1:
			return fault.New(fault.Ambiguous, "unknown", "host secret did not answer")
		case n == 2:
			return errors.New("something else")
		case n == 3:
			return fault.New(fault.Record, "too_large", "no")
		}
		return nil
	}}
	c := newCollector(t, collect.Config{}, log, pins())
	res := ingest(t, c, `[{"event_id":"0"},{"event_id":"1"},{"event_id":"2"},{"event_id":"3"},{"event_id":"4","follower_count":"x"}]`,
		collect.Options{Results: collect.ResultsAll})
	var got []string
	for _, r := range res.Results {
		got = append(got, r.ID+" "+r.Status+" "+r.Code)
		if strings.Contains(r.Message, "secret") || (r.Status == collect.Retry) != (r.RetryAfterMS > 0) {
			t.Errorf("result %+v", r)
		}
	}
	want := []string{"0 accepted ", "1 retry unknown", "2 retry unknown", "3 rejected event_too_large", "4 retry not_stored"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if res.Accepted != 1 || res.Retry != 3 || res.Rejected != 1 || res.DeadLettered != 0 {
		t.Errorf("%+v", res)
	}
}

func TestWhyNothingWasStored(t *testing.T) {
	log := &memLog{answer: func(string, int) error { return fault.New(fault.Transient, "log_full", "/secret/path is full") }}
	c := newCollector(t, collect.Config{}, log, pins())
	res := ingest(t, c, `[{},{}]`, collect.Options{Results: collect.ResultsNone})
	if res.Retry != 2 || !strings.Contains(res.Why, "the log is full") || strings.Contains(res.Why, "secret") {
		t.Errorf("%+v", res)
	}
}

func TestRefusedBodiesSayWhatToDo(t *testing.T) {
	c := newCollector(t, collect.Config{}, &memLog{}, pins())
	_, err := c.Ingest(t.Context(), "pin", []byte("{\"a\":1}\n{\"a\":2}\n"), collect.Options{})
	if fault.CodeOf(err) != "malformed_body" || !strings.Contains(err.Error(), "application/x-ndjson") {
		t.Errorf("lines sent as JSON: %v", err)
	}
	for _, other := range []string{`{"a":1} x`, `{"a":1`, `x{}`} {
		if _, err := c.Ingest(t.Context(), "pin", []byte(other), collect.Options{}); fault.CodeOf(err) != "malformed_body" || strings.Contains(err.Error(), "ndjson") {
			t.Errorf("%s: %v", other, err)
		}
	}
	_, err = c.Ingest(t.Context(), strings.Repeat("ü", 5000), []byte("{}"), collect.Options{})
	if fault.CodeOf(err) != "unknown_stream" || len(err.Error()) > 300 {
		t.Errorf("a long name: %.400v", err)
	}
}

func TestValidateOnlyStoresNothing(t *testing.T) {
	log := &memLog{}
	c := newCollector(t, collect.Config{}, log, pins())
	res := ingest(t, c, `[{"event_id":"a"},{"follower_count":"x"}]`, collect.Options{ValidateOnly: true})
	if res.Accepted != 1 || res.DeadLettered != 1 || log.stored() != 0 {
		t.Fatalf("%+v, stored %d", res, log.stored())
	}
}

func TestEventsAreStoredAsSentOnOneLine(t *testing.T) {
	log := &memLog{}
	c := newCollector(t, collect.Config{}, log, pins())
	body := []byte("\xef\xbb\xbf [ {\r\n \"text\" :\t\"a\\n\\\"\",\n\"n\": 1.0e0 }\n,{\"event_id\":\"b\"} ]\n")
	keep := string(body)
	if _, err := c.Ingest(t.Context(), "pin", body, collect.Options{}); err != nil {
		t.Fatal(err)
	}
	if string(body) != keep {
		t.Error("the body was changed")
	}
	clear(body) // its memory is the caller's
	var got []string
	for _, r := range log.recs["pin"] {
		got = append(got, string(r.Value))
	}
	want := []string{"{   \"text\" :\t\"a\\n\\\"\", \"n\": 1.0e0 }", `{"event_id":"b"}`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatal(diff)
	}
}

// Invariant C3: over the limit requests are refused before anything is handed over; room comes back.
func TestIngestHoldsNoMoreThanItsLimit(t *testing.T) {
	prove.Invariant(t, "C3")
	log := &memLog{enter: make(chan struct{}), leave: make(chan struct{})}
	c := newCollector(t, collect.Config{InFlight: 2000}, log, pins())
	done := make(chan error)
	go func() {
		_, err := c.Ingest(t.Context(), "pin", []byte(`{"a":"`+strings.Repeat("x", 1000)+`"}`), collect.Options{})
		done <- err
	}()
	<-log.enter
	if _, err := c.Ingest(t.Context(), "pin", []byte(`{"a":"`+strings.Repeat("x", 400)+`"}`), collect.Options{}); fault.CodeOf(err) != "over_capacity" {
		t.Errorf("got %v", err)
	}
	log.leave <- struct{}{}
	if err := <-done; err != nil {
		t.Error(err)
	}
	log.enter = nil
	ingest(t, c, `{"a":"`+strings.Repeat("x", 400)+`"}`, collect.Options{})
	if log.stored() != 2 {
		t.Errorf("stored %d", log.stored())
	}
}

func TestCloseWaitsForWhatIsInHand(t *testing.T) {
	log := &memLog{enter: make(chan struct{}), leave: make(chan struct{})}
	c := newCollector(t, collect.Config{}, log, pins())
	done := make(chan *collect.Result)
	go func() {
		res, _ := c.Ingest(t.Context(), "pin", []byte(`{}`), collect.Options{})
		done <- res
	}()
	<-log.enter
	ended, end := context.WithCancel(t.Context())
	end()
	if err := c.Close(ended); !errors.Is(err, context.Canceled) {
		t.Fatalf("Close with a request in hand: %v", err)
	}
	if _, err := c.Ingest(t.Context(), "pin", []byte(`{}`), collect.Options{}); fault.CodeOf(err) != "not_stored" {
		t.Errorf("after Close: %v", err)
	}
	log.leave <- struct{}{}
	if res := <-done; res == nil || res.Accepted != 1 {
		t.Errorf("the request in hand: %+v", res)
	}
	if err := c.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestCatalogueIsReadWhenItsEpochMovesAndKeptWhileTheLedgerIsAway(t *testing.T) {
	log, cat := &memLog{}, pins()
	c := newCollector(t, collect.Config{}, log, cat)
	strict := cat.snap.Streams[0].Schemas[0]
	strict.Version = 2
	strict.Definition.Fields = append(strict.Definition.Fields[:2:2], event.Field{Name: "n", Type: "long"})
	cat.snap.Streams[0].Schemas = append(cat.snap.Streams[0].Schemas, strict)
	refresh := func() {
		if err := c.Refresh(t.Context()); !errors.Is(err, cat.fail) {
			t.Fatal(err)
		}
	}
	refresh() // the epoch is the same
	ingest(t, c, `{"n":"x"}`, collect.Options{})
	cat.epoch, cat.fail = 2, errors.New("away")
	refresh()
	ingest(t, c, `{"n":"x"}`, collect.Options{})
	cat.fail = nil
	refresh()
	ingest(t, c, `{"n":"x"}`, collect.Options{})
	if len(log.recs["pin"]) != 2 || len(log.recs["pin.dead"]) != 1 || log.recs["pin.dead"][0].Schema != 2 {
		t.Fatalf("stored %v", log.recs)
	}
}

func TestRunAsksForEpochsOnceASecond(t *testing.T) {
	testbed.Bubble(t, func(t *testing.T) {
		log, cat := &memLog{}, pins()
		reg := prometheus.NewRegistry()
		c := collect.New(collect.Config{Now: func() time.Time { return now }}, quiet, collect.NewMetrics(reg), log, cat)
		if _, err := c.Ingest(t.Context(), "pin", []byte("{}"), collect.Options{}); fault.CodeOf(err) != "not_stored" {
			t.Fatalf("before the catalogue was read: %v", err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- c.Run(ctx) }()
		pass := func(err error) {
			cat.mu.Lock()
			cat.fail = err
			cat.mu.Unlock()
			time.Sleep(1100 * time.Millisecond) // of the bubble
			synctest.Wait()
		}
		pass(nil)
		pass(errors.New("away"))
		ingest(t, c, `[{},{"follower_count":"x"},1]`, collect.Options{})
		if got := metric(t, reg, "pinflow_collect_catalogue_stale", ""); got != 1 {
			t.Errorf("stale is %v while the ledger is away", got)
		}
		pass(nil)
		if got := metric(t, reg, "pinflow_collect_catalogue_stale", ""); got != 0 {
			t.Errorf("stale is %v", got)
		}
		for result, want := range map[string]float64{collect.Accepted: 1, collect.DeadLettered: 1, collect.Rejected: 1, collect.Retry: 0} {
			if got := metric(t, reg, "pinflow_collect_events_total", result); got != want {
				t.Errorf("%s: counted %v, want %v", result, got, want)
			}
		}
		stop()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	})
}

// metric sums a family's values, of one result if it is named.
func metric(t *testing.T, reg *prometheus.Registry, name, result string) (sum float64) {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "result" && l.GetValue() != result {
					m = nil
					break
				}
			}
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return sum
}
