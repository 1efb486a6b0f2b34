package httpapi

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/span"
)

// memTail hands over what it is given.
type memTail struct {
	fail  error
	given chan arrived
	ended chan struct{}
}

func (m *memTail) Tail(ctx context.Context, _ string, ready func(), fn func(bool, []event.Record) error) error {
	if m.fail != nil {
		return m.fail
	}
	defer close(m.ended)
	ready()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case n := <-m.given:
			if err := fn(n.dead, n.recs); err != nil {
				return err
			}
		}
	}
}

func record(offset int64, value string) event.Record {
	return event.Record{Key: span.Key{Partition: 1}, Offset: offset, ID: "e", Received: 1_790_000_000_000_000, Value: []byte(value)}
}

func TestTailShowsEventsAndSaysWhenItShowsASample(t *testing.T) {
	g := newGuarded(t, Config{})
	g.tail = memTail{given: make(chan arrived), ended: make(chan struct{})}
	srv := httptest.NewServer(g)
	defer srv.Close()
	ctx, gone := context.WithCancel(t.Context())
	defer gone()
	req, err := http.NewRequestWithContext(ctx, "GET", srv.URL+"/v1/streams/pin/tail?rate=3&contains=Travel", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+g.keys["read"])
	resp, err := http.DefaultClient.Do(req)
	if err != nil || resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%+v %v", resp, err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	next := func() (name, data string) {
		t.Helper()
		for lines.Scan() {
			switch line := lines.Text(); {
			case strings.HasPrefix(line, "event: "):
				name = line[len("event: "):]
			case strings.HasPrefix(line, "data: "):
				data = line[len("data: "):]
			case line == "" && name != "heartbeat":
				return name, data
			}
		}
		t.Fatalf("the stream ended: %v", lines.Err())
		return "", ""
	}
	if name, _ := next(); name != "open" {
		t.Fatalf("first came %s", name)
	}
	dead := record(7, `{"a":"travel"}`)
	dead.Reason, dead.Path, dead.Message = "type_mismatch", "/a", "expected integer"
	g.tail.given <- arrived{false, []event.Record{record(5, `{"category":"TRAVEL"}`), record(6, `{"category":"art"}`)}}
	g.tail.given <- arrived{true, []event.Record{dead}}
	g.tail.given <- arrived{false, []event.Record{record(8, "travel \xff"), record(9, `"travel"`), record(10, `{"b":"travel"}`), record(11, "art"), record(12, "travel"), record(13, "travel")}}
	want := []tailed{
		{Partition: 1, Offset: 5, ID: "e", Event: json.RawMessage(`{"category":"TRAVEL"}`)},
		{Partition: 1, Offset: 7, ID: "e", Event: json.RawMessage(`{"a":"travel"}`), Dead: &tailedDead{"type_mismatch", "/a", "expected integer"}},
		{Partition: 1, Offset: 8, ID: "e", Text: "travel \ufffd"},
	}
	for i := range want {
		want[i].ReceivedAt = tailedOf(&dead, false).ReceivedAt
		name, data := next()
		var got tailed
		if err := json.Unmarshal([]byte(data), &got); err != nil || name != "event" {
			t.Fatalf("%s %s: %v", name, data, err)
		}
		if diff := cmp.Diff(want[i], got); diff != "" {
			t.Errorf("event %d (-want +got):\n%s", i, diff)
		}
	}
	// The last five alone are more than a second's three; a second may end anywhere before them.
	for shown := 3; ; shown++ {
		name, data := next()
		if name == "event" && shown < 5 {
			continue
		}
		var said sampled
		if err := json.Unmarshal([]byte(data), &said); err != nil || name != "sampled" || said.Shown != 3 || said.Of < 5 || said.Of > 7 {
			t.Errorf("after %d events: %s %s", shown, name, data)
		}
		break
	}
	gone()
	<-g.tail.ended // with the test's time limit if it does not
}

func TestTailRefusals(t *testing.T) {
	g := newGuarded(t, Config{})
	in := []string{"Authorization", "Bearer " + g.keys["read"]}
	wantProblem(t, ask(g, "GET", "/v1/streams/nothing/tail", nil, in...), 404, "unknown_stream")
	wantProblem(t, ask(g, "GET", "/v1/streams/pin/tail?rate=0", nil, in...), 400, "bad_parameter")
	wantProblem(t, ask(g, "GET", "/v1/streams/pin/tail?filter=x", nil, in...), 400, "bad_parameter")
	g.tail.fail = fault.New(fault.Transient, "log_unreachable", "no answer of 10.0.0.7")
	got := ask(g, "GET", "/v1/streams/pin/tail", nil, in...)
	wantProblem(t, got, 503, "log_unreachable")
	g.tails.Store(maxTails)
	wantProblem(t, ask(g, "GET", "/v1/streams/pin/tail", nil, in...), 503, "too_many_streams")
	g.tails.Store(0)
	long := tailedOf(&event.Record{Value: []byte(`{"a":"` + strings.Repeat("é", maxShown) + `"}`)}, false)
	if len(long.Text) > maxShown+3 || long.Event != nil || !strings.HasSuffix(long.Text, "…") {
		t.Errorf("%d bytes are shown of a long event", len(long.Text))
	}
}
