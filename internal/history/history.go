package history

import (
	"fmt"
	"slices"

	"github.com/pinflow/pinflow/internal/calendar"
	"github.com/pinflow/pinflow/internal/column"
	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/fold"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/metric"
	"github.com/pinflow/pinflow/internal/span"
)

// Bounds says which offsets of a partition are folded: those in the range.
type Bounds func(k span.Key) span.Range

// Reader folds rows of a stream's table for one view version. It is not safe for concurrent use.
type Reader struct {
	Version ledger.ViewVersion
	View    ledger.View
	Rows    int64 // folded so far
	Below   int64 // rows passed over that lie below their partition's bounds

	lanes   map[int32]*lane // by the schema that judged the rows
	targets []*target       // by schema, oldest first
	columns []string
	spare   []string // of them, those that only tell the origin of rows

	picked map[int32][]int32 // rows of the block in hand, by schema
}

// target folds under one schema that the version can be folded under.
type target struct {
	schema *event.Schema
	c      *metric.Compiled
	folded *metric.Compiled // c, or c with the states that an audit needs
	needs  []bool           // columns of schema
	folder *fold.Folder
}

// lane is the rows of one schema.
type lane struct {
	schema *event.Schema
	to     *target
	older  bool // a field that the version reads is younger than the rows
}

// New compiles a version of the snapshot for rows of every schema of its stream.
func New(snap *ledger.Snapshot, version int64) (*Reader, error) { return open(snap, version, false) }

// ForAudit is New with the states of metric.WithMagnitudes, which Take's blocks then hold, too.
func ForAudit(snap *ledger.Snapshot, version int64) (*Reader, error) {
	return open(snap, version, true)
}

func open(snap *ledger.Snapshot, version int64, magnitudes bool) (*Reader, error) {
	r := &Reader{lanes: map[int32]*lane{}, picked: map[int32][]int32{}}
	if !r.find(snap, version) {
		return nil, fault.New(fault.Lost, "version_gone", "view version %d is gone", version)
	}
	i := slices.IndexFunc(snap.Streams, func(s ledger.Stream) bool { return s.Name == r.View.Stream })
	if i < 0 {
		return nil, fault.New(fault.Corrupt, "no_schema", "stream %s has no schema", r.View.Stream)
	}
	stream := &snap.Streams[i]
	schemas := make([]*event.Schema, len(stream.Schemas))
	for i, v := range stream.Schemas {
		s, err := event.CompileAfter(v.Definition, v.Version, stream.Schemas[0].Definition)
		if err != nil {
			return nil, fmt.Errorf("compiling schema %d of stream %s: %w", v.Version, stream.Name, err)
		}
		schemas[i] = s
		if v.Version >= r.Version.Schema {
			if err := r.addTarget(s, magnitudes); err != nil {
				return nil, err
			}
		}
	}
	if len(r.targets) == 0 {
		return nil, fault.New(fault.Corrupt, "no_schema", "stream %s has no schema %d", stream.Name, r.Version.Schema)
	}
	r.addLanes(schemas)
	return r, nil
}

func (r *Reader) find(snap *ledger.Snapshot, version int64) bool {
	for _, v := range snap.Views {
		for _, x := range v.Versions {
			if x.ID == version {
				r.View, r.Version = v, x
				return x.State != ledger.Dropped
			}
		}
	}
	return false
}

func (r *Reader) addTarget(s *event.Schema, magnitudes bool) error {
	c, err := metric.CompileStored(r.Version.Definition, r.Version.Metadata, s)
	if err != nil {
		return fmt.Errorf("compiling version %d of view %s under schema %d: %w", r.Version.ID, r.View.Name, s.Version, err)
	}
	folded := c
	if magnitudes {
		folded = c.WithMagnitudes()
	}
	r.targets = append(r.targets, &target{schema: s, c: c, folded: folded, needs: c.Columns(s), folder: fold.New(folded)})
	return nil
}

// addLanes gives the rows of each schema the target they are folded under, and lists what has to be read.
func (r *Reader) addLanes(schemas []*event.Schema) {
	need := map[string]bool{}
	for _, s := range schemas {
		l := &lane{schema: s, to: r.targets[0]}
		for _, t := range r.targets {
			if t.schema.Version == s.Version {
				l.to = t
			}
		}
		for i, wanted := range l.to.needs {
			l.older = l.older || wanted && s.Index(l.to.schema.Columns()[i].Name) < 0
		}
		for i, wanted := range l.to.schema.Sources(s, l.to.needs) {
			if wanted {
				need[s.Columns()[i].Name] = true
			}
		}
		r.lanes[s.Version] = l
	}
	for _, name := range origin {
		if !need[name] {
			r.spare = append(r.spare, name)
		}
		need[name] = true
	}
	for name := range need {
		r.columns = append(r.columns, name)
	}
	slices.Sort(r.columns)
}

// origin are the columns that say whether a row is folded, and how.
var origin = [...]string{event.ColumnLog, event.ColumnPartition, event.ColumnOffset, event.ColumnSchema}

// Coarsen folds into buckets of a tier's grain, for whoever keeps no finer ones.
func (r *Reader) Coarsen(tier calendar.Grain) {
	for _, t := range r.targets {
		t.folder.Coarsen(tier)
	}
}

// Columns are the columns of the stream's table that Add needs.
func (r *Reader) Columns() []string { return r.columns }

// Select makes a selection read what Add needs of rows within the bounds: where all rows of a part of a file
// are within them, what tells their origin is not read. The bounds may be asked from several goroutines.
func (r *Reader) Select(sel lake.Selection, in Bounds) lake.Selection {
	sel.Columns, sel.Spare = r.columns, r.spare
	sel.Whole = func(o lake.Origin) bool {
		if r.lanes[o.Schema] == nil {
			return false // Add says what is wrong with it
		}
		for p := int64(o.FirstPartition); p <= int64(o.LastPartition); p++ {
			if b := in(span.Key{Log: o.Log, Partition: int32(p)}); o.Offsets.From < b.From || o.Offsets.To > b.To {
				return false
			}
		}
		return true
	}
	return sel
}

// Compiled is the version under the stream's newest schema. Its states are those of every schema.
func (r *Reader) Compiled() *metric.Compiled { return r.targets[len(r.targets)-1].c }

// Folded is Compiled with the states that Take's blocks have.
func (r *Reader) Folded() *metric.Compiled { return r.targets[len(r.targets)-1].folded }

// Schema is the version of the newest schema that the reader knows.
func (r *Reader) Schema() int32 { return r.targets[len(r.targets)-1].schema.Version }

// Add folds the rows of a block that lie within the bounds.
func (r *Reader) Add(b *lake.Block, in Bounds) error { return r.add(b, in, false) }

// AddOlder is Add of those rows alone that Statements leaves out.
func (r *Reader) AddOlder(b *lake.Block, in Bounds) error { return r.add(b, in, true) }

func (r *Reader) add(b *lake.Block, in Bounds, older bool) error {
	if b.Origin != nil {
		return r.addWhole(b, older)
	}
	if err := r.pick(b, in); err != nil {
		return err
	}
	for version, rows := range r.picked {
		if len(rows) == 0 || older && !r.lanes[version].older {
			continue
		}
		part := b
		if len(rows) < b.N {
			part = b.Pick(rows)
		}
		if err := r.lanes[version].fold(part); err != nil {
			return fmt.Errorf("folding rows of schema %d: %w", version, err)
		}
		r.Rows += int64(len(rows))
	}
	return nil
}

// addWhole folds all rows of a block.
func (r *Reader) addWhole(b *lake.Block, older bool) error {
	l := r.lanes[b.Origin.Schema]
	if older && !l.older {
		return nil
	}
	if err := l.fold(b); err != nil {
		return fmt.Errorf("folding rows of schema %d: %w", b.Origin.Schema, err)
	}
	r.Rows += int64(b.N)
	return nil
}

// pick lists the rows within the bounds by schema.
func (r *Reader) pick(b *lake.Block, in Bounds) error {
	for v := range r.picked {
		r.picked[v] = r.picked[v][:0]
	}
	var cols [4][]int64
	for i, name := range origin {
		at := b.Index(name)
		if at < 0 {
			return fault.New(fault.Corrupt, "lake_column", "the lake's rows have no column %s", name)
		}
		cols[i] = b.Cols[at].Ints
	}
	key, bounds := span.Key{Log: -1}, span.Range{}
	version, rows := int32(-1), []int32(nil)
	for i := range b.N {
		if k := (span.Key{Log: span.Log(cols[0][i]), Partition: int32(cols[1][i])}); k != key {
			key, bounds = k, in(k)
		}
		if at := cols[2][i]; at < bounds.From || at >= bounds.To {
			if at < bounds.From {
				r.Below++
			}
			continue
		}
		if v := int32(cols[3][i]); v != version {
			if version >= 0 {
				r.picked[version] = rows
			}
			if r.lanes[v] == nil {
				return fault.New(fault.Corrupt, "no_schema", "row %s/%d was judged under schema %d, which the ledger does not have", key, cols[2][i], v)
			}
			version, rows = v, r.picked[v]
		}
		rows = append(rows, int32(i))
	}
	if version >= 0 {
		r.picked[version] = rows
	}
	return nil
}

func (l *lane) fold(b *lake.Block) error {
	rows := lake.Rows(b, l.schema)
	if l.schema != l.to.schema {
		rows = l.newer(rows)
	}
	return l.to.folder.Add(rows)
}

// newer gives the rows the columns of the target's schema.
func (l *lane) newer(rows *event.Rows) *event.Rows {
	if l.older {
		return l.to.schema.FromOlder(rows)
	}
	out := &event.Rows{Schema: l.to.schema, N: rows.N, Cols: make([]column.Vec, len(l.to.schema.Columns()))}
	for i, c := range l.to.schema.Columns() {
		if k := l.schema.Index(c.Name); k >= 0 {
			out.Cols[i] = rows.Cols[k]
		}
	}
	return out
}

// Bytes is about how much memory the states held take.
func (r *Reader) Bytes() int {
	n := 0
	for _, t := range r.targets {
		n += t.folder.Bytes()
	}
	return n
}

// Take returns the states held as blocks and forgets them.
func (r *Reader) Take() []*fold.States {
	var out []*fold.States
	for _, t := range r.targets {
		out = append(out, t.folder.Take()...)
	}
	return out
}
