// Package span is the algebra of positions in logs.
//
// It owns offset ranges, offset vectors and the dedup window. It never reads a log or a ledger.
// Invariants: a range is [From, To); a vector holds, per (log, partition), the next offset;
// an unnamed partition of a vector stands at 0.
package span
