package icelake

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/semaphore"
	"pgregory.net/rapid"

	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/testbed"
)

// What is fetched is all that is needed, in order, each byte once, in requests that are not too long, and of what
// nobody needs only holes that are small.
func TestRequestsCoverWhatIsNeeded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const size = 200
		var parts []extent
		needed := make([]bool, size)
		for range rapid.IntRange(0, 8).Draw(t, "parts") {
			from := rapid.Int64Range(0, size-1).Draw(t, "from")
			to := rapid.Int64Range(from, min(size, from+40)).Draw(t, "to")
			parts = append(parts, extent{from, to})
			for i := from; i < to; i++ {
				needed[i] = true
			}
		}
		hole, most := rapid.Int64Range(0, 30).Draw(t, "hole"), rapid.Int64Range(1, 60).Draw(t, "most")
		got, last := make([]bool, size), int64(0)
		for _, e := range joined(parts, hole, most) {
			if e.from < last || e.to <= e.from || e.to-e.from > most {
				t.Fatalf("%v after %d, of at most %d", e, last, most)
			}
			for last = e.from; last < e.to; last++ {
				got[last] = true
			}
		}
		for i, run := 0, int64(0); i < size; i++ {
			if needed[i] && !got[i] {
				t.Fatalf("byte %d is not fetched", i)
			}
			if run++; needed[i] || !got[i] {
				run = 0
			}
			if run > hole {
				t.Fatalf("byte %d is fetched in a hole of more than %d", i, hole)
			}
		}
	})
}

// Bytes come from the pieces where there are some, else from the object.
func TestWindowReadsPiecesAndTheRest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		whole := rapid.SliceOfN(rapid.Byte(), 1, 100).Draw(t, "whole")
		rest := slices.Clone(whole)
		w := window{}
		for at := 0; at < len(whole); {
			from := rapid.IntRange(at, len(whole)).Draw(t, "from")
			to := rapid.IntRange(from, len(whole)).Draw(t, "to")
			if to > from {
				w.pieces = append(w.pieces, held{int64(from), slices.Clone(whole[from:to])})
				for i := from; i < to; i++ {
					rest[i] = ^rest[i] // not to be looked at
				}
			}
			at = to + 1
		}
		w.object = inMemory("pin.parquet", rest).(*object)
		off := rapid.IntRange(0, len(whole)-1).Draw(t, "off")
		p := make([]byte, rapid.IntRange(0, 120).Draw(t, "len"))
		n, err := w.ReadAt(p, int64(off))
		if short := off+len(p) > len(whole); short != errors.Is(err, io.EOF) || err != nil && !short {
			t.Fatalf("%d bytes at %d of %d: %v", len(p), off, len(whole), err)
		}
		if want := whole[off:min(len(whole), off+len(p))]; !bytes.Equal(p[:n], want) {
			t.Fatalf("%d bytes at %d: %v, want %v", n, off, p[:n], want)
		}
	})
}

// inBucket is a place in S3 with a catalog beside it.
func inBucket(t *testing.T) testbed.Place {
	t.Helper()
	s3 := testbed.Bucket(t)
	return testbed.Place{Catalog: filepath.Join(t.TempDir(), "catalog.db"), Warehouse: "s3://" + s3.Bucket + "/lake", S3: s3}
}

// grouped stages a file whose row groups are the blocks.
func grouped(t *testing.T, l *Lake, groups ...lake.Block) ledger.LakeFile {
	t.Helper()
	tbl, err := l.cat.load(t.Context(), "pin")
	if err != nil {
		t.Fatal(err)
	}
	sc, err := arrowSchema(tbl)
	if err != nil {
		t.Fatal(err)
	}
	f, err := l.begin(tbl, sc, rowsOf{blocks: groups, pieces: []piece{{}}, n: groups[0].N}, groups[0].N, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range groups {
		if err := f.w.write(t.Context(), &groups[i], nil); err != nil {
			t.Fatal(err)
		}
		f.w.rows = rowGroup // it is full
	}
	out, err := f.end(tbl, "pin")
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// layouts fills a table with files of any number of row groups and rows, and returns its rows by offset.
func layouts(t *testing.T, l *Lake, rng *rand.Rand, files int) map[int64]string {
	t.Helper()
	if err := l.EnsureTable(t.Context(), pins()); err != nil {
		t.Fatal(err)
	}
	want, from := map[int64]string{}, 0
	var staged []ledger.LakeFile
	for range files {
		var groups []lake.Block
		for range 1 + rng.IntN(5) {
			b := rows(from, 1+rng.IntN(1500), 1)
			for i := range b.N {
				want[b.Cols[8].Ints[i]] = text(&b, i)
			}
			groups, from = append(groups, b), from+b.N
		}
		staged = append(staged, grouped(t, l, groups...))
	}
	if _, err := l.Commit(t.Context(), intent(1, staged)); err != nil {
		t.Fatal(err)
	}
	return want
}

// reaching lets a lake in S3 read with another reach.
func reaching(l *Lake, r reach) { l.far = newFar(l.files.(*bucket), r) }

// anyReach draws one; the smallest fetch nothing ahead, or a few bytes a request.
func anyReach(rng *rand.Rand) reach {
	pick := func(of ...int64) int64 { return of[rng.IntN(len(of))] }
	return reach{
		hole: pick(0, 100, 10_000, 1<<20), request: pick(1000, 20_000, 8<<20), requests: pick(1, 3, 16), files: int(pick(1, 2, 6)),
		groups: int(pick(0, 1, 3)), ahead: pick(0, 30_000, 64<<20),
	}
}

// scanned reads the table by offset: all columns, or some.
func scanned(ctx context.Context, l *Lake, columns []string) (map[int64]string, error) {
	got := map[int64]string{}
	_, err := l.Scan(ctx, lake.Selection{Table: "pin", Columns: columns}, func(b *lake.Block) error {
		at := b.Index("_offset")
		for i := range b.N {
			o := b.Cols[at].Ints[i]
			if _, twice := got[o]; twice {
				return fmt.Errorf("offset %d comes twice", o)
			}
			got[o] = text(b, i)
		}
		return nil
	})
	return got, err
}

// However far a scan reaches, and however the rows lie in files and row groups, it shows the same rows.
func TestAnyReachReadsTheSame(t *testing.T) {
	rng := rand.New(rand.NewPCG(testbed.Seed(t), 1))
	for range 2 {
		l := placed(t, inBucket(t))
		want := layouts(t, l, rng, 1+rng.IntN(6))
		for range 10 {
			r := anyReach(rng)
			reaching(l, r)
			got, err := scanned(t.Context(), l, nil)
			if err != nil {
				t.Fatalf("%+v: %v", r, err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("%+v: %s", r, diff)
			}
			got, err = scanned(t.Context(), l, []string{"followers", "_offset"})
			if err != nil || len(got) != len(want) {
				t.Fatalf("%+v: %d rows of two columns, want %d: %v", r, len(got), len(want), err)
			}
			allFree(t, l)
		}
	}
}

// allFree wants nothing to be held of a lake's room, and no way to be under way.
func allFree(t *testing.T, l *Lake) {
	t.Helper()
	for what, w := range map[string]struct {
		of   *semaphore.Weighted
		size int64
	}{"room": {l.far.room, l.far.reach.ahead}, "requests": {l.far.lines, l.far.reach.requests}} {
		if !w.of.TryAcquire(w.size) {
			t.Errorf("a scan that has ended holds %s", what)
			continue
		}
		w.of.Release(w.size)
	}
	// Whoever waited for it goes on a moment before a goroutine is gone.
	for {
		stacks := make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		if !bytes.Contains(stacks, []byte("icelake.(*far).fetch")) {
			return
		}
		if t.Context().Err() != nil {
			t.Fatalf("goroutines are left:\n%s", stacks)
		}
		runtime.Gosched()
	}
}

// Whichever request of a scan fails, once: the rows are right. For good: the scan says which bytes of which file it
// could not read, and holds nothing.
func TestAnyRequestOfAScanMayFail(t *testing.T) {
	place := inBucket(t)
	proxy := testbed.NewProxy(t, place.S3.Endpoint)
	place.S3.Endpoint = proxy.URL
	l := placed(t, place)
	want := layouts(t, l, rand.New(rand.NewPCG(testbed.Seed(t), 2)), 3)
	none := func(int, *http.Request) testbed.Trouble { return testbed.None }
	for _, r := range []reach{usualReach, {hole: 0, request: 5000, requests: 4, files: 2, groups: 2, ahead: 1 << 20}, {request: 8 << 20, requests: 1, files: 1}} {
		for first, trouble := range testbed.Troubles() {
			for at, struck := 1+first, true; struck; at += len(testbed.Troubles()) {
				for _, tries := range []int{3, 1} {
					reaching(l, r)
					quickly(l, tries)
					struck = false
					proxy.Make(func(n int, _ *http.Request) testbed.Trouble {
						if n != at {
							return testbed.None
						}
						struck = true
						return trouble
					})
					got, err := scanned(t.Context(), l, nil)
					proxy.Make(none)
					allFree(t, l)
					switch {
					case err == nil:
						if diff := cmp.Diff(want, got); diff != "" {
							t.Fatalf("%+v, %s of request %d, %d tries: %s", r, trouble, at, tries, diff)
						}
					case tries > 1:
						t.Fatalf("%+v, %s of request %d: %v", r, trouble, at, err)
					case !strings.Contains(err.Error(), "s3://") || fault.KindOf(err) != fault.Transient:
						t.Fatalf("%+v, %s of request %d: %v names no file", r, trouble, at, err)
					}
					if struck && tries == 1 && err == nil && trouble == testbed.SlowDown { // what the HTTP client itself repeats is not ours
						t.Fatalf("%+v: nobody noticed the %s of request %d", r, trouble, at)
					}
				}
			}
		}
	}
}

// A scan that is given up while requests hang ends at once, with all that it had begun.
func TestAScanIsGivenUpWhileRequestsHang(t *testing.T) {
	place := inBucket(t)
	proxy := testbed.NewProxy(t, place.S3.Endpoint)
	place.S3.Endpoint = proxy.URL
	l := placed(t, place)
	layouts(t, l, rand.New(rand.NewPCG(testbed.Seed(t), 3)), 5)
	if _, err := scanned(t.Context(), l, nil); err != nil { // so that no manifest is asked for
		t.Fatal(err)
	}
	for hang := 1; hang <= 8; hang++ {
		reaching(l, reach{request: 3000, requests: 16, files: 3, groups: 2, ahead: 1 << 20})
		ctx, cancel := context.WithCancel(t.Context())
		over := make(chan struct{})
		var hung atomic.Bool
		proxy.Make(func(n int, _ *http.Request) testbed.Trouble {
			if n >= hang {
				hung.Store(true)
				cancel()
				<-over
			}
			return testbed.None
		})
		_, err := scanned(ctx, l, nil)
		close(over)
		cancel()
		if hung.Load() && !errors.Is(err, context.Canceled) {
			t.Errorf("request %d hung: %v", hang, err)
		}
		allFree(t, l)
	}
}

// What is fetched before its turn takes no more memory than there is room for, of all scans together, and what finds
// no room waits for its turn.
func TestRoomIsBounded(t *testing.T) {
	place := inBucket(t)
	l := placed(t, place)
	if err := l.EnsureTable(t.Context(), pins()); err != nil {
		t.Fatal(err)
	}
	var groups []lake.Block
	for g := range 8 {
		groups = append(groups, rows(g*30_000, 30_000, 1))
	}
	staged := grouped(t, l, groups...)
	if _, err := l.Commit(t.Context(), intent(1, []ledger.LakeFile{staged})); err != nil {
		t.Fatal(err)
	}
	r := usualReach
	r.hole, r.groups, r.ahead = 0, 8, 200_000
	reaching(l, r)
	tbl, err := l.cat.load(t.Context(), "pin")
	if err != nil {
		t.Fatal(err)
	}
	begin := func() (*reading, int64) {
		o, err := l.far.open(t.Context(), staged.Path, 1<<40)
		if err != nil {
			t.Fatal(err)
		}
		f, err := readFooter(o)
		if err != nil {
			t.Fatal(err)
		}
		reader := l.newFileReader(lake.Selection{Table: "pin"}, nil, tbl.Schema(), nil)
		columns, of, _ := reader.leaves(f)
		parts, err := reader.parts(f, layout{columns: columns, of: of})
		if err != nil || len(parts) != 8 {
			t.Fatalf("%d row groups, %v", len(parts), err)
		}
		in := l.far.reading(&dataReader{f, o}, parts)
		t.Cleanup(func() { in.free(); _ = f.Close() })
		in.ahead(t.Context(), 0, 8)
		var bytes int64
		for _, b := range in.bytes {
			if b == nil {
				break
			}
			for _, p := range b.pieces {
				bytes += int64(cap(p.bytes))
			}
		}
		return in, bytes
	}
	first, bytes := begin()
	if bytes == 0 || bytes > r.ahead || first.bytes[7] != nil {
		t.Errorf("%d bytes are fetched, with room for %d", bytes, r.ahead)
	}
	second, more := begin()
	if bytes+more > r.ahead {
		t.Errorf("%d and %d bytes are fetched, with room for %d", bytes, more, r.ahead)
	}
	if _, err := second.view(t.Context(), 7); err != nil { // its turn
		t.Error(err)
	}
	first.free()
	second.free()
	allFree(t, l)
}

// A scan asks for few things: of a small file its end, which is all of it, of a larger one its end and what lies
// between the columns, and of manifests what it has not read before.
func TestScansAskForLittle(t *testing.T) {
	place := inBucket(t)
	proxy := testbed.NewProxy(t, place.S3.Endpoint)
	place.S3.Endpoint = proxy.URL
	l := placed(t, place)
	if err := l.EnsureTable(t.Context(), pins()); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Commit(t.Context(), intent(1, []ledger.LakeFile{grouped(t, l, rows(0, 3000, 1), rows(3000, 500, 1))})); err != nil {
		t.Fatal(err)
	}
	ask := func() int {
		proxy.Make(func(int, *http.Request) testbed.Trouble { return testbed.None })
		if got, err := scanned(t.Context(), l, nil); err != nil || len(got) != 3500 {
			t.Fatalf("%d rows, %v", len(got), err)
		}
		return proxy.Requests()
	}
	if n := ask(); n != 3 {
		t.Errorf("%d requests for a manifest list, a manifest and a small file", n)
	}
	if n := ask(); n != 1 {
		t.Errorf("%d requests for a small file whose manifests are known", n)
	}
	reaching(l, reach{hole: 1 << 10, request: 8 << 20, requests: 16, files: 2, groups: 1, ahead: 64 << 20})
	if n := ask(); n != 1 && n != 3 { // its end, and each row group unless it lies in the end
		t.Errorf("%d requests for a file of two row groups", n)
	}
}
