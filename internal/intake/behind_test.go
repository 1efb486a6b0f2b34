package intake

import (
	"context"
	"log/slog"
	"testing"

	"github.com/pinflow/pinflow/internal/event"
)

// idleSink takes everything and seals nothing.
type idleSink struct{ Sink }

func (idleSink) Add(context.Context, *Slice) error { return nil }
func (idleSink) Drop()                             {}

// What waits is counted over the partitions held, and no longer when they are given back.
func TestBehindIsWhatWaitsInThePartitionsHeld(t *testing.T) {
	stream := pinStream(t, 2)
	in := New(Config{}, slog.New(slog.DiscardHandler), nil, nil, idleSink{})
	for n := range int32(2) {
		p := &Partition{TP: TP{"pin", n}, Stream: stream}
		p.forget()
		in.held[p.TP] = p
	}
	read := func(partition int32, from, to, end, want int64) {
		t.Helper()
		f := Fetch{TP: TP{"pin", partition}, From: from, To: to, End: end}
		for o := from; o < to; o++ {
			f.Records = append(f.Records, event.Record{Offset: o})
		}
		if err := in.take(t.Context(), []Fetch{f}); err != nil {
			t.Fatal(err)
		}
		if in.look(); in.Behind() != want {
			t.Errorf("after [%d, %d) of %d in partition %d: %d wait, want %d", from, to, end, partition, in.Behind(), want)
		}
	}
	read(0, 0, 3, 10, 7)
	read(1, 0, 1, 5, 11)
	read(0, 3, 10, 10, 4)
	read(1, 1, 2, 0, 0) // a source that does not know
	read(1, 2, 3, 9, 6)
	in.forget()
	if in.Behind() != 0 {
		t.Errorf("%d wait in no partition", in.Behind())
	}
}
