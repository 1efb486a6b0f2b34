// Package rowfile reads files of events as logs: each row is a record, its offset the number of the row.
//
// It owns formats (JSON Lines, CSV, Parquet), compressions, and what a row's event, id and times are. A file
// is looked at once as a whole before any row of it is taken, so that one that cannot be read is refused
// before anything is written. It holds a few thousand rows at a time.
package rowfile
