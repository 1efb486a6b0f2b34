package batch

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/intake"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
)

// sink collects records and seals stages. It is used by one goroutine.
type sink struct {
	cfg   Config
	log   *slog.Logger
	m     *Metrics
	store Store
	files Files

	streams map[string]*feed
	since   time.Time // of the first record held
}

var _ intake.Sink = (*sink)(nil)

// feed is what is held of a stream.
type feed struct {
	stream *intake.Stream
	shards []*shard
	tables bool // they are there

	// Of a flush that has to be tried again:
	staged []ledger.LakeFile
	ready  bool  // staged is of all that is held
	told   bool  // the ledger may know of staged: a sweep deletes them, we may not
	write  int64 // the open write that they are for; 0: none
	added  int   // so many of staged are in it
}

// shard is a part of what is held. Each is filled by a goroutine of its own, so that all cores decode.
type shard struct {
	lanes map[int32]*lane // by schema version
	dead  letters
}

// Bounds of work in parallel: a goroutine is worth it for so many records, and a file of its own for so
// many bytes of columns, lest the lake fill with small ones.
const (
	maxShards    = 4
	shardRecords = 256
	shardBytes   = 8 << 20
)

// lane decodes under one schema version.
type lane struct {
	schema  *event.Schema
	columns []lake.Column
	decoder *event.Decoder
}

func newSink(cfg Config, log *slog.Logger, m *Metrics, store Store, files Files) *sink {
	if cfg.StageEvery == 0 {
		cfg.StageEvery = 10 * time.Second
	}
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = 64 << 20
	}
	if cfg.PieceBytes == 0 {
		cfg.PieceBytes = ledger.MaxTx
	}
	return &sink{cfg: cfg, log: log, m: m, store: store, files: files, streams: map[string]*feed{}}
}

// Catalogue sets the streams and schemas in force. Nothing is held then.
func (s *sink) Catalogue(c *intake.Catalogue) error {
	s.streams = map[string]*feed{}
	for _, name := range c.Names() {
		f := &feed{stream: c.Stream(name)}
		for range min(runtime.GOMAXPROCS(0), maxShards) {
			sh := &shard{lanes: map[int32]*lane{}}
			for _, schema := range f.stream.Schemas {
				sh.lanes[schema.Version] = &lane{schema: schema, columns: lake.Columns(schema), decoder: schema.NewDecoder(nil)}
			}
			f.shards = append(f.shards, sh)
		}
		s.streams[name] = f
	}
	return nil
}

// Add judges a slice and books each record as row, dead letter or, by the intake, duplicate.
func (s *sink) Add(_ context.Context, sl *intake.Slice) error {
	if s.since.IsZero() {
		s.since = time.Now()
	}
	f := s.streams[sl.P.Stream.Name]
	f.ready = false
	n := len(sl.Records)
	parts := max(1, min(len(f.shards), n/shardRecords))
	var counts [maxShards]ledger.Counts
	var others sync.WaitGroup
	for i := 1; i < parts; i++ {
		others.Go(func() { counts[i] = f.shards[i].add(sl, n*i/parts, n*(i+1)/parts) })
	}
	counts[0] = f.shards[0].add(sl, 0, n/parts)
	others.Wait()
	for _, c := range counts {
		sl.P.Counts = sl.P.Counts.Add(c)
	}
	return nil
}

// add judges the records [from, to) of a slice and says how many were what.
func (sh *shard) add(sl *intake.Slice, from, to int) (c ledger.Counts) {
	p := sl.P
	var l *lane
	until := int64(0)
	for i := from; i < to; i++ {
		r := &sl.Records[i]
		if sl.Duplicate[i] {
			continue
		}
		if l == nil || r.Offset >= until {
			var schema *event.Schema
			schema, until = p.Stream.SchemaAt(p.Key, r.Offset)
			l = sh.lanes[schema.Version]
		}
		v := event.Verdict{Code: r.Reason, Path: r.Path, Message: r.Message}
		if !p.Dead {
			v = l.decoder.Append(r)
		} else if v.Code == "" {
			v.Code = "unknown" // another producer wrote to the dead log
		}
		if v.Dead() {
			sh.dead.add(p.Stream.Name, r, v, l.schema.Version)
			c.Dead++
		} else {
			c.Rows++
		}
	}
	return c
}

// FlushBy is when the interval ends, or at once when memory is short.
func (s *sink) FlushBy() time.Time {
	if s.since.IsZero() {
		return time.Time{}
	}
	held := 0
	for _, f := range s.streams {
		for _, sh := range f.shards {
			held += sh.bytes()
		}
	}
	if held > s.cfg.MaxBytes {
		return s.since
	}
	return s.since.Add(s.cfg.StageEvery)
}

// Flush seals one stage a stream.
func (s *sink) Flush(ctx context.Context, parts []*intake.Partition) error {
	for _, f := range s.ordered() {
		var mine []*intake.Partition
		var moves []ledger.Move
		for _, p := range parts {
			if m, moved := p.Move(); moved && p.Stream.Name == f.stream.Name {
				mine, moves = append(mine, p), append(moves, m)
			}
		}
		if len(moves) == 0 {
			continue
		}
		start := time.Now()
		if err := s.seal(ctx, f, moves); err != nil {
			return fmt.Errorf("sealing a stage of %s: %w", f.stream.Name, err)
		}
		for i, p := range mine {
			p.Settle()
			s.count(f.stream.Name, moves[i].Counts)
		}
		s.m.StageTime.Observe(time.Since(start).Seconds())
	}
	s.since = time.Time{}
	return nil
}

// seal writes what is held of a stream and seals it together with the moves.
func (s *sink) seal(ctx context.Context, f *feed, moves []ledger.Move) error {
	w := ledger.Write{Kind: ledger.Stage, Stream: f.stream.Name, Epoch: f.stream.Epoch, Owner: s.cfg.Owner}
	if err := s.stage(ctx, f, w); err != nil {
		return err
	}
	last, err := s.tell(ctx, f)
	if err != nil {
		return err
	}
	f.told = true
	if err := s.store.Seal(ctx, ledger.Seal{Write: w, ID: f.write, Unit: ledger.Batch, Moves: moves, Files: last}); err != nil {
		return err
	}
	s.m.Stages.Inc()
	for i := range f.staged {
		s.m.StagedBytes.Add(float64(f.staged[i].Bytes))
	}
	f.reset()
	return nil
}

// tell puts all but the last transaction's worth of files into the write, and returns the rest. A second
// try goes on in the same write: a file in two writes would be deleted with the one that is swept.
func (s *sink) tell(ctx context.Context, f *feed) ([]ledger.LakeFile, error) {
	for {
		part := fit(f.staged[f.added:], s.cfg.PieceBytes)
		if f.added+part == len(f.staged) {
			return f.staged[f.added:], nil
		}
		f.told = true
		if err := s.store.AddFiles(ctx, f.write, f.staged[f.added:f.added+part]); err != nil {
			return nil, err
		}
		f.added += part
	}
}

// stage opens a write and puts the rows and letters held into files, unless an earlier try has. The
// write comes first: a file on the disk is then never older than the write it is for, so that one
// which nothing names, older than every open write, can be known to be a leftover.
func (s *sink) stage(ctx context.Context, f *feed, w ledger.Write) error {
	jobs := f.jobs()
	if f.ready || len(jobs) == 0 {
		return nil // there may be moves of duplicates and gaps alone
	}
	s.discard(ctx, f)
	if f.write == 0 {
		id, err := s.store.Open(ctx, w)
		if err != nil {
			return err
		}
		f.write = id
	}
	if err := s.ensure(ctx, f); err != nil {
		return err
	}
	files := make([][]ledger.LakeFile, len(jobs))
	all, ctx := errgroup.WithContext(ctx)
	for i, each := range jobs {
		all.Go(func() error {
			for _, j := range each {
				more, err := s.files.Stage(ctx, j.table, j.blocks)
				if err != nil {
					return err
				}
				files[i] = append(files[i], more...)
			}
			return nil
		})
	}
	err := all.Wait()
	f.staged = slices.Concat(files...) // those of a failed try are discarded by the next
	f.ready = err == nil
	return err
}

// job is rows of a table that become files of their own.
type job struct {
	table  string
	blocks []lake.Block
}

// jobs is what has to be put into files: in a list one after the other, the lists at once. Only a shard
// with many rows gets files of its own.
func (f *feed) jobs() [][]job {
	letters, rows := job{table: ledger.DeadLetters}, job{table: f.stream.Name}
	var lists [][]job
	for _, sh := range f.shards {
		if sh.dead.block.N > 0 {
			letters.blocks = append(letters.blocks, sh.dead.block)
		}
		blocks := sh.blocks(f.stream.Schemas)
		if sh.bytes() >= shardBytes {
			lists = append(lists, []job{{f.stream.Name, blocks}})
		} else {
			rows.blocks = append(rows.blocks, blocks...)
		}
	}
	few := slices.DeleteFunc([]job{letters, rows}, func(j job) bool { return len(j.blocks) == 0 })
	if len(few) > 0 {
		lists = append(lists, few)
	}
	return lists
}

// ensure makes the stream's tables unless they are there.
func (s *sink) ensure(ctx context.Context, f *feed) error {
	if f.tables {
		return nil
	}
	for _, t := range []lake.Table{lake.DeadLetterTable(), lake.StreamTable(f.stream.Newest())} {
		if err := s.files.EnsureTable(ctx, t); err != nil {
			return err
		}
	}
	f.tables = true
	return nil
}

// discard gives up what an earlier try wrote. Files that the ledger never heard of are removed and their
// write goes on; of the others the sweep knows, and their write must not be sealed.
func (s *sink) discard(ctx context.Context, f *feed) {
	if f.told {
		f.forget()
		return
	}
	if len(f.staged) > 0 {
		if err := s.files.Discard(ctx, f.staged); err != nil {
			s.log.Warn("left files that nothing names", "stream", f.stream.Name, "error", err)
		}
	}
	f.staged, f.ready = nil, false
}

func (f *feed) forget() { f.staged, f.ready, f.told, f.write, f.added = nil, false, false, 0, 0 }

func (sh *shard) blocks(schemas []*event.Schema) []lake.Block {
	var blocks []lake.Block
	for _, schema := range schemas {
		l := sh.lanes[schema.Version]
		if rows := l.decoder.Rows(); rows.N > 0 {
			blocks = append(blocks, lake.Block{Columns: l.columns, N: rows.N, Cols: rows.Cols})
		}
	}
	return blocks
}

// bytes is about how much memory the rows and letters take.
func (sh *shard) bytes() int {
	held := sh.dead.bytes()
	for _, l := range sh.lanes {
		held += l.decoder.Bytes()
	}
	return held
}

// reset forgets what is held.
func (f *feed) reset() {
	f.forget()
	for _, sh := range f.shards {
		sh.dead.reset()
		for _, l := range sh.lanes {
			l.decoder.Reset()
		}
	}
}

// Drop forgets what is held, and removes files that no stage will name.
func (s *sink) Drop() {
	s.since = time.Time{}
	for _, f := range s.streams {
		s.discard(context.Background(), f)
		f.reset()
	}
}

// fit is how many of the first files one transaction of at most so many bytes takes.
func fit(files []ledger.LakeFile, most int) int {
	size := 0
	for i := range files {
		size += len(files[i].Entry) + len(files[i].Path) + 256
		if i > 0 && size > most {
			return i
		}
	}
	return len(files)
}

func (s *sink) count(stream string, c ledger.Counts) {
	for as, n := range map[string]int64{"row": c.Rows, "dead": c.Dead, "duplicate": c.Duplicates, "gap": c.Gaps} {
		s.m.Records.WithLabelValues(stream, as).Add(float64(n))
	}
}

func (s *sink) ordered() []*feed {
	names := make([]string, 0, len(s.streams))
	for n := range s.streams {
		names = append(names, n)
	}
	slices.Sort(names)
	feeds := make([]*feed, len(names))
	for i, n := range names {
		feeds[i] = s.streams[n]
	}
	return feeds
}
