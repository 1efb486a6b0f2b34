package testbed

import (
	"os"
	"strconv"
	"testing"
	"time"
)

// Seed is what a test draws from: PINFLOW_SEED, or the clock. It is printed, so that a run can be repeated.
func Seed(t testing.TB) uint64 {
	t.Helper()
	n := uint64(time.Now().UnixNano())
	if text := os.Getenv("PINFLOW_SEED"); text != "" {
		given, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("PINFLOW_SEED: %v", err)
		}
		n = given
	}
	t.Logf("seed: PINFLOW_SEED=%d", n)
	return n
}
