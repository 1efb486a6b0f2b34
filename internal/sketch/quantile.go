package sketch

import (
	"math"
	"math/bits"
	"strconv"
	"strings"
)

// A quantile's buckets are log-linear: by sign, by exponent e = ⌊log2 |x|⌋, and by the 64th part of
// [2^e, 2^(e+1)) that |x| lies in; zero has its own. Their numbers are in the order of the values.

// QuantileError is the greatest relative error of a quantile's value: half of a bucket of 1/64, rounded.
const QuantileError = 0.008

// MaxBucket is the greatest number of a bucket; −MaxBucket is the least.
const MaxBucket = (maxExponent+exponentBias)*subBuckets + subBuckets

const (
	subBuckets   = 64
	subBits      = 6
	exponentBias = 1075 // the least exponent of a double is −1074
	maxExponent  = 1023
)

// Bucket is the number of the bucket of a finite x: 0 for 0; for x > 0
// (e + 1075) · 64 + ⌊(x / 2^e − 1) · 64⌋ + 1; for x < 0 the same of |x|, negated.
func Bucket(x float64) int32 {
	b := math.Float64bits(x)
	e, sub := int32(b>>52&0x7FF), int32(b>>(52-subBits)&(subBuckets-1))
	switch {
	case e > 0:
		e -= 1023
	case b<<1 == 0:
		return 0
	default: // below the normal doubles: e is the place of the first 1
		fraction := b & (1<<52 - 1)
		n := bits.Len64(fraction)
		e, sub = int32(n-1-1074), int32(fraction<<(53-n)>>(52-subBits)&(subBuckets-1))
	}
	k := (e+exponentBias)*subBuckets + sub + 1
	if b>>63 != 0 {
		return -k
	}
	return k
}

// Middle is the middle of a bucket.
func Middle(bucket int32) float64 {
	k, sign := bucket, 1.0
	switch {
	case bucket == 0:
		return 0
	case bucket < 0:
		k, sign = -bucket, -1
	}
	e, sub := (k-1)/subBuckets-exponentBias, (k-1)%subBuckets
	return sign * math.Ldexp(1+(float64(sub)+0.5)/subBuckets, int(e))
}

// Quantile is the value at rank ⌈p · n⌉ (at least 1) of the n values in the buckets, given in order
// with their counts: the middle of its bucket, within [least, greatest]. There has to be a value.
func Quantile(buckets []int32, counts []int64, p, least, greatest float64) float64 {
	n := uint64(0)
	for _, c := range counts {
		n += uint64(c)
	}
	rank, at := Rank(p, n), 0
	for seen := uint64(0); at < len(counts)-1; at++ {
		if seen += uint64(counts[at]); seen >= rank {
			break
		}
	}
	return min(max(Middle(buckets[at]), least), greatest)
}

// Rank is ⌈p · n⌉, at least 1, of the decimal number that p is written as: 0.07 · 100 is 7.
func Rank(p float64, n uint64) uint64 {
	if p <= 0 {
		return 1
	}
	if p >= 1 {
		return n
	}
	_, digits, _ := strings.Cut(strconv.FormatFloat(p, 'f', -1, 64), ".")
	if len(digits) > 18 {
		return max(1, min(n, uint64(math.Ceil(p*float64(n)))))
	}
	scale := uint64(1)
	for range digits {
		scale *= 10
	}
	part, _ := strconv.ParseUint(digits, 10, 64)
	high, low := bits.Mul64(part, n)
	rank, rest := bits.Div64(high, low, scale)
	if rest > 0 {
		rank++
	}
	return max(1, rank)
}
