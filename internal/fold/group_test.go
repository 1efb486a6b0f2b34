package fold

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// Groups are the distinct keys whether they lie in a grid or, where that would stay empty, in a hash table, and
// whether the values of the dimensions are few enough for a table or become too many on the way.
func TestGroups(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dims := rapid.IntRange(0, 3).Draw(t, "dims")
		buckets := rapid.SampledFrom([]int{1, 10, 600}).Draw(t, "buckets")
		state := rapid.Uint64().Draw(t, "seed")
		next := func(n int) int {
			state = state*6364136223846793005 + 1442695040888963407
			return int(state>>33) % n
		}
		g := newGroups(dims)
		want := map[string]uint32{}
		for range 3 {
			const n = 500
			values := rapid.SampledFrom([]int{1, 10, 100, 5000}).Draw(t, "values") // more or fewer than before
			keys, codes, out := make([]int64, n), make([][]uint32, dims), make([]uint32, n)
			for d := range codes {
				codes[d] = make([]uint32, n)
			}
			for k := range n {
				keys[k] = int64(next(buckets) * 60)
				for d := range codes {
					codes[d][k] = uint32(next(values))
				}
			}
			g.assign(keys, codes, out)
			for k := range n {
				name := fmt.Sprint(keys[k])
				for d := range codes {
					name += fmt.Sprint(" ", codes[d][k])
				}
				if _, ok := want[name]; !ok {
					want[name] = uint32(len(want))
				}
				if out[k] != want[name] {
					t.Fatalf("row %d of %s is in group %d, want %d", k, name, out[k], want[name])
				}
			}
		}
		if g.size() != len(want) {
			t.Fatalf("%d groups, want %d", g.size(), len(want))
		}
		for name, id := range want {
			got := fmt.Sprint(g.buckets[id])
			for d := range g.codes {
				got += fmt.Sprint(" ", g.codes[d][id])
			}
			if got != name {
				t.Fatalf("group %d is %s, want %s", id, got, name)
			}
		}
	})
}

func TestSparseGridBecomesHash(t *testing.T) {
	g := newGroups(1)
	keys, codes, out := make([]int64, 10_000), make([]uint32, 10_000), make([]uint32, 10_000)
	for k := range keys {
		keys[k], codes[k] = int64(k%700), uint32(k*7919%5000)
	}
	g.assign(keys, [][]uint32{codes}, out)
	if !g.hashed || g.memory() > 2<<20 {
		t.Errorf("hashed %v, %d bytes for %d groups", g.hashed, g.memory(), g.size())
	}
	g.reset()
	g.assign(keys[:10], [][]uint32{codes[:10]}, out[:10])
	if g.hashed || g.size() != 10 {
		t.Errorf("after reset: hashed %v, %d groups", g.hashed, g.size())
	}
}
