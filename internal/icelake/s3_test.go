package icelake

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/minio/minio-go/v7"

	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/prove"
	"github.com/pinflow/pinflow/internal/testbed"
)

var quietLog = slog.New(slog.DiscardHandler)

func s3Of(s testbed.S3) S3 {
	return S3{Endpoint: s.Endpoint, Region: s.Region, PathStyle: true, AccessKey: s.AccessKey, SecretKey: s.SecretKey}
}

func configOf(p testbed.Place) Config {
	return Config{Warehouse: p.Warehouse, Catalog: p.Catalog, S3: s3Of(p.S3), Log: quietLog}
}

// placed opens a lake at a place, and makes its bucket first.
func placed(t *testing.T, p testbed.Place) *Lake {
	t.Helper()
	if _, err := Make(configOf(p)); err != nil {
		t.Fatal(err)
	}
	l, err := Open(t.Context(), configOf(p))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// quickly makes a lake on S3 try again at once.
func quickly(l *Lake, tries int) {
	minio.DefaultRetryUnit = time.Microsecond // it pauses even after the only try
	l.files.(*bucket).pace = pace{tries: tries, first: time.Microsecond, longest: time.Millisecond, attempt: 20 * time.Second}
}

// What every storage does.
func TestStorage(t *testing.T) {
	testbed.Everywhere(t, func(t *testing.T, p testbed.Place) {
		l := placed(t, p)
		files, root := l.files, l.cat.warehouse
		at := root + "/pin/data/day=2026-11-25/a+b.parquet"
		if err := files.WriteFile(at, []byte("one")); err != nil {
			t.Fatal(err)
		}
		if err := files.WriteFile(at, []byte("two")); !errors.Is(err, fs.ErrExist) {
			t.Errorf("writing it again: %v", err)
		}
		if got, err := files.ReadFile(at); string(got) != "one" || err != nil {
			t.Errorf("read %q, %v", got, err)
		}
		if got, err := files.List(root + "/pin/data/day=2026-11-25/"); err != nil || !slices.Equal(got, []string{at}) {
			t.Errorf("listed %q, %v", got, err)
		}
		if got, err := files.List(root + "/pin/data"); err != nil || len(got) != 0 {
			t.Errorf("listed %q in the folder above, %v", got, err)
		}
		for range 2 {
			if err := files.Remove(at); err != nil {
				t.Errorf("removing it: %v", err)
			}
		}
		if _, err := files.Open(at); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("opening what is gone: %v", err)
		}
		if _, err := files.ReadFile(at); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("reading what is gone: %v", err)
		}
		for _, size := range []int{0, 1, tailSize, tailSize + 1, partSize, partSize + 1, 2*partSize + 12345} {
			wholeFile(t, files, fmt.Sprintf("%s/sizes/%d", root, size), size)
		}
	})
}

// wholeFile writes a file of a size in odd pieces and reads it back in every way.
func wholeFile(t *testing.T, files storage, at string, size int) {
	t.Helper()
	want := make([]byte, size)
	src := rand.NewChaCha8([32]byte{byte(size)})
	if _, err := src.Read(want); err != nil {
		t.Fatal(err)
	}
	w, err := files.Create(at)
	if err != nil {
		t.Fatal(err)
	}
	for piece := range slices.Chunk(want, 1_234_567) {
		if _, err := w.Write(piece); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := w.Close(); err != nil {
			t.Fatalf("closing a file of %d bytes: %v", size, err)
		}
	}
	f, err := files.Open(at)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() != int64(size) {
		t.Fatalf("%d bytes: size %v, %v", size, info, err)
	}
	got, err := io.ReadAll(f)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%d bytes: read %d, %v", size, len(got), err)
	}
	for _, off := range []int{0, 1, size / 3, size - tailSize, size - 8, size - 1} {
		if off < 0 || off >= size {
			continue
		}
		p := make([]byte, 1000)
		n, err := f.ReadAt(p, int64(off))
		if short := n < len(p); short != errors.Is(err, io.EOF) || !bytes.Equal(p[:n], want[off:min(size, off+1000)]) {
			t.Fatalf("%d bytes: at %d read %d, %v", size, off, n, err)
		}
	}
	if at, err := f.Seek(-3, io.SeekEnd); size >= 3 && (err != nil || at != int64(size-3)) {
		t.Fatalf("seek: %d, %v", at, err)
	}
}

// The tables live the same life at every place.
func TestTablesEverywhere(t *testing.T) {
	testbed.Everywhere(t, func(t *testing.T, p testbed.Place) {
		l := placed(t, p)
		if err := l.EnsureTable(t.Context(), pins()); err != nil {
			t.Fatal(err)
		}
		grow(t, l)
		want := map[int64]string{}
		for n := 1; n <= 9; n++ {
			b := rows(n*7, 7, 2)
			for i := range b.N {
				want[b.Cols[8].Ints[i]] = text(&b, i)
			}
		}
		again, err := Open(t.Context(), configOf(p))
		if err != nil {
			t.Fatal(err)
		}
		defer again.Close()
		if diff := cmp.Diff(want, all(t, again)); diff != "" {
			t.Error(diff)
		}
		files, err := again.files.List(again.cat.warehouse + "/pin/data/_event_time_day=2024-10-04")
		if err != nil || len(files) != 1 {
			t.Errorf("data files of the first day: %v, %v", files, err)
		}
	})
}

// grow makes nine appends, merges them by day and drops what was replaced, doing each step that an
// earlier try has not done.
func grow(t *testing.T, l *Lake) {
	t.Helper()
	for n := int64(1); n <= 9; n++ {
		if _, err := l.Commit(t.Context(), intent(n, stage(t, l, rows(int(n)*7, 7, 2)))); err != nil {
			t.Fatal(err)
		}
	}
	for n := int64(10); n <= 11; n++ {
		r, err := l.Rewrite(t.Context(), "pin", shape)
		if err != nil || r == nil {
			t.Fatalf("rewrite %v, %v", r, err)
		}
		if _, err := l.Replace(t.Context(), compactIntent(n), r); err != nil {
			t.Fatal(err)
		}
	}
	in := &ledger.Intent{Table: "pin", N: 12, ID: "expire", Kind: lake.Expire, Open: true}
	if _, err := l.Expire(t.Context(), in, lake.Retention{Keep: 1}); err != nil {
		t.Fatal(err)
	}
}

// L3: whichever request fails, before or after the server has done it, ends with each row once, and
// nobody who uses the lake notices.
func TestAnyRequestMayFail(t *testing.T) {
	place := testbed.Servers(t)
	prove.Invariant(t, "L3", prove.S3)
	proxy := testbed.NewProxy(t, place.S3.Endpoint)
	place.S3.Endpoint = proxy.URL
	requests := 0
	for i, trouble := range testbed.Troubles() {
		t.Run(trouble.String(), func(t *testing.T) {
			const every = 3 // each request of a life is struck in one of three lives, and by one trouble or more
			for first := range every {
				if first != i%every && os.Getenv("PINFLOW_SOAK") == "" {
					continue
				}
				at := place
				at.Catalog = filepath.Join(t.TempDir(), "catalog.db")
				at.Warehouse += fmt.Sprintf("/%s%d", trouble, first)
				l := placed(t, at)
				quickly(l, 9)
				if err := l.EnsureTable(t.Context(), pins()); err != nil {
					t.Fatal(err)
				}
				proxy.Make(func(n int, _ *http.Request) testbed.Trouble {
					if n%every == first {
						return trouble
					}
					return testbed.None
				})
				grow(t, l)
				requests += proxy.Requests()
				proxy.Make(func(int, *http.Request) testbed.Trouble { return testbed.None })
				if got := all(t, l); len(got) != 63 {
					t.Errorf("%d rows", len(got))
				}
			}
		})
	}
	t.Logf("%d requests", requests)
}

// L3: S3 goes away in the middle of a commit, for longer than anybody tries, before or after it has done
// what it was asked. The commit is repeated when it is back.
func TestOutageInACommit(t *testing.T) {
	place := testbed.Servers(t)
	prove.Invariant(t, "L3", prove.S3)
	proxy := testbed.NewProxy(t, place.S3.Endpoint)
	place.S3.Endpoint = proxy.URL
	place.Catalog = filepath.Join(t.TempDir(), "catalog.db")
	l := placed(t, place)
	quickly(l, 3)
	if err := l.EnsureTable(t.Context(), pins()); err != nil {
		t.Fatal(err)
	}
	n := int64(0)
	for _, trouble := range []testbed.Trouble{testbed.SlowDown, testbed.LateReset} {
		for at := 1; ; at++ {
			n++
			in := intent(n, stage(t, l, rows(int(n)*3, 3, 1)))
			gone := false
			proxy.Make(func(k int, _ *http.Request) testbed.Trouble {
				if k >= at {
					gone = true
					return trouble
				}
				return testbed.None
			})
			_, err := l.Commit(t.Context(), in)
			proxy.Make(func(int, *http.Request) testbed.Trouble { return testbed.None })
			if gone && err != nil && !fault.Is(err, fault.Transient) && !fault.Is(err, fault.Ambiguous) {
				t.Fatalf("%s from request %d on: %v", trouble, at, err)
			}
			if landed, err := l.Commit(t.Context(), in); err != nil || landed.Records != 3 {
				t.Fatalf("%s from request %d on, repeated: %+v, %v", trouble, at, landed, err)
			}
			if !gone {
				t.Logf("%s: %d requests a commit", trouble, at-1)
				break
			}
		}
	}
	if got := all(t, l); len(got) != 3*int(n) {
		t.Errorf("%d rows of %d commits", len(got), n)
	}
}

// Staging while S3 is away is transient, whatever the library makes of the error.
func TestOutageInAStage(t *testing.T) {
	place := testbed.Servers(t)
	proxy := testbed.NewProxy(t, place.S3.Endpoint)
	place.S3.Endpoint = proxy.URL
	l := placed(t, place)
	quickly(l, 2)
	if err := l.EnsureTable(t.Context(), pins()); err != nil {
		t.Fatal(err)
	}
	for _, trouble := range testbed.Troubles() {
		proxy.Make(func(_ int, r *http.Request) testbed.Trouble {
			if r.Method == http.MethodPut || r.Method == http.MethodHead {
				return trouble
			}
			return testbed.None
		})
		if _, err := l.Stage(t.Context(), "pin", []lake.Block{rows(0, 3, 1)}); trouble != testbed.Torn && !fault.Is(err, fault.Transient) {
			t.Errorf("%s: %v (%v)", trouble, err, fault.KindOf(err))
		}
		proxy.Make(func(int, *http.Request) testbed.Trouble { return trouble })
		if _, err := l.Rewrite(t.Context(), "pin", shape); err != nil && !fault.Is(err, fault.Transient) {
			t.Errorf("%s: %v (%v)", trouble, err, fault.KindOf(err))
		}
	}
}

func TestWrongS3(t *testing.T) {
	place := testbed.Servers(t)
	good := configOf(place)
	if _, err := Open(t.Context(), good); fault.CodeOf(err) != "no_bucket" {
		t.Errorf("no bucket: %v", err)
	}
	for made := range 2 {
		if got, err := Make(good); err != nil || got != (made == 0) {
			t.Fatalf("making the bucket: %v, %v", got, err)
		}
	}
	for name, change := range map[string]func(*Config){
		"s3_refused secret": func(c *Config) { c.S3.SecretKey = "hunter2" },
		"s3_refused user":   func(c *Config) { c.S3.AccessKey = "nobody" },
		"s3_refused region": func(c *Config) { c.S3.Region = "us-east-1" },
		"bad_s3 endpoint":   func(c *Config) { c.S3.Endpoint = "127.0.0.1:9000" },
		"bad_s3 half":       func(c *Config) { c.S3.SecretKey = "" },
		"bad_s3 ca":         func(c *Config) { c.S3.CAFile = "/nowhere.pem" },
	} {
		cfg := good
		change(&cfg)
		_, err := Open(t.Context(), cfg)
		if code, _, _ := strings.Cut(name, " "); fault.CodeOf(err) != code || fault.KindOf(err) != fault.Config {
			t.Errorf("%s: %v (%v)", name, err, fault.KindOf(err))
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the secret is in %q", err)
		}
	}
}

// L5: commits on S3 leave as little behind as on the disk.
func TestMetadataDoesNotGrowOnS3(t *testing.T) {
	place := testbed.Servers(t)
	prove.Invariant(t, "L5", prove.S3)
	l := placed(t, place)
	if err := l.EnsureTable(t.Context(), pins()); err != nil {
		t.Fatal(err)
	}
	n := int64(0)
	var left []int
	for range 4 {
		for range 29 {
			n++
			if _, err := l.Commit(t.Context(), intent(n, stage(t, l, rows(int(n)*2, 2, 1)))); err != nil {
				t.Fatal(err)
			}
		}
		n++
		in := &ledger.Intent{Table: "pin", N: n, ID: fmt.Sprint("expire-", n), Kind: lake.Expire, Open: true}
		if _, err := l.Expire(t.Context(), in, lake.Retention{Keep: 10}); err != nil {
			t.Fatal(err)
		}
		files, err := l.files.List(l.cat.warehouse + "/pin/metadata")
		if err != nil {
			t.Fatal(err)
		}
		left = append(left, len(files))
	}
	if left[3] > 101+60 {
		t.Errorf("metadata files after each expiry: %v", left)
	}
	if got := all(t, l); len(got) != 116*2 {
		t.Errorf("%d rows", len(got))
	}
}
