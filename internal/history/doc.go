// Package history folds rows of the lake into the states of a view version, as live folds records of the
// log: back-fill and audit share it. It never reads the lake or the ledger itself.
// Invariant: a row is folded under the schema that judged it, or under the version's own if that is
// newer, whose fields are then computed from the row's original members; so the states are those that
// live would have made of the record.
package history
