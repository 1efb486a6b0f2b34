// Command pinflow collects events, keeps them in a lake, and measures them: history and the present
// in one binary.
//
// Each command is a file: flags → config → app or HTTP client → exit code. Data goes to stdout,
// everything else to stderr.
package main
