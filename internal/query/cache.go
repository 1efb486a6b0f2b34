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
	size   int64
}

func newCache(limit int64) *cache {
	return &cache{limit: limit, order: list.New(), byID: map[int64]*list.Element{}}
}

func (c *cache) get(id int64) *fold.States {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.byID[id]
	if !ok {
		return nil
	}
	c.order.MoveToFront(e)
	return e.Value.(*entry).states
}

func (c *cache) put(id int64, s *fold.States) {
	x := &entry{id, s, int64(s.Bytes()) + 512}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.byID[id]; ok || x.size > c.limit/4 {
		return
	}
	c.byID[id] = c.order.PushFront(x)
	c.size += x.size
	for c.size > c.limit {
		last := c.order.Back()
		old := last.Value.(*entry)
		c.order.Remove(last)
		delete(c.byID, old.id)
		c.size -= old.size
	}
}
