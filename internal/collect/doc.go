// Package collect is the front door: it judges events and hands them to the log.
//
// It owns splitting of bodies, event ids, the choice of partition, and what each event is told. It
// knows no HTTP and no Kafka, and never changes the catalogue.
// Invariants: what is answered accepted or dead_lettered is durable; counts add up to the events sent,
// in order; everything is checked before anything is handed over, so what is refused as a whole is
// stored nowhere; memory stays under the limit.
package collect
