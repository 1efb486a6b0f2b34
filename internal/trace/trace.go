package trace

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/span"
)

// What a record of an event is.
const (
	Row        = "row"         // in the lake
	DeadLetter = "dead_letter" // in the lake's table of dead letters
	Duplicate  = "duplicate"   // read by the batch unit, which found the id earlier in its partition
	InFlight   = "in_flight"   // in the log, not yet in the lake
)

// maxTail is how many records of a partition are read, beyond which a search of the log is cut short: the
// newest of those that are not in the lake yet, and the first after the event, which may be its duplicates.
const maxTail = 200_000

// Store is the part of the ledger that tells how far everything is.
type Store interface {
	Load(ctx context.Context) (*ledger.Snapshot, error)
	Progress(ctx context.Context) (*ledger.Progress, error)
	Read(ctx context.Context, q ledger.Read) (*ledger.Data, error)
}

// Lake finds rows.
type Lake interface {
	Tables(ctx context.Context) ([]string, error)
	Find(ctx context.Context, table, id string) (*lake.Found, error)
	Scan(ctx context.Context, sel lake.Selection, fn func(*lake.Block) error) (int64, error)
}

// Log reads topics.
type Log interface {
	Starts(ctx context.Context, topic string) (map[int32]int64, error)
	HighWatermarks(ctx context.Context, topic string) (map[int32]int64, error)
	Read(ctx context.Context, topic string, partition int32, from, to int64, fn func(*event.Record) error) error
}

// Trace is what became of an event.
type Trace struct {
	ID       string   `json:"id"`
	Records  []Record `json:"records"` // in order of when they were received
	Searched Searched `json:"searched"`
}

// Record is one record of the event.
type Record struct {
	As         string     `json:"as"` // row | dead_letter | duplicate | in_flight
	Stream     string     `json:"stream"`
	Topic      string     `json:"topic,omitempty"`
	Log        int64      `json:"log"`
	Partition  int32      `json:"partition"`
	Offset     int64      `json:"offset"`
	ReceivedAt time.Time  `json:"received_at"`
	EventTime  *time.Time `json:"event_time,omitempty"`
	Dead       *Dead      `json:"dead_lettered,omitempty"`
	Lake       *InLake    `json:"lake,omitempty"`
	Staged     bool       `json:"staged,omitempty"` // in flight, and read by the batch unit: its stage waits for the commit
	Live       *Live      `json:"live,omitempty"`
	Views      []View     `json:"views,omitempty"`

	key span.Key
	row *lake.Block
}

// Dead says why it is a dead letter.
type Dead struct {
	Code    string `json:"code"`
	Path    string `json:"path,omitempty"`
	Message string `json:"message,omitempty"`
}

// InLake is the row's file.
type InLake struct {
	Table       string     `json:"table"`
	File        string     `json:"file"`
	Snapshot    int64      `json:"snapshot,string"` // that brought the file: the append, or a compaction since
	CommittedAt *time.Time `json:"committed_at,omitempty"`
}

// Live tells whether the live unit has read it.
type Live struct {
	Position int64 `json:"position"` // the unit's next offset in the record's partition
	Read     bool  `json:"read"`
}

// View says in which buckets of a view the event counts.
type View struct {
	View    string      `json:"view"`
	Version string      `json:"version"`
	Buckets []time.Time `json:"buckets"` // starts
	By      string      `json:"by"`      // live | history
	Counted bool        `json:"counted"`
	Why     string      `json:"why,omitempty"` // it does not count
}

// Searched says where was looked.
type Searched struct {
	Tables []Table `json:"tables"`
	Logs   []Part  `json:"logs"`
}

// Table is how a table was searched.
type Table struct {
	Table    string `json:"table"`
	Snapshot int64  `json:"snapshot,string"`
	Opened   int    `json:"files_opened"` // whose filters were asked
	Read     int    `json:"files_read"`
}

// Part is a stretch of a topic that was read.
type Part struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	From      int64  `json:"from"`
	To        int64  `json:"to"`
	Note      string `json:"note,omitempty"` // what was left out
}

// Tracer follows events.
type Tracer struct {
	store Store
	lake  Lake
	log   Log
}

// New returns a tracer.
func New(store Store, tables Lake, log Log) *Tracer { return &Tracer{store, tables, log} }

// state is what is known while one event is followed.
type state struct {
	*Tracer
	snap *ledger.Snapshot
	far  *ledger.Progress
	may  func(stream string) bool
	out  *Trace
}

func (t *Tracer) begin(ctx context.Context, may func(stream string) bool) (*state, error) {
	s := &state{Tracer: t, may: may}
	var err error
	if s.snap, err = t.store.Load(ctx); err != nil {
		return nil, fmt.Errorf("reading the catalogue: %w", err)
	}
	if s.far, err = t.store.Progress(ctx); err != nil {
		return nil, fmt.Errorf("reading the positions: %w", err)
	}
	return s, nil
}

// Event follows the event with an id, in the streams that may be seen. Not to find it is no fault.
func (t *Tracer) Event(ctx context.Context, id string, may func(stream string) bool) (*Trace, error) {
	s, err := t.begin(ctx, may)
	if err != nil {
		return nil, err
	}
	return s.follow(ctx, id)
}

func (s *state) follow(ctx context.Context, id string) (*Trace, error) {
	s.out = &Trace{ID: id, Records: []Record{}, Searched: Searched{Tables: []Table{}, Logs: []Part{}}}
	if err := s.searchLake(ctx); err != nil {
		return nil, err
	}
	if err := s.searchLogs(ctx); err != nil {
		return nil, err
	}
	for i := range s.out.Records {
		if err := s.explain(ctx, &s.out.Records[i]); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(s.out.Records, func(a, b Record) int {
		return cmp.Or(a.ReceivedAt.Compare(b.ReceivedAt), cmp.Compare(a.Log, b.Log), cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Offset, b.Offset))
	})
	return s.out, nil
}

// At follows the event whose record lies at a position of a topic's open log. fault.Record
// unknown_record.
func (t *Tracer) At(ctx context.Context, topic string, partition int32, offset int64, may func(stream string) bool) (*Trace, error) {
	s, err := t.begin(ctx, may)
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(s.snap.Logs, func(l ledger.Log) bool { return l.Topic == topic && l.ClosedAt.IsZero() && may(l.Stream) })
	if at < 0 {
		return nil, fault.New(fault.Record, "unknown_record", "there is no topic %q that pinflow reads", topic).
			WithAdvice("see them with: pinflow topics ls")
	}
	l := s.snap.Logs[at]
	if partition < 0 || partition >= l.Partitions {
		return nil, fault.New(fault.Record, "unknown_record", "topic %s has the partitions 0 to %d", topic, l.Partitions-1)
	}
	id, err := s.idAt(ctx, l, partition, offset)
	if err != nil {
		return nil, err
	}
	return s.follow(ctx, id)
}

// idAt looks for the id of a record in the log, then in the lake.
func (s *state) idAt(ctx context.Context, l ledger.Log, partition int32, offset int64) (string, error) {
	starts, ends, err := s.bounds(ctx, l.Topic)
	if err != nil {
		return "", err
	}
	gone := func(why string) error {
		return fault.New(fault.Record, "unknown_record", "there is no event at %s/%d/%d: %s", l.Topic, partition, offset, why)
	}
	if offset < 0 || offset >= ends[partition] {
		return "", gone(fmt.Sprintf("the log ends before offset %d", ends[partition]))
	}
	id, seen := "", false
	if offset >= starts[partition] {
		err := s.log.Read(ctx, l.Topic, partition, offset, offset+1, func(r *event.Record) error {
			if r.Offset == offset {
				id, seen = r.ID, true
			}
			return nil
		})
		if err != nil {
			return "", err
		}
	}
	k := span.Key{Log: l.ID, Partition: partition}
	for _, table := range []string{l.Stream, ledger.DeadLetters} {
		if id != "" {
			return id, nil
		}
		sel := lake.Selection{Table: table, Columns: []string{event.ColumnEventID}, Key: k, FromOffset: offset, ToOffset: offset + 1}
		_, err := s.lake.Scan(ctx, sel, func(b *lake.Block) error {
			if b.N > 0 {
				id, seen = text(b, event.ColumnEventID), true
			}
			return nil
		})
		if err != nil && fault.CodeOf(err) != "no_table" {
			return "", err
		}
	}
	switch {
	case id != "":
		return id, nil
	case seen:
		return "", gone("the record has no id, so that nothing follows it; it was written by another producer")
	}
	return "", gone("it is a duplicate or a gap that the log no longer holds")
}

// searchLake finds the event's rows and dead letters.
func (s *state) searchLake(ctx context.Context) error {
	have, err := s.lake.Tables(ctx)
	if err != nil {
		return fmt.Errorf("listing the lake's tables: %w", err)
	}
	slices.Sort(have)
	for _, table := range have {
		if table == ledger.Logs || table != ledger.DeadLetters && !s.may(table) {
			continue
		}
		found, err := s.lake.Find(ctx, table, s.out.ID)
		if err != nil {
			return err
		}
		s.out.Searched.Tables = append(s.out.Searched.Tables, Table{table, found.Snapshot, found.Opened, found.Read})
		for _, f := range found.Rows {
			if r := s.inLake(table, f); s.may(r.Stream) {
				s.out.Records = append(s.out.Records, r)
			}
		}
	}
	return nil
}

func (s *state) inLake(table string, f lake.FoundRow) Record {
	r := Record{As: Row, Stream: table, row: f.Row, Lake: &InLake{Table: table, File: f.File, Snapshot: f.Snapshot}}
	r.key = span.Key{Log: span.Log(number(f.Row, event.ColumnLog)), Partition: int32(number(f.Row, event.ColumnPartition))}
	r.Log, r.Partition, r.Offset = int64(r.key.Log), r.key.Partition, number(f.Row, event.ColumnOffset)
	r.ReceivedAt = time.UnixMicro(number(f.Row, event.ColumnReceivedAt)).UTC()
	if f.CommittedAt != 0 {
		at := time.UnixMilli(f.CommittedAt).UTC()
		r.Lake.CommittedAt = &at
	}
	if table == ledger.DeadLetters {
		r.As, r.Stream, r.row = DeadLetter, text(f.Row, "stream"), nil
		r.Dead = &Dead{text(f.Row, "code"), text(f.Row, "path"), text(f.Row, "message")}
	} else {
		at := time.UnixMicro(number(f.Row, event.ColumnEventTime)).UTC()
		r.EventTime = &at
	}
	for _, l := range s.snap.Logs {
		if l.ID == r.key.Log {
			r.Topic = l.Topic
		}
	}
	return r
}

func number(b *lake.Block, column string) int64 {
	if at := b.Index(column); at >= 0 && !b.Cols[at].IsNull(0) {
		return b.Cols[at].Ints[0]
	}
	return 0
}

func text(b *lake.Block, column string) string {
	if at := b.Index(column); at >= 0 && !b.Cols[at].IsNull(0) {
		return string(b.Cols[at].Text(0))
	}
	return ""
}
