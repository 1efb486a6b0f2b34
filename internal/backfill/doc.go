// Package backfill fills in the history of view versions from the lake, day by day.
// The manager lists a back-fill's days when the lake is past its cut, lets the new version serve when all
// are done, and clears away what versions leave behind. Workers, any number in any process, lease days,
// fold the rows below the cut from a snapshot that a tag pins, and seal.
// Invariants: a day counts once, whoever folded it how often; the ledger knows at every moment what is
// there and what is not.
package backfill
