package kafkalog

import (
	"iter"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/span"
)

// encoder turns records into the client's, with two allocations for all their headers.
type encoder struct {
	headers []kgo.RecordHeader
	text    []byte
}

func newEncoder(n int) *encoder {
	return &encoder{headers: make([]kgo.RecordHeader, 0, 4*n), text: make([]byte, 0, 80*n)}
}

// encode leaves the timestamp to the client, which measures its delivery timeout from it.
func (e *encoder) encode(topic string, r *event.Record, out *kgo.Record) {
	from := len(e.headers)
	e.str(event.HeaderID, r.ID)
	e.num(event.HeaderReceived, r.Received)
	e.num(event.HeaderSchema, int64(r.Schema))
	e.num(event.HeaderReplay, int64(r.Replay))
	e.str(event.HeaderReason, r.Reason)
	e.str(event.HeaderPath, r.Path)
	e.str(event.HeaderMessage, r.Message)
	out.Topic, out.Partition = topic, r.Key.Partition
	out.Key, out.Value = r.Partition, r.Value
	out.Headers = e.headers[from:len(e.headers):len(e.headers)]
}

func (e *encoder) str(key, value string) {
	if value == "" {
		return
	}
	from := len(e.text)
	e.text = append(e.text, value...)
	e.headers = append(e.headers, kgo.RecordHeader{Key: key, Value: e.text[from:len(e.text):len(e.text)]})
}

func (e *encoder) num(key string, value int64) {
	if value == 0 {
		return
	}
	from := len(e.text)
	e.text = strconv.AppendInt(e.text, value, 10)
	e.headers = append(e.headers, kgo.RecordHeader{Key: key, Value: e.text[from:len(e.text):len(e.text)]})
}

// decodeRecords turns the client's records into ours, control records left out, in the memory of out.
// Headers that are missing or unreadable count as absent: received is then the record's timestamp.
func decodeRecords(in []*kgo.Record, out []event.Record) []event.Record {
	out = slices.Grow(out[:0], len(in))
	size := 0
	for _, id := range idHeaders(in) {
		size += len(id)
	}
	ids := make([]byte, 0, size)
	for _, id := range idHeaders(in) {
		ids = append(ids, id...)
	}
	all := string(ids) // one allocation for the ids of a fetch
	at := 0
	for _, r := range in {
		if r.Attrs.IsControl() {
			continue
		}
		stamp := r.Timestamp.UnixMicro()
		rec := event.Record{
			Key: span.Key{Partition: r.Partition}, Offset: r.Offset, Partition: r.Key,
			Value: r.Value, Received: stamp, Timestamp: stamp,
		}
		for _, h := range r.Headers {
			at = setHeader(&rec, h, all, at)
		}
		out = append(out, rec)
	}
	return out
}

// idHeaders yields the id headers in the order in which decodeRecords meets them.
func idHeaders(in []*kgo.Record) iter.Seq2[int64, []byte] {
	return func(yield func(int64, []byte) bool) {
		for _, r := range in {
			if r.Attrs.IsControl() {
				continue
			}
			for _, h := range r.Headers {
				if h.Key == event.HeaderID && !yield(r.Offset, h.Value) {
					return
				}
			}
		}
	}
}

func setHeader(rec *event.Record, h kgo.RecordHeader, ids string, at int) int {
	switch h.Key {
	case event.HeaderID:
		rec.ID = ids[at : at+len(h.Value)]
		return at + len(h.Value)
	case event.HeaderReceived:
		if n, ok := number(h.Value, 1<<62); ok {
			rec.Received = n
		}
	case event.HeaderSchema:
		if n, ok := number(h.Value, 1<<31-1); ok {
			rec.Schema = int32(n)
		}
	case event.HeaderReplay:
		if n, ok := number(h.Value, 1<<31-1); ok {
			rec.Replay = int32(n)
		}
	case event.HeaderReason:
		rec.Reason = string(h.Value)
	case event.HeaderPath:
		rec.Path = string(h.Value)
	case event.HeaderMessage:
		rec.Message = string(h.Value)
	}
	return at
}

// number reads decimal digits up to most.
func number(text []byte, most int64) (int64, bool) {
	if len(text) == 0 || len(text) > 19 {
		return 0, false
	}
	var n int64
	for _, c := range text {
		if c < '0' || c > '9' || n > (most-int64(c-'0'))/10 {
			return 0, false
		}
		n = 10*n + int64(c-'0')
	}
	return n, true
}
