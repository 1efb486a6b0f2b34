package event

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What a decoder remembers of the order of members, known or not, changes no row: each is the one that a decoder
// makes that has seen no event before.
func TestWhatWasSeenBeforeChangesNoRow(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	s := compile(t, anything())
	var pool []string
	for i := range 2 * manyOthers { // more than have numbers, and some that begin like others
		pool = append(pool, fmt.Sprintf(`"o%d"`, i), fmt.Sprintf(`"o%dx"`, i))
	}
	pool = append(pool, `"l"`, `"s"`, `"tags"`, `"x"`, `""`, `"\u0078"`, `"\u006c"`, `"o1"`, `"`+strings.Repeat("long", 40)+`"`)
	once := func() string { // members in some order, some of them more than once
		var members []string
		for range r.IntN(30) {
			members = append(members, pool[r.IntN(len(pool))]+fmt.Sprintf(`:%q`, fmt.Sprint(r.IntN(100))))
		}
		return "{" + strings.Join(members, ",") + "}"
	}
	used := s.NewDecoder(nil)
	var events []string
	for range 3000 {
		e := once()
		if len(events) > 0 && r.IntN(2) == 0 {
			e = events[r.IntN(len(events))]
		}
		events = append(events, e)
		fresh := s.NewDecoder(nil)
		got, want := used.Append(record(e)), fresh.Append(record(e))
		if got != want {
			t.Fatalf("%s: %+v, not %+v", e, got, want)
		}
		for i, c := range s.Columns() {
			a, b := show(&used.Rows().Cols[i], used.Rows().N-1), show(&fresh.Rows().Cols[i], 0)
			if diff := cmp.Diff(b, a); diff != "" {
				t.Fatalf("%s: column %s: %s", e, c.Name, diff)
			}
		}
		if r.IntN(50) == 0 {
			used.Reset()
		}
	}
}
