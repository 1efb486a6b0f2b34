package icelake

import (
	"cmp"
	"context"
	"io"
	"io/fs"
	"math/bits"
	"slices"
	"sync"

	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/metadata"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/pinflow/pinflow/internal/pages"
)

// reach says how data files in a bucket are read. From a bucket the first byte of an answer takes some ten
// milliseconds, in which a core folds some hundred thousand rows, and from then on a connection brings 50 to 100 kB a
// millisecond. So what is needed is asked for in few requests, several at once, before its turn.
type reach struct {
	hole     int64 // bytes that nobody needs but that are fetched with what lies around them rather than ask twice
	request  int64 // the longest request, in bytes; more takes several at once
	requests int64 // at once, of all scans: fewer than the connections that are kept open
	files    int   // of a scan in hand: some are opened and fetched while others are decoded
	groups   int   // row groups of a file that are fetched while another is decoded
	ahead    int64 // bytes that are fetched before their turn, of all scans
}

// usualReach leaves most of a unit's memory (512 MiB) to what it does with the rows. Its hole is what a connection
// brings in the time of one request.
var usualReach = reach{hole: 512 << 10, request: 8 << 20, requests: 16, files: 6, groups: 3, ahead: 64 << 20}

// far reads data files in a bucket. What has not its turn yet is fetched if there is room for it, else when its turn
// has come: nobody waits for room, so scans cannot block each other, nor one that is made within another.
type far struct {
	b     *bucket
	reach reach
	room  *semaphore.Weighted // bytes, of reach.ahead
	lines *semaphore.Weighted // requests
	spare [33]sync.Pool       // of *[]byte, by the power of 2 that is their size
}

func newFar(b *bucket, r reach) *far {
	return &far{b: b, reach: r, room: semaphore.NewWeighted(r.ahead), lines: semaphore.NewWeighted(r.requests)}
}

// buffer is memory for n bytes, with anything in it.
func (f *far) buffer(n int64) []byte {
	class := bits.Len64(uint64(max(n, 1) - 1))
	if class >= len(f.spare) {
		return make([]byte, n)
	}
	if p, ok := f.spare[class].Get().(*[]byte); ok {
		return (*p)[:n]
	}
	return make([]byte, n, 1<<class)
}

// free takes back what buffer gave.
func (f *far) free(p []byte) {
	if class := bits.Len64(uint64(max(cap(p), 1) - 1)); class < len(f.spare) && cap(p) == 1<<class {
		f.spare[class].Put(&p)
	}
}

// open opens a data file of about so many bytes: a small one as a whole.
func (f *far) open(ctx context.Context, at string, size int64) (*object, error) {
	end := int64(tailSize)
	if size <= tailSize+f.reach.hole {
		end = max(size, 1)
	}
	o := &object{b: f.b, at: at, free: f.free}
	if err := o.open(ctx, end, f.buffer); err != nil {
		return nil, &fs.PathError{Op: "open", Path: at, Err: err}
	}
	return o, nil
}

// extent is the bytes [from, to) of a file.
type extent struct{ from, to int64 }

// needed are the bytes of an object that columns of a row group take and that are not in memory, in requests.
func (f *far) needed(o *object, rows *metadata.RowGroupMetaData, columns []pages.Column) []extent {
	end := o.size - int64(len(o.tail))
	var parts []extent
	for _, c := range columns {
		chunk, err := rows.ColumnChunk(c.Leaf)
		if err != nil {
			return nil // whoever reads it says why
		}
		e := extent{from: chunk.DataPageOffset()}
		if at := chunk.DictionaryPageOffset(); chunk.HasDictionaryPage() && at > 0 {
			e.from = min(e.from, at)
		}
		if size := chunk.TotalCompressedSize(); e.from >= 0 && size > 0 && size <= o.size-e.from {
			parts = append(parts, extent{e.from, min(e.from+size, end)})
		}
	}
	return joined(parts, f.reach.hole, f.reach.request)
}

// joined puts extents together that are at most hole apart, and cuts what is longer than most.
func joined(parts []extent, hole, most int64) (out []extent) {
	slices.SortFunc(parts, func(a, b extent) int { return cmp.Compare(a.from, b.from) })
	for _, p := range parts {
		switch last := len(out) - 1; {
		case p.from >= p.to:
		case last >= 0 && p.from-out[last].to <= hole:
			out[last].to = max(out[last].to, p.to)
		default:
			out = append(out, p)
		}
	}
	for i := 0; i < len(out); i++ {
		if cut := out[i].from + most; out[i].to > cut {
			out = slices.Insert(out, i+1, extent{cut, out[i].to})
			out[i].to = cut
		}
	}
	return out
}

// fetched is bytes of an object that are in memory or on their way there.
type fetched struct {
	far    *far
	pieces []held // in order
	room   int64  // of far.room
	end    context.CancelFunc
	ways   *errgroup.Group
}

type held struct {
	at    int64
	bytes []byte
}

// fetch begins to fetch extents. early: only if there is room for them; nil: there is none. What comes back has to be
// freed.
func (f *far) fetch(ctx context.Context, o *object, wanted []extent, early bool) *fetched {
	out := &fetched{far: f}
	if early {
		for _, e := range wanted {
			out.room += 1 << bits.Len64(uint64(e.to-e.from-1)) // what buffer takes
		}
		if !f.room.TryAcquire(out.room) {
			return nil
		}
	}
	ctx, out.end = context.WithCancel(ctx)
	out.ways, ctx = errgroup.WithContext(ctx)
	for _, e := range wanted {
		p := held{e.from, f.buffer(e.to - e.from)}
		out.pieces = append(out.pieces, p)
		out.ways.Go(func() error {
			if err := f.lines.Acquire(ctx, 1); err != nil {
				return err
			}
			defer f.lines.Release(1)
			return o.fetch(ctx, p.bytes, p.at)
		})
	}
	return out
}

// wait waits until all of it is there.
func (f *fetched) wait() error { return f.ways.Wait() }

// free ends what is still on its way and gives the memory back.
func (f *fetched) free() {
	if f == nil {
		return
	}
	f.end()
	_ = f.ways.Wait() // nobody wants it any more
	for _, p := range f.pieces {
		f.far.free(p.bytes)
	}
	f.pieces = nil
	f.far.room.Release(f.room)
	f.room = 0
}

// reading is row groups of a file that are read one after the other.
type reading struct {
	far   *far
	file  *dataReader
	parts []part
	bytes []*fetched // by part
}

func (f *far) reading(file *dataReader, parts []part) *reading {
	return &reading{f, file, parts, make([]*fetched, len(parts))}
}

// fetch begins to fetch a part unless it has begun, and tells whether it has.
func (r *reading) fetch(ctx context.Context, i int, early bool) bool {
	if r.bytes[i] == nil {
		p := r.parts[i]
		r.bytes[i] = r.far.fetch(ctx, r.file.far, r.far.needed(r.file.far, r.file.MetaData().RowGroup(p.group), p.columns), early)
	}
	return r.bytes[i] != nil
}

// ahead begins to fetch parts from i on, as many as there is room for.
func (r *reading) ahead(ctx context.Context, i, n int) {
	for ; n > 0 && i < len(r.parts) && r.fetch(ctx, i, true); n-- {
		i++
	}
}

// early fetches part i before its turn if there is room, and waits for it then.
func (r *reading) early(ctx context.Context, i int) error {
	if r.ahead(ctx, i, 1); r.bytes[i] == nil {
		return nil
	}
	return r.bytes[i].wait()
}

// view is the file with part i in memory, whose turn it is. Its pages are read from there one by one, while the parts
// that come next are fetched.
func (r *reading) view(ctx context.Context, i int) (*file.Reader, error) {
	r.fetch(ctx, i, false)
	r.ahead(ctx, i+1, r.far.reach.groups)
	if err := r.bytes[i].wait(); err != nil {
		return nil, err
	}
	props := parquet.NewReaderProperties(memory.DefaultAllocator)
	props.BufferedStreamEnabled = true
	return file.NewParquetReader(window{r.file.far, r.bytes[i].pieces}, file.WithMetadata(r.file.MetaData()), file.WithReadProps(props))
}

// done gives the memory of part i back.
func (r *reading) done(i int) { r.bytes[i].free() }

// free ends all.
func (r *reading) free() {
	for _, b := range r.bytes {
		b.free()
	}
}

// window is an object of which pieces are in memory.
type window struct {
	*object
	pieces []held
}

func (w window) ReadAt(p []byte, off int64) (n int, err error) {
	for n < len(p) {
		at, rest := off+int64(n), p[n:]
		i, _ := slices.BinarySearchFunc(w.pieces, at, func(x held, at int64) int { return int(x.at + int64(len(x.bytes)) - at - 1) })
		switch {
		case i < len(w.pieces) && w.pieces[i].at <= at:
			n += copy(rest, w.pieces[i].bytes[at-w.pieces[i].at:])
			continue
		case i < len(w.pieces):
			rest = rest[:min(int64(len(rest)), w.pieces[i].at-at)]
		}
		k, err := w.object.ReadAt(rest, at)
		if n += k; err != nil && (err != io.EOF || n < len(p)) {
			return n, err
		}
	}
	return n, nil
}
