// Package event turns records into rows.
//
// It owns streams, schemas, cleaning, the verdict on an event, and the way back from a row to the
// JSON that was sent. It never does I/O and never asks what time it is.
// Invariant: verdict, id, event time and columns of a record are a function of its bytes, its
// headers and the schema version in force at its offset.
package event
