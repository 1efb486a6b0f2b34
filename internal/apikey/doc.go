// Package apikey is what an API key is: its text, its scopes, its hash, and who may do what with it.
//
// It owns the making and the comparing of keys and sessions. It stores nothing and knows no HTTP.
// Invariants: the text of a key is known only to whoever made it; what is kept is a hash; comparing
// takes the same time whatever is given.
package apikey
