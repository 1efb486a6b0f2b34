package ledger

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/span"
)

// What version 1 kept is read beside what is in table logs now, whichever of the two a log is in.
func TestMemoOfVersion1(t *testing.T) {
	m, err := ParseMemo([]byte(`{"version":1,"streams":[{"name":"pin","epoch":7,
	  "schemas":[{"version":1,"definition":{"name":"pin"},"cut":{},"created_at":"2026-11-01T00:00:00Z"}],
	  "logs":[
	    {"id":1,"kind":"kafka","cluster_id":"c","topic_id":"t","topic":"pin","schema":1,"created_at":"2026-11-01T00:00:00Z","partitions":[{"partition":0,"start":0,"position":90}]},
	    {"id":3,"kind":"import","cluster_id":"pin","topic_id":"f","topic":"f.csv","schema":1,"created_at":"2026-11-02T00:00:00Z","closed_at":"2026-11-03T00:00:00Z","partitions":[{"partition":0,"start":0,"position":4,"closing_batch":4}]},
	    {"id":4,"kind":"import","cluster_id":"pin","topic_id":"g","topic":"g.csv","schema":1,"created_at":"2026-11-02T00:00:00Z","partitions":[{"partition":0,"start":0,"position":2}]}]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	// Log 4 was closed, and put into the table, after the memo was written.
	start, end := int64(0), int64(6)
	closed := time.Date(2026, 11, 4, 0, 0, 0, 0, time.UTC)
	a := &Adoption{Streams: MergeMemos([]*Memo{m})}
	err = WithClosed(a.Streams, []ClosedLog{{
		Stream:  "pin",
		MemoLog: MemoLog{ID: 4, Kind: KindImport, ClosedAt: &closed, Parts: []MemoPart{{Start: &start, Position: end, ClosingBatch: &end}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(span.Vector{{Log: 1}: 90, {Log: 3}: 4, {Log: 4}: 6}, a.Positions()); d != "" {
		t.Error(d)
	}
	var kept []span.Log
	for _, l := range a.Streams[0].Logs {
		if l.Kept {
			kept = append(kept, l.ID)
		}
	}
	if d := cmp.Diff([]span.Log{4}, kept); d != "" || len(a.Streams[0].Logs) != 3 {
		t.Errorf("%d logs, kept %s", len(a.Streams[0].Logs), d)
	}
	if _, err := ParseMemo([]byte(`{"version":3}`)); fault.CodeOf(err) != "lake_newer" {
		t.Errorf("a newer one: %v", err)
	}
}
