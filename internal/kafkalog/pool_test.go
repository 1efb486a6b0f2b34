package kafkalog

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// The smallest slice that is large enough is taken, but none that is much larger: a small batch would hold it for as
// long as its records are in hand. What is idle is bounded: what has been for longest goes first, of any size.
func TestSparesAreTakenBySize(t *testing.T) {
	s := spares[byte]{most: 100}
	for _, n := range []int{30, 10, 50} {
		s.add(make([]byte, n))
	}
	if b := s.atLeast(16); cap(b) != 30 || len(b) != 0 {
		t.Errorf("a slice of %d bytes for 16", cap(b))
	}
	if b := s.atLeast(51); b != nil {
		t.Errorf("a slice of %d bytes for 51", cap(b))
	}
	if b := s.atLeast(20); b != nil {
		t.Errorf("a slice of %d bytes for 20", cap(b))
	}
	s.add(make([]byte, 45)) // 10, 45 and 50 are too much by 5: the first to come goes
	if s.held != 95 || len(s.idle) != 2 || cap(s.idle[0]) != 45 {
		t.Errorf("%d slices of %d bytes are idle, the least of %d", len(s.idle), s.held, cap(s.idle[0]))
	}
	s.add(make([]byte, 20)) // and now the largest, which is the oldest
	if s.held != 65 || cap(s.idle[0]) != 20 || cap(s.idle[1]) != 45 {
		t.Errorf("%d slices of %d bytes are idle, the least of %d", len(s.idle), s.held, cap(s.idle[0]))
	}
}

// Sizes are rounded up, so that slices stand in for each other, and by little.
func TestRoomIsRoundedUpByLittle(t *testing.T) {
	sizes := map[int]bool{}
	for n := 1; n < 1<<16; n++ {
		r := room(n)
		if r < n || r > n+max(1, n/4) || room(r) != r {
			t.Fatalf("room of %d for %d, of %d for itself", r, n, room(r))
		}
		sizes[r] = true
	}
	if len(sizes) > 16*4 {
		t.Errorf("%d sizes", len(sizes))
	}
}

// What was returned is given again for a batch of about the same size, and nothing new is made.
func TestBatchesOfLikeSizeShareTheirMemory(t *testing.T) {
	p := newPool()
	first := p.GetDecompressBytes(make([]byte, 1000), kgo.CodecLz4)
	p.PutDecompressBytes(first)
	if again := p.GetDecompressBytes(make([]byte, 990), kgo.CodecLz4); &again[:1][0] != &first[:1][0] {
		t.Error("the memory of a batch that was returned is not used again")
	}
}

// How much room a batch gets follows those before it.
func TestRoomFollowsHowBatchesArePacked(t *testing.T) {
	p := newPool()
	for _, m := range []kgo.FetchBatchMetrics{{}, {CompressedBytes: 10, UncompressedBytes: 80}, {CompressedBytes: 10, UncompressedBytes: 20}} {
		p.OnFetchBatchRead(kgo.BrokerMetadata{}, "pin", 0, m)
	}
	if n := cap(p.GetDecompressBytes(make([]byte, 1000), kgo.CodecLz4)); n < 7000 || n > 12_000 {
		t.Errorf("room of %d bytes for 1000 that unpack to about 8000", n)
	}
	if n := cap(p.GetDecompressBytes(make([]byte, 60<<20), kgo.CodecLz4)); n > maxInflatedBatch {
		t.Errorf("room of %d bytes, more than a batch may have", n)
	}
}
