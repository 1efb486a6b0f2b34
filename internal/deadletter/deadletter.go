package deadletter

import (
	"cmp"
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/span"
)

// Bounds of an answer: groups that are told apart, those of them that come with a letter, letters of one group, and
// bytes of a letter's body.
const (
	maxGroups  = 500
	maxSamples = 50
	MaxLetters = 1000
	maxBody    = 64 << 10
)

// Store is the part of the ledger that says what the letters are of.
type Store interface {
	Load(ctx context.Context) (*ledger.Snapshot, error)
	CompleteTo(ctx context.Context, stream string, unit ledger.Unit) (time.Time, error)
}

// Lake is where the letters are.
type Lake interface {
	Scan(ctx context.Context, sel lake.Selection, fn func(*lake.Block) error) (int64, error)
}

// Range selects letters by when they were received.
type Range struct {
	From, To time.Time // [From, To)
	Streams  []string  // of these alone; nil: of all
}

// Groups is what lies in the table.
type Groups struct {
	From       time.Time  `json:"from"`
	To         time.Time  `json:"to"`
	Letters    int64      `json:"letters"`
	Groups     []Group    `json:"groups"`      // most letters first, never null
	More       int64      `json:"more"`        // letters of groups beyond those that are told apart
	CompleteTo *time.Time `json:"complete_to"` // of the lake, in every stream asked for; null: nothing yet
}

// Group is the letters of one stream, reason and field.
type Group struct {
	ID      string    `json:"id"` // of stream, code and path, the same for ever
	Stream  string    `json:"stream"`
	Code    string    `json:"code"`
	Path    string    `json:"path"` // of the field, as a JSON pointer; "": of the event as a whole
	Letters int64     `json:"letters"`
	First   time.Time `json:"first"` // received
	Last    time.Time `json:"last"`
	Days    []Day     `json:"days"`             // with letters, oldest first, UTC
	Sample  *Letter   `json:"sample,omitempty"` // the newest
}

// Day is a UTC day of a group.
type Day struct {
	Day     string `json:"day"`
	Letters int64  `json:"letters"`
}

// Letter is a record that breaks its stream's schema or time rules, as it was sent.
type Letter struct {
	ID         string    `json:"id,omitempty"` // of the event
	ReceivedAt time.Time `json:"received_at"`
	Topic      string    `json:"topic"`
	Log        int64     `json:"log"`
	Partition  int32     `json:"partition"`
	Offset     int64     `json:"offset"`
	Schema     int64     `json:"schema"` // version of the stream's schema by which it was judged
	Message    string    `json:"message,omitempty"`
	Body       string    `json:"body"`
	Cut        bool      `json:"cut,omitempty"` // the body is longer
}

// Letters are the newest of a group.
type Letters struct {
	Group
	Newest     []Letter   `json:"newest"` // never null
	CompleteTo *time.Time `json:"complete_to"`
}

// Reader reads the table.
type Reader struct {
	store Store
	lake  Lake
}

// New returns a reader.
func New(store Store, lk Lake) *Reader { return &Reader{store, lk} }

// kind is what a group is of.
type kind struct{ stream, code, path string }

func (k kind) id() string {
	sum := xxhash.Sum64String(strings.Join([]string{k.stream, k.code, k.path}, "\x00"))
	return hex.EncodeToString([]byte{byte(sum >> 56), byte(sum >> 48), byte(sum >> 40), byte(sum >> 32), byte(sum >> 24), byte(sum >> 16)})
}

// place is where a letter lies, and when it was received.
type place struct {
	key      span.Key
	offset   int64
	received int64
}

func (p place) later(o place) int {
	return cmp.Or(cmp.Compare(o.received, p.received), cmp.Compare(o.key.Log, p.key.Log), cmp.Compare(o.key.Partition, p.key.Partition), cmp.Compare(o.offset, p.offset))
}

// tally is a group while it is counted.
type tally struct {
	letters     int64
	first, last int64
	days        map[int64]int64
	newest      []place // at most keep, newest first
}

// Groups counts the letters of a range. One reading of the columns that tell groups apart, one of the letters shown.
func (r *Reader) Groups(ctx context.Context, in Range) (*Groups, error) {
	c, err := r.count(ctx, in, 1, nil)
	if err != nil {
		return nil, err
	}
	out := &Groups{From: in.From, To: in.To, Letters: c.letters, Groups: []Group{}, More: c.more}
	for k, t := range c.groups {
		out.Groups = append(out.Groups, t.group(k))
	}
	slices.SortFunc(out.Groups, func(a, b Group) int { return cmp.Or(cmp.Compare(b.Letters, a.Letters), strings.Compare(a.ID, b.ID)) })
	var wanted []place
	for _, g := range out.Groups[:min(maxSamples, len(out.Groups))] {
		wanted = append(wanted, c.groups[kind{g.Stream, g.Code, g.Path}].newest...)
	}
	letters, err := r.letters(ctx, c.snapshot, wanted)
	if err != nil {
		return nil, err
	}
	for i := range out.Groups {
		g := &out.Groups[i]
		if l, ok := letters[c.groups[kind{g.Stream, g.Code, g.Path}].newest[0]]; ok {
			g.Sample = &l
		}
	}
	out.CompleteTo, err = r.completeTo(ctx, in.Streams)
	return out, err
}

// Letters are the newest letters of a group, at most so many.
func (r *Reader) Letters(ctx context.Context, in Range, id string, most int) (*Letters, error) {
	c, err := r.count(ctx, in, min(max(most, 1), MaxLetters), func(k kind) bool { return k.id() == id })
	if err != nil {
		return nil, err
	}
	for k, t := range c.groups {
		letters, err := r.letters(ctx, c.snapshot, t.newest)
		if err != nil {
			return nil, err
		}
		out := &Letters{Group: t.group(k), Newest: []Letter{}}
		for _, p := range t.newest {
			if l, ok := letters[p]; ok {
				out.Newest = append(out.Newest, l)
			}
		}
		out.CompleteTo, err = r.completeTo(ctx, []string{k.stream})
		return out, err
	}
	return nil, fault.New(fault.Record, "unknown_group", "there are no dead letters of group %q from %s to %s", id, in.From.Format(time.RFC3339), in.To.Format(time.RFC3339)).
		WithAdvice("see: pinflow dlq ls, or ask for a longer range")
}

func (t *tally) group(k kind) Group {
	g := Group{ID: k.id(), Stream: k.stream, Code: k.code, Path: k.path, Letters: t.letters, First: time.UnixMicro(t.first).UTC(), Last: time.UnixMicro(t.last).UTC(), Days: []Day{}}
	for day, n := range t.days {
		g.Days = append(g.Days, Day{time.UnixMicro(day * usPerDay).UTC().Format(time.DateOnly), n})
	}
	slices.SortFunc(g.Days, func(a, b Day) int { return strings.Compare(a.Day, b.Day) })
	return g
}

const usPerDay = 24 * 60 * 60 * 1_000_000

// completeTo is how far the lake is complete in every one of the streams; nil of any that has no mark yet.
func (r *Reader) completeTo(ctx context.Context, streams []string) (*time.Time, error) {
	if streams == nil {
		snap, err := r.store.Load(ctx)
		if err != nil {
			return nil, fmt.Errorf("reading the catalogue: %w", err)
		}
		for _, s := range snap.Streams {
			streams = append(streams, s.Name)
		}
	}
	var least *time.Time
	for _, s := range streams {
		at, err := r.store.CompleteTo(ctx, s, ledger.Batch)
		if err != nil || at.IsZero() {
			return nil, err
		}
		if least == nil || at.Before(*least) {
			least = &at
		}
	}
	return least, nil
}

// text is a text of a row, "" for NULL or a column that is not there.
func text(b *lake.Block, column string, row int) []byte {
	at := b.Index(column)
	if at < 0 || b.Cols[at].IsNull(row) {
		return nil
	}
	return b.Cols[at].Text(row)
}

func number(b *lake.Block, column string, row int) int64 {
	if at := b.Index(column); at >= 0 && !b.Cols[at].IsNull(row) {
		return b.Cols[at].Ints[row]
	}
	return 0
}

func placeOf(b *lake.Block, row int) place {
	return place{
		span.Key{Log: span.Log(number(b, event.ColumnLog, row)), Partition: int32(number(b, event.ColumnPartition, row))},
		number(b, event.ColumnOffset, row), number(b, event.ColumnReceivedAt, row),
	}
}
