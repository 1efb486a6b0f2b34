// Package plan compares the files of a project with what the ledger runs.
//
// It owns the categories of change and the rule that a declared field never changes. It is pure: it
// reads neither files nor the ledger and applies nothing.
package plan
