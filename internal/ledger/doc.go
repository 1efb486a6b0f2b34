// Package ledger is the contract with the database that holds the truth of a deployment.
//
// It owns the meaning of positions, writes, segments, lake files, intents, marks and leases, and the
// suite (ledgertest) that every implementation passes. It has no implementation of its own.
// Invariants: offsets and what was made of them change in one transaction, which asserts that the
// offset is still where the worker took over; a sealed write is whole, an unsealed one invisible.
package ledger
