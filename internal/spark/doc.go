// Package spark folds rows of the lake in Apache Spark: it runs a driver by spark-submit, asks it the statements
// of a job over the lake's data files, and reads the states that Spark wrote as Parquet.
// It knows no ledger and no view: what a statement means is metric's, which files and rows it is about its caller's.
// Invariants: no state is shown before Spark has written all of a job; a driver lives no longer than the process
// that runs it, however that ends; what was written for a job is removed with it.
package spark
