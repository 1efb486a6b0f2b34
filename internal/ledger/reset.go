package ledger

import "github.com/pinflow/pinflow/internal/span"

// Reset says what became of an open Kafka log: its topic was made anew, or it was shortened before both
// units had read it.
type Reset struct {
	Stream string
	Epoch  int64 // the stream's epoch when this was found
	Log    span.Log

	// New is the incarnation of the topic that takes the log's place; nil: it is still the same. The old
	// log is closed with the units' positions as its closing vectors.
	New *Log
	// Starts are the first offsets that the log has now, when New is nil.
	Starts map[int32]int64
}

// Accepted is what an accepted reset did.
type Accepted struct {
	Log   span.Log // where reading goes on
	Parts []ResetPart
	// Rebuilt are the views that get a new version, because the units had stopped at different offsets:
	// what the live unit alone has read is no longer in any history.
	Rebuilt []string
}

// ResetPart is a partition of the log: what each unit can read no more is booked as lost.
type ResetPart struct {
	Key         span.Key
	Live, Batch ResetMove
	Horizon     int64 // ids before it are unknown to both units from now on; 0: as before
}

// ResetMove is how far a unit had read, and where it goes on in the same log, or would have.
type ResetMove struct{ From, To int64 }

// Lost is the number of offsets that the unit can read no more.
func (m ResetMove) Lost() int64 { return m.To - m.From }

// Lost is the number of offsets that no unit has read.
func (p ResetPart) Lost() int64 { return max(0, min(p.Live.Lost(), p.Batch.Lost())) }
