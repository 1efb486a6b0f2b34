// Package fold turns rows into mergeable states and merges states.
//
// It owns the kernel: evaluation of a view over batches, grouping by bucket and dimensions, the
// columns of states, their merge, and the finished number. It never does I/O and has no clock.
// Invariants: states merge in any order and grouping to the same answer (sums of doubles within
// 1e-9 · Σ|x|); NULL is a dimension value of its own; a row is in the view or counted as left out
// by functions of the row alone; rows that come together become to the last bit what they become one
// by one, so whatever is quick for a block (one bucket, no late row, codes of dictionaries) changes nothing.
package fold
