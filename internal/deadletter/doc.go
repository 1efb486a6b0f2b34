// Package deadletter tells what lies in the lake's table of dead letters: groups by stream, reason and field,
// and their letters. It writes nothing. A letter that is not in a commit of the lake yet is not seen, which is
// what complete_to says.
package deadletter
