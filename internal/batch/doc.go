// Package batch moves the log into the lake, exactly once.
//
// Its reader collects records as columns, writes them as data files and seals a stage: the ledger
// transaction that moves positions and names the files. Its committer makes sealed files part of the
// tables, one numbered commit after the other. It never deletes a file that a commit could still name,
// never gives an open intent up, and stops when lake and ledger tell different stories.
package batch
