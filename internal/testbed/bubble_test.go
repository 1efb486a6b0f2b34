package testbed_test

import (
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/pinflow/pinflow/internal/testbed"
)

// The race detector does not break down at timers of many goroutines that fire as they are polled; afterwards
// the process has its processors back.
func TestTimersOfABubbleMayBePolledByMany(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	for range 3 {
		testbed.Bubble(t, func(t *testing.T) {
			var fired [4]int
			var wg sync.WaitGroup
			for n := range fired {
				wg.Go(func() {
					for range 20_000 {
						select {
						case <-time.NewTimer(0).C:
							fired[n]++
						default:
						}
					}
				})
			}
			wg.Wait()
			for n, got := range fired {
				if got != 20_000 {
					t.Errorf("goroutine %d: %d timers fired, want 20000", n, got)
				}
			}
		})
	}
	if got := runtime.GOMAXPROCS(0); got != before {
		t.Errorf("%d processors afterwards, want %d", got, before)
	}
}
