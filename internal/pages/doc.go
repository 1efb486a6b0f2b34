// Package pages reads columns of Parquet files into vectors, a block of rows at a time.
//
// It owns the way from a page's bytes to a column.Vec: levels, plain values, integers as differences, and
// dictionaries, whose texts stay codes, so that whoever groups by them looks at each text once. What it does
// not read itself (lists, texts as differences) it takes from arrow-go. The memory of a block is used again
// for the next.
// It knows nothing of tables, snapshots or deletes, and opens no file.
package pages
