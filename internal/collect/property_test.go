package collect_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/pinflow/pinflow/internal/collect"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/prove"
)

// Invariant C2, whatever is sent and whatever the log says: every event has one fate, counts and
// results agree with the log's content, and the events of a key are stored in the order sent.
func TestFatesAddUp(t *testing.T) {
	prove.Invariant(t, "C2")
	kinds := []string{
		`{"event_id":"%d","unique_id":"k%d"}`, `{"event_id":"%d","unique_id":"k%d","follower_count":"x"}`,
		`[%d,%d]`, `{"event_id":"%d","unique_id":"k%d",}`,
	}
	answers := map[string]error{
		"ok": nil, "full": fault.New(fault.Transient, "log_full", "full"), "away": fault.New(fault.Ambiguous, "unknown", "away"),
		"large": fault.New(fault.Record, "too_large", "large"),
	}
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(1, 40).Draw(rt, "events")
		lines := make([]string, n)
		for i := range lines {
			lines[i] = fmt.Sprintf(rapid.SampledFrom(kinds).Draw(rt, "kind"), i, rapid.IntRange(0, 3).Draw(rt, "key"))
		}
		log := &memLog{answer: func(string, int) error {
			return answers[rapid.SampledFrom([]string{"ok", "ok", "ok", "full", "away", "large"}).Draw(rt, "answer")]
		}}
		c := newCollector(t, collect.Config{}, log, pins())
		res, err := c.Ingest(t.Context(), "pin", []byte(strings.Join(lines, "\n")), collect.Options{Form: collect.FormNDJSON, Results: collect.ResultsAll})
		if err != nil {
			rt.Fatal(err)
		}
		counts := map[string]int{}
		var live, dead []string
		for i, r := range res.Results {
			if r.Index != i {
				rt.Fatalf("result %d is of event %d", i, r.Index)
			}
			counts[r.Status]++
			switch r.Status {
			case collect.Accepted:
				live = append(live, lines[i])
			case collect.DeadLettered:
				dead = append(dead, lines[i])
			}
		}
		want := map[string]int{collect.Accepted: res.Accepted, collect.DeadLettered: res.DeadLettered, collect.Rejected: res.Rejected, collect.Retry: res.Retry}
		for status, count := range want {
			if counts[status] != count {
				rt.Fatalf("%d results are %s, the count says %d", counts[status], status, count)
			}
		}
		if len(res.Results) != n || res.Accepted+res.DeadLettered+res.Rejected+res.Retry != n {
			rt.Fatalf("%d events, %+v", n, res)
		}
		for topic, lines := range map[string][]string{"pin": live, "pin.dead": dead} {
			var stored []string
			for _, r := range log.recs[topic] {
				stored = append(stored, string(r.Value))
			}
			if diff := cmp.Diff(lines, stored); diff != "" {
				rt.Fatalf("%s: %s", topic, diff)
			}
		}
	})
}
