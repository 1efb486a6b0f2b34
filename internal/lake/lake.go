package lake

import (
	"fmt"
	"math/big"
	"slices"
	"time"

	"github.com/pinflow/pinflow/internal/column"
	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/span"
)

// Kinds of commit, as ledger.Intent has them.
const (
	Append  = "append"
	Compact = "compact"
	Expire  = "expire"
	Schema  = "schema"
	Skip    = "skip"  // sets only the number: closes a commit that can no longer be made
	Close   = "close" // of the table of closed logs: brings those that were closed since
)

// Column is a column of a table.
type Column struct {
	Name     string
	Kind     column.Kind
	Required bool // never NULL
}

// Table says what a table must look like.
type Table struct {
	Name    string
	Columns []Column
	Time    string // the timestamptz column by whose day (UTC) the table is partitioned
}

// StreamTable is the table of a stream's rows under its newest schema.
func StreamTable(s *event.Schema) Table {
	return Table{Name: s.Stream.Name, Time: event.ColumnEventTime, Columns: Columns(s)}
}

// Columns are the columns of a schema's rows. Declared fields, the id and the rest may be NULL.
func Columns(s *event.Schema) []Column {
	cols := make([]Column, len(s.Columns()))
	for i, c := range s.Columns() {
		cols[i] = Column{Name: c.Name, Kind: c.Kind}
		switch c.Name {
		case event.ColumnEventTime, event.ColumnReceivedAt, event.ColumnLog, event.ColumnPartition, event.ColumnOffset, event.ColumnSchema:
			cols[i].Required = true
		}
	}
	return cols
}

// DeadLetterTable is the table of dead letters of all streams: one row per letter, as it was sent.
func DeadLetterTable() Table {
	return Table{Name: ledger.DeadLetters, Time: event.ColumnReceivedAt, Columns: []Column{
		{Name: "stream", Kind: column.String, Required: true},
		{Name: "code", Kind: column.String, Required: true},
		{Name: "path", Kind: column.String},
		{Name: "message", Kind: column.String},
		{Name: "body", Kind: column.String},
		{Name: event.ColumnEventID, Kind: column.String},
		{Name: event.ColumnReceivedAt, Kind: column.Timestamptz, Required: true},
		{Name: event.ColumnLog, Kind: column.Long, Required: true},
		{Name: event.ColumnPartition, Kind: column.Long, Required: true},
		{Name: event.ColumnOffset, Kind: column.Long, Required: true},
		{Name: event.ColumnSchema, Kind: column.Long, Required: true},
	}}
}

// Block is some rows as columns: Cols are parallel to Columns and N long. A column of kind Invalid was
// not asked for.
type Block struct {
	Columns []Column
	N       int
	Cols    []column.Vec
	Origin  *Origin // of rows that are wanted as a whole, see Selection; else nil
}

// Index returns the position of the column of that name, -1 if there is none.
func (b *Block) Index(name string) int {
	return slices.IndexFunc(b.Columns, func(c Column) bool { return c.Name == name })
}

// Rows gives a block of rows that were all written under schema s its form in the core. Columns that the
// block lacks are of kind Invalid. It shares memory with the block.
func Rows(b *Block, s *event.Schema) *event.Rows {
	rows := &event.Rows{Schema: s, N: b.N, Cols: make([]column.Vec, len(s.Columns()))}
	for i, c := range b.Columns {
		if at := s.Index(c.Name); at >= 0 {
			rows.Cols[at] = b.Cols[i]
		}
	}
	return rows
}

// Head is a table as it is now.
type Head struct {
	Seq      int64       // number of the newest commit
	CommitID string      // its id
	Snapshot int64       // 0: no snapshot yet
	Offsets  span.Vector // of the newest append: per partition the next offset that is not in the table
	Rows     int64       // of its data files
	Foreign  bool        // another engine made the snapshot
	Deletes  int64       // delete files of other engines: not all of these rows are live
	Files    int64       // live data files
	Memo     []byte      // ledger.Memo of the newest commit; nil: it kept none
}

// Check compares the table with the ledger's newest intent for it (nil: none). fault.Config
// lake_mismatch: one of them was restored, replaced or written by something else (L7).
func (h Head) Check(table string, last *ledger.Intent) error {
	want := int64(0)
	if last != nil {
		want = last.N
	}
	switch {
	case h.Seq == want && (last == nil || h.CommitID == last.ID):
		return nil
	case last != nil && last.Open && h.Seq == want-1:
		return nil
	}
	return Mismatch(table, h, last)
}

// Mismatch is the fault of a table that is not where the ledger says.
func Mismatch(table string, h Head, last *ledger.Intent) error {
	knows := "no commit"
	if last != nil {
		knows = fmt.Sprintf("commit %d (%s)", last.N, last.ID)
	}
	what := "they went apart at some commit before"
	switch {
	case last == nil || h.Seq > last.N:
		what = "the lake is ahead of the ledger, which is older or another one"
	case h.Seq < last.N:
		what = "the ledger is ahead of the lake, which is older or another one"
	}
	return fault.New(fault.Config, "lake_mismatch", "table %s is at commit %d (%s), the ledger's newest is %s: %s", table, h.Seq, h.CommitID, knows, what).
		WithAdvice("restore log, ledger and lake from one backup, or take the ledger away (an empty database, or no file) and build it from the lake with: pinflow lake adopt; nothing was written")
}

// Extent is what a table holds of a partition of a log.
type Extent struct {
	Rows        int64
	Least, Most int64 // offset of a row
}

// Landed says what a commit did, read from the manifests that it wrote.
type Landed struct {
	Snapshot int64 // 0: the commit made none
	Files    int64 // data files added
	Records  int64 // rows in them
}

// Retention says which snapshots stay, besides those with a tag: the newest Keep, and all younger than Age.
type Retention struct {
	Keep int
	Age  time.Duration
}

// Shape says what files a table should have.
type Shape struct {
	Target   int64 // bytes of a file that is left alone
	MinFiles int   // as many small files of a day and size class are worth a rewrite
	MaxBytes int   // columns of a rewrite that are held in memory and sorted together
}

// DefaultShape merges the small files of a day by eights, up to 16 MiB.
func DefaultShape() Shape {
	return Shape{Target: 16 << 20, MinFiles: 8, MaxBytes: 32 << 20}
}

// Rewrite is data files that hold the rows of others, waiting for the commit that puts them in their place.
type Rewrite struct {
	Table  string
	Inputs []string // locations of the files to be replaced
	Rows   int64    // in them, and in Files
	Files  []ledger.LakeFile
	// Sequence is Iceberg's number of the snapshot that was read.
	Sequence int64
}

// Orphan is a data file that no snapshot and no ledger knows.
type Orphan struct {
	Path     string // location
	Bytes    int64
	Modified time.Time
}

// Selection names rows of a table.
type Selection struct {
	Table    string
	Snapshot int64    // 0: the newest
	Columns  []string // nil: all
	From, To int64    // time of the table's partition column in [From, To), microseconds; both 0: all

	ReceivedFrom, ReceivedTo int64 // received in [ReceivedFrom, ReceivedTo), microseconds; both 0: all

	// Rows of one partition with an offset in [FromOffset, ToOffset); ToOffset 0: of all.
	Key                  span.Key
	FromOffset, ToOffset int64

	Logs Within // rows of these logs; zero: of all

	Files []string // locations of the data files to be read; nil: all that may hold such rows

	// Whole (nil: never) tells of rows whose origin is known before they are read whether all of them are wanted.
	// Such rows come without the columns Spare, and with Block.Origin in their place. It may be called from
	// several goroutines, also while a block is shown.
	Whole func(Origin) bool
	Spare []string // of Columns
}

// Origin says where some rows come from.
type Origin struct {
	Log                           span.Log
	Schema                        int32
	FirstPartition, LastPartition int32      // not each of them need have rows
	Offsets                       span.Range // of all the partitions
}

// DataFile is a data file of a table that may hold rows of a selection.
type DataFile struct {
	At    string // its location
	Rows  int64
	Bytes int64
	// Plain: a Parquet file of which every row counts. Of others another engine has deleted rows, or they are not
	// to be read without Iceberg.
	Plain         bool
	Logs, Schemas Within // values of _log and _schema
}

// Within is the least and greatest value of a column of a file, as far as the table tells.
type Within struct{ Least, Most int64 }

// Has tells whether the value may be among them.
func (w Within) Has(x int64) bool { return w.Least <= x && x <= w.Most }

// FileColumn is a column by the number that it has in data files, whatever its name is there; 0: the snapshot's
// files cannot have it.
type FileColumn struct {
	Column
	ID int
}

// Found is what a search for an event found in a table.
type Found struct {
	Table    string
	Snapshot int64 // that was searched; 0: the table is empty
	Opened   int   // files whose filters were asked
	Read     int   // of these, files that were read
	Rows     []FoundRow
}

// FoundRow is a row of the event.
type FoundRow struct {
	File        string // its location
	Snapshot    int64  // that brought the file
	CommittedAt int64  // of that snapshot, milliseconds since the epoch; 0: it has expired
	Row         *Block // all its columns; one row
}

// DayFiles is what a table holds of a day.
type DayFiles struct {
	Day   string `json:"day"` // 2006-01-02, UTC
	Rows  int64  `json:"rows"`
	Bytes int64  `json:"bytes"` // of the files
	Files int64  `json:"files"`
}

// DayDigest tells whether two sets of rows of a day are the same, in whatever order they were written.
type DayDigest struct {
	Day    string              `json:"day"` // 2006-01-02, UTC
	Rows   int64               `json:"rows"`
	IDs    string              `json:"ids"`    // sum of span.IDOf(event id) modulo 2^128, big-endian hex
	Longs  map[string]*big.Int `json:"longs"`  // sums of declared long columns, exact
	Floats map[string]float64  `json:"floats"` // sums of declared double columns, in no particular order
}
