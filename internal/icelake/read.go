package icelake

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"slices"
	"sync"

	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/metadata"
	"github.com/apache/iceberg-go"
	iceio "github.com/apache/iceberg-go/io"
	"github.com/apache/iceberg-go/table"
	"golang.org/x/sync/errgroup"

	"github.com/pinflow/pinflow/internal/column"
	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/pages"
	"github.com/pinflow/pinflow/internal/span"
)

// fileReader reads the data files of a table for a selection.
type fileReader struct {
	lake    *Lake
	columns []fileColumn
	wanted  int // so many of them are shown, the others only ask
	asks    []ask
	whole   func(lake.Origin) bool // nil: not asked
	spare   map[int]bool           // columns that rows which are wanted as a whole come without
	origin  [4]int                 // columns of log, partition, offset, schema
	most    int                    // rows of a block
	blocks  chan *filled
	free    chan *filled
	turns   chan struct{} // of those who decode

	mu      sync.Mutex
	foreign []table.FileScanTask // of files with types that are not ours
}

// fileColumn is a column by the number that stays when names change.
type fileColumn struct {
	id int
	lake.Column
}

// ask is a condition: the value of a column lies in [from, to).
type ask struct {
	column   int
	from, to int64
}

// filled is a block on its way to whoever asked.
type filled struct {
	pages.Block
	rows   []int32 // those selected, when not all are
	chosen bool
	of     []int        // by column: its place in the block; -1: the file has none
	origin *lake.Origin // of rows that are wanted as a whole
}

// blocksInHand is how many blocks the readers of a scan share: one being read by each, one being shown.
const blocksInHand = scanFiles + 1

// spareBytes is how large a block may be so that its memory is kept for the next scan.
const spareBytes = 8 << 20

// newFileReader prepares the columns asked for (nil: all) and the conditions.
func (l *Lake) newFileReader(sel lake.Selection, names []string, sc *iceberg.Schema, asks []condition) *fileReader {
	r := &fileReader{lake: l, most: scanRows, blocks: make(chan *filled), free: make(chan *filled, blocksInHand), turns: make(chan struct{}, scanFiles)}
	for range blocksInHand {
		b, ok := l.spare.Get().(*filled)
		if !ok {
			b = &filled{}
		}
		r.free <- b
	}
	if names == nil {
		for _, f := range sc.Fields() {
			names = append(names, f.Name)
		}
	}
	for _, name := range names {
		r.find(sc, name)
	}
	r.wanted = len(r.columns)
	for _, a := range asks {
		r.asks = append(r.asks, ask{r.find(sc, a.column), a.from, a.to})
	}
	r.wholly(sel, sc)
	return r
}

// wholly prepares the question whether rows are wanted as a whole.
func (r *fileReader) wholly(sel lake.Selection, sc *iceberg.Schema) {
	if sel.Whole == nil {
		return
	}
	r.spare = map[int]bool{}
	for i, name := range [...]string{event.ColumnLog, event.ColumnPartition, event.ColumnOffset, event.ColumnSchema} {
		if r.origin[i] = r.find(sc, name); r.origin[i] < 0 {
			return
		}
		r.spare[r.origin[i]] = slices.Contains(sel.Spare, name)
	}
	r.whole = sel.Whole
}

// find is the position of a column, which is read from now on; -1: the schema has none.
func (r *fileReader) find(sc *iceberg.Schema, name string) int {
	f, ok := sc.FindFieldByName(name)
	if !ok {
		return -1
	}
	for i, c := range r.columns {
		if c.id == f.ID {
			return i
		}
	}
	r.columns = append(r.columns, fileColumn{f.ID, lake.Column{Name: f.Name, Kind: kindOf(f), Required: f.Required}})
	return len(r.columns) - 1
}

// read shows the rows of the files to fn, a few files at once.
func (r *fileReader) read(ctx context.Context, tasks []table.FileScanTask, fn func(*lake.Block) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer r.giveBack()
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(r.lake.filesInHand())
	ended := make(chan error, 1)
	go func() {
		for _, t := range tasks {
			g.Go(func() error {
				if err := r.file(gctx, t); err != nil {
					return fmt.Errorf("reading %s: %w", t.File.FilePath(), err)
				}
				return nil
			})
		}
		ended <- g.Wait()
	}()
	var failed error
	for {
		select {
		case b := <-r.blocks:
			if failed == nil {
				if failed = fn(r.block(b)); failed != nil {
					cancel()
				}
			}
			r.free <- b
		case err := <-ended:
			if failed != nil {
				return failed
			}
			return err
		}
	}
}

// giveBack leaves the memory of the blocks, which are free again, to later scans.
func (r *fileReader) giveBack() {
	for {
		select {
		case b := <-r.free:
			if b.Bytes() > spareBytes {
				continue
			}
			clear(b.Cols[:cap(b.Cols)]) // which hold dictionaries
			b.origin = nil
			r.lake.spare.Put(b)
		default:
			return
		}
	}
}

// filesInHand is how many files of a scan are open at once.
func (l *Lake) filesInHand() int {
	if l.far == nil {
		return scanFiles
	}
	return max(scanFiles, l.far.reach.files)
}

// file reads one data file.
func (r *fileReader) file(ctx context.Context, t table.FileScanTask) (err error) {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	f, err := r.lake.openData(ctx, t.File)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	columns, of, ours := r.leaves(f.Reader)
	if !ours {
		r.mu.Lock()
		r.foreign = append(r.foreign, t)
		r.mu.Unlock()
		return nil
	}
	parts, err := r.parts(f.Reader, layout{columns: columns, of: of})
	if err != nil {
		return err
	}
	if f.far != nil {
		return r.farParts(ctx, f, parts)
	}
	for _, p := range parts {
		if err := r.inTurn(ctx, func() error { return r.group(ctx, f.Reader, p) }); err != nil {
			return err
		}
	}
	return nil
}

// farParts reads row groups of a file in a bucket, of which some are fetched before their turn.
func (r *fileReader) farParts(ctx context.Context, f *dataReader, parts []part) error {
	a := r.lake.far.reading(f, parts)
	defer a.free()
	for i, p := range parts {
		if err := a.early(ctx, i); err != nil {
			return err
		}
		err := r.inTurn(ctx, func() error {
			view, err := a.view(ctx, i)
			if err != nil {
				return err
			}
			return r.group(ctx, view, p)
		})
		if err != nil {
			return err
		}
		a.done(i)
	}
	return nil
}

// inTurn decodes when not too many others do.
func (r *fileReader) inTurn(ctx context.Context, decode func() error) error {
	select {
	case r.turns <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-r.turns }()
	return decode()
}

// part is a row group of which rows are read.
type part struct {
	layout
	group int
	asks  []ask
}

// parts are the row groups of a file that may have rows.
func (r *fileReader) parts(f *file.Reader, all layout) (parts []part, err error) {
	for g := range f.NumRowGroups() {
		rows := f.MetaData().RowGroup(g)
		asks, some, err := r.remaining(rows, all.columns, all.of)
		if err != nil {
			return nil, err
		}
		if !some {
			continue
		}
		p := part{layout: all, group: g, asks: asks}
		if origin, ok := r.originOf(rows, all.columns, all.of); ok && r.whole(origin) {
			p.layout = r.without(all, asks, origin)
		}
		parts = append(parts, p)
	}
	return parts, nil
}

// layout is what is read of a row group.
type layout struct {
	columns []pages.Column
	of      []int
	origin  *lake.Origin // of rows that are wanted as a whole
}

// without leaves out the columns that rows wanted as a whole can spare.
func (r *fileReader) without(l layout, asks []ask, origin lake.Origin) layout {
	out := layout{of: slices.Clone(l.of), origin: &origin}
	for _, a := range asks {
		if r.spare[a.column] {
			return l
		}
	}
	for i, at := range l.of {
		switch {
		case r.spare[i]:
			out.of[i] = -1
		case at >= 0:
			out.of[i] = len(out.columns)
			out.columns = append(out.columns, l.columns[at])
		}
	}
	return out
}

// originOf is where the rows of a row group come from, if statistics tell.
func (r *fileReader) originOf(rows *metadata.RowGroupMetaData, columns []pages.Column, of []int) (o lake.Origin, ok bool) {
	if r.whole == nil {
		return o, false
	}
	var least, most [4]int64
	for i, c := range r.origin {
		if of[c] < 0 {
			return o, false
		}
		if least[i], most[i], ok = within64(rows, columns[of[c]].Leaf); !ok {
			return o, false
		}
	}
	if least[0] != most[0] || least[3] != most[3] || most[2] == math.MaxInt64 {
		return o, false
	}
	return lake.Origin{
		Log: span.Log(least[0]), FirstPartition: int32(least[1]), LastPartition: int32(most[1]),
		Offsets: span.Range{From: least[2], To: most[2] + 1}, Schema: int32(least[3]),
	}, true
}

// within64 is the least and the most of a row group's integers, if statistics tell and none is NULL.
func within64(rows *metadata.RowGroupMetaData, leaf int) (least, most int64, ok bool) {
	chunk, err := rows.ColumnChunk(leaf)
	if err != nil {
		return 0, 0, false
	}
	stats, err := chunk.Statistics()
	if err != nil {
		return 0, 0, false
	}
	longs, is := stats.(*metadata.Int64Statistics)
	if !is || !longs.HasMinMax() || !longs.HasNullCount() || longs.NullCount() > 0 {
		return 0, 0, false
	}
	return longs.Min(), longs.Max(), true
}

// dataReader is a data file that is open.
type dataReader struct {
	*file.Reader
	far *object // it lies in; nil: it is on a disk
}

// openData opens a data file to read columns of it.
func (l *Lake) openData(ctx context.Context, of iceberg.DataFile) (*dataReader, error) {
	if l.far == nil {
		f, err := l.openFile(of.FilePath())
		return &dataReader{Reader: f}, err
	}
	in, err := l.far.open(ctx, of.FilePath(), of.FileSizeBytes())
	if err != nil {
		return nil, notThere(err)
	}
	f, err := readFooter(in)
	return &dataReader{Reader: f, far: in}, err
}

// openFile opens a data file and reads its footer. Closing the reader closes the file.
func (l *Lake) openFile(at string) (*file.Reader, error) {
	in, err := l.files.Open(at)
	if err != nil {
		return nil, notThere(err)
	}
	return readFooter(in)
}

func notThere(err error) error {
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return fault.New(fault.Corrupt, "lake_file", "the data file is not there: %w", err).
		WithAdvice("if a compaction replaced it meanwhile, ask again; else put it back from a backup: pinflow lake status looks for all of them")
}

func readFooter(in iceio.File) (*file.Reader, error) {
	f, err := file.NewParquetReader(in)
	if err != nil {
		return nil, errors.Join(fault.New(fault.Corrupt, "lake_file", "reading the footer: %w", err).
			WithAdvice("put the file back as it was written, from a backup"), in.Close())
	}
	return f, nil
}

// leaves finds the columns in a file; ours: each is of the type that we write.
func (r *fileReader) leaves(f *file.Reader) (columns []pages.Column, of []int, ours bool) {
	byID := map[int]int{}
	sc := f.MetaData().Schema
	for leaf := range sc.NumColumns() {
		// A list's number is that of its outermost node.
		byID[int(sc.ColumnRoot(leaf).FieldID())] = leaf
	}
	for _, c := range r.columns {
		leaf, ok := byID[c.id]
		if !ok {
			of = append(of, -1)
			continue
		}
		of = append(of, len(columns))
		columns = append(columns, pages.Column{Leaf: leaf, Kind: c.Kind})
	}
	for _, c := range columns {
		if pages.Fits(f, c) != nil {
			return nil, nil, false
		}
	}
	return columns, of, true
}

// remaining are the conditions that a row group's statistics do not answer. some: it may have rows.
func (r *fileReader) remaining(rows *metadata.RowGroupMetaData, columns []pages.Column, of []int) (asks []ask, some bool, err error) {
	for _, a := range r.asks {
		if a.column < 0 || of[a.column] < 0 {
			return nil, false, nil // a column that is not there is NULL
		}
		chunk, err := rows.ColumnChunk(columns[of[a.column]].Leaf)
		if err != nil {
			return nil, false, err
		}
		stats, err := chunk.Statistics()
		if err != nil {
			return nil, false, err
		}
		longs, ok := stats.(*metadata.Int64Statistics)
		if ok && longs.HasMinMax() {
			if longs.Max() < a.from || longs.Min() >= a.to {
				return nil, false, nil
			}
			if longs.Min() >= a.from && longs.Max() < a.to && longs.HasNullCount() && longs.NullCount() == 0 {
				continue
			}
		}
		asks = append(asks, a)
	}
	return asks, true, nil
}

// group decodes a row group.
func (r *fileReader) group(ctx context.Context, f *file.Reader, p part) error {
	rows, err := pages.New(ctx, f, p.group, p.columns)
	if err != nil {
		return err
	}
	most := min(r.most, blockRows(f.MetaData().RowGroup(p.group), p.columns))
	for {
		var b *filled
		select {
		case b = <-r.free:
		case <-ctx.Done():
			return ctx.Err()
		}
		b.of, b.origin = p.of, p.origin
		err := rows.Next(&b.Block, most)
		if err != nil || b.N == 0 {
			r.free <- b
			return err
		}
		b.choose(p.asks)
		select {
		case r.blocks <- b:
		case <-ctx.Done():
			r.free <- b
			return ctx.Err()
		}
	}
}

// blockRows is how many rows a block may have so that it stays small.
func blockRows(rows *metadata.RowGroupMetaData, columns []pages.Column) int {
	const size = 32 << 20
	total := int64(1)
	for _, c := range columns {
		if chunk, err := rows.ColumnChunk(c.Leaf); err == nil {
			total += chunk.TotalUncompressedSize()
		}
	}
	return int(min(scanRows, max(64, rows.NumRows()*size/total)))
}

// choose lists the rows that meet the conditions.
func (b *filled) choose(asks []ask) {
	b.chosen, b.rows = len(asks) > 0, b.rows[:0]
	if !b.chosen {
		return
	}
	for i := range b.N {
		ok := true
		for _, a := range asks {
			v := &b.Cols[b.of[a.column]]
			ok = ok && !v.IsNull(i) && v.Ints[i] >= a.from && v.Ints[i] < a.to
		}
		if ok {
			b.rows = append(b.rows, int32(i))
		}
	}
	b.chosen = len(b.rows) < b.N
}

// block is what was asked for of the rows.
func (r *fileReader) block(b *filled) *lake.Block {
	out := &lake.Block{N: b.N, Origin: b.origin}
	for i, c := range r.columns[:r.wanted] {
		if b.origin != nil && r.spare[i] {
			continue
		}
		out.Columns = append(out.Columns, c.Column)
		if at := b.of[i]; at >= 0 {
			out.Cols = append(out.Cols, b.Cols[at])
		} else {
			out.Cols = append(out.Cols, nulls(c.Kind, b.N))
		}
	}
	if b.chosen {
		return out.Pick(b.rows)
	}
	return out
}

// nulls is a column of NULLs, for files that are older than it.
func nulls(kind column.Kind, n int) column.Vec {
	v := column.Vec{Kind: kind, Len: n, Valid: make([]bool, n)}
	switch kind {
	case column.String, column.JSON:
		v.Offs = make([]int32, n+1)
	case column.List:
		v.Offs, v.ListOffs = []int32{0}, make([]int32, n+1)
	case column.Double:
		v.Floats = make([]float64, n)
	case column.Long, column.Boolean, column.Timestamptz, column.Date:
		v.Ints = make([]int64, n)
	case column.Invalid:
	}
	return v
}
