package kafkalog

import (
	"slices"
	"strconv"
	"strings"

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
	var ids strings.Builder // one allocation for the ids of a fetch, if they are about as long
	for _, r := range in {
		if r.Attrs.IsControl() {
			continue
		}
		stamp := r.Timestamp.UnixMicro()
		out = out[:len(out)+1]
		rec := &out[len(out)-1]
		*rec = event.Record{
			Key: span.Key{Partition: r.Partition}, Offset: r.Offset, Partition: r.Key,
			Value: r.Value, Received: stamp, Timestamp: stamp,
		}
		for i := range r.Headers {
			h := &r.Headers[i]
			if h.Key != event.HeaderID {
				setHeader(rec, h)
				continue
			}
			if ids.Len() == 0 {
				ids.Grow(len(in) * min(len(h.Value), 64))
			}
			at := ids.Len()
			ids.Write(h.Value)
			rec.ID = ids.String()[at:]
		}
	}
	return out
}

// setHeader reads a header other than the id's.
func setHeader(rec *event.Record, h *kgo.RecordHeader) {
	switch h.Key {
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
}

// number reads decimal digits up to most.
func number(text []byte, most int64) (int64, bool) {
	if len(text) == 0 || len(text) > 19 {
		return 0, false
	}
	var n uint64 // of 19 digits, which fit
	for _, c := range text {
		if c -= '0'; c > 9 {
			return 0, false
		}
		n = 10*n + uint64(c)
	}
	return int64(n), n <= uint64(most)
}
