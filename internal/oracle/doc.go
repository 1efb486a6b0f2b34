// Package oracle holds the kernel against other engines.
//
// It owns a DuckDB that knows the hash, generated schemas, rows, expressions and views, and the
// comparison of what both sides say: values, failures, groups, states. It is a module of its own so
// that cgo and DuckDB stay out of the binary. Nothing imports it.
package oracle
