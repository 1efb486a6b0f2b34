// Package fault sorts failures by what is to be done about them.
//
// It owns the six kinds, the stable codes with their advice, and the exit codes.
// It never logs and never decides: callers switch on Kind.
package fault
