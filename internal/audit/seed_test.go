package audit_test

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"
)

func seeded(t *testing.T) *rand.Rand {
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("PINFLOW_SEED"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seed = n
	}
	t.Logf("seed: PINFLOW_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 1))
}
