// Package sketch holds the approximate states: HyperLogLog registers and quantile buckets.
//
// It owns the hash, the bits that a value becomes, their merge and the number they finish to, all of
// which other engines can build with GROUP BY (Spark's xxhash64 is the same hash). It never does I/O.
// Invariants: equal sets of values give equal bytes, whatever the order and grouping; merge is
// associative and commutative; NULL, NaN and infinities never come here.
package sketch
