// Package audit compares what a view answers with the lake: for a range of days it takes answer, positions
// and coverage of one snapshot of the ledger, waits for the lake to pass those positions, folds just those
// rows again, and compares every measure of every group of every bucket.
// Invariant: it writes nothing; a difference is a fault of pinflow's, or of somebody's who wrote to its stores.
package audit
