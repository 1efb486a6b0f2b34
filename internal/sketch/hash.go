package sketch

import (
	"encoding/binary"
	"math"
	"math/bits"
)

// XXH64 (Yann Collet, https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md) with the seed
// of Spark's function xxhash64.
const (
	seed = 42

	prime1 uint64 = 0x9E3779B185EBCA87
	prime2 uint64 = 0xC2B2AE3D27D4EB4F
	prime3 uint64 = 0x165667B19E3779F9
	prime4 uint64 = 0x85EBCA77C2B2AE63
	prime5 uint64 = 0x27D4EB2F165667C5
)

// HashText is the hash of a text's bytes.
func HashText(b []byte) uint64 {
	n := uint64(len(b))
	var h uint64
	if len(b) >= 32 {
		h, b = stripes(b)
	} else {
		h = seed + prime5
	}
	h += n
	for ; len(b) >= 8; b = b[8:] {
		h ^= round(0, binary.LittleEndian.Uint64(b))
		h = bits.RotateLeft64(h, 27)*prime1 + prime4
	}
	if len(b) >= 4 {
		h ^= uint64(binary.LittleEndian.Uint32(b)) * prime1
		h = bits.RotateLeft64(h, 23)*prime2 + prime3
		b = b[4:]
	}
	for _, c := range b {
		h ^= uint64(c) * prime5
		h = bits.RotateLeft64(h, 11) * prime1
	}
	return avalanche(h)
}

// stripes hashes the whole blocks of 32 bytes and returns what is left.
func stripes(b []byte) (uint64, []byte) {
	s := uint64(seed)
	v1, v2, v3, v4 := s+prime1+prime2, s+prime2, s, s-prime1
	for ; len(b) >= 32; b = b[32:] {
		v1 = round(v1, binary.LittleEndian.Uint64(b))
		v2 = round(v2, binary.LittleEndian.Uint64(b[8:]))
		v3 = round(v3, binary.LittleEndian.Uint64(b[16:]))
		v4 = round(v4, binary.LittleEndian.Uint64(b[24:]))
	}
	h := bits.RotateLeft64(v1, 1) + bits.RotateLeft64(v2, 7) + bits.RotateLeft64(v3, 12) + bits.RotateLeft64(v4, 18)
	for _, v := range [...]uint64{v1, v2, v3, v4} {
		h = (h^round(0, v))*prime1 + prime4
	}
	return h, b
}

func round(acc, input uint64) uint64 { return bits.RotateLeft64(acc+input*prime2, 31) * prime1 }

func avalanche(h uint64) uint64 {
	h = (h ^ h>>33) * prime2
	h = (h ^ h>>29) * prime3
	return h ^ h>>32
}

// HashLong is the hash of an integer's eight bytes, little endian: longs, booleans (0 or 1), dates
// (days) and instants (microseconds).
func HashLong(x int64) uint64 {
	s := uint64(seed)
	h := s + prime5 + 8
	h ^= round(0, uint64(x))
	return avalanche(bits.RotateLeft64(h, 27)*prime1 + prime4)
}

// HashDouble is the hash of a double's bits; −0.0 is 0.0.
func HashDouble(x float64) uint64 {
	if x == 0 {
		x = 0
	}
	return HashLong(int64(math.Float64bits(x)))
}
