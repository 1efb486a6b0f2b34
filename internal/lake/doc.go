// Package lake is the contract of what holds the rows of streams for good: Iceberg tables with numbered
// commits. It owns the words that the units and icelake share: tables, blocks of rows, heads, and the
// check that a table and the ledger tell the same story. It never does I/O.
package lake
