// Package metric compiles metrics views.
//
// It owns views and measures as people write them, their canonical typed definition and its hash
// (which is what a version is), the layout of states, buckets and lateness. It never does I/O and
// never asks what time it is.
// Invariants: two views with the same definition have the same hash; names, formats, ratios, keep,
// deadline and tests are metadata and never part of it; lateness is a function of the record alone.
package metric
