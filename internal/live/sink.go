package live

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/fold"
	"github.com/pinflow/pinflow/internal/intake"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/metric"
	"github.com/pinflow/pinflow/internal/segment"
	"github.com/pinflow/pinflow/internal/span"
)

// decodeBatch is how many rows are decoded before they are folded: few enough to stay in the cache.
const decodeBatch = 4096

// sink folds slices. It is used by one goroutine.
type sink struct {
	cfg   Config
	m     *Metrics
	store Store
	codec *segment.Codec

	streams map[string]*feed
	since   time.Time // of the first record held
}

// feed is what a stream's records flow into.
type feed struct {
	stream *intake.Stream
	lanes  map[int32]*lane // by schema version

	// Of a flush that is under way, or has to be tried again:
	pieces   []ledger.Segment // encoded, not in the ledger yet
	write    int64            // open, with the pieces that are; 0: none
	segments int              // in it
	bytes    int
}

func (f *feed) forget() { f.pieces, f.write, f.segments, f.bytes = nil, 0, 0, 0 }

// lane decodes under one schema version and folds into each view version that is fed.
type lane struct {
	schema  *event.Schema
	decoder *event.Decoder
	outs    []*out
}

type out struct {
	version int64
	tier    string
	cut     span.Vector
	folder  *fold.Folder
}

// Catalogue sets what is fed from now on.
func (s *sink) Catalogue(c *intake.Catalogue) error {
	s.streams = map[string]*feed{}
	for _, name := range c.Names() {
		f := &feed{stream: c.Stream(name), lanes: map[int32]*lane{}}
		for _, schema := range f.stream.Schemas {
			l, err := newLane(f.stream, schema)
			if err != nil {
				return err
			}
			f.lanes[schema.Version] = l
		}
		s.streams[name] = f
	}
	return nil
}

func newLane(st *intake.Stream, schema *event.Schema) (*lane, error) {
	l := &lane{schema: schema}
	needed := make([]bool, len(schema.Columns()))
	for _, view := range st.Views {
		for _, v := range view.Versions {
			if v.State == ledger.Dropped || v.Schema > schema.Version {
				continue // a version typed under a newer schema is live from a later cut
			}
			c, err := metric.CompileStored(v.Definition, v.Metadata, schema)
			if err != nil {
				return nil, fmt.Errorf("compiling version %d of view %s under schema %d of %s: %w", v.ID, view.Name, schema.Version, st.Name, err)
			}
			for i, need := range c.Columns(schema) {
				needed[i] = needed[i] || need
			}
			l.outs = append(l.outs, &out{version: v.ID, tier: c.Grain.String(), cut: v.Cut, folder: fold.New(c)})
		}
	}
	l.decoder = schema.NewDecoder(needed)
	return l, nil
}

// Add folds a slice, cut where a schema or a version begins.
func (s *sink) Add(_ context.Context, sl *intake.Slice) error {
	if s.since.IsZero() {
		s.since = time.Now()
	}
	p, f := sl.P, s.streams[sl.P.Stream.Name]
	for i := 0; i < len(sl.Records); {
		schema, until := p.Stream.SchemaAt(p.Key, sl.Records[i].Offset)
		l := f.lanes[schema.Version]
		for _, o := range l.outs {
			if cut := o.cut[p.Key]; cut > sl.Records[i].Offset {
				until = min(until, cut)
			}
		}
		j := i
		for j < len(sl.Records) && sl.Records[j].Offset < until {
			j++
		}
		if err := l.fold(p, sl.Records[i:j], sl.Duplicate[i:j]); err != nil {
			return fmt.Errorf("folding %s %s [%d, %d]: %w", p.Stream.Name, p.Key, sl.Records[i].Offset, sl.Records[j-1].Offset, err)
		}
		i = j
	}
	return nil
}

// fold takes records that lie on one side of every cut.
func (l *lane) fold(p *intake.Partition, records []event.Record, duplicate []bool) error {
	first := records[0].Offset
	emit := func() error {
		rows := l.decoder.Rows()
		if rows.N == 0 {
			return nil
		}
		for _, o := range l.outs {
			if o.cut[p.Key] <= first {
				if err := o.folder.Add(rows); err != nil {
					return fmt.Errorf("view version %d: %w", o.version, err)
				}
			}
		}
		l.decoder.Reset()
		return nil
	}
	for i := range records {
		switch {
		case duplicate[i]:
			continue
		case l.decoder.Append(&records[i]).Dead():
			p.Counts.Dead++
		default:
			p.Counts.Rows++
		}
		if l.decoder.Rows().N >= decodeBatch {
			if err := emit(); err != nil {
				return err
			}
		}
	}
	return emit()
}

// FlushBy is FlushEvery after the first record held, or at once when memory is short.
func (s *sink) FlushBy() time.Time {
	if s.since.IsZero() {
		return time.Time{}
	}
	held := 0
	for _, f := range s.streams {
		for _, l := range f.lanes {
			for _, o := range l.outs {
				held += o.folder.Bytes()
			}
		}
	}
	if held > s.cfg.MaxBytes {
		return s.since
	}
	return s.since.Add(s.cfg.FlushEvery)
}

// Flush seals one write a stream.
func (s *sink) Flush(ctx context.Context, parts []*intake.Partition) error {
	start := time.Now()
	for _, name := range s.names() {
		f := s.streams[name]
		var mine []*intake.Partition
		var moves []ledger.Move
		for _, p := range parts {
			if m, moved := p.Move(); moved && p.Stream.Name == name {
				mine, moves = append(mine, p), append(moves, m)
			}
		}
		if len(moves) == 0 {
			continue
		}
		if err := s.seal(ctx, f, moves); err != nil {
			return fmt.Errorf("sealing a flush of %s: %w", name, err)
		}
		for i, p := range mine {
			p.Settle()
			s.count(name, moves[i].Counts)
		}
	}
	s.since = time.Time{}
	s.m.Flush.Observe(time.Since(start).Seconds())
	return nil
}

// seal writes down what is held, in pieces under an open write if it is much, and seals it with the last.
func (s *sink) seal(ctx context.Context, f *feed, moves []ledger.Move) error {
	w := ledger.Write{Kind: ledger.Flush, Stream: f.stream.Name, Epoch: f.stream.Epoch, Owner: s.cfg.Owner}
	for _, schema := range f.stream.Schemas {
		for _, o := range f.lanes[schema.Version].outs {
			for _, st := range o.folder.Take() {
				seg, err := toSegment(s.codec, st, o.version, o.tier, ledger.SourceLive)
				if err != nil {
					return err
				}
				f.pieces = append(f.pieces, seg)
			}
			if err := s.spill(ctx, f, w); err != nil {
				return err
			}
		}
	}
	if err := s.store.Seal(ctx, ledger.Seal{Write: w, ID: f.write, Unit: ledger.Live, Moves: moves, Segments: f.pieces}); err != nil {
		return err
	}
	f.book(f.pieces)
	s.m.Flushes.Inc()
	s.m.Segments.Add(float64(f.segments))
	s.m.Bytes.Add(float64(f.bytes))
	f.forget()
	return nil
}

// spill writes pieces down early until what is left fits into the sealing transaction.
func (s *sink) spill(ctx context.Context, f *feed, w ledger.Write) error {
	for {
		n, size := 0, 0
		for n < len(f.pieces) && (n == 0 || size+len(f.pieces[n].Data) <= s.cfg.PieceBytes) {
			size += len(f.pieces[n].Data) + pieceSize
			n++
		}
		if n == len(f.pieces) {
			return nil
		}
		if f.write == 0 {
			id, err := s.store.Open(ctx, w)
			if err != nil {
				return err
			}
			f.write = id
		}
		if err := s.store.AddSegments(ctx, f.write, f.pieces[:n]); err != nil {
			return err
		}
		f.book(f.pieces[:n])
		f.pieces = f.pieces[n:]
	}
}

// pieceSize is more than what a segment takes in a transaction beside its data.
const pieceSize = 256

func (f *feed) book(segs []ledger.Segment) {
	f.segments += len(segs)
	for i := range segs {
		f.bytes += len(segs[i].Data)
	}
}

func toSegment(codec *segment.Codec, st *fold.States, version int64, tier, source string) (ledger.Segment, error) {
	data, err := codec.Encode(st)
	if err != nil {
		return ledger.Segment{}, fmt.Errorf("encoding a segment of version %d: %w", version, err)
	}
	from, to := st.Range()
	return ledger.Segment{Version: version, Tier: tier, From: from, To: to, Rows: int64(st.N), Source: source, Data: data}, nil
}

func (s *sink) count(stream string, c ledger.Counts) {
	for as, n := range map[string]int64{"row": c.Rows, "dead": c.Dead, "duplicate": c.Duplicates, "gap": c.Gaps} {
		s.m.Records.WithLabelValues(stream, as).Add(float64(n))
	}
}

func (s *sink) names() []string {
	names := make([]string, 0, len(s.streams))
	for n := range s.streams {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// Drop forgets the groups held.
func (s *sink) Drop() {
	s.since = time.Time{}
	for _, f := range s.streams {
		f.forget()
		for _, l := range f.lanes {
			l.decoder.Reset()
			for _, o := range l.outs {
				o.folder.Reset()
			}
		}
	}
}
