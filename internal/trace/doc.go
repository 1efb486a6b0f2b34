// Package trace follows one event: where it is in the log, in the lake or among the dead letters, which of
// its records are duplicates, and in which buckets it counts or why not. It writes nothing.
package trace
