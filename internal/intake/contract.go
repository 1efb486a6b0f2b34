package intake

import (
	"context"
	"time"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/span"
)

// TP is a partition by the names that the Kafka protocol uses.
type TP struct {
	Topic     string
	Partition int32
}

// Fetch is what a partition held from From to To. Offsets without a record in it are gaps.
type Fetch struct {
	TP       TP
	From, To int64
	End      int64 // where the partition ended when this was read; 0: not known
	Records  []event.Record
}

// Source is a member of a consumer group. Its Handler is called only while Poll runs.
type Source interface {
	// Poll returns what has arrived, at most about max records, or nothing when ctx ends first. Records
	// are valid until the next Poll.
	Poll(ctx context.Context, max int) ([]Fetch, error)
	// Seek sets the next offset of a partition that is held.
	Seek(tp TP, offset int64)
	// ReadBack shows the records of [from, to) to fn, outside the group.
	ReadBack(ctx context.Context, tp TP, from, to int64, fn func(*event.Record) error) error
	// Start returns the partition's first offset.
	Start(ctx context.Context, tp TP) (int64, error)
	// Close leaves the group.
	Close(ctx context.Context) error
}

// Handler is told what the group decides. Its contexts are the membership's, not the poll's.
type Handler interface {
	// Assigned returns the offsets to start at.
	Assigned(ctx context.Context, tps []TP) (map[TP]int64, error)
	// Revoked comes before the partitions go to another member.
	Revoked(ctx context.Context, tps []TP)
	// Lost comes when they may have gone already.
	Lost(ctx context.Context, tps []TP)
}

// Opener joins the group for the topics.
type Opener func(ctx context.Context, topics []string, h Handler) (Source, error)

// Store is the part of the ledger that an intake needs.
type Store interface {
	Epochs(ctx context.Context) (map[string]int64, error)
	Load(ctx context.Context) (*ledger.Snapshot, error)
	TakeOver(ctx context.Context, unit ledger.Unit, owner string, key span.Key, start int64) (ledger.Held, error)
	PositionsOf(ctx context.Context, unit ledger.Unit) (span.Vector, error)
}

// Slice is the records of one partition, in order.
type Slice struct {
	P         *Partition
	From, To  int64
	Records   []event.Record
	Duplicate []bool // parallel to Records
}

// Sink makes something of the records and seals it.
type Sink interface {
	// Catalogue says what streams, schemas and views are in force from now on. Nothing is held then.
	Catalogue(*Catalogue) error
	// Add takes a slice, and keeps nothing of its records. It books rows and dead letters in s.P.Counts; duplicates and gaps are booked.
	Add(ctx context.Context, s *Slice) error
	// FlushBy is when Flush is due: zero when nothing is held.
	FlushBy() time.Time
	// Flush seals all that is held of the partitions. On fault.Transient it may be called again with
	// the same held; after any other error everything held is dropped.
	Flush(ctx context.Context, parts []*Partition) error
	// Drop forgets all that is held.
	Drop()
}
