// Package archtest holds the layout as a test: import direction, sizes, banned words.
//
// Raising a figure or adding an exception is a decision, visible in its lists.
package archtest
