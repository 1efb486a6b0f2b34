// Package project holds the built-in project: what `pinflow init` writes, what commands use without a
// pinflow.yaml, and the rows of the demonstration.
//
// It owns files, nothing else: config reads and checks them.
package project
