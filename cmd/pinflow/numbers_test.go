package main

import (
	"strings"
	"testing"
	"time"
)

func TestCountsAndShares(t *testing.T) {
	for text, want := range map[string]float64{"500": 500, "2k": 2000, "1.5M": 1.5e6, "0": 0, "10K": 10000} {
		if v, ok := parseCount(text); !ok || v != want {
			t.Errorf("parseCount(%q) = %v, %v", text, v, ok)
		}
	}
	for text, want := range map[string]float64{"1%": 0.01, "0.1%": 0.001, "0.5": 0.5, "0%": 0, "100%": 1} {
		if v, ok := parseShare(text); !ok || v-want > 1e-12 || want-v > 1e-12 {
			t.Errorf("parseShare(%q) = %v, %v", text, v, ok)
		}
	}
	for _, text := range []string{"", "x", "-1", "1e99", "NaN", "k", "Inf"} {
		if _, ok := parseCount(text); ok {
			t.Errorf("parseCount(%q) was taken", text)
		}
	}
	for _, text := range []string{"", "101%", "-1%", "NaN", "2"} {
		if _, ok := parseShare(text); ok {
			t.Errorf("parseShare(%q) was taken", text)
		}
	}
}

func TestProgressSaysWhatIsLeft(t *testing.T) {
	for want, got := range map[string]string{
		"20000 done, 2000/s: 3 sent again":                        progressLine(20000, 0, 10*time.Second, "3 sent again"),
		"20000 of 210000 done (10 %), 2000/s, about 2 min left":   progressLine(20000, 210000, 10*time.Second, ""),
		"24 of 3082358 done (0 %), 12/s":                          progressLine(24, 3082358, 2*time.Second, ""),
		"3080393 of 3082358 done (99 %), 30804/s, about 1 s left": progressLine(3080393, 3082358, 100*time.Second, ""),
		"210000 of 210000 done (100 %), 21000/s":                  progressLine(210000, 210000, 10*time.Second, ""),
		"0 of 10 done (0 %), 0/s":                                 progressLine(0, 10, 2*time.Second, ""),
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestNothingThatEventsHoldSteersTheTerminal(t *testing.T) {
	var b strings.Builder
	s := sheet{columns: []string{"category"}, rows: [][]any{{"a\x1b[2Jb\nc\u009b"}}}
	if err := s.table(&b); err != nil {
		t.Fatal(err)
	}
	if want := "CATEGORY\na\ufffd[2Jb\ufffdc\ufffd\n"; b.String() != want {
		t.Errorf("got %q", b.String())
	}
}
