// Package nearest guesses what a misspelt name was meant to be.
package nearest

import "strings"

// Name is the candidate that a misspelt word most likely stands for, "" when none is near.
// Near are: another case, a candidate that contains the word or lies in it, or at most a third of
// the letters different, or two (optimal string alignment; swapped letters count half).
func Name(given string, candidates []string) string {
	g := strings.ToLower(given)
	best, bestCost := "", 2*max(len(g)/3, 2)+1
	for _, c := range candidates {
		if c == given {
			continue
		}
		if cost := distance(g, strings.ToLower(c)); cost == 0 || cost < bestCost && cost < 2*len(c) {
			best, bestCost = c, cost
		}
	}
	if best != "" || len(g) < 3 {
		return best
	}
	for _, c := range candidates {
		l := strings.ToLower(c)
		if strings.Contains(l, g) || len(l) >= 3 && strings.Contains(g, l) {
			return c
		}
	}
	return ""
}

// distance is twice the number of inserted, deleted and changed letters between a and b, and once that
// of swapped pairs.
func distance(a, b string) int {
	if len(a) > 100 || len(b) > 100 {
		return 1000
	}
	before, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = 2 * j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = 2 * i
		for j := 1; j <= len(b); j++ {
			cost := 2
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+2, cur[j-1]+2, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], before[j-2]+1)
			}
		}
		before, prev, cur = prev, cur, before
	}
	return prev[len(b)]
}
