package kafkalog

import (
	"encoding/binary"
	"log/slog"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Whatever comes through the Kafka port is screened without a panic, and what may pass is a request
// that the broker can parse.
func FuzzScreen(f *testing.F) {
	cfg := BrokerConfig{Dir: f.TempDir(), MinFree: -1}
	cfg.setDefaults()
	g := &guard{b: &Broker{cfg: cfg, log: slog.New(slog.DiscardHandler)}, keys: make(map[int16]keyRange)}
	for key := range int16(100) {
		if req := kmsg.RequestForKey(key); req != nil && (passed(kmsg.Key(key)) || refused(kmsg.Key(key))) {
			g.keys[key] = keyRange{0, req.MaxVersion()}
			for version := range req.MaxVersion() + 1 {
				req.SetVersion(version)
				f.Add(key, version, req.AppendTo([]byte{0, 0, 0}))
			}
		}
	}
	f.Fuzz(func(t *testing.T, key, version int16, body []byte) {
		if g.checkKey(key, version) != nil {
			return
		}
		raw := binary.BigEndian.AppendUint16(nil, uint16(key))
		raw = binary.BigEndian.AppendUint16(raw, uint16(version))
		raw = withSize(append(append(raw, 0, 0, 0, 1), body...))
		v, err := g.screen(raw, nil)
		if err != nil || v.forward == nil {
			return
		}
		if int(binary.BigEndian.Uint32(v.forward)) != len(v.forward)-4 {
			t.Fatalf("a frame of %d bytes claims %d", len(v.forward), binary.BigEndian.Uint32(v.forward))
		}
		again := request{raw: v.forward, key: kmsg.Key(key)}
		if err := again.parseHeader(version); err != nil {
			t.Fatal(err)
		}
		if err := again.parse(); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzBatch(f *testing.F) {
	f.Add(uint8(0), []byte{14, 0, 0, 0, 1, 2, 'v', 0}, int32(1))
	f.Add(uint8(2), []byte("\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x01\x00"), int32(1))
	f.Fuzz(func(t *testing.T, codec uint8, records []byte, n int32) {
		body, err := inflate(records, kgo.CompressionCodecType(codec&7), 1<<16)
		if err == nil && len(body) > 1<<16 {
			t.Fatalf("%d bytes", len(body))
		}
		if n > 0 && checkRecords(records, n) == nil && int(n) > len(records) {
			t.Fatalf("%d records in %d bytes", n, len(records))
		}
	})
}
