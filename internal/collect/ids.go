package collect

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"time"
)

// newID returns a UUID of version 7 (RFC 9562): milliseconds, then random bits.
func newID(now time.Time) string {
	var u [16]byte
	binary.BigEndian.PutUint64(u[:], uint64(now.UnixMilli())<<16|rand.Uint64()&0xffff)
	binary.BigEndian.PutUint64(u[8:], rand.Uint64())
	u[6] = u[6]&0x0f | 0x70
	u[8] = u[8]&0x3f | 0x80
	var text [36]byte
	hex.Encode(text[:], u[:4])
	text[8] = '-'
	hex.Encode(text[9:], u[4:6])
	text[13] = '-'
	hex.Encode(text[14:], u[6:8])
	text[18] = '-'
	hex.Encode(text[19:], u[8:10])
	text[23] = '-'
	hex.Encode(text[24:], u[10:])
	return string(text[:])
}

// repeats makes the ids of events without one in a request with an Idempotency-Key: a hash of who
// sends, to which stream, under which key, of the event's bytes and of how many equal events came
// before it. So sending again only those that failed keeps their ids.
type repeats struct {
	prefix []byte
	seen   map[[sha256.Size]byte]uint64
}

func newRepeats(apiKey, stream, key string) *repeats {
	r := &repeats{seen: make(map[[sha256.Size]byte]uint64)}
	for _, part := range []string{apiKey, stream, key} {
		r.prefix = binary.AppendUvarint(r.prefix, uint64(len(part)))
		r.prefix = append(r.prefix, part...)
	}
	return r
}

func (r *repeats) id(event []byte) string {
	bytes := sha256.Sum256(event)
	nth := r.seen[bytes]
	r.seen[bytes] = nth + 1
	text := append(r.prefix[:len(r.prefix):len(r.prefix)], bytes[:]...)
	sum := sha256.Sum256(binary.AppendUvarint(text, nth))
	return hex.EncodeToString(sum[:16])
}
