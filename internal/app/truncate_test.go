package app

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/span"
)

type progressStore struct {
	snap     ledger.Snapshot
	progress ledger.Progress
}

func (s *progressStore) Load(context.Context) (*ledger.Snapshot, error)     { return &s.snap, nil }
func (s *progressStore) Progress(context.Context) (*ledger.Progress, error) { return &s.progress, nil }

// Only what live has passed and the lake holds goes, and never the dedup window before the slower one.
func TestTruncatesBehindTheSlowerUnit(t *testing.T) {
	key := func(log span.Log, p int32) span.Key { return span.Key{Log: log, Partition: p} }
	store := &progressStore{
		snap: ledger.Snapshot{
			Streams: []ledger.Stream{{Name: "pin", Schemas: []ledger.SchemaVersion{
				{Definition: event.Stream{Dedup: event.Dedup{Records: 100}}}, {Definition: event.Stream{Dedup: event.Dedup{Records: 50}}},
			}}},
			Logs: []ledger.Log{
				{ID: 1, Kind: ledger.KindKafka, Stream: "pin", Topic: "pin", Partitions: 4},
				{ID: 2, Kind: ledger.KindKafka, Stream: "pin", Topic: "pin.dead", Partitions: 1, Dead: true},
				{ID: 3, Kind: ledger.KindImport, Stream: "pin", Topic: "file", Partitions: 1},
			},
		},
		progress: ledger.Progress{
			Lake: span.Vector{key(1, 0): 500, key(1, 1): 1000, key(1, 2): 90, key(2, 0): 300, key(3, 0): 900},
			Live: span.Vector{key(1, 0): 800, key(1, 1): 700, key(1, 2): 90},
		},
	}
	var got []string
	tr := &truncator{store: store, log: quiet(), truncate: func(_ context.Context, topic string, p int32, before int64) error {
		got = append(got, fmt.Sprintf("%s/%d<%d", topic, p, before))
		return nil
	}}
	if err := tr.pass(t.Context()); err != nil {
		t.Fatal(err)
	}
	if want := []string{"pin/0<400", "pin/1<600", "pin.dead/0<200"}; !slices.Equal(got, want) {
		t.Errorf("truncated %v, want %v", got, want)
	}
}
