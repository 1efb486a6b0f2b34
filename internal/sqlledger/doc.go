// Package sqlledger keeps the ledger in a SQL database: SQLite in a file, or PostgreSQL.
//
// It owns the tables, the migrations and the transactions. One implementation serves both databases;
// what differs (types, placeholders, locks, clock, error codes) is in a dialect, one file each.
// It never retries: busy is fault.Transient, a COMMIT without an answer fault.Ambiguous.
// Invariants: see package ledger; no transaction inserts more than ledger.MaxTx bytes in several pieces.
package sqlledger
