// Package column holds the vectors that batches are made of.
//
// It owns the in-memory form of a column: Arrow's layout in plain Go slices, so that adapters can
// hand it to Arrow without copying and the kernel can loop over it without interfaces.
// It never does I/O and knows nothing of events, views or files.
package column
