package event

import "github.com/pinflow/pinflow/internal/span"

// Names of the record headers.
const (
	HeaderID       = "pf-id"       // event id
	HeaderReceived = "pf-received" // microseconds since the epoch, decimal text
	HeaderSchema   = "pf-schema"   // schema version under which the collector judged it, decimal text
	HeaderReplay   = "pf-replay"   // number of the replay, decimal text; part of the dedup key
	HeaderReason   = "pf-reason"   // dead log only: code
	HeaderPath     = "pf-path"     // dead log only: JSON pointer
	HeaderMessage  = "pf-message"  // dead log only
)

// Record is one record of a log as read, or as it will be appended (Offset and Key.Log unset).
type Record struct {
	Key       span.Key
	Offset    int64
	Partition []byte // the record's Kafka key
	Value     []byte // the event's JSON as sent, one line

	ID        string // HeaderID; "" when absent: no dedup
	Received  int64  // microseconds: HeaderReceived, else the record's timestamp
	Timestamp int64  // microseconds: the record's own timestamp
	Schema    int32  // HeaderSchema; 0 when absent
	Replay    int32  // HeaderReplay; 0 when absent

	Reason, Path, Message string // dead log only
}

// DedupKey is what the dedup window hashes: the id, and the replay number if there is one.
func (r *Record) DedupKey() string {
	if r.Replay == 0 {
		return r.ID
	}
	return r.ID + "\x00" + itoa(r.Replay)
}

func itoa(n int32) string {
	var b [12]byte
	i := len(b)
	for n > 0 {
		i--
		b[i] = byte('0' + n%10)
		n /= 10
	}
	return string(b[i:])
}

// Verdict is what a record is: a row (Code is "") or a dead letter.
type Verdict struct {
	Code      string // stable: not_json, not_an_object, type_mismatch, bad_timestamp, too_old, too_far_ahead, …
	Path      string // JSON pointer of the member
	Message   string // e.g. expected integer, got "12x"
	EventTime int64  // microseconds; of a row
}

// Dead tells whether the record is a dead letter.
func (v Verdict) Dead() bool { return v.Code != "" }
