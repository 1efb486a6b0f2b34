// Package config reads a project: pinflow.yaml, streams, metrics and dashboards.
//
// It owns the tables of allowed keys and values (tables.go), from which come the checks, the JSON
// Schemas and the defaults, so that the three cannot drift; the precedence flag > env > file >
// default with the origin of each value; and the messages with line, column and suggestion.
// It is the only package that reads the environment. It never opens a connection and never writes.
// Invariants: all problems of a project are reported at once; a text that it cannot read is a
// problem, never a panic; a secret never appears in what it prints.
package config
