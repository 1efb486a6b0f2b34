package status

import "time"

// Report is the body of GET /v1/status.
type Report struct {
	At       time.Time `json:"at"`
	OK       bool      `json:"ok"`       // conservation holds everywhere and no problem is named
	Problems []string  `json:"problems"` // one line each, never null
	Streams  []Stream  `json:"streams"`  // by name, never null
	Ledger   Ledger    `json:"ledger"`
	Leases   []Lease   `json:"leases"` // by name, never null
}

// Stream is the state of one stream.
type Stream struct {
	Name         string       `json:"name"`
	Epoch        int64        `json:"epoch"`
	Schema       int32        `json:"schema"`      // newest version
	CompleteTo   *time.Time   `json:"complete_to"` // of live; null: no mark reached yet
	LagSeconds   *float64     `json:"lag_seconds"` // at − complete_to
	Mark         *Mark        `json:"mark"`        // newest mark; null: none yet
	Conservation Conservation `json:"conservation"`
	Partitions   []Partition  `json:"partitions"` // by log, then partition, never null
	Views        []View       `json:"views"`      // never null
}

// Mark is the newest mark of a stream, and why there is none newer.
type Mark struct {
	At      time.Time `json:"at"`
	Missing string    `json:"missing,omitempty"` // which log did not answer, and how
}

// Partition is one partition of one of the stream's logs.
type Partition struct {
	Log          int64        `json:"log"`
	Topic        string       `json:"topic"`
	Partition    int32        `json:"partition"`
	Dead         bool         `json:"dead"` // of the stream's dead log, which only the batch unit reads
	Closed       bool         `json:"closed"`
	Import       string       `json:"import,omitempty"` // of a file's log, which has no end to be asked for: running | stopped | ended
	Start        int64        `json:"start"`            // the log's first offset when it was first taken over
	End          *int64       `json:"end"`              // next offset of the log; null: the log did not answer
	Batch        *Unit        `json:"batch"`            // null: never taken over
	Live         *Unit        `json:"live"`             // null: never taken over, or a dead log
	Lake         int64        `json:"lake"`             // every offset below is in the lake, or counted
	Conservation Conservation `json:"conservation"`
}

// What an imported file's log is.
const (
	ImportRuns    = "running" // a process brings it in
	ImportStopped = "stopped" // half-way, and nobody goes on with it
	ImportEnded   = "ended"
)

// Unit is how far a unit is in a partition and what it found there.
type Unit struct {
	Position int64  `json:"position"` // next offset
	Lag      *int64 `json:"lag"`      // end − position; null when the end is not known
	Counts   Counts `json:"counts"`   // of all offsets from start to position
}

// Counts says what offsets held.
type Counts struct {
	Rows       int64 `json:"rows"`
	Dead       int64 `json:"dead"`
	Duplicates int64 `json:"duplicates"`
	Gaps       int64 `json:"gaps"`
	Lost       int64 `json:"lost"`
}

// Conservation accounts for every offset: accepted = rows + dead + duplicates + gaps + lost + in_flight,
// by the counts of the batch unit.
type Conservation struct {
	Accepted    int64 `json:"accepted"` // end − start
	Rows        int64 `json:"rows"`
	Dead        int64 `json:"dead"`
	Duplicates  int64 `json:"duplicates"`
	Gaps        int64 `json:"gaps"`
	Lost        int64 `json:"lost"`        // always an alarm
	InFlight    int64 `json:"in_flight"`   // appended to the log, not yet sealed by the batch unit
	Uncommitted int64 `json:"uncommitted"` // of rows and dead: sealed, but in no lake commit yet (offsets)
	OK          bool  `json:"ok"`          // sums hold for both units, and where they stand at the same offset they agree
}

// View is a metrics view with the versions that are not dropped.
type View struct {
	Name     string    `json:"name"`
	Versions []Version `json:"versions"`
	Audit    *Audit    `json:"audit"` // of the version that serves; null: no closed day was looked at yet
}

// Audit is what the background audit found of a version: closed days compared with the lake.
type Audit struct {
	At          time.Time  `json:"at"`   // of the newest look
	From        string     `json:"from"` // first and last day looked at
	To          string     `json:"to"`
	Days        int64      `json:"days"`
	Uncovered   int64      `json:"uncovered"`   // days of which the view does not have all
	Rows        int64      `json:"rows"`        // of the lake, folded for it
	Differences int64      `json:"differences"` // numbers, or segments that cannot be read
	WrongDays   int64      `json:"wrong_days"`
	Wrong       []WrongDay `json:"wrong"` // the newest of them, never null
}

// WrongDay is a closed day that somebody has to look at.
type WrongDay struct {
	Day         string    `json:"day"`
	At          time.Time `json:"at"`
	Result      string    `json:"result"` // different | damaged | failed
	Differences int64     `json:"differences"`
	First       string    `json:"first"` // the first of them, or why the day could not be compared
}

// Version is one life of a view's definition.
type Version struct {
	ID    int64  `json:"id"`
	Hash  string `json:"hash"`
	State string `json:"state"` // building | serving | standby
}

// Ledger is the database at a glance.
type Ledger struct {
	OpenWrites       int64            `json:"open_writes"`
	UncommittedFiles int64            `json:"uncommitted_files"`
	Segments         map[string]int64 `json:"segments"` // by tier, never null
	SegmentBytes     int64            `json:"segment_bytes"`
}

// Lease is who does which singleton job.
type Lease struct {
	Name    string    `json:"name"`
	Holder  string    `json:"holder"`
	Number  int64     `json:"number"`
	Expires time.Time `json:"expires"`
}
