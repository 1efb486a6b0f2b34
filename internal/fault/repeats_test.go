package fault

import (
	"testing"
	"time"
)

func TestRepeatedFailuresAreSaidNowAndThen(t *testing.T) {
	for every, want := range map[time.Duration]int{time.Second: 4, 0: 1} { // 3 s of a thousand a second
		r := Repeats{Every: every}
		start := time.Date(2026, 11, 28, 10, 0, 0, 0, time.UTC)
		said, unsaid := 0, 0
		for i := range 3001 {
			if n, ok := r.Say("log_unavailable", start.Add(time.Duration(i)*time.Millisecond)); ok {
				said++
				unsaid += n
			}
		}
		if said != want {
			t.Errorf("every %s: said %d times, want %d", every, said, want)
		}
		if n, ok := r.Say("log_unavailable", start.Add(time.Hour)); !ok || said+unsaid+n != 3001 {
			t.Errorf("every %s: said %d, told of %d more", every, said, unsaid+n)
		}
		if n, ok := r.Say("another", start.Add(3001*time.Millisecond)); !ok || n != 0 {
			t.Errorf("another sort: %d %v", n, ok)
		}
	}
}
