package intake

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pinflow/pinflow/internal/event"
)

// pinStream is a stream with a window of 100 ids.
func pinStream(t *testing.T, partitions int32) *Stream {
	t.Helper()
	def := event.Stream{Name: "pin", Topic: "pin", Partitions: partitions, Dedup: event.Dedup{Records: 100, Within: time.Hour}}
	def.SetDefaults()
	schema, err := event.Compile(def, 1)
	if err != nil {
		t.Fatal(err)
	}
	return &Stream{Name: "pin", Schemas: []*event.Schema{schema}}
}

// Ids before the horizon are unknown to both units: also to the one that reads up to it with a window of
// its own, while the other begins there with none.
func TestWindowEndsAtTheHorizon(t *testing.T) {
	stream := pinStream(t, 1)
	read := func(from, horizon int64) (dups []bool) {
		p := &Partition{Stream: stream, horizon: horizon}
		p.forget()
		p.past = from >= horizon
		f := Fetch{From: from, To: 8}
		for i, id := range []string{"a", "b", "a", "b", "a", "c", "c", "b"} { // offset = index
			if int64(i) >= from {
				f.Records = append(f.Records, event.Record{ID: id, Offset: int64(i)})
			}
		}
		return p.slice(f).Duplicate
	}
	behind, at := read(0, 3), read(3, 3)
	want := []bool{false, false, true, false, false, false, true, true}
	if d := cmp.Diff(want, behind); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(behind[3:], at); d != "" {
		t.Errorf("the two units differ beyond the horizon: %s", d)
	}
}
