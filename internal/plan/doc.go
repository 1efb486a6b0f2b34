// Package plan compares the files of a project with what the ledger runs.
//
// It owns the categories of change, the rule that a declared field never changes, the document that plan
// hands out and apply takes back, and its text. It is pure: it reads neither files nor the ledger and
// applies nothing.
package plan
