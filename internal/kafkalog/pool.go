package kafkalog

import (
	"math/bits"
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
	spareBytes   = 24 << 20
	spareRecords = 32 << 10
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
	return make([]byte, 0, min(room(n), maxInflatedBatch))
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
	p.bytes.add(b)
}

func (p *pool) GetRecords(n int) []kgo.Record {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r := p.records.atLeast(n); r != nil {
		return r
	}
	return make([]kgo.Record, 0, room(n))
}

func (p *pool) PutRecords(r []kgo.Record) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.records.add(r)
}

// spares are idle slices in order of their capacity. Those of one size stand in for each other, so what they
// are given for is rounded up (see room), and one much larger than what is asked for stays idle: small batches
// would hold it for as long as their records are in hand.
type spares[T any] struct {
	idle [][]T
	put  []uint64 // when each was put back, by count
	puts uint64
	held int // the sum of their capacities
	most int
}

// room is n rounded up by at most a fourth.
func room(n int) int {
	step := 1 << max(0, bits.Len(uint(n))-3)
	return (n + step - 1) / step * step
}

// add takes a slice back. What has been idle for longest goes when there is too much of it.
func (s *spares[T]) add(b []T) {
	at := s.from(cap(b))
	s.idle, s.put = slices.Insert(s.idle, at, b[:0]), slices.Insert(s.put, at, s.puts)
	s.puts++
	for s.held += cap(b); s.held > s.most; {
		s.take(slices.Index(s.put, slices.Min(s.put)))
	}
}

// atLeast is the smallest of capacity n or more, but less than twice as much as it takes; nil: there is none.
func (s *spares[T]) atLeast(n int) []T {
	at := s.from(n)
	if at == len(s.idle) || cap(s.idle[at]) > 2*room(n) {
		return nil
	}
	return s.take(at)
}

// from is where those of capacity n or more begin.
func (s *spares[T]) from(n int) int {
	at, _ := slices.BinarySearchFunc(s.idle, n, func(have []T, n int) int { return cap(have) - n })
	return at
}

func (s *spares[T]) take(at int) []T {
	b := s.idle[at]
	s.idle, s.put = slices.Delete(s.idle, at, at+1), slices.Delete(s.put, at, at+1)
	s.held -= cap(b)
	return b
}
