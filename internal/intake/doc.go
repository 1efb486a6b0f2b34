// Package intake is the part that both readers of the log share.
//
// It owns the partitions that a unit holds: take-over, dedup window, the schema in force at an
// offset, and what happens when the ledger fences the unit. What to make of the records is the
// Sink's business. Invariants: a record reaches the Sink at most once between two seals; whatever
// goes wrong, the position in the ledger is where reading goes on.
package intake
