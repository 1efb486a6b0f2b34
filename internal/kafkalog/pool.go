package kafkalog

import (
	"slices"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

// pool keeps the memory of fetched batches from Poll to Poll: as garbage it would be many times what the
// records in hand take, and most of what a reader that is behind allocates.
type pool struct {
	mu      sync.Mutex
	bytes   spares[byte]
	records spares[kgo.Record]
	ratio   float64 // of unpacked to packed bytes: the greatest of late
}

var (
	_ kgo.PoolDecompressBytes = (*pool)(nil)
	_ kgo.PoolRecords         = (*pool)(nil)
	_ kgo.HookFetchBatchRead  = (*pool)(nil)
)

// Most that lies idle: about two answers of the broker, unpacked.
const (
	spareBytes   = 48 << 20
	spareRecords = 64 << 10
)

func newPool() *pool {
	return &pool{bytes: spares[byte]{most: spareBytes}, records: spares[kgo.Record]{most: spareRecords}}
}

// GetDecompressBytes gives as much as the batch may unpack to, going by those before. One byte too few and
// the whole is copied into twice as much.
func (p *pool) GetDecompressBytes(packed []byte, _ kgo.CompressionCodecType) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := min(int(1.1*p.ratio*float64(len(packed)))+1024, maxInflatedBatch)
	if b := p.bytes.atLeast(n); b != nil {
		return b
	}
	return make([]byte, 0, n)
}

// OnFetchBatchRead learns how well batches are packed.
func (p *pool) OnFetchBatchRead(_ kgo.BrokerMetadata, _ string, _ int32, m kgo.FetchBatchMetrics) {
	if m.CompressedBytes <= 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ratio = max(0.98*p.ratio, float64(m.UncompressedBytes)/float64(m.CompressedBytes))
}

func (p *pool) PutDecompressBytes(b []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bytes.put(b)
}

func (p *pool) GetRecords(n int) []kgo.Record {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r := p.records.atLeast(n); r != nil {
		return r
	}
	return make([]kgo.Record, 0, n)
}

func (p *pool) PutRecords(r []kgo.Record) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.records.put(r)
}

// spares are idle slices in order of their capacity.
type spares[T any] struct {
	idle [][]T
	held int // the sum of their capacities
	most int
}

func (s *spares[T]) put(b []T) {
	at, _ := slices.BinarySearchFunc(s.idle, cap(b), func(have []T, n int) int { return cap(have) - n })
	s.idle = slices.Insert(s.idle, at, b[:0])
	for s.held += cap(b); s.held > s.most; {
		s.take(0)
	}
}

// atLeast is the smallest of capacity n or more; nil: there is none.
func (s *spares[T]) atLeast(n int) []T {
	at, _ := slices.BinarySearchFunc(s.idle, n, func(have []T, n int) int { return cap(have) - n })
	if at == len(s.idle) {
		return nil
	}
	return s.take(at)
}

func (s *spares[T]) take(at int) []T {
	b := s.idle[at]
	s.idle = slices.Delete(s.idle, at, at+1)
	s.held -= cap(b)
	return b
}
