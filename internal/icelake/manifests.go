package icelake

import (
	"strings"

	iceio "github.com/apache/iceberg-go/io"
)

// Bounds of what is kept of manifests: of all, and of one that is.
const (
	keptManifests = 16 << 20
	keptManifest  = 2 << 20
)

// manifestCache is a bucket as planning a scan sees it: manifests and their lists, which are written once and never
// again, are kept in memory, those used last. A back-fill plans a scan a day, of mostly the same ones; each was a
// request, which took longer than a small day's rows.
type manifestCache struct {
	storage
	kept *bounded[[]byte]
}

func newManifestCache(of storage) *manifestCache {
	return &manifestCache{of, newBounded(keptManifests, func(p []byte) int { return len(p) })}
}

// Open opens a file, which may be one that is gone from the bucket since it was kept.
func (m *manifestCache) Open(at string) (iceio.File, error) {
	if !strings.HasSuffix(at, ".avro") || !strings.Contains(at, "/metadata/") {
		return m.storage.Open(at)
	}
	p, ok := m.kept.get(at)
	if ok {
		return inMemory(at, p), nil
	}
	f, err := m.storage.Open(at)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil || info.Size() > keptManifest {
		return f, err
	}
	defer f.Close() //nolint:errcheck // it was only read
	p = make([]byte, info.Size())
	if _, err := f.ReadAt(p, 0); err != nil {
		return nil, err
	}
	m.kept.keep(at, p)
	return inMemory(at, p), nil
}

// inMemory is a file whose bytes are known.
func inMemory(at string, p []byte) iceio.File {
	return &object{at: at, key: at, size: int64(len(p)), tail: p}
}
