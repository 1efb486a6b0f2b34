package span_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/pinflow/pinflow/internal/span"
)

// The window gives what its definition says: the same id in the previous N offsets, received at most T earlier.
func TestWindowIsTheDefinition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		records := rapid.IntRange(1, 12).Draw(t, "records")
		within := rapid.Int64Range(0, 10).Draw(t, "within")
		w := span.NewWindow(records, time.Duration(within)*time.Microsecond)
		type rec struct {
			id               string
			offset, received int64
		}
		var all []rec
		offset := int64(0)
		for range rapid.IntRange(0, 60).Draw(t, "n") {
			offset += rapid.Int64Range(1, 3).Draw(t, "step")
			r := rec{fmt.Sprint(rapid.IntRange(0, 3).Draw(t, "id")), offset, rapid.Int64Range(0, 30).Draw(t, "received")}
			want := false
			for _, o := range all {
				if o.id == r.id && o.offset >= r.offset-int64(records) && o.received >= r.received-within {
					want = true
				}
			}
			all = append(all, r)
			if got := w.Seen(span.IDOf(r.id), r.offset, r.received); got != want {
				t.Fatalf("offset %d id %s received %d: duplicate = %v, want %v", r.offset, r.id, r.received, got, want)
			}
		}
	})
}

// A window rebuilt from the N offsets before the position answers as the one that read everything.
func TestWindowRebuilt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		records := rapid.IntRange(1, 8).Draw(t, "records")
		within := time.Duration(rapid.Int64Range(0, 10).Draw(t, "within")) * time.Microsecond
		n := rapid.Int64Range(1, 40).Draw(t, "n")
		at := rapid.Int64Range(0, n).Draw(t, "restart")
		id := func(o int64) span.ID { return span.IDOf(fmt.Sprint(o*7%5, o%2)) }
		received := func(o int64) int64 { return o * 13 % 11 }
		whole, rebuilt := span.NewWindow(records, within), span.NewWindow(records, within)
		for o := range n {
			want := whole.Seen(id(o), o, received(o))
			switch {
			case o >= at:
				if got := rebuilt.Seen(id(o), o, received(o)); got != want {
					t.Fatalf("offset %d: %v after a restart at %d, want %v", o, got, at, want)
				}
			case o >= at-int64(records):
				rebuilt.Seen(id(o), o, received(o))
			}
		}
	})
}

// A window that went back answers as one that never saw what came after.
func TestWindowRewound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		records := rapid.IntRange(1, 100).Draw(t, "records") // rings of 64 and of 128
		within := time.Duration(rapid.Int64Range(0, 10).Draw(t, "within")) * time.Microsecond
		kinds := rapid.IntRange(1, 40).Draw(t, "kinds")
		id := func(o int64) span.ID { return span.IDOf(fmt.Sprint(o * 7919 % 101 % int64(kinds))) }
		received := func(o int64) int64 { return o * 13 % 11 }
		fresh := func(at int64) *span.Window {
			w := span.NewWindow(records, within)
			for o := max(0, at-int64(records)); o < at; o++ {
				w.Seen(id(o), o, received(o))
			}
			return w
		}
		w, next, kept, rewound := span.NewWindow(records, within), int64(0), int64(-1), 0
		for range rapid.IntRange(1, 30).Draw(t, "turns") {
			switch rapid.IntRange(0, 2).Draw(t, "what") {
			case 0:
				reference := fresh(next)
				for to := next + rapid.Int64Range(0, 80).Draw(t, "more"); next < to; next++ {
					if want, got := reference.Seen(id(next), next, received(next)), w.Seen(id(next), next, received(next)); got != want {
						t.Fatalf("offset %d: %v, want %v", next, got, want)
					}
				}
			case 1:
				w.Keep()
				kept = next
			case 2:
				at := rapid.Int64Range(max(0, kept-2), next).Draw(t, "back to")
				could := w.Rewind(at)
				if could && (kept < 0 || at < kept) {
					t.Fatalf("went back to %d, and %d was to be kept", at, kept)
				}
				if few := int64(records) + next - kept; !could && kept >= 0 && at >= kept && few < 62 {
					t.Fatalf("could not go back from %d to %d, though there was room", next, at)
				}
				if could {
					next, kept = at, at
					rewound++
				}
			}
		}
		t.Logf("%d times", rewound)
	})
}

func TestVectors(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(name string) span.Vector {
			return rapid.MapOf(rapid.Custom(func(t *rapid.T) span.Key {
				return span.Key{Log: span.Log(rapid.IntRange(1, 3).Draw(t, "log")), Partition: rapid.Int32Range(0, 2).Draw(t, "p")}
			}), rapid.Int64Range(0, 9)).Draw(t, name)
		}
		a, b := span.Vector(draw("a")), span.Vector(draw("b"))
		m := a.Max(b)
		if !m.Reaches(a) || !m.Reaches(b) {
			t.Fatal("the maximum does not reach its parts")
		}
		if a.Reaches(b) != (fmt.Sprint(a.Max(b)) == fmt.Sprint(a.Max(nil).Max(a))) && a.Reaches(b) {
			for k, at := range m {
				if a[k] != at {
					t.Fatalf("a reaches b, yet the maximum differs at %v", k)
				}
			}
		}
	})
}

func BenchmarkWindow(b *testing.B) {
	w := span.NewWindow(50_000, time.Hour)
	ids := make([]span.ID, 1<<17)
	for i := range ids {
		ids[i] = span.IDOf(fmt.Sprint("event-", i))
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		w.Seen(ids[i&(len(ids)-1)], int64(i), int64(i))
	}
}

func TestVectorsAreJSON(t *testing.T) {
	v := span.Vector{{Log: 3, Partition: 1}: 7, {Log: 12, Partition: 0}: 9}
	text, err := json.Marshal(v)
	if err != nil || string(text) != `{"12/0":9,"3/1":7}` {
		t.Fatalf("%s, %v", text, err)
	}
	var back span.Vector
	if err := json.Unmarshal(text, &back); err != nil || !back.Reaches(v) || !v.Reaches(back) {
		t.Errorf("came back as %v, %v", back, err)
	}
	if err := json.Unmarshal([]byte(`{"3":1}`), &back); err == nil {
		t.Error("3 is no partition")
	}
}
