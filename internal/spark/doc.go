// Package spark runs SQL in Apache Spark over the lake's tables, for back-fills that outgrow one machine.
// It owns one Spark session, a child process (spark-submit of a small Scala script, no Python, no port) that
// is started when it is needed and ends with this process, whatever becomes of it: it reads its statements
// from a pipe. It never reads the ledger. Invariant: what the catalog's and the bucket's secrets are goes
// through that pipe alone, not into arguments, environment or files.
package spark
