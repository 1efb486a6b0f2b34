package httpapi

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/prometheus/client_golang/prometheus"
	"pgregory.net/rapid"

	"github.com/pinflow/pinflow/internal/collect"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/prove"
	"github.com/pinflow/pinflow/internal/testbed"
)

func gzipped(b []byte) []byte {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	_, _ = z.Write(b)
	_ = z.Close()
	return out.Bytes()
}

func zstded(t testing.TB, b []byte) []byte {
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return z.EncodeAll(b, nil)
}

// TestStatusTellsWhatIsDurable holds C2 and rule 4: 202 only when every event is durable.
func TestStatusTellsWhatIsDurable(t *testing.T) {
	prove.Invariant(t, "C2")
	not := collect.EventResult{Index: 0, Status: collect.Retry, Code: "not_stored", RetryAfterMS: 2500}
	unclear := collect.EventResult{Index: 0, Status: collect.Retry, Code: "unknown"}
	bad := collect.EventResult{Index: 0, Status: collect.Rejected, Code: "event_too_large", Message: "2 MiB, the limit is 1 MiB"}
	for _, c := range []struct {
		res         collect.Result
		status      int
		code, retry string
	}{
		{collect.Result{Accepted: 2}, 202, "", ""},
		{collect.Result{Accepted: 1, DeadLettered: 1}, 202, "", ""},
		{collect.Result{DeadLettered: 2}, 202, "", ""},
		{collect.Result{Accepted: 1, Rejected: 1, Results: []collect.EventResult{bad}}, 207, "", ""},
		{collect.Result{Accepted: 1, Retry: 1, Results: []collect.EventResult{not}}, 207, "", "3"},
		{collect.Result{Rejected: 1, Retry: 1, Results: []collect.EventResult{bad, not}}, 207, "", "3"},
		{collect.Result{Rejected: 1, Results: []collect.EventResult{bad}}, 422, "all_rejected", ""},
		{collect.Result{Retry: 1, Results: []collect.EventResult{not}}, 503, "not_stored", "3"},
		{collect.Result{Retry: 2, Unknown: 1, Results: []collect.EventResult{not, unclear}}, 503, "unknown", "3"},
		{collect.Result{Retry: 1}, 503, "not_stored", "1"}, // told without results, too
		{collect.Result{Retry: 1, Unknown: 1}, 503, "unknown", "1"},
	} {
		w := &world{ingest: func(string, []byte, collect.Options) (*collect.Result, error) { return &c.res, nil }}
		got := ask(newAPI(t, w, Config{}), "POST", "/v1/streams/pin/events", strings.NewReader(`[{},{}]`))
		if got.Code != c.status || got.Header().Get("Retry-After") != c.retry {
			t.Errorf("%+v: %d, Retry-After %q", c.res, got.Code, got.Header().Get("Retry-After"))
		}
		if c.code != "" {
			wantProblem(t, got, c.status, c.code)
		}
		var body ingestBody
		if err := json.Unmarshal(got.Body.Bytes(), &body); err != nil {
			t.Fatal(err)
		}
		want := ingestBody{RequestID: got.Header().Get("Pinflow-Request-Id"), fates: fates{c.res.Accepted, c.res.DeadLettered, c.res.Rejected, c.res.Retry, shown(c.res.Results)}}
		if diff := cmp.Diff(want, body, cmp.AllowUnexported(ingestBody{})); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", c.res, diff)
		}
		header := fmt.Sprintf("accepted=%d;dead_lettered=%d;rejected=%d;retry=%d", c.res.Accepted, c.res.DeadLettered, c.res.Rejected, c.res.Retry)
		if got.Header().Get("Pinflow-Result") != header {
			t.Errorf("Pinflow-Result is %q, want %q", got.Header().Get("Pinflow-Result"), header)
		}
	}
}

func TestStatusIs202OnlyWhenAllIsDurable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := func(name string) int { return rapid.IntRange(0, 2).Draw(t, name) }
		res := &collect.Result{Accepted: n("accepted"), DeadLettered: n("dead"), Rejected: n("rejected"), Retry: n("retry")}
		got := resultStatus(res, false)
		if (got == 202) != (res.Rejected == 0 && res.Retry == 0) {
			t.Fatalf("%+v is %d", res, got)
		}
		if got == 200 {
			t.Fatalf("%+v is 200", res)
		}
	})
}

func TestFormsOfABody(t *testing.T) {
	for _, c := range []struct {
		name, path, kind, body string
		want                   string
		options                collect.Options
	}{
		{"object", "/v1/streams/pin/events", "application/json", `{"a":1}`, `pin {"a":1}`, collect.Options{Form: collect.FormJSON, Results: "errors"}},
		{"charset", "/v1/streams/pin/events", "application/json; charset=UTF-8", `{}`, `pin {}`, collect.Options{Form: collect.FormJSON, Results: "errors"}},
		{"no type", "/v1/streams/pin/events", "", `[]`, `pin []`, collect.Options{Form: collect.FormJSON, Results: "errors"}},
		{"curl -d", "/v1/streams/pin/events", "application/x-www-form-urlencoded", ` {"a":1}`, `pin  {"a":1}`, collect.Options{Form: collect.FormJSON, Results: "errors"}},
		{"lines", "/v1/streams/geo/events?results=all", "application/x-ndjson", "{}\n{}", "geo {}\n{}", collect.Options{Form: collect.FormNDJSON, Results: "all"}},
		{"dry", "/v1/streams/geo/events?validate_only=true&results=none", "", "{}", "geo {}", collect.Options{Form: collect.FormJSON, Results: "none", ValidateOnly: true}},
		{"emulation", "/pin/", "text/plain", `{"index":7528}`, `pin {"index":7528}`, collect.Options{Form: collect.FormAuto, Results: "errors"}},
		{"emulation without slash", "/user", "", `{}`, `user {}`, collect.Options{Form: collect.FormAuto, Results: "errors"}},
		{"JSON in JSON", "/geo/", "application/json", ` "{\"country\":\"Côte d'Ivoire\"}" `, `geo {"country":"Côte d'Ivoire"}`, collect.Options{Form: collect.FormAuto, Results: "errors"}},
		{"JSON in JSON in JSON", "/geo", "text/plain", `"\"{\\\"a\\\":1}\""`, `geo {"a":1}`, collect.Options{Form: collect.FormAuto, Results: "errors"}},
		{"a form", "/pin/", "application/x-www-form-urlencoded", `title=a+b%26c&index=7`, `pin {"index":"7","title":"a b&c"}`, collect.Options{Form: collect.FormAuto, Results: "errors"}},
		{"Kafka REST of a user's own topic", "/topics/0a1b.geo", "", `"{\"value_schema\":null,\"records\":[{\"key\":1,\"value\":{\"a\":[1]},\"partition\":0}]}"`, `geo [{"a":[1]}]`, collect.Options{Form: collect.FormJSON, Results: "all"}},
		{"Kafka REST with records that are refused alone", "/topics/pin", "", `{"records":[{"value":"hello"},{"key":1},{"value":"}],[{"},{"value":{}}]}`, `pin ["hello",null,"}],[{",{}]`, collect.Options{Form: collect.FormJSON, Results: "all"}},
		{"Kafka REST", "/topics/pin", "application/vnd.kafka.json.v2+json", `{"records":[{"value":{"a":1}},{"value":"{\"b\":2}"}]}`, `pin [{"a":1},{"b":2}]`, collect.Options{Form: collect.FormJSON, Results: "all"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := &world{}
			headers := []string{}
			if c.kind != "" {
				headers = append(headers, "Content-Type", c.kind)
			}
			got := ask(newAPI(t, w, Config{}), "POST", c.path, strings.NewReader(c.body), headers...)
			if got.Code/100 != 2 {
				t.Fatalf("%d %s", got.Code, got.Body)
			}
			if diff := cmp.Diff([]string{c.want}, w.bodies); diff != "" {
				t.Errorf("body (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff([]collect.Options{c.options}, w.calls); diff != "" {
				t.Errorf("options (-want +got):\n%s", diff)
			}
		})
	}
}

func TestValidateOnlyIsNever202(t *testing.T) {
	got := ask(newAPI(t, &world{}, Config{}), "POST", "/v1/streams/pin/events?validate_only=1", strings.NewReader("{}"))
	if got.Code != 200 || !strings.Contains(got.Body.String(), `"validate_only":true`) {
		t.Errorf("%d %s", got.Code, got.Body)
	}
}

// What curl -d sends without a type of its own is judged by what it holds: the collector says what is wrong.
func TestCurlsTypeIsNotHeldAgainstABody(t *testing.T) {
	for _, body := range []string{"xx", "5", "", "{}", `[{"a":1}]`, "null", `"a=b"`, "{a=1}"} {
		w := &world{}
		a := newAPI(t, w, Config{})
		if res := ask(a, "POST", "/v1/streams/pin/events", strings.NewReader(body), "Content-Type", curlDefault); res.Code == 415 || len(w.bodies) != 1 {
			t.Errorf("%q: %d %s, the collector was handed %q", body, res.Code, res.Body, w.bodies)
		}
	}
}

func TestWhatIsNotTakenStoresNothing(t *testing.T) {
	prove.Invariant(t, "C2")
	const limit = 1 << 10
	long := strings.Repeat("x", limit+1)
	for _, c := range []struct {
		name, path, body string
		headers          []string
		status           int
		code             string
	}{
		{"form post", "/v1/streams/pin/events", "a=1", []string{"Content-Type", "application/x-www-form-urlencoded"}, 415, "unsupported_type"},
		{"broken type", "/v1/streams/pin/events", "{}", []string{"Content-Type", "/;;"}, 415, "unsupported_type"},
		{"latin-1", "/v1/streams/pin/events", "{}", []string{"Content-Type", "application/json; charset=latin1"}, 415, "unsupported_type"},
		{"brotli", "/v1/streams/pin/events", "{}", []string{"Content-Encoding", "br"}, 415, "unsupported_encoding"},
		{"twice packed", "/v1/streams/pin/events", "{}", []string{"Content-Encoding", "gzip, gzip"}, 415, "unsupported_encoding"},
		{"not gzip", "/v1/streams/pin/events", "{}", []string{"Content-Encoding", "gzip"}, 400, "malformed_body"},
		{"not zstd", "/v1/streams/pin/events", "{}", []string{"Content-Encoding", "zstd"}, 400, "malformed_body"},
		{"cut gzip", "/v1/streams/pin/events", string(gzipped([]byte("{}"))[:12]), []string{"Content-Encoding", "gzip"}, 400, "malformed_body"},
		{"too long", "/v1/streams/pin/events", long, nil, 413, "body_too_large"},
		{"too long for emulation", "/pin/", long, nil, 413, "body_too_large"},
		{"bad option", "/v1/streams/pin/events?results=some", "{}", nil, 400, "bad_parameter"},
		{"bad switch", "/v1/streams/pin/events?validate_only=perhaps", "{}", nil, 400, "bad_parameter"},
		{"unknown option", "/v1/streams/pin/events?result=all", "{}", nil, 400, "bad_parameter"},
		{"long key", "/v1/streams/pin/events", "{}", []string{"Idempotency-Key", strings.Repeat("k", 257)}, 400, "bad_parameter"},
		{"half a string", "/pin/", `"{`, nil, 400, "malformed_body"},
		{"no records", "/topics/pin", `{"records":[]}`, nil, 400, "empty_body"},
		{"not records", "/topics/pin", `[1]`, nil, 400, "malformed_body"},
		{"records twice", "/topics/pin", `{"records":[{"value":{}}],"records":[{"value":{}}]}`, nil, 400, "malformed_body"},
		{"records cut", "/topics/pin", `{"records":[{"value":{}}`, nil, 400, "malformed_body"},
		{"records and more", "/topics/pin", `{"records":[{"value":{}}]} x`, nil, 400, "malformed_body"},
		{"records of numbers", "/topics/pin", `{"records":[1]}`, nil, 400, "malformed_body"},
		{"Avro", "/topics/pin", `{"records":[{"value":{}}]}`, []string{"Content-Type", "application/vnd.kafka.avro.v2+json"}, 415, "unsupported_type"},
		{"half a form", "/pin/", "a=1&b", []string{"Content-Type", "application/x-www-form-urlencoded"}, 400, "malformed_body"},
		{"long key for emulation", "/pin/", "{}", []string{"Idempotency-Key", strings.Repeat("k", 257)}, 400, "bad_parameter"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := &world{}
			a := newAPI(t, w, Config{Body: limit})
			p := wantProblem(t, ask(a, "POST", c.path, strings.NewReader(c.body), c.headers...), c.status, c.code)
			if c.status == 413 && !strings.Contains(p.Detail, "1024") {
				t.Errorf("the limit is not named: %s", p.Detail)
			}
			if len(w.bodies) != 0 {
				t.Errorf("the collector was handed %q", w.bodies)
			}
			if used := a.bodies.used.Load(); used != 0 {
				t.Errorf("%d bytes are still booked", used)
			}
		})
	}
}

// TestBombsAreStoppedEarly: what unpacks to far more than the limit is refused without being unpacked (C3).
func TestBombsAreStoppedEarly(t *testing.T) {
	prove.Invariant(t, "C3")
	zeros := make([]byte, 64<<20)
	for kind, packed := range map[string][]byte{"gzip": gzipped(zeros), "zstd": zstded(t, zeros)} {
		w := &world{}
		a := newAPI(t, w, Config{Body: 1 << 20, InFlight: 4 << 20})
		wantProblem(t, ask(a, "POST", "/v1/streams/pin/events", bytes.NewReader(packed), "Content-Encoding", kind), 413, "body_too_large")
		if len(w.bodies) != 0 || a.bodies.used.Load() != 0 {
			t.Errorf("%s: %d bodies, %d bytes booked", kind, len(w.bodies), a.bodies.used.Load())
		}
	}
}

func TestPackedBodiesArriveWhole(t *testing.T) {
	want := []byte("[" + strings.Repeat(`{"a":"some text"},`, 5000) + "{}]")
	for kind, packed := range map[string][]byte{"gzip": gzipped(want), "zstd": zstded(t, want), "identity": want} {
		for _, announced := range []bool{true, false} {
			w := &world{}
			var in io.Reader = bytes.NewReader(packed)
			if !announced {
				in = io.MultiReader(in) // hides the length
			}
			got := ask(newAPI(t, w, Config{}), "POST", "/v1/streams/pin/events", in, "Content-Encoding", kind)
			if got.Code != 202 || len(w.bodies) != 1 || w.bodies[0] != "pin "+string(want) {
				t.Errorf("%s: %d, %d bodies", kind, got.Code, len(w.bodies))
			}
		}
	}
}

// TestMemoryOfBodiesIsBounded: over the budget clients get 429, and it is free again afterwards (C3).
func TestMemoryOfBodiesIsBounded(t *testing.T) {
	prove.Invariant(t, "C3")
	hold, entered := make(chan struct{}), make(chan struct{})
	w := &world{}
	w.ingest = func(string, []byte, collect.Options) (*collect.Result, error) {
		w.mu.Unlock()
		defer w.mu.Lock()
		entered <- struct{}{}
		<-hold
		return &collect.Result{Accepted: 1}, nil
	}
	a := newAPI(t, w, Config{Body: 1 << 20, InFlight: 3 << 20})
	send := func() *httptest.ResponseRecorder {
		return ask(a, "POST", "/v1/streams/pin/events", bytes.NewReader(make([]byte, 1<<20)))
	}
	done := make(chan int)
	for range 2 {
		go func() { done <- send().Code }()
		<-entered
	}
	got := send()
	wantProblem(t, got, 429, "over_capacity")
	if got.Header().Get("Retry-After") == "" {
		t.Error("429 without Retry-After")
	}
	close(hold)
	for range 2 {
		if code := <-done; code != 202 {
			t.Errorf("a body within the budget got %d", code)
		}
	}
	if used := a.bodies.used.Load(); used != 0 {
		t.Errorf("%d bytes are still booked", used)
	}
}

func TestSlowBodyIsGivenUp(t *testing.T) {
	a := newAPI(t, &world{}, Config{Timeout: 50 * time.Millisecond})
	srv := httptest.NewServer(a)
	defer srv.Close()
	in, out := io.Pipe()
	defer out.Close()
	go func() { _, _ = out.Write([]byte(`{"a":`)) }()
	res, err := http.Post(srv.URL+"/v1/streams/pin/events", "application/json", in)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != 408 {
		t.Errorf("status is %d", res.StatusCode)
	}
}

// TestCloseHurriesBodies: a client that stopped in the middle of a body does not hold up the end.
func TestCloseHurriesBodies(t *testing.T) {
	a := newAPI(t, &world{}, Config{Timeout: time.Hour})
	srv := httptest.NewServer(a)
	defer srv.Close()
	in, out := io.Pipe()
	defer out.Close()
	go func() {
		_, _ = out.Write([]byte(`{"a":`))
		a.Close()
	}()
	res, err := http.Post(srv.URL+"/v1/streams/pin/events", "application/json", in)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != 408 {
		t.Errorf("status is %d", res.StatusCode)
	}
}

// TestTooLargeIsToldToWhoSendsFirst: the reason arrives although the client reads only after the
// whole body is sent.
func TestTooLargeIsToldToWhoSendsFirst(t *testing.T) {
	srv := httptest.NewServer(newAPI(t, &world{}, Config{Body: 8 << 20}))
	defer srv.Close()
	conn, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const size = 9 << 20
	if _, err := fmt.Fprintf(conn, "POST /pin HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", size); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(make([]byte, size)); err != nil {
		t.Fatalf("sending the body: %v", err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != 413 {
		t.Errorf("status is %d", res.StatusCode)
	}
}

// The time limit of the body does not cut short the wait for the log.
func TestSlowLogIsNotASlowBody(t *testing.T) {
	testbed.Bubble(t, func(t *testing.T) {
		const limit = time.Second
		gone := false
		slow := collectorFunc(func(ctx context.Context) (*collect.Result, error) {
			select {
			case <-ctx.Done():
				gone = true
				return nil, ctx.Err()
			case <-time.After(6 * limit / 5): // longer than a body may take, shorter than an answer
				return &collect.Result{Accepted: 1}, nil
			}
		})
		a, err := New(Config{Timeout: limit}, quiet(), Deps{Collector: slow, Registry: prometheus.NewRegistry()})
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		near, far := net.Pipe()
		srv, ended := a.Server(""), make(chan error, 1)
		go func() { ended <- srv.Serve(&oneConn{conn: far, done: make(chan struct{})}) }()
		const post = "POST /v1/streams/pin/events HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
		if _, err := io.WriteString(near, post); err != nil {
			t.Fatal(err)
		}
		res, err := http.ReadResponse(bufio.NewReader(near), nil)
		if err != nil {
			t.Fatal(err)
		}
		if gone || res.StatusCode != 202 {
			t.Errorf("the request was given up while the log was slow: %d", res.StatusCode)
		}
		_, closed := near.Close(), srv.Close()
		if err := <-ended; closed != nil || err != http.ErrServerClosed {
			t.Errorf("the server ended with %v, %v", closed, err)
		}
	})
}

// oneConn is a listener of one connection within the process, so that time can be virtual.
type oneConn struct {
	conn net.Conn
	once sync.Once
	done chan struct{}
}

func (l *oneConn) Accept() (net.Conn, error) {
	if c := l.conn; c != nil {
		l.conn = nil
		return c, nil
	}
	<-l.done
	return nil, net.ErrClosed
}

func (l *oneConn) Close() error   { l.once.Do(func() { close(l.done) }); return nil }
func (l *oneConn) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

type collectorFunc func(ctx context.Context) (*collect.Result, error)

func (f collectorFunc) Ingest(ctx context.Context, _ string, _ []byte, _ collect.Options) (*collect.Result, error) {
	return f(ctx)
}

func (f collectorFunc) StreamOf(topic string) string { return topic }

func TestKafkaRESTNeverHides(t *testing.T) {
	w := &world{ingest: func(_ string, _ []byte, _ collect.Options) (*collect.Result, error) {
		return &collect.Result{Accepted: 1, Rejected: 1, Results: []collect.EventResult{
			{Index: 0, ID: "a", Status: collect.Accepted, Partition: 1, Offset: 42},
			{Index: 1, ID: "b", Status: collect.Rejected, Code: "event_too_large", Message: "2 MiB"},
		}}, nil
	}}
	got := ask(newAPI(t, w, Config{}), "POST", "/topics/pin", strings.NewReader(`{"records":[{"value":{}},{"value":{}}]}`),
		"Content-Type", "application/vnd.kafka.json.v2+json")
	if kind := got.Header().Get("Content-Type"); kind != "application/vnd.kafka.v2+json" {
		t.Errorf("content type %q", kind)
	}
	want := `{"key_schema_id":null,"offsets":[{"partition":1,"offset":42,"error_code":null,"error":null},{"partition":null,"offset":null,"error_code":42205,"error":"event_too_large: 2 MiB"}],"value_schema_id":null}` + "\n"
	if got.Code != 207 || got.Body.String() != want {
		t.Errorf("%d %s", got.Code, got.Body)
	}
	// A dead letter is durable and never in a metric: that is no 200, and no 422 either, of which nothing
	// is stored (C2).
	w.ingest = func(_ string, _ []byte, _ collect.Options) (*collect.Result, error) {
		return &collect.Result{DeadLettered: 1, Results: []collect.EventResult{
			{Index: 0, ID: "a", Status: collect.DeadLettered, Code: "type_mismatch", Path: "/age", Message: "expected integer"},
		}}, nil
	}
	got = ask(newAPI(t, w, Config{}), "POST", "/topics/pin", strings.NewReader(`{"records":[{"value":{}}]}`))
	if got.Code != 207 || !strings.Contains(got.Body.String(), `"error_code":42206,"error":"type_mismatch: /age: expected integer"`) {
		t.Errorf("%d %s", got.Code, got.Body)
	}
	w.ingest = nil
	if got := ask(newAPI(t, w, Config{}), "POST", "/topics/pin", strings.NewReader(`{"records":[{"value":{}}]}`)); got.Code != 200 {
		t.Errorf("a stored record got %d", got.Code)
	}
}

func TestTopicMayEndWithAStream(t *testing.T) {
	w := &world{ingest: func(stream string, _ []byte, _ collect.Options) (*collect.Result, error) {
		if stream != "pin" {
			return nil, fault.New(fault.Record, "unknown_stream", "no stream %q", stream)
		}
		return &collect.Result{Accepted: 1}, nil
	}}
	a := newAPI(t, w, Config{})
	body := `{"records":[{"value":{}}]}`
	if got := ask(a, "POST", "/topics/126802fb8ad5.pin", strings.NewReader(body)); got.Code != 200 {
		t.Errorf("%d %s", got.Code, got.Body)
	}
	wantProblem(t, ask(a, "POST", "/topics/pins", strings.NewReader(body)), 404, "unknown_stream")
}

// FuzzIngest throws anything at the door: it answers 202 or 4xx, and gives every byte back.
func FuzzIngest(f *testing.F) {
	f.Add("/v1/streams/pin/events", "application/json", "", []byte(`{"a":1}`))
	f.Add("/v1/streams/pin/events?results=all", "application/x-ndjson", "gzip", gzipped([]byte("{}\n{}")))
	f.Add("/pin/", "", "zstd", []byte{0x28, 0xb5, 0x2f, 0xfd, 0xff, 0xff, 0xff})
	f.Add("/topics/a.pin", "text/plain; charset=\"", "gzip", []byte(`{"records":[{"value":"\"x\""}]}`))
	for _, b := range append(nasty(), realRows(f)...) {
		for _, path := range []string{"/v1/streams/pin/events", "/geo/", "/topics/pin"} {
			f.Add(path, "application/json", "", b)
		}
	}
	f.Fuzz(func(t *testing.T, path, kind, encoding string, body []byte) {
		r := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(body))
		u, err := r.URL.Parse(path)
		if err != nil || !strings.HasPrefix(u.Path, "/") || u.Host != "" {
			return
		}
		r.URL, r.Host = u, "localhost"
		r.Header["Content-Type"], r.Header["Content-Encoding"] = []string{kind}, []string{encoding}
		a := newAPI(t, &world{}, Config{Body: 64 << 10, InFlight: 1 << 20})
		w := httptest.NewRecorder()
		a.ServeHTTP(w, r)
		if w.Code >= 500 || w.Code < 200 {
			t.Fatalf("%s %q %q: %d %s", path, kind, encoding, w.Code, w.Body)
		}
		if used := a.bodies.used.Load(); used != 0 {
			t.Fatalf("%d bytes are still booked", used)
		}
	})
}

func BenchmarkIngestOne(b *testing.B) {
	a := newAPI(b, &world{}, Config{})
	body := []byte(`{"category":"travel","title":"Hello","follower_count":"124k","poster_name":"me","is_image_or_video":"image"}`)
	w := httptest.NewRecorder()
	b.ReportAllocs()
	for b.Loop() {
		r, _ := http.NewRequest(http.MethodPost, "/v1/streams/pin/events", bytes.NewReader(body))
		r.Host = "localhost"
		r.Header["Content-Type"] = []string{"application/json"}
		w.Body.Reset()
		a.ServeHTTP(w, r)
	}
}
