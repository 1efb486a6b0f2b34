package collect

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/pinflow/pinflow/internal/fault"
)

// jsonText draws a JSON value with white space wherever JSON allows it.
func jsonText(depth int) *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		ws := func() string { return rapid.StringOfN(rapid.SampledFrom([]rune(" \n\r\t")), 0, 2, -1).Draw(t, "space") }
		kind := rapid.IntRange(0, 5).Draw(t, "kind")
		if depth == 0 {
			kind %= 4
		}
		text := func() string {
			raw, err := json.Marshal(rapid.StringOf(rapid.SampledFrom([]rune("ab\"\\\n{}[],: é"))).Draw(t, "text"))
			if err != nil {
				t.Fatal(err)
			}
			return string(raw)
		}
		var parts []string
		switch kind {
		case 0:
			return "1.50e3"
		case 1:
			return "null"
		case 2, 3:
			return text()
		case 4:
			for range rapid.IntRange(0, 3).Draw(t, "elements") {
				parts = append(parts, ws()+jsonText(depth-1).Draw(t, "element")+ws())
			}
			return "[" + ws() + strings.Join(parts, ",") + "]"
		}
		for range rapid.IntRange(0, 3).Draw(t, "members") {
			parts = append(parts, ws()+text()+ws()+":"+ws()+jsonText(depth-1).Draw(t, "member")+ws())
		}
		return "{" + ws() + strings.Join(parts, ",") + "}"
	})
}

func TestSplitFindsWhatWasJoined(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ws := rapid.StringOfN(rapid.SampledFrom([]rune(" \n\r\t")), 0, 2, -1)
		events := rapid.SliceOfN(jsonText(3), 1, 6).Draw(t, "events")
		body := ws.Draw(t, "before") + "["
		for i, e := range events {
			if i > 0 {
				body += ","
			}
			body += ws.Draw(t, "space") + e + ws.Draw(t, "space")
		}
		body += "]" + ws.Draw(t, "after")
		got, err := split([]byte(body), FormJSON, 10)
		if err != nil {
			t.Fatalf("%q: %v", body, err)
		}
		checkEvents(t, events, got)

		lines := make([]string, len(events))
		for i, e := range events {
			one := []byte(e)
			joinLines(one)
			lines[i] = string(one)
		}
		if got, err = split([]byte(strings.Join(lines, "\r\n")), FormNDJSON, 10); err != nil {
			t.Fatal(err)
		}
		checkEvents(t, events, got)
	})
}

func TestSplitStreamOfObjects(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		events := rapid.SliceOfN(jsonText(3).Filter(func(s string) bool { return s[0] == '{' }), 1, 6).Draw(t, "events")
		got, err := split([]byte(strings.Join(events, rapid.SampledFrom([]string{"", " ", "\n"}).Draw(t, "between"))), FormAuto, 10)
		if err != nil {
			t.Fatal(err)
		}
		checkEvents(t, events, got)
	})
}

func checkEvents(t *rapid.T, want []string, got [][]byte) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d events became %d", len(want), len(got))
	}
	for i := range want {
		if bytes.ContainsAny(got[i], "\n\r") {
			t.Fatalf("event %d is not on one line: %q", i, got[i])
		}
		var a, b any
		if err := json.Unmarshal([]byte(want[i]), &a); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(got[i], &b); err != nil {
			t.Fatalf("%q: %v", got[i], err)
		}
		if diff := cmp.Diff(a, b); diff != "" || len(got[i]) != len(want[i]) {
			t.Fatalf("%q became %q", want[i], got[i])
		}
	}
}

// Whatever is sent: no panic, no event lost or invented, and what the standard library takes for an
// array of values splits into just these.
func FuzzSplit(f *testing.F) {
	for _, s := range []string{"", "{}", "[]", "[1]", `[{"a":"]"},"\\",{}]`, "{}\n{}\n", "[[[", `{"a":[}]}`, "[1 2]", "\"", "[,]", "]", "[{},]", "\xef\xbb\xbf[0]"} {
		f.Add([]byte(s), FormJSON)
		f.Add([]byte(s), FormNDJSON)
		f.Add([]byte(s), FormAuto)
	}
	f.Fuzz(func(t *testing.T, body []byte, form string) {
		got, err := split(append([]byte(nil), body...), form, 100)
		if err != nil && fault.KindOf(err) != fault.Record {
			t.Fatal(err)
		}
		size := 0
		for _, e := range got {
			size += len(e)
			if len(e) == 0 {
				t.Fatal("an empty event")
			}
		}
		if size > len(body) {
			t.Fatalf("%d bytes became %d", len(body), size)
		}
		var want []json.RawMessage
		if form != FormJSON || json.Unmarshal(body, &want) != nil || len(want) == 0 || len(want) > 100 {
			return
		}
		if err != nil || len(got) != len(want) {
			t.Fatalf("%q has %d elements, not %d: %v", body, len(want), len(got), err)
		}
		for i := range want {
			var a, b any
			if json.Unmarshal(want[i], &a) != nil || json.Unmarshal(got[i], &b) != nil || cmp.Diff(a, b) != "" {
				t.Fatalf("%q became %q", want[i], got[i])
			}
		}
	})
}

// The values are those of Kafka's own test of its hash.
func TestPartitionsAreKafkas(t *testing.T) {
	for key, want := range map[string]int32{
		"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536,
		"a-little-bit-longer-string": -1486304829, "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971, "abc": 479470107,
	} {
		if got := int32(murmur2([]byte(key))); got != want {
			t.Errorf("%s: %d, want %d", key, got, want)
		}
	}
	for _, n := range []int32{1, 2, 7} {
		for i := range 100 {
			if p := partitionOf(fmt.Appendf(nil, "key %d", i), n); p < 0 || p >= n {
				t.Fatalf("partition %d of %d", p, n)
			}
		}
	}
}

func TestNearestName(t *testing.T) {
	names := []string{"geo", "pin", "user"}
	for in, want := range map[string]string{"pins": "pin", "users": "user", "Geo": "geo", "zzzzz": "", "": "", "usr": "user"} {
		if got := nearest(in, names); got != want && !(in == "" && len(got) == 3) {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
