package query

import (
	"container/list"
	"sync"

	"github.com/pinflow/pinflow/internal/fold"
)

// cache keeps decoded segments, least recently used first out. Sealed segments never change, so what
// it holds is never stale. It is safe for concurrent use.
type cache struct {
	limit int64

	mu    sync.Mutex
	size  int64
	order *list.List // of *entry, newest first
	byID  map[int64]*list.Element
}

type entry struct {
	id     int64
	states *fold.States
	have   []bool // states that it has; the others were not asked for yet
	size   int64
}

func newCache(limit int64) *cache {
	return &cache{limit: limit, order: list.New(), byID: map[int64]*list.Element{}}
}

// get returns a segment that has all the states needed, else nil and what there is to keep.
func (c *cache) get(id int64, need []bool) (s *fold.States, have []bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.byID[id]
	if !ok {
		return nil, nil
	}
	c.order.MoveToFront(e)
	x := e.Value.(*entry)
	for i, n := range need {
		if n && !x.have[i] {
			return nil, x.have
		}
	}
	return x.states, x.have
}

func (c *cache) put(id int64, s *fold.States, have []bool) {
	x := &entry{id, s, have, int64(s.Bytes()) + 512}
	if x.size > c.limit/4 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if old, ok := c.byID[id]; ok {
		c.remove(old)
	}
	c.byID[id] = c.order.PushFront(x)
	c.size += x.size
	for c.size > c.limit {
		c.remove(c.order.Back())
	}
}

func (c *cache) remove(e *list.Element) {
	old := e.Value.(*entry)
	c.order.Remove(e)
	delete(c.byID, old.id)
	c.size -= old.size
}
