package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/pinflow/pinflow/internal/client"
	"github.com/pinflow/pinflow/internal/fault"
)

// sends makes a sender to a server that answers request after request with the handlers, the last one
// from then on.
func sends(t *testing.T, handlers ...http.HandlerFunc) (*sender, *[]string) {
	t.Helper()
	asked := &[]string{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		*asked = append(*asked, r.Header.Get("Idempotency-Key")+" "+string(body))
		handlers[min(len(*asked), len(handlers))-1](w, r)
	}))
	t.Cleanup(srv.Close)
	c, err := client.New(client.Config{URL: srv.URL})
	if err != nil {
		t.Fatal(err)
	}
	return &sender{server: c, stream: "pin", run: "run", patience: time.Minute, pause: time.Millisecond}, asked
}

// fated answers with the status of each event that is not accepted.
func fated(n int, fates map[int]string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		got := client.Sent{}
		count := map[string]*int{"dead_lettered": &got.DeadLettered, "rejected": &got.Rejected, "retry": &got.Retry}
		for _, i := range slices.Sorted(maps.Keys(fates)) {
			*count[fates[i]]++
			got.Results = append(got.Results, client.SentResult{Index: i, Status: fates[i], RetryAfterMS: 1})
		}
		got.Accepted = n - len(fates)
		w.Header().Set("Pinflow-Result", "there")
		w.WriteHeader(http.StatusMultiStatus)
		_ = json.NewEncoder(w).Encode(got)
	}
}

func problem(status int, code string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = fmt.Fprintf(w, `{"status":%d,"code":%q,"detail":"no"}`, status, code)
	}
}

// cut ends the connection in the middle of the answer.
func cut(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Length", "1000")
	_, _ = w.Write([]byte(`{"accepted":`))
	panic(http.ErrAbortHandler)
}

// TestSendGoesOnUntilEveryEventHasAFate sends the same request under the same key, whatever happened to
// the ones before it: so an event that was stored counts once.
func TestSendGoesOnUntilEveryEventHasAFate(t *testing.T) {
	s, asked := sends(t, cut, problem(429, "over_capacity"),
		fated(4, map[int]string{1: "retry", 2: "dead_lettered", 3: "retry"}),
		problem(503, "not_stored"),
		fated(4, map[int]string{0: "retry", 2: "dead_lettered", 3: "retry"}), // event 0 was accepted before
		fated(4, map[int]string{0: "retry", 2: "dead_lettered", 3: "rejected"}))
	if err := s.all(t.Context(), strings.NewReader("{\"a\":0}\n{\"a\":1}\n{\"a\":2}\n{\"a\":3}")); err != nil {
		t.Fatal(err)
	}
	want := client.Sent{Accepted: 2, DeadLettered: 1, Rejected: 1}
	if diff := cmp.Diff(want, s.sum); diff != "" {
		t.Error(diff)
	}
	if len(*asked) != 6 || len(slices.Compact(*asked)) != 1 || !strings.HasPrefix((*asked)[0], "run-1 {") {
		t.Errorf("asked %q", *asked)
	}
}

func TestSendGivesUp(t *testing.T) {
	s, asked := sends(t, fated(2, nil), fated(2, map[int]string{1: "retry"}))
	s.patience = 0
	err := s.all(t.Context(), strings.NewReader(strings.Repeat("{}\n", sendEvents)+strings.Repeat("{}\n", 3*sendEvents)))
	if fault.CodeOf(err) != "not_stored" || len(*asked) != 2 {
		t.Errorf("%v after %d requests", err, len(*asked))
	}
	if s.sum.Retry != 1 || s.sent != 2*sendEvents || len(s.results.rows) != 1 || s.results.rows[0][0] != sendEvents+1 {
		t.Errorf("%+v, %d sent, %v", s.sum, s.sent, s.results.rows)
	}
	s, asked = sends(t, problem(404, "unknown_stream"))
	if err := s.all(t.Context(), strings.NewReader("{}")); fault.CodeOf(err) != "unknown_stream" || len(*asked) != 1 {
		t.Errorf("%v after %d requests", err, len(*asked))
	}
}

// TestSendMakesRequestsFit halves what a server with lower limits does not take, down to one event.
func TestSendMakesRequestsFit(t *testing.T) {
	var keys []string
	s, _ := sends(t, func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength > 20 {
			problem(413, "body_too_large")(w, r)
			return
		}
		keys = append(keys, r.Header.Get("Idempotency-Key"))
		fated(1, nil)(w, r)
	})
	if err := s.all(t.Context(), strings.NewReader("{\"a\":1}\n{\"long\":\"too long for it\"}\n{\"a\":3}\n{\"a\":4}\n")); err != nil {
		t.Fatal(err)
	}
	if s.sum.Accepted != 3 || s.sum.Rejected != 1 || len(s.results.rows) != 1 || s.results.rows[0][0] != 1 {
		t.Errorf("%+v %v", s.sum, s.results.rows)
	}
	if slices.Sort(keys); len(slices.Compact(keys)) != len(keys) {
		t.Errorf("requests share a key: %v", keys)
	}
}

func TestEventFiles(t *testing.T) {
	packed := func(text string, pack func(io.Writer) io.WriteCloser) string {
		var out bytes.Buffer
		z := pack(&out)
		_, _ = z.Write([]byte(text))
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	gz := func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) }
	zst := func(w io.Writer) io.WriteCloser {
		z, err := zstd.NewWriter(w)
		if err != nil {
			t.Fatal(err)
		}
		return z
	}
	for name, c := range map[string]struct {
		file string
		want []string
	}{
		"nothing":        {"", nil},
		"empty lines":    {"\n \r\n", nil},
		"lines":          {"{\"a\":1}\r\n\n {\"b\":2} ", []string{`{"a":1}`, `{"b":2}`}},
		"one object":     {"{\n \"a\": [1,\n2]\n}\n", []string{`{"a":[1,2]}`}},
		"broken lines":   {"{\"a\":\n{\"b\":2}\nx", []string{`{"a":`, `{"b":2}`, `x`}},
		"no object":      {"x\n{}", []string{`x`, `{}`}},
		"array":          {" [\n{\"a\": 1e400,\n\"t\":\"<&\"}, 3, {}]", []string{`{"a":1e400,"t":"<&"}`, `3`, `{}`}},
		"empty array":    {"[ ]", nil},
		"mark":           {"\xef\xbb\xbf[{}]", []string{`{}`}},
		"gzip":           {packed("{\"a\":1}\n{}\n", gz), []string{`{"a":1}`, `{}`}},
		"zstd":           {packed("[{\"a\":1},{}]", zst), []string{`{"a":1}`, `{}`}},
		"gzip, one line": {packed("{\"a\":1}", gz), []string{`{"a":1}`}},
	} {
		got, err := allEvents(c.file)
		if diff := cmp.Diff(c.want, got); diff != "" || err != nil {
			t.Errorf("%s: %v %s", name, err, diff)
		}
	}
	for name, file := range map[string]string{"array": `[{},`, "tail": `[{}] x`, "gzip": packed("{}\n{}", gz)[:20], "no gzip": "\x1f\x8bxxxxxxxxxxx"} {
		if got, err := allEvents(file); err == nil {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func allEvents(file string) (all []string, err error) {
	next, err := readEvents(strings.NewReader(file))
	if err != nil {
		return nil, err
	}
	for {
		e, err := next()
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		all = append(all, string(e))
	}
}
