package httpapi

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/trace"
)

// follower stands in for the tracer: it knows e-1 and the record 0/7 of the topic pin.
type follower struct{}

func (follower) Event(_ context.Context, id string, may func(string) bool) (*trace.Trace, error) {
	out := &trace.Trace{ID: id, Records: []trace.Record{}, Searched: trace.Searched{
		Tables: []trace.Table{{Table: "pin", Snapshot: 1 << 60, Opened: 1, Read: 1}}, Logs: []trace.Part{{Topic: "pin", From: 3, To: 9, Note: "cut short"}},
	}}
	if id != "e-1" || !may("pin") {
		return out, nil
	}
	at := time.UnixMicro(1).UTC()
	out.Records = append(out.Records,
		trace.Record{
			As: trace.Row, Stream: "pin", Topic: "pin", Log: 1, Offset: 7, ReceivedAt: at, EventTime: &at,
			Lake: &trace.InLake{Table: "pin", File: "data/a.parquet", Snapshot: 1 << 60, CommittedAt: &at}, Live: &trace.Live{Position: 8, Read: true},
			Views: []trace.View{{View: "pins", Version: "8f3c", Buckets: []time.Time{at}, By: "live", Counted: true}, {View: "other", Buckets: []time.Time{}, By: "history", Why: "its filter"}},
		},
		trace.Record{As: trace.DeadLetter, Stream: "pin", Log: 2, ReceivedAt: at, Dead: &trace.Dead{Code: "type_mismatch", Path: "/n", Message: "no number"}})
	return out, nil
}

func (f follower) At(ctx context.Context, topic string, partition int32, offset int64, may func(string) bool) (*trace.Trace, error) {
	if topic != "pin" || partition != 0 || offset != 7 {
		return nil, fault.New(fault.Record, "unknown_record", "there is no event at %s/%d/%d", topic, partition, offset)
	}
	return f.Event(ctx, "e-1", may)
}

func TestTrace(t *testing.T) {
	a, err := New(Config{}, quiet(), Deps{Catalogue: &world{}, Tracer: follower{}, Registry: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	for path, want := range map[string]struct {
		status int
		says   []string
	}{
		"/v1/events/e-1/trace":               {200, []string{`"as":"row"`, `"snapshot":"1152921504606846976"`, `"counted":true`, `"as":"dead_letter"`}},
		"/v1/events/e-2/trace":               {200, []string{`"records":[]`, `"note":"cut short"`}},
		"/v1/events/a%2Fb%00c/trace":         {200, []string{`"id":"a/b\u0000c"`}},
		"/v1/records/pin/0/7/trace":          {200, []string{`"id":"e-1"`}},
		"/v1/records/pin/0/8/trace":          {404, []string{"unknown_record"}},
		"/v1/records/pin/-1/8/trace":         {400, []string{"bad_parameter"}},
		"/v1/records/pin/0/x/trace":          {400, []string{"bad_parameter"}},
		"/v1/records/pin/9999999999/0/trace": {400, []string{"bad_parameter"}},
		"/v1/records/pin/0/-7/trace":         {400, []string{"bad_parameter"}},
	} {
		w := ask(a, "GET", path, nil)
		if w.Code != want.status {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
		for _, says := range want.says {
			if !strings.Contains(w.Body.String(), says) {
				t.Errorf("%s does not say %s: %s", path, says, w.Body)
			}
		}
	}
}
