package event

import (
	"encoding/csv"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/pinflow/pinflow/internal/prove"
)

// anything has a field of each type and cleaning that never refuses, so that every object is a row.
func anything() Stream {
	fields := []Field{
		{Name: "l", Type: "long"},
		{Name: "d", Type: "double"},
		{Name: "b", Type: "boolean"},
		{Name: "s", Type: "string"},
		{Name: "j", Type: "json"},
		{Name: "a", Type: "list<string>"},
		{Name: "t", Type: "timestamptz"},
		{Name: "day", Type: "date"},
		{Name: "human", Type: "long", Parse: "human_number", NullIf: []string{"none"}},
		{Name: "ratio", Type: "double", Parse: "human_number", Trim: true},
		{Name: "path", Type: "string", StripPrefix: "in \"q\" ", NullIf: []string{"none"}},
		{Name: "tags", Type: "list<string>", Split: ",", StripPrefix: "#", Trim: true, Lower: true},
		{Name: "low", Type: "string", Lower: true, Trim: true},
		{Name: "unix", Type: "timestamptz", Layout: "unix"},
		{Name: "ms", Type: "timestamptz", Layout: "unix_ms"},
		{Name: "plain", Type: "timestamptz", Layout: "2006-01-02 15:04:05"},
		{Name: "odd", Type: "timestamptz", Layout: "Jan _2 2006 15:04 -0700"},
		{Name: "gday", Type: "date", Layout: "02.01.2006"},
		{Name: "in", Type: "long", From: "j.k"},
		{Name: "deep", Type: "string", From: "o.p.q"},
		{Name: "at", Type: "timestamptz", From: "event_time", Layout: "2006-01-02 15:04:05"},
		{Name: "again", Type: "string", From: "l"},
		{Name: "weird", Type: "string", From: "a\"é"},
	}
	for i := range fields {
		fields[i].OnError = "null"
	}
	return Stream{Name: "any", Fields: fields}
}

var (
	names = []string{
		"l", "d", "b", "s", "j", "a", "t", "day", "human", "ratio", "path", "tags", "low", "unix", "ms", "plain", "odd",
		"gday", "o", "a\"é", "x", "X", "", "event_time", "event_id", "\x00", "😀", "_extra",
	}
	texts = []string{
		"", "none", "12", "-0", "1.50", "1e3", "124k", "1.5M", "true", "FALSE", " x ", "in \"q\" y", "a,b", "#a, B,,", "A",
		"2018-11-19 08:03:51", "2018-11-19T08:03:51Z", "2018-11-19T08:03:51.120Z", "2018-11-19T08:03:51.1+02:00",
		"2018-11-19", "19.11.2018", "Nov 19 2018 08:03 +0100", "2026-11-18T09:00:00Z", "2026-11-18T09:00:00.5Z",
		"0000-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00", "é\u2028\"\\/\b\x00", "\uFFFD", "😀",
	}
	numbers = []string{
		"0", "-0", "-0.0", "0e5", "1", "1.0", "1.00e0", "10E-1", "1e3", "12.5", "0.1", "1e400", "-1e400", "1e-400", "5e-324",
		"0.30000000000000004", "0.1000000000000000055511151231257827", "9223372036854775807", "9223372036854775808",
		"-9223372036854775808", "123456789012345678901234567890.5", "1e99999999999999999999", "1.7976931348623157e308",
		"1542614631", "1542614631.125", "1542614631.1234567", "1e22", "1e23", "72057594037927936", "4.35", "0.000001", "1e-7",
	}
)

func genValue(depth int) *rapid.Generator[string] {
	kinds := []*rapid.Generator[string]{
		rapid.SampledFrom([]string{"null", "true", "false"}),
		rapid.SampledFrom(numbers),
		rapid.Map(rapid.Int64(), func(i int64) string { b, _ := json.Marshal(i); return string(b) }),
		rapid.Map(rapid.Float64Range(-1e300, 1e300), func(f float64) string { b, _ := json.Marshal(f); return string(b) }),
		rapid.Map(rapid.SampledFrom(texts), quoteJSON),
		rapid.Map(rapid.String(), quoteJSON),
		rapid.Custom(escapedText),
	}
	if depth > 0 {
		kinds = append(kinds, genObject(depth-1), rapid.Custom(func(t *rapid.T) string {
			return "[" + strings.Join(rapid.SliceOfN(genValue(depth-1), 0, 4).Draw(t, "array"), " ,") + "]"
		}))
	}
	return rapid.OneOf(kinds...)
}

// escapedText writes each character of a text as an escape, as many producers do.
func escapedText(t *rapid.T) string {
	s := rapid.SampledFrom(texts).Draw(t, "escaped")
	var b strings.Builder
	for _, r := range strings.ToValidUTF8(s, "") {
		for _, u := range utf16Units(r) {
			b.WriteString(`\u` + hex16(u))
		}
	}
	return `"` + b.String() + `"`
}

func utf16Units(r rune) []rune {
	if r < 0x10000 {
		return []rune{r}
	}
	r -= 0x10000
	return []rune{0xD800 + r>>10, 0xDC00 + r&0x3FF}
}

func hex16(r rune) string {
	const digits = "0123456789abcdef"
	return string([]byte{digits[r>>12&15], digits[r>>8&15], digits[r>>4&15], digits[r&15]})
}

func quoteJSON(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

func genObject(depth int) *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		n := rapid.IntRange(0, 6).Draw(t, "members")
		if rapid.IntRange(0, 20).Draw(t, "many") == 0 {
			n = 40
		}
		var b strings.Builder
		b.WriteString("{")
		for i := range n {
			if i > 0 {
				b.WriteString(", ")
			}
			key := quoteJSON(rapid.OneOf(rapid.SampledFrom(names), rapid.StringN(0, 3, -1)).Draw(t, "key"))
			if key == `"x"` && rapid.Bool().Draw(t, "escape") {
				key = `"\u0078"`
			}
			b.WriteString(key + " :\n" + genValue(depth).Draw(t, "value"))
		}
		b.WriteString("}")
		return b.String()
	})
}

// L4: any object in, the same value out.
func TestLossless(t *testing.T) {
	prove.Invariant(t, "L4")
	s := compile(t, anything())
	dec := s.NewDecoder(nil)
	rapid.Check(t, func(r *rapid.T) {
		e := genObject(3).Draw(r, "event")
		roundTrip(r, s, dec, e)
	})
}

type reporter interface {
	Helper()
	Fatalf(format string, args ...any)
}

func roundTrip(t reporter, s *Schema, d *Decoder, e string) {
	t.Helper()
	if v := d.Append(record(e)); v.Dead() {
		if v.Code == CodeBadTimestamp || v.Code == CodeTooOld || v.Code == CodeTooFarAhead || v.Code == CodeBadEventID {
			return
		}
		t.Fatalf("%q is dead: %+v", e, v)
	}
	rows := d.Rows()
	got := s.AppendJSON(nil, rows, rows.N-1)
	want, err := oracle(e)
	if err != nil {
		t.Fatalf("oracle refuses %q: %v", e, err)
	}
	back, err := oracle(string(got))
	if err != nil {
		t.Fatalf("sent %q, gave back %q: %v", e, got, err)
	}
	if diff := cmp.Diff(want, back); diff != "" {
		t.Fatalf("sent      %s\ngave back %s\n%s", e, got, diff)
	}
	if rows.N > 100 {
		d.Reset()
	}
}

// A field declared later holds what it would have held from the beginning, and the row stays lossless.
func TestFieldsDeclaredLater(t *testing.T) {
	full := anything()
	rapid.Check(t, func(r *rapid.T) {
		before := full
		before.Fields = full.Fields[:rapid.IntRange(0, len(full.Fields)-1).Draw(r, "declared")]
		old, err := Compile(before, 1)
		if err != nil {
			r.Fatal(err)
		}
		now, err := CompileAfter(full, 2, before)
		if err != nil {
			r.Fatal(err)
		}
		e := genObject(3).Draw(r, "event")
		d, fresh := old.NewDecoder(nil), now.NewDecoder(nil)
		if d.Append(record(e)).Dead() || fresh.Append(record(e)).Dead() {
			return
		}
		upgraded := now.FromOlder(d.Rows())
		for i := range full.Fields {
			if got, want := show(&upgraded.Cols[i], 0), show(&fresh.Rows().Cols[i], 0); got != want && !sameValue(got, want) {
				r.Fatalf("%s: %s, from the beginning %s, of %s", full.Fields[i].Name, got, want, e)
			}
		}
		want, err := oracle(e)
		if err != nil {
			r.Fatal(err)
		}
		for _, rows := range []*Rows{upgraded, fresh.Rows()} {
			back, err := oracle(string(now.AppendJSON(nil, rows, 0)))
			if err != nil {
				r.Fatal(err)
			}
			if diff := cmp.Diff(want, back); diff != "" {
				r.Fatalf("%s: %s", e, diff)
			}
		}
	})
}

func sameValue(a, b string) bool {
	x, err := oracle(a)
	y, err2 := oracle(b)
	return err == nil && err2 == nil && cmp.Equal(x, y)
}

// Rows that are read under a newer schema without FromOlder still give the event back.
func TestOlderRowsStayLossless(t *testing.T) {
	prove.Invariant(t, "L4")
	now, err := Compile(Stream{Name: "pin", Fields: []Field{{Name: "n", Type: "long"}, {Name: "at", Type: "timestamptz", From: "event_time"}}}, 2)
	if err != nil {
		t.Fatal(err)
	}
	old := compile(t, Stream{Fields: []Field{{Name: "n", Type: "long"}}})
	e := `{"n":1,"event_time":"2026-11-18T09:00:00Z"}`
	d := old.NewDecoder(nil)
	d.Append(record(e))
	rows := *now.FromOlder(d.Rows())
	rows.Cols[1].Valid, rows.Cols[1].Ints = []bool{false}, []int64{0} // as the lake fills a new column
	sameJSON(t, e, string(now.AppendJSON(nil, &rows, 0)))
}

// What encoding/json refuses is refused; what it takes is taken, but for depth and invalid UTF-8.
func FuzzScan(f *testing.F) {
	for _, row := range seeds(f) {
		f.Add(row)
	}
	for _, s := range append(append([]string{pinEvent, `{"a":{"b":[1,"\ud83d\ude00",null]}}`}, numbers...), `{"a":"\ud800\ud800\udc00"}`, `{"\ud800":1,"\ud801":2}`) {
		f.Add([]byte(s))
	}
	s := compile(f, anything())
	d := s.NewDecoder(nil)
	f.Fuzz(func(t *testing.T, b []byte) {
		v := s.Judge(b, testReceived)
		valid := json.Valid(b)
		switch {
		case v.Code == CodeNotJSON && valid && !strings.Contains(v.Message, "UTF-8"):
			t.Fatalf("%q is JSON: %+v", b, v)
		case v.Code != CodeNotJSON && v.Code != CodeTooDeep && !valid:
			t.Fatalf("%q is not JSON: %+v", b, v)
		case v.Malformed():
			return
		}
		roundTrip(t, s, d, string(b))
	})
}

// seeds are the rows of the real data as the public emulation scripts send them.
func seeds(tb testing.TB) (rows [][]byte) {
	for _, name := range []string{"pin", "geo", "user"} {
		f, err := os.Open("../project/demo/" + name + ".csv")
		if err != nil {
			tb.Fatal(err)
		}
		lines, err := csv.NewReader(f).ReadAll()
		_ = f.Close()
		if err != nil {
			tb.Fatal(err)
		}
		for _, line := range lines[1:] {
			e := map[string]string{}
			for i, column := range lines[0] {
				e[column] = line[i]
			}
			b, err := json.Marshal(e)
			if err != nil {
				tb.Fatal(err)
			}
			rows = append(rows, b)
		}
	}
	return rows
}

func TestRealRowsAreRows(t *testing.T) {
	s := compile(t, pinStream())
	d := s.NewDecoder(nil)
	for _, row := range seeds(t) {
		if v := d.Append(record(string(row))); v.Dead() {
			t.Fatalf("%s: %+v", row, v)
		}
		sameJSON(t, string(row), string(s.AppendJSON(nil, d.Rows(), d.Rows().N-1)))
	}
}

// An expression that reads _extra.mood goes on reading it when somebody declares mood; and an event time
// that _event_time gave back is not lost when a field in another layout takes it over.
func TestDeclaringAMemberLaterTakesNothingAway(t *testing.T) {
	first := Stream{Name: "pin", Fields: []Field{{Name: "n", Type: "long"}}}
	grown := Stream{Name: "pin", Fields: []Field{
		{Name: "n", Type: "long"}, {Name: "mood", Type: "string"}, {Name: "at", Type: "timestamptz", From: "event_time", Layout: layoutPlain},
	}}
	old := compile(t, first)
	now, err := CompileAfter(grown, 2, first)
	if err != nil {
		t.Fatal(err)
	}
	e := `{"n":1,"mood":"good","event_time":"2026-11-18T09:00:00Z"}`
	before, after := old.NewDecoder(nil), now.NewDecoder(nil)
	before.Append(record(e))
	after.Append(record(e))
	for name, rows := range map[string]*Rows{"before": now.FromOlder(before.Rows()), "after": after.Rows()} {
		if extra := show(&rows.Cols[now.Index(ColumnExtra)], 0); !strings.Contains(extra, `"mood":"good"`) {
			t.Errorf("%s: _extra is %s", name, extra)
		}
		if mood := show(&rows.Cols[now.Index("mood")], 0); mood != `"good"` {
			t.Errorf("%s: mood is %s", name, mood)
		}
		if at := show(&rows.Cols[now.Index("at")], 0); at != "2026-11-18T09:00:00Z" {
			t.Errorf("%s: at is %s", name, at)
		}
		sameJSON(t, e, string(now.AppendJSON(nil, rows, 0)))
	}
}
