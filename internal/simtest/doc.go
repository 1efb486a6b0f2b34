// Package simtest runs the whole pipeline in virtual time with faults.
//
// HTTP handler → producer → broker → both units → SQLite and Iceberg run in one synctest bubble over a
// virtual network: days pass in seconds, and so late data, day ends, leases and session time-outs are
// real. Build with -tags synctests, so that franz-go's mutexes count as blocked.
package simtest
