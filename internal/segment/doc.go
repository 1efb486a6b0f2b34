// Package segment turns blocks of states into bytes and back.
//
// It owns the segment format (a header with version and CRC around a zstd frame of an Arrow IPC
// stream) and the choice of what to compact. It never does I/O.
// Invariants: decode(encode(block)) = block; bytes that are not a whole segment are refused as
// corrupt, whatever they are; a segment stays below 1 MiB if its block was cut by fold.MaxBlock.
package segment
