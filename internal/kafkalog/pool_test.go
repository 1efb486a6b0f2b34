package kafkalog

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// The smallest slice that is large enough is taken, and what is idle is bounded: the smallest go first.
func TestSparesAreTakenBySize(t *testing.T) {
	s := spares[byte]{most: 100}
	for _, n := range []int{30, 10, 50} {
		s.put(make([]byte, n))
	}
	if b := s.atLeast(11); cap(b) != 30 || len(b) != 0 {
		t.Errorf("a slice of %d bytes for 11", cap(b))
	}
	if b := s.atLeast(51); b != nil {
		t.Errorf("a slice of %d bytes for 51", cap(b))
	}
	s.put(make([]byte, 45))
	if s.held != 95 || len(s.idle) != 2 || cap(s.idle[0]) != 45 {
		t.Errorf("%d slices of %d bytes are idle, the least of %d", len(s.idle), s.held, cap(s.idle[0]))
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
