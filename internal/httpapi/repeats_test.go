package httpapi

import (
	"testing"
	"time"
)

func TestRepeatedFailuresAreSaidOnceASecond(t *testing.T) {
	var r repeats
	start := time.Date(2026, 11, 28, 10, 0, 0, 0, time.UTC)
	said, unsaid := 0, 0
	for i := range 3001 { // 1000 a second
		if n, ok := r.say("log_unavailable", start.Add(time.Duration(i)*time.Millisecond)); ok {
			said++
			unsaid += n
		}
	}
	if said != 4 || said+unsaid != 3001 {
		t.Errorf("said %d, told of %d more", said, unsaid)
	}
	if n, ok := r.say("another", start.Add(3001*time.Millisecond)); !ok || n != 0 {
		t.Errorf("another sort: %d %v", n, ok)
	}
}
