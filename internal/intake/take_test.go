package intake

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/testbed"
)

// noted is what a sink was given: of each partition the offsets, and which of them were duplicates.
type noted struct {
	Sink
	of map[int32][]string
}

func (n *noted) Drop() {}
func (n *noted) Add(_ context.Context, s *Slice) error {
	for i := range s.Records {
		n.of[s.P.TP.Partition] = append(n.of[s.P.TP.Partition], fmt.Sprint(s.Records[i].Offset, s.Duplicate[i]))
	}
	return nil
}

// However the records of some partitions are cut into fetches and polls, also several of one partition in a poll,
// the sink is given each once and in order, and the same ones are duplicates.
func TestAnyCutOfWhatIsFetchedIsTakenAlike(t *testing.T) {
	rnd := rand.New(rand.NewPCG(testbed.Seed(t), 31))
	const partitions, each = 3, 400
	var all [partitions][]event.Record
	at := time.Now().UnixMicro()
	for p := range all {
		for o := range int64(each) {
			id := fmt.Sprint(rnd.IntN(each)) // often one that was there
			all[p] = append(all[p], event.Record{Offset: o, ID: id, Received: at + o})
		}
	}
	taken := func(most int) map[int32][]string {
		sink := &noted{of: map[int32][]string{}}
		in := New(Config{}, slog.New(slog.DiscardHandler), nil, nil, sink)
		stream := pinStream(t, 2)
		var next [partitions]int64
		for n := range int32(partitions) {
			p := &Partition{TP: TP{"pin", n}, Stream: stream}
			p.forget()
			in.held[p.TP] = p
		}
		for slices.Min(next[:]) < each {
			var polled []Fetch
			for range 1 + rnd.IntN(6) {
				p := rnd.IntN(partitions)
				to := min(each, next[p]+1+rnd.Int64N(int64(most)))
				if to > next[p] {
					polled = append(polled, Fetch{TP: TP{"pin", int32(p)}, From: next[p], To: to, End: each, Records: slices.Clone(all[p][next[p]:to])})
				}
				next[p] = to
			}
			if err := in.take(t.Context(), polled); err != nil {
				t.Fatal(err)
			}
		}
		return sink.of
	}
	want := taken(each)
	for n := range int32(partitions) {
		duplicate := func(s string) bool { return strings.HasSuffix(s, "true") }
		if len(want[n]) != each || !slices.ContainsFunc(want[n], duplicate) {
			t.Fatalf("of partition %d were taken: %q", n, want[n])
		}
	}
	for _, most := range []int{1, 3, 20, 150} {
		if diff := cmp.Diff(want, taken(most)); diff != "" {
			t.Errorf("at most %d a fetch: %s", most, diff)
		}
	}
}
