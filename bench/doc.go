// Command bench measures every figure that the README quotes, and says how each was made.
//
//	make bench                          # all of them, three runs each
//	go run ./bench -runs 1 pipeline     # some of them; their parts of RESULTS.md are replaced
//	go run ./bench -list
//
// It talks to loopback only and puts its data into a temporary folder on the disk of bench/. The load
// generator shares the machine with what it measures. Benches named `…-unit` and `door` run parts of
// the program alone, in a process of their own; the others run the real binary. A figure is the median
// of the runs; every run is printed, too.
package main
