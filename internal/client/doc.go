// Package client speaks pinflow's HTTP API for the commands.
//
// It owns addresses, keys, problem+json and the event stream; what an answer means is the caller's
// business. It never retries and never prints.
// Invariant: every failure says whether the server was reached (fault code unreachable, exit code 7)
// or refused (its own code and detail).
package client
