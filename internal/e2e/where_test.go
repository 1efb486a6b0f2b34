package e2e

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pinflow/pinflow/internal/trace"
)

// Where is my event? Of each fate, while it is in the log only and when it is in the lake.
func TestWhereIsMyEvent(t *testing.T) {
	s := start(t, filepath.Join(t.TempDir(), "data"))
	s.post("pin", 1) // the tables are made
	send := func(events string) {
		t.Helper()
		resp, err := http.Post(s.url()+"/v1/streams/pin/events", "application/json", bytes.NewReader([]byte(events)))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusAccepted {
			t.Fatalf("posting: %s", resp.Status)
		}
	}
	send(`[{"event_id":"a","unique_id":"u","category":"x"},{"event_id":"a","unique_id":"u","category":"x"},{"event_id":"test","unique_id":"u","is_test":true},{"event_id":"a/ b","unique_id":"u"},{"event_id":"bad","unique_id":"u","follower_count":"zz"}]`)
	where := func(args ...string) (*trace.Trace, result) {
		t.Helper()
		got := pinflow(t, "", append([]string{"where", "--url", s.url(), "-o", "json"}, args...)...)
		out := &trace.Trace{}
		if got.stdout != "" {
			if err := json.Unmarshal([]byte(got.stdout), out); err != nil {
				t.Fatalf("%v: %s", err, got.stdout)
			}
		}
		return out, got
	}
	fates := func(out *trace.Trace) (is []string) {
		for _, r := range out.Records {
			is = append(is, r.As)
		}
		return is
	}
	// Acknowledged is findable, at once.
	if out, _ := where("a"); len(out.Records) != 2 {
		t.Errorf("just acknowledged: %+v", out)
	}
	for id, want := range map[string][]string{"a": {trace.Row, trace.Duplicate}, "bad": {trace.DeadLetter}, "test": {trace.Row}, "a/ b": {trace.Row}} {
		s.until(func() bool { out, _ := where(id); return cmp.Equal(fates(out), want) && settled(out) }, id+" to be "+strings.Join(want, " and "))
	}
	out, _ := where("a")
	row := out.Records[0]
	if v := row.Views[0]; !v.Counted || v.By != "live" || len(v.Buckets) != 1 || row.Lake.Snapshot == 0 || !strings.HasSuffix(row.Lake.File, ".parquet") || row.Lake.CommittedAt == nil {
		t.Errorf("a is %+v", row)
	}
	at, _ := where("--at", strings.Join([]string{row.Topic, "0", "0"}, "/"))
	if len(at.Records) == 0 {
		at, _ = where("--at", row.Topic+"/1/0")
	}
	if len(at.Records) == 0 {
		t.Error("nothing lies at the first offset of either partition")
	}
	if out, _ := where("test"); out.Records[0].Views[0].Counted || !strings.Contains(out.Records[0].Views[0].Why, "filter") {
		t.Errorf("a test event counts: %+v", out.Records[0].Views)
	}
	if out, _ := where("bad"); out.Records[0].Dead.Code != "type_mismatch" || out.Records[0].Lake == nil {
		t.Errorf("the dead letter is %+v", out.Records[0])
	}
	if out, got := where("nobody"); got.code != 1 || len(out.Records) != 0 || !strings.Contains(got.stderr, "refused") {
		t.Errorf("an unknown event: %+v %+v", out, got)
	}
	for _, bad := range []string{"pin/0/99999", "pin/7/0", "pinn/0/0"} {
		if _, got := where("--at", bad); got.code != 1 || !strings.Contains(got.stderr, "there is no") && !strings.Contains(got.stderr, "partitions 0 to 1") {
			t.Errorf("at %s: %+v", bad, got)
		}
	}
	// Of an imported file: it counts when the file's own days are filled in, whatever the live unit has read.
	file := filepath.Join(t.TempDir(), "old.jsonl")
	if err := os.WriteFile(file, []byte(`{"event_id":"old","unique_id":"u","event_time":"2026-01-02T03:04:05Z"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	must(t, "import", "pin", file, "--data", s.dir)
	s.until(func() bool { out, _ := where("old"); return len(out.Records) == 1 && out.Records[0].Views[0].Counted }, "the imported event to count")
	if v := func() trace.View { out, _ := where("old"); return out.Records[0].Views[0] }(); v.By != "history" || len(v.Buckets) != 1 {
		t.Errorf("the imported event counts %+v", v)
	}
}

// settled: live has read its rows, too.
func settled(t *trace.Trace) bool {
	for _, r := range t.Records {
		if r.Live != nil && !r.Live.Read {
			return false
		}
	}
	return true
}
