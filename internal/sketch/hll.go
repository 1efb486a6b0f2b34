package sketch

import (
	"errors"
	"math"
	"math/bits"
	"slices"
)

// HLL counts distinct values approximately: HyperLogLog (Flajolet et al. 2007) of 4096 registers over
// 64-bit hashes. The register of a hash is its top 12 bits; its rank is the place of the first 1 among
// the low 52 bits, 53 if there is none; a register keeps the greatest rank. nil is the empty set.
//
// Up to SparseMax registers that are not 0 it is a list of them, three bytes each (register << 6 | rank,
// big endian), in order; beyond it is the 4096 registers, one byte each. Which of the two follows from
// the registers, so equal registers are equal bytes.
type HLL []byte

// The shape of an HLL.
const (
	Registers = 1 << registerBits
	MaxRank   = rankBits + 1
	SparseMax = 512 // most registers of the sparse form

	registerBits = 12
	rankBits     = 64 - registerBits
	entrySize    = 3
)

// DistinctError is the standard error of Estimate: 1.04 / √4096, rounded.
const DistinctError = 0.016

// Place returns the register of a hash and its rank.
func Place(hash uint64) (register int, rank uint8) {
	return int(hash >> rankBits), uint8(MaxRank - bits.Len64(hash<<registerBits>>registerBits))
}

// Dense tells whether h holds all registers.
func (h HLL) Dense() bool { return len(h) == Registers }

// Add returns h with the hash in it. It writes into h's memory where it can.
func (h HLL) Add(hash uint64) HLL {
	register, rank := Place(hash)
	return h.Set(register, rank)
}

// Set returns h with the register at least at that rank.
func (h HLL) Set(register int, rank uint8) HLL {
	if len(h) == Registers {
		if h[register] < rank {
			h[register] = rank
		}
		return h
	}
	at := h.search(register)
	if at < len(h) && h.register(at) == register {
		if h[at+2]&63 < rank {
			h[at+2] = h[at+2]&^63 | rank
		}
		return h
	}
	if len(h) == SparseMax*entrySize {
		h = h.toDense()
		h[register] = rank
		return h
	}
	h = append(h, 0, 0, 0)
	copy(h[at+entrySize:], h[at:])
	h.put(at, register, rank)
	return h
}

func (h HLL) register(at int) int { return int(h[at])<<10 | int(h[at+1])<<2 | int(h[at+2])>>6 }

func (h HLL) put(at, register int, rank uint8) {
	h[at], h[at+1], h[at+2] = byte(register>>10), byte(register>>2), byte(register<<6)|rank
}

// search returns the byte where the register's entry is or belongs, of a sparse h.
func (h HLL) search(register int) int {
	low, high := 0, len(h)/entrySize
	for low < high {
		mid := int(uint(low+high) / 2)
		if h.register(mid*entrySize) < register {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return low * entrySize
}

func (h HLL) toDense() HLL {
	out := make(HLL, Registers)
	for at := 0; at < len(h); at += entrySize {
		out[h.register(at)] = h[at+2] & 63
	}
	return out
}

// Merge returns the union. It writes into h's memory where it can, never into o's.
func (h HLL) Merge(o HLL) HLL {
	switch {
	case len(o) == 0:
		return h
	case len(h) == 0:
		return append(h, o...)
	case len(o) == Registers:
		if len(h) != Registers {
			h = h.toDense()
		}
		for i, rank := range o {
			if h[i] < rank {
				h[i] = rank
			}
		}
		return h
	case len(h) == Registers:
		for at := 0; at < len(o); at += entrySize {
			if r := o.register(at); h[r] < o[at+2]&63 {
				h[r] = o[at+2] & 63
			}
		}
		return h
	}
	return h.mergeSparse(o)
}

// mergeSparse merges two lists from their ends, so that it needs no other memory than h's.
func (h HLL) mergeSparse(o HLL) HLL {
	if len(o) == entrySize {
		return h.Set(o.register(0), o[2]&63)
	}
	n := len(h) + len(o)
	for i, j := 0, 0; i < len(h) && j < len(o); { // registers of both count once
		switch a, b := h.register(i), o.register(j); {
		case a == b:
			n, i, j = n-entrySize, i+entrySize, j+entrySize
		case a < b:
			i += entrySize
		default:
			j += entrySize
		}
	}
	if n > SparseMax*entrySize {
		return h.toDense().Merge(o)
	}
	i, j := len(h)-entrySize, len(o)-entrySize
	h = slices.Grow(h, n-len(h))[:n]
	for to := n - entrySize; j >= 0; to -= entrySize {
		switch {
		case i >= 0 && h.register(i) > o.register(j):
			copy(h[to:], h[i:i+entrySize])
			i -= entrySize
		case i >= 0 && h.register(i) == o.register(j):
			h.put(to, h.register(i), max(h[i+2]&63, o[j+2]&63))
			i, j = i-entrySize, j-entrySize
		default:
			copy(h[to:], o[j:j+entrySize])
			j -= entrySize
		}
	}
	return h
}

// Each calls fn with every register that is not 0, in order.
func (h HLL) Each(fn func(register int, rank uint8)) {
	if len(h) == Registers {
		for r, rank := range h {
			if rank > 0 {
				fn(r, rank)
			}
		}
		return
	}
	for at := 0; at < len(h); at += entrySize {
		fn(h.register(at), h[at+2]&63)
	}
}

var errHLL = errors.New("no registers of a distinct count")

// Check tells whether bytes from elsewhere are an HLL.
func (h HLL) Check() error {
	if len(h) == Registers {
		used := 0
		for _, rank := range h {
			if rank > MaxRank {
				return errHLL
			}
			if rank > 0 {
				used++
			}
		}
		if used <= SparseMax {
			return errHLL
		}
		return nil
	}
	if len(h)%entrySize != 0 || len(h) > SparseMax*entrySize {
		return errHLL
	}
	last := -1
	for at := 0; at < len(h); at += entrySize {
		r, rank := h.register(at), h[at+2]&63
		if h[at] > 3 || r <= last || rank == 0 || rank > MaxRank {
			return errHLL
		}
		last = r
	}
	return nil
}

// Estimate is about how many distinct hashes h has seen: the improved raw estimator of O. Ertl, "New
// cardinality estimation algorithms for HyperLogLog sketches" (arXiv:1702.01284, algorithm 6), which
// needs no tables and holds from 0 to 2^64.
func (h HLL) Estimate() float64 {
	if len(h) == 0 {
		return 0
	}
	var count [64]int // registers by rank
	if len(h) == Registers {
		for _, rank := range h {
			count[rank&63]++
		}
	} else {
		for at := 2; at < len(h); at += entrySize {
			count[h[at]&63]++
		}
		count[0] = Registers - len(h)/entrySize
	}
	const m = float64(Registers)
	z := m * tau(1-float64(count[MaxRank])/m)
	for k := rankBits; k >= 1; k-- {
		z = 0.5 * (z + float64(count[k]))
	}
	z += m * sigma(float64(count[0])/m)
	return m * m / (2 * math.Ln2) / z
}

func sigma(x float64) float64 {
	if x == 1 {
		return math.Inf(1)
	}
	y, z := 1.0, x
	for {
		x *= x
		before := z
		z += x * y
		y += y
		if z == before {
			return z
		}
	}
}

func tau(x float64) float64 {
	if x == 0 || x == 1 {
		return 0
	}
	y, z := 1.0, 1-x
	for {
		x = math.Sqrt(x)
		before := z
		y *= 0.5
		z -= (1 - x) * (1 - x) * y
		if z == before {
			return z / 3
		}
	}
}
