package icelake

import (
	"bytes"
	"fmt"
	"io"
	"testing"
)

// What is kept of manifests is bounded, and what is too large for it is read as ever.
func TestKeptManifestsAreBounded(t *testing.T) {
	l := testLake(t, t.TempDir(), quickFS{})
	kept := newManifestCache(l.files)
	size, total := 1_500_000, 0
	for n := range 20 {
		at := fmt.Sprintf("%s/pin/metadata/%d.avro", l.cat.warehouse, n)
		want := bytes.Repeat([]byte{byte(n + 1)}, size)
		if n == 19 {
			want = bytes.Repeat(want, 2)
		}
		if err := l.files.WriteFile(at, want); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			f, err := kept.Open(at)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(f); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("%d bytes of %s, %v", len(got), at, err)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
		}
		total += len(want)
	}
	if in := kept.kept; in.sum > keptManifests || in.sum != in.kept.Len()*size || in.kept.Len() < 8 {
		t.Errorf("%d bytes in %d manifests are kept of %d", in.sum, in.kept.Len(), total)
	}
}
