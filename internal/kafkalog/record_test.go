package kafkalog

import (
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/span"
)

// plainly is what a record of the client says, header by header.
func plainly(r *kgo.Record) event.Record {
	stamp := r.Timestamp.UnixMicro()
	out := event.Record{Key: span.Key{Partition: r.Partition}, Offset: r.Offset, Partition: r.Key, Value: r.Value, Received: stamp, Timestamp: stamp}
	digits := func(text []byte, most int64) (int64, bool) {
		n, err := strconv.ParseUint(string(text), 10, 64)
		return int64(n), err == nil && len(text) <= 19 && n <= uint64(most)
	}
	for _, h := range r.Headers {
		switch h.Key {
		case event.HeaderID:
			out.ID = string(h.Value)
		case event.HeaderReceived:
			if n, ok := digits(h.Value, 1<<62); ok {
				out.Received = n
			}
		case event.HeaderSchema:
			if n, ok := digits(h.Value, 1<<31-1); ok {
				out.Schema = int32(n)
			}
		case event.HeaderReplay:
			if n, ok := digits(h.Value, 1<<31-1); ok {
				out.Replay = int32(n)
			}
		case event.HeaderReason:
			out.Reason = string(h.Value)
		case event.HeaderPath:
			out.Path = string(h.Value)
		case event.HeaderMessage:
			out.Message = string(h.Value)
		}
	}
	return out
}

// Records say what their headers say, whatever those are and whatever the memory held before; ids outlast the memory
// that they came in.
func TestRecordsSayWhatTheirHeadersSay(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 3))
	names := []string{
		event.HeaderID, event.HeaderID, event.HeaderReceived, event.HeaderSchema, event.HeaderReplay,
		event.HeaderReason, event.HeaderPath, event.HeaderMessage, "other",
	}
	texts := []string{
		"", "0", "7", "-1", "+1", "1x", "2147483647", "2147483648", "4611686018427387904", "4611686018427387905",
		"9999999999999999999", "99999999999999999999", "0000000000000000001", "1790000000000000", strings.Repeat("é", 100),
	}
	var out []event.Record
	for range 300 {
		in, want := []*kgo.Record{}, []event.Record{}
		for range r.IntN(40) {
			rec := &kgo.Record{
				Partition: r.Int32N(9), Offset: r.Int64N(1 << 40), Key: text(r, r.IntN(5)), Value: text(r, r.IntN(9)),
				Timestamp: time.UnixMilli(r.Int64N(1 << 41)),
			}
			for range r.IntN(6) {
				value := texts[r.IntN(len(texts))]
				if r.IntN(2) == 0 {
					value = strconv.FormatUint(r.Uint64()>>r.IntN(64), 10)
				}
				rec.Headers = append(rec.Headers, kgo.RecordHeader{Key: names[r.IntN(len(names))], Value: []byte(value)})
			}
			in, want = append(in, rec), append(want, plainly(rec))
		}
		out = decodeRecords(in, out)
		for _, rec := range in {
			for _, h := range rec.Headers {
				clear(h.Value)
			}
		}
		if d := cmp.Diff(want, out, cmpopts.EquateEmpty()); d != "" {
			t.Fatal(d)
		}
	}
}
