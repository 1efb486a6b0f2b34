package httpapi

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/pinflow/pinflow/internal/collect"
	"github.com/pinflow/pinflow/internal/prove"
)

// TestADryRunIsOneOnEveryPath holds C2: what is asked only to be checked is stored nowhere, on the
// compatible paths as on ours.
func TestADryRunIsOneOnEveryPath(t *testing.T) {
	prove.Invariant(t, "C2")
	var got []collect.Options
	w := &world{ingest: func(_ string, _ []byte, o collect.Options) (*collect.Result, error) {
		got = append(got, o)
		return &collect.Result{Accepted: 1}, nil
	}}
	a := newAPI(t, w, Config{})
	for _, path := range []string{"/v1/streams/pin/events", "/pin/", "/pin", "/geo/", "/user/"} {
		got = nil
		answer := ask(a, "POST", path+"?validate_only=true&results=all", strings.NewReader(`{}`))
		if answer.Code != 200 || !strings.Contains(answer.Body.String(), `"validate_only":true`) || len(got) != 1 || !got[0].ValidateOnly || got[0].Results != collect.ResultsAll {
			t.Errorf("%s: %d %s %+v", path, answer.Code, answer.Body, got)
		}
	}
	got = nil
	wantProblem(t, ask(a, "POST", "/pin/?validate_only=perhaps", strings.NewReader(`{}`)), 400, "bad_parameter")
	wantProblem(t, ask(a, "POST", "/topics/pin?validate_only=true", strings.NewReader(`{"records":[{"value":{}}]}`)), 400, "bad_parameter")
	wantProblem(t, ask(a, "POST", "/v1/streams/pin/events?verify=1", strings.NewReader(`{}`)), 400, "bad_parameter")
	if len(got) != 0 {
		t.Errorf("refused requests reached the collector: %+v", got)
	}
	if answer := ask(a, "POST", "/pin/?source=script", strings.NewReader(`{}`)); answer.Code != 202 {
		t.Errorf("a script's own parameter: %d %s", answer.Code, answer.Body)
	}
}

func TestOneIdempotencyKeyOrNone(t *testing.T) {
	a := newAPI(t, &world{}, Config{})
	for _, path := range []string{"/v1/streams/pin/events", "/pin/"} {
		r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(`{}`))
		r.Host, r.Header["Idempotency-Key"] = "localhost", []string{"a", "b"}
		w := httptest.NewRecorder()
		a.ServeHTTP(w, r)
		wantProblem(t, w, 400, "bad_parameter")
	}
}

func TestWhyABodyCannotBeRead(t *testing.T) {
	a := newAPI(t, &world{}, Config{})
	packed := gzipped([]byte(`{"a":"a text that is long enough"}`))
	for _, c := range []struct {
		encoding string
		body     []byte
		want     string
	}{
		{"gzip", []byte(`{}`), "is no gzip"},
		{"gzip", nil, "is no gzip"},
		{"gzip", packed[:len(packed)-5], "cut short"},
		{"gzip", []byte("neither gzip nor anything else"), "unpacked as gzip"},
		{"gzip", append(bytes.Clone(packed[:len(packed)-8]), 1, 2, 3, 4, 5, 6, 7, 8), "unpacked as gzip"},
		{"zstd", []byte(`{"a":1}`), "unpacked as zstd"},
	} {
		got := ask(a, "POST", "/v1/streams/pin/events", bytes.NewReader(c.body), "Content-Encoding", c.encoding)
		wantProblem(t, got, 400, "malformed_body")
		if !strings.Contains(got.Body.String(), c.want) {
			t.Errorf("%s %q: %s", c.encoding, c.body, got.Body)
		}
	}
	if got := ask(a, "POST", "/v1/streams/pin/events", strings.NewReader(`{}`), "Content-Type", "application/json; charset=UTF8"); got.Code != 202 {
		t.Errorf("charset=UTF8: %d %s", got.Code, got.Body)
	}
}
