// Package expr evaluates a typed subset of SQL over columns.
//
// It owns the grammar, the type checker, the table of functions, the evaluator with three-valued
// logic, and the canonical form that version hashes cover. It never does I/O.
// Invariants: an expression never fails on a batch: a row on which an operation fails (overflow,
// cast, range) gets NULL there and is flagged once; a branch that a row does not take cannot fail
// on it; the canonical form reads back as the same tree.
package expr
