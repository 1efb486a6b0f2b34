package ledger

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/span"
)

// memoVersion is the format of memos; a reader refuses a newer one. 1 kept the closed logs in every memo.
const memoVersion = 2

// Memo is what a table of the lake keeps of the ledger with each commit, so that a lost ledger can be built
// from the lake: docs/formats.md. That of a stream's table is of the stream, those of dead_letters and logs of all.
// Closed logs are in table logs, so that a memo does not grow with the files that were imported.
type Memo struct {
	Version int          `json:"version"`
	Closed  int64        `json:"closed,omitempty"` // the commit of table logs up to which closed logs are there, not here
	Streams []MemoStream `json:"streams"`
}

// MemoStream is a stream, its schemas and its logs.
type MemoStream struct {
	Name    string       `json:"name"`
	Epoch   int64        `json:"epoch"`
	Schemas []MemoSchema `json:"schemas"`
	Logs    []MemoLog    `json:"logs"`
}

// MemoSchema is a SchemaVersion.
type MemoSchema struct {
	Version    int32        `json:"version"`
	Definition event.Stream `json:"definition"`
	Cut        span.Vector  `json:"cut"`
	CreatedAt  time.Time    `json:"created_at"`
}

// MemoLog is a Log.
type MemoLog struct {
	ID        span.Log   `json:"id"`
	Kind      string     `json:"kind"`
	Dead      bool       `json:"dead,omitempty"`
	ClusterID string     `json:"cluster_id"`
	TopicID   string     `json:"topic_id"`
	Topic     string     `json:"topic"`
	Schema    int32      `json:"schema"`
	CreatedAt time.Time  `json:"created_at"`
	ClosedAt  *time.Time `json:"closed_at,omitempty"`
	Parts     []MemoPart `json:"partitions"`
	Kept      bool       `json:"-"` // table logs holds it
}

// ClosedLog is a log of which nothing will change any more, as a row of table logs.
type ClosedLog struct {
	Stream string
	MemoLog
	Cuts []MemoCut // where the schema versions that there were when it was closed begin in it
}

// MemoCut is where a schema version begins in a partition of a closed log. Of one that is not named it is the
// beginning, of one that came after the log was closed the end.
type MemoCut struct {
	Version   int32 `json:"version"`
	Partition int32 `json:"partition"`
	Offset    int64 `json:"offset"`
}

// MemoPart is a partition of a log: what Progress says of it.
type MemoPart struct {
	Partition    int32  `json:"partition"`
	Start        *int64 `json:"start,omitempty"` // nil: nobody has begun it
	Horizon      int64  `json:"horizon,omitempty"`
	Position     int64  `json:"position,omitempty"` // every offset below is in the lake, or counted
	Duplicates   int64  `json:"duplicates,omitempty"`
	Gaps         int64  `json:"gaps,omitempty"`
	Lost         int64  `json:"lost,omitempty"`
	ClosingLive  *int64 `json:"closing_live,omitempty"`
	ClosingBatch *int64 `json:"closing_batch,omitempty"`
}

// NewMemo gives streams their version. Closed logs that table logs holds as of commit closed are not among theirs.
func NewMemo(streams []MemoStream, closed int64) *Memo { return &Memo{memoVersion, closed, streams} }

// ParseMemo reads a table's memo. fault.Corrupt lake_memo: it cannot be read; fault.Config lake_newer: a
// newer pinflow wrote it.
func ParseMemo(doc []byte) (*Memo, error) {
	var m Memo
	if err := json.Unmarshal(doc, &m); err != nil {
		return nil, fault.New(fault.Corrupt, "lake_memo", "reading what a table keeps of the ledger: %w", err).
			WithAdvice("restore log, ledger and lake from one backup")
	}
	if m.Version > memoVersion {
		return nil, fault.New(fault.Config, "lake_newer", "the lake was written by a newer pinflow (memo %d, this one knows %d)", m.Version, memoVersion).
			WithAdvice("run that version")
	}
	return &m, nil
}

// MergeMemos makes one of the memos of several tables. Each is true of its own moment: of a stream the
// newest epoch counts, of a partition what is furthest.
func MergeMemos(memos []*Memo) []MemoStream {
	var all []MemoStream
	for _, m := range memos {
		for _, s := range m.Streams {
			at := slices.IndexFunc(all, func(o MemoStream) bool { return o.Name == s.Name })
			if at < 0 {
				all = append(all, s)
				continue
			}
			newer, older := all[at], s
			if s.Epoch > newer.Epoch {
				newer, older = s, all[at]
			}
			all[at] = mergeStream(newer, older)
		}
	}
	slices.SortFunc(all, func(a, b MemoStream) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return all
}

// mergeStream brings what an older memo knows better of partitions into a newer one.
func mergeStream(newer, older MemoStream) MemoStream {
	newer.Logs = slices.Clone(newer.Logs)
	for i := range newer.Logs {
		l := &newer.Logs[i]
		l.Parts = slices.Clone(l.Parts)
		for _, o := range older.Logs {
			if o.ID != l.ID {
				continue
			}
			for j := range l.Parts {
				p := &l.Parts[j]
				for _, q := range o.Parts {
					if q.Partition == p.Partition && q.Start != nil && (p.Start == nil || q.Position > p.Position) {
						q.ClosingLive, q.ClosingBatch = p.ClosingLive, p.ClosingBatch
						*p = q
					}
				}
			}
		}
	}
	return newer
}

// WithClosed adds the logs of table logs to the streams of memos. What it says of a log is final.
// fault.Corrupt lake_memo: one is of a stream that no memo knows.
func WithClosed(streams []MemoStream, closed []ClosedLog) error {
	for _, c := range closed {
		at := slices.IndexFunc(streams, func(s MemoStream) bool { return s.Name == c.Stream })
		if at < 0 {
			return fault.New(fault.Corrupt, "lake_memo", "table %s holds log %d of stream %s, which no table knows", Logs, c.ID, c.Stream).
				WithAdvice("restore log, ledger and lake from one backup")
		}
		s := &streams[at]
		l := c.MemoLog
		l.Kept = true
		s.Logs = append(slices.DeleteFunc(s.Logs, func(o MemoLog) bool { return o.ID == l.ID }), l)
		for i := range s.Schemas {
			c.begin(&s.Schemas[i])
		}
	}
	for i := range streams {
		slices.SortFunc(streams[i].Logs, func(a, b MemoLog) int { return cmp.Compare(a.ID, b.ID) })
	}
	return nil
}

// begin says where a schema version begins in the log.
func (c *ClosedLog) begin(v *MemoSchema) {
	if c.Dead {
		return
	}
	v.Cut = maps.Clone(v.Cut)
	if v.Cut == nil {
		v.Cut = span.Vector{}
	}
	for _, p := range c.Parts {
		if p.Start != nil && c.ClosedAt != nil && v.CreatedAt.After(*c.ClosedAt) {
			v.Cut[span.Key{Log: c.ID, Partition: p.Partition}] = p.End(true)
		}
	}
	for _, cut := range c.Cuts {
		if cut.Version == v.Version {
			v.Cut[span.Key{Log: c.ID, Partition: cut.Partition}] = cut.Offset
		}
	}
}

// Adoption is what a new ledger is built of.
type Adoption struct {
	Streams []MemoStream
	Counts  map[span.Key]Counts // by partition, up to its position
	Heads   []Intent            // the newest commit of each table: number, id, kind, snapshot, offsets
}

// Head is the number of a table's newest commit.
func (a *Adoption) Head(table string) int64 {
	for _, in := range a.Heads {
		if in.Table == table {
			return in.N
		}
	}
	return 0
}

// Positions are where the units go on: the memo's, and of a closed log its end.
func (a *Adoption) Positions() span.Vector {
	v := span.Vector{}
	for _, s := range a.Streams {
		for _, l := range s.Logs {
			for _, p := range l.Parts {
				if p.Start != nil {
					v[span.Key{Log: l.ID, Partition: p.Partition}] = p.End(l.ClosedAt != nil)
				}
			}
		}
	}
	return v
}

// End is the position of a partition; in a closed log nothing more can be read.
func (p *MemoPart) End(closed bool) int64 {
	if closed && p.ClosingBatch != nil {
		return max(p.Position, *p.ClosingBatch)
	}
	return p.Position
}

// Account splits what is between a partition's start and its end: rows and dead letters are those found in
// the lake, gaps and duplicates as far as they were counted, and what is left is lost.
// fault.Corrupt conservation: the lake holds more than there were offsets.
func (p *MemoPart) Account(key span.Key, closed bool, rows, dead int64) (Counts, error) {
	c := Counts{Rows: rows, Dead: dead}
	rest := p.End(closed) - *p.Start - rows - dead
	if rest < 0 {
		return c, fault.New(fault.Corrupt, "conservation", "partition %s has %d offsets up to %d, but the lake holds %d rows and %d dead letters of it",
			key, p.End(closed)-*p.Start, p.End(closed), rows, dead).WithAdvice("keep the lake as it is and report it: rows were repeated")
	}
	c.Gaps = min(p.Gaps, rest)
	c.Duplicates = min(p.Duplicates, rest-c.Gaps)
	c.Lost = rest - c.Gaps - c.Duplicates
	return c, nil
}
