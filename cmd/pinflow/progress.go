package main

import (
	"fmt"
	"math"
	"sync"
	"time"
)

// Progress begins to show after progressAfter; on a terminal a line is renewed, elsewhere lines follow
// each other less often.
const (
	progressAfter = 2 * time.Second
	progressEvery = 500 * time.Millisecond
	progressLines = 10 * time.Second
)

// watch shows how far a long work is, on stderr, until the returned function is called. now tells how
// much is done and what more to say; total is 0 when there is no end.
func (c *cli) watch(now func() (done int64, more string), total int64) (stop func()) {
	if c.quiet {
		return func() {}
	}
	end := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		begin := time.Now()
		every := progressLines
		if c.errTerminal {
			every = progressEvery
		}
		timer := time.NewTimer(progressAfter)
		defer timer.Stop()
		shown := false
		for {
			select {
			case <-end:
				if shown && c.errTerminal {
					fmt.Fprintln(c.stderr)
				}
				return
			case <-timer.C:
			}
			done, more := now()
			line := progressLine(done, total, time.Since(begin), more)
			if c.errTerminal {
				fmt.Fprintf(c.stderr, "\r\x1b[K%s", line)
			} else {
				fmt.Fprintln(c.stderr, line)
			}
			shown = true
			timer.Reset(every)
		}
	})
	return sync.OnceFunc(func() {
		close(end)
		wg.Wait()
	})
}

func progressLine(done, total int64, since time.Duration, more string) string {
	rate := float64(done) / since.Seconds()
	line := fmt.Sprintf("%d done, %.0f/s", done, rate)
	if total > 0 {
		percent := math.Round(100 * float64(done) / float64(total))
		if done < total {
			percent = min(percent, 99)
		}
		line = fmt.Sprintf("%d of %d done (%.0f %%), %.0f/s", done, total, percent, rate)
		if done < total && done >= total/100 && done > 0 { // the first few tell nothing
			line += ", about " + coarse(time.Duration(float64(total-done)/rate*float64(time.Second))) + " left"
		}
	}
	if more != "" {
		line += ": " + more
	}
	return line
}

// coarse is a duration nobody would take for exact.
func coarse(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds())+1)
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes())+1)
	}
	return fmt.Sprintf("%d h", int(d.Hours())+1)
}
