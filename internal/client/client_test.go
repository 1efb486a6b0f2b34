package client_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pinflow/pinflow/internal/client"
	"github.com/pinflow/pinflow/internal/fault"
)

func serve(t *testing.T, h http.HandlerFunc) *client.Client {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	c, err := client.New(client.Config{URL: s.URL, Key: "k1", UserAgent: "pinflow/test"})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestGetSendsTheKeyAndDecodes(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer k1" || r.URL.Query().Get("view") != "pins" {
			t.Errorf("got %v %s", r.Header, r.URL)
		}
		_, _ = w.Write([]byte(`{"a": 1}`))
	})
	var got struct{ A int }
	if err := c.Get(t.Context(), "/v1/query", url.Values{"view": {"pins"}}, &got); err != nil || got.A != 1 {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestRefusalsCarryTheServersWords(t *testing.T) {
	for _, test := range []struct {
		status int
		body   string
		want   string
		exit   int
	}{
		{
			404, `{"code":"unknown_view","detail":"unknown view \"pin\"","errors":[{"path":"view","message":"no such view","suggestion":"did you mean \"pins\"?"}]}`,
			`unknown view "pin"; no such view: did you mean "pins"?`, 1,
		},
		{400, `{"code":"bad_parameter","detail":"grain: unknown word \"second\""}`, `grain: unknown word "second"`, fault.ExitUsage},
		{409, `{"code":"stale_plan","title":"Conflict"}`, "Conflict", fault.ExitConflict},
		{401, `{"detail":"no key"}`, "no key: give a key with --api-key-file or PINFLOW_API_KEY", 1},
		{503, `{"code":"lake_behind","detail":"the lake has not caught up"}`, "the lake has not caught up", fault.ExitNotComplete},
		{500, `{"code":"internal","detail":"the log has it under this request id","request_id":"01JD"}`, "the log has it under this request id 01JD", 1},
		{502, `<html>bad gateway</html>`, "the server answered 502 Bad Gateway", 1},
	} {
		c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(test.status)
			_, _ = w.Write([]byte(test.body))
		})
		err := c.Get(t.Context(), "/v1/status", nil, nil)
		if err == nil || err.Error() != test.want || fault.ExitCode(err) != test.exit {
			t.Errorf("%d: got %v, exit %d", test.status, err, fault.ExitCode(err))
		}
	}
}

func TestUnreachableHasItsOwnExitCode(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	s.Close()
	c, err := client.New(client.Config{URL: s.URL})
	if err != nil {
		t.Fatal(err)
	}
	err = c.Get(t.Context(), "/v1/status", nil, nil)
	if fault.ExitCode(err) != fault.ExitUnreachable || fault.CodeOf(err) != "unreachable" {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Get(ctx, "/v1/status", nil, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: got %v", err)
	}
	if _, err := client.New(client.Config{URL: "localhost"}); fault.ExitCode(err) != fault.ExitUsage {
		t.Errorf("bad address: got %v", err)
	}
}

func TestSendReturnsMixedResults(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/streams/pin/events" || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("got %s %v", r.URL, r.Header)
		}
		w.Header().Set("Pinflow-Result", "accepted=1;dead_lettered=0;rejected=1;retry=0")
		w.WriteHeader(http.StatusMultiStatus)
		_, _ = w.Write([]byte(`{"request_id":"r","accepted":1,"rejected":1,"results":[{"index":1,"status":"rejected","code":"too_large"}]}`))
	})
	got, err := c.Send(t.Context(), "pin", "application/json", "k1", []byte("[{},{}]"))
	if err != nil {
		t.Fatal(err)
	}
	want := &client.Sent{Status: 207, RequestID: "r", Accepted: 1, Rejected: 1, Results: []client.SentResult{{Index: 1, Status: "rejected", Code: "too_large"}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestStream(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(": heartbeat\n\nid: 1\nevent: events\ndata: {\"a\":\ndata: 1}\n\ndata: x\n\n"))
	})
	var got []client.Event
	err := c.Stream(t.Context(), "/v1/events-stream", nil, func(e client.Event) error {
		got = append(got, e)
		return nil
	})
	want := []client.Event{{Name: "events", ID: "1", Data: "{\"a\":\n1}"}, {Name: "message", ID: "1", Data: "x"}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
}
