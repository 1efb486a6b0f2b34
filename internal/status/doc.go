// Package status assembles the answer to "is everything well?": the body of GET /v1/status.
//
// It owns the JSON shape and the arithmetic of conservation and lag. It reads the ledger and the ends
// of the logs, and writes nothing.
// Invariant: accepted = rows + dead + duplicates + gaps + lost + in_flight, per partition.
package status
