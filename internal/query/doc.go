// Package query answers questions about views from the segments of one ledger snapshot.
//
// It owns what a question means (ranges, grains, filters, order, top and other), the finished
// numbers, and what each number is worth: complete_to, coverage, state of each point, warnings.
// It never writes and never reads the lake.
// Invariants: an answer is of one snapshot and one version; a gap is NULL with a coverage entry, a
// true zero is 0; the server, not the reader, says which points are unfinished.
package query
