// Package app wires pinflow together: the only place that builds adapters and units.
//
// It owns the data folder's lock, the order of start and stop, and how a project's files reach the
// ledger when `up` starts. Order of stop: front door, then units, then committer, then stores.
package app
