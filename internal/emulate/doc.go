// Package emulate posts the events of many users and knows what must come of them.
//
// It owns the user emulation, its truth file and the verification of a server against it. What is
// expected is computed from the generated events with plain arithmetic, never with the kernel.
// Invariants: an event keeps its id and bytes however often it is sent; its batch is in the truth file
// before the first attempt; the same seed and run make the same events.
package emulate
