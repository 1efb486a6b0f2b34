// Package access keeps who may do what: the API keys and sessions of the ledger, held in memory.
//
// It owns the making, listing and revoking of keys and the log-ins of the page. It knows no HTTP; what
// a key may do is apikey's.
// Invariants: a revoked key is refused at once by the process that revoked it and within the refresh
// interval by the others; while the ledger is away the keys last known go on; the text of a key is
// never kept, logged or put into an error.
package access
