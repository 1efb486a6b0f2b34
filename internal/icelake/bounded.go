package icelake

import (
	"math"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// bounded keeps what was read of files that are written once and never again, by their location: those used last, up to
// a sum of sizes. Its methods may be called from many goroutines.
type bounded[V any] struct {
	size func(V) int
	most int

	mu   sync.Mutex
	kept *simplelru.LRU[string, V]
	sum  int
}

func newBounded[V any](most int, size func(V) int) *bounded[V] {
	b := &bounded[V]{size: size, most: most}
	b.kept, _ = simplelru.NewLRU(math.MaxInt, func(_ string, v V) { b.sum -= size(v) }) // fails for no size only
	return b
}

func (b *bounded[V]) get(at string) (V, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.kept.Get(at)
}

// keep keeps v unless something is kept of that location, or v alone is too large.
func (b *bounded[V]) keep(at string, v V) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.kept.Contains(at) || b.size(v) > b.most {
		return
	}
	b.kept.Add(at, v)
	for b.sum += b.size(v); b.sum > b.most; {
		b.kept.RemoveOldest()
	}
}
