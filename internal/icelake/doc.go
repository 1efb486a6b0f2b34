// Package icelake keeps streams as Iceberg tables: it writes, commits, maintains and reads them.
//
// It owns the warehouse folder and the catalog database beside it. Files are synced before anything
// names them, written once under unique names and never overwritten. Every commit to a table carries a
// number as the table property pinflow.commit-seq, checked under the catalog's compare-and-set: at most
// one commit of each number can ever land, and commit n has landed if and only if the property is ≥ n.
// It never decides what to commit (batch does) and never writes the ledger.
package icelake
