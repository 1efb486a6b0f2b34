package icelake

import (
	"math"
	"strings"
	"sync"

	iceio "github.com/apache/iceberg-go/io"
	"github.com/hashicorp/golang-lru/v2/simplelru"
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

	mu    sync.Mutex
	kept  *simplelru.LRU[string, []byte]
	bytes int
}

func newManifestCache(of storage) *manifestCache {
	m := &manifestCache{storage: of}
	m.kept, _ = simplelru.NewLRU(math.MaxInt, func(_ string, p []byte) { m.bytes -= len(p) }) // fails for no size only
	return m
}

// Open opens a file, which may be one that is gone from the bucket since it was kept.
func (m *manifestCache) Open(at string) (iceio.File, error) {
	if !strings.HasSuffix(at, ".avro") || !strings.Contains(at, "/metadata/") {
		return m.storage.Open(at)
	}
	m.mu.Lock()
	p, ok := m.kept.Get(at)
	m.mu.Unlock()
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
	m.keep(at, p)
	return inMemory(at, p), nil
}

func (m *manifestCache) keep(at string, p []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.kept.Contains(at) {
		return
	}
	m.kept.Add(at, p)
	for m.bytes += len(p); m.bytes > keptManifests; {
		m.kept.RemoveOldest()
	}
}

// inMemory is a file whose bytes are known.
func inMemory(at string, p []byte) iceio.File {
	return &object{at: at, key: at, size: int64(len(p)), tail: p}
}
