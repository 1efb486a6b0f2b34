// Package days notes when the logs ended where, and says when a day is complete.
//
// It owns the marks of every stream, the cuts of its days and their landings. It reads the ledger and
// the ends of the logs; timestamps of records play no part.
// Invariants: a mark's time is noted before anything is read, so whatever was answered before that time
// lies below the mark; a mark without every partition's answer is not stored; a day lands only when
// the lake and the live unit have reached its cut everywhere and every offset is accounted for (D2).
package days
