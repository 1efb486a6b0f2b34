// Package calendar cuts time into buckets.
//
// It owns grains and the starts of minutes, hours, days, weeks, months and years in a time zone.
// Times are UTC instants in microseconds since 1970-01-01T00:00:00Z. It never asks what time it is.
// Invariants: the buckets of a grain partition the time line; each bucket of a coarser grain is a
// union of buckets of any finer one, across every change of the clocks; a repeated hour is two.
package calendar
