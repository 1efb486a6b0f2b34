package days

import (
	"testing"
	"time"

	"github.com/pinflow/pinflow/internal/ledger"
)

func TestPace(t *testing.T) {
	p, d := NewPace(), &ledger.Day{Stream: "pin", Zone: "UTC", Date: "2026-11-27"}
	start := time.Date(2026, 11, 28, 0, 11, 0, 0, time.UTC)
	note := func(seconds int, lacks int64) { p.Note(d, start.Add(time.Duration(seconds)*time.Second), lacks) }
	unknown := func(why string) {
		t.Helper()
		if from, to, ok := p.Landing(d); ok {
			t.Errorf("%s: %v to %v", why, from, to)
		}
	}
	unknown("nothing was seen")
	note(0, 1_200_000)
	note(2, 1_198_000)
	unknown("two seconds tell nothing")
	for s := 3; s <= 60; s++ {
		note(s, 1_200_000-1000*int64(s)) // 1,140,000 are left, at 1,000 a second
	}
	from, to, ok := p.Landing(d)
	if at := start.Add(1200 * time.Second); !ok || !from.Before(at) || !to.After(at) || to.Sub(from) > 5*time.Minute {
		t.Errorf("it lands from %v to %v, want about %v", from, to, at)
	}
	if _, _, ok := p.Landing(&ledger.Day{Stream: "geo", Zone: "UTC", Date: "2026-11-27"}); ok {
		t.Error("the pace of another stream")
	}
	for s := 61; s <= 120; s++ { // twice as fast: the range has both
		note(s, 1_140_000-2000*int64(s-60))
	}
	from, to, ok = p.Landing(d)
	if !ok || to.Sub(from) < time.Minute || from.Sub(start) < 9*time.Minute || to.Sub(start) > 20*time.Minute {
		t.Errorf("it lands from %v to %v", from, to)
	}
	for s := 121; s <= 500; s += 10 {
		note(s, 1_020_000)
	}
	unknown("it stands still")
}
