//go:build race

package ledgertest

// Under the race detector the pure-Go SQLite is 20 times slower. What runs on one goroutine then runs
// less often; the races all run.
const raceDetector = true
