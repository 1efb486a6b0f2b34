// Package live folds the log into metric states, exactly once, a moment after it was written.
//
// It owns the groups of the partitions it holds between two flushes, and the compaction of the small
// segments that flushes leave. The ledger transaction is the only truth: it never relies on Kafka's
// committed offsets and never retries an ambiguous transaction without reading the ledger first.
package live
