// Package ledgertest is the contract of package ledger as a test suite.
//
// Run proves every promise of every method on an implementation: what is visible when, who is fenced,
// which races have one winner. RunFaults makes the k-th database call fail, for every k.
// Names of tests begin with the invariants that they prove (L2, M4, D1, …).
package ledgertest
