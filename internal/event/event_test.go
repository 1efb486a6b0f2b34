package event

import (
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pinflow/pinflow/internal/column"
	"github.com/pinflow/pinflow/internal/span"
)

const testReceived = 1_795_000_000_000_000 // 2026-11-18

func compile(t testing.TB, s Stream) *Schema {
	t.Helper()
	if s.Name == "" {
		s.Name = "pin"
	}
	c, err := Compile(s, 1)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func pinStream() Stream {
	return Stream{Name: "pin", Key: "unique_id", Fields: []Field{
		{Name: "index", Type: "long"},
		{Name: "unique_id", Type: "string"},
		{Name: "title", Type: "string", NullIf: []string{"No Title Data Available"}},
		{Name: "description", Type: "string"},
		{Name: "poster_name", Type: "string", NullIf: []string{"User Info Error"}},
		{Name: "follower_count", Type: "long", NullIf: []string{"User Info Error"}, Parse: "human_number"},
		{Name: "tag_list", Type: "list<string>", Split: ",", NullIf: []string{"N,o, ,T,a,g,s, ,A,v,a,i,l,a,b,l,e"}},
		{Name: "is_image_or_video", Type: "string"},
		{Name: "image_src", Type: "string"},
		{Name: "downloaded", Type: "long"},
		{Name: "save_location", Type: "string", StripPrefix: "Local save in "},
		{Name: "category", Type: "string"},
	}}
}

const pinEvent = `{"index":7528,"unique_id":"fbe53c66-3442-4773-b19e-d3ec6f54dddf","title":"14 Amazing Things To Do In Costa Rica | Volcanoes, Waterfalls, Wildlife And More","description":"This Costa Rica itinerary is the ultimate guide to spending two weeks in Costa Rica. Find out about visiting La Fortuna, Arenal, Monteverde, Naranjo, Corcovado National Park, Or… ","poster_name":"Wanderlust Chloe ✈️ Travel guides","follower_count":"124k","tag_list":"Costa Rica Travel,Rio Celeste Costa Rica,Dream Vacations,Vacation Spots,Vacation Travel","is_image_or_video":"image","image_src":"https://i.pinimg.com/originals/30/93/cb/3093cb01d9de2d125fda8ba5e3e41946.jpg","downloaded":1,"save_location":"Local save in /data/travel","category":"travel","event_id":"0191c2f0-0000-7000-8000-000000000001","event_time":"2026-11-18T09:46:39.125Z"}`

func record(value string) *Record {
	return &Record{Key: span.Key{Log: 3, Partition: 1}, Offset: 42, Value: []byte(value), Received: testReceived, Schema: 1}
}

// show writes a value of a column as JSON.
func show(v *column.Vec, i int) string {
	if v.IsNull(i) {
		return "null"
	}
	switch v.Kind {
	case column.String:
		return string(appendQuoted(nil, v.Text(i)))
	case column.List:
		return string(appendElements(nil, &field{}, v, i))
	case column.Timestamptz:
		return string(appendTime(nil, v.Ints[i], false))
	}
	return string(appendOriginal(nil, &field{}, v, i))
}

func TestPinBecomesColumns(t *testing.T) {
	s := compile(t, pinStream())
	d := s.NewDecoder(nil)
	if v := d.Append(record(pinEvent)); v.Dead() {
		t.Fatalf("dead: %+v", v)
	}
	got := map[string]string{}
	for i, c := range s.Columns() {
		got[c.Name] = show(&d.Rows().Cols[i], 0)
	}
	for name, want := range map[string]string{
		"index": "7528", "follower_count": "124000", "downloaded": "1", "category": `"travel"`,
		"save_location": `"/data/travel"`,
		"tag_list":      `["Costa Rica Travel","Rio Celeste Costa Rica","Dream Vacations","Vacation Spots","Vacation Travel"]`,
		"_event_id":     `"0191c2f0-0000-7000-8000-000000000001"`, "_event_time": "2026-11-18T09:46:39.125Z",
		"_log": "3", "_partition": "1", "_offset": "42", "_schema": "1",
		"_extra": `{"follower_count":"124k","event_id":"0191c2f0-0000-7000-8000-000000000001"}`,
	} {
		if got[name] != want {
			t.Errorf("%s = %s, want %s", name, got[name], want)
		}
	}
	sameJSON(t, pinEvent, string(s.AppendJSON(nil, d.Rows(), 0)))
}

func TestPlaceholdersOfTheRealData(t *testing.T) {
	s := compile(t, pinStream())
	d := s.NewDecoder(nil)
	e := `{"index":"7528","title":"No Title Data Available","poster_name":"User Info Error","follower_count":"User Info Error","tag_list":"N,o, ,T,a,g,s, ,A,v,a,i,l,a,b,l,e","downloaded":"0","save_location":"/data/travel"}`
	if v := d.Append(record(e)); v.Dead() {
		t.Fatalf("dead: %+v", v)
	}
	for name, want := range map[string]string{
		"index": "7528", "title": "null", "poster_name": "null", "follower_count": "null", "tag_list": "null",
		"downloaded": "0", "save_location": `"/data/travel"`, "category": "null",
	} {
		if got := show(&d.Rows().Cols[s.Index(name)], 0); got != want {
			t.Errorf("%s = %s, want %s", name, got, want)
		}
	}
	sameJSON(t, e, string(s.AppendJSON(nil, d.Rows(), 0)))
}

func TestCleaning(t *testing.T) {
	for _, c := range []struct {
		field       Field
		value, want string // want: the column, or the code of the verdict
	}{
		{Field{Type: "long"}, `12`, "12"},
		{Field{Type: "long"}, `-0`, "0"},
		{Field{Type: "long"}, `1.0`, "1"},
		{Field{Type: "long"}, `1.5e1`, "15"},
		{Field{Type: "long"}, `9223372036854775807`, "9223372036854775807"},
		{Field{Type: "long"}, `-9223372036854775808`, "-9223372036854775808"},
		{Field{Type: "long"}, `9223372036854775808`, "out_of_range"},
		{Field{Type: "long"}, `1e999999999999999999999`, "out_of_range"},
		{Field{Type: "long"}, `0e999999999999999999999`, "0"},
		{Field{Type: "long"}, `1.5`, "type_mismatch"},
		{Field{Type: "long"}, `"12"`, "12"},
		{Field{Type: "long"}, `"12x"`, "type_mismatch"},
		{Field{Type: "long"}, `" 12"`, "type_mismatch"},
		{Field{Type: "long", Trim: true}, `" 12\t"`, "12"},
		{Field{Type: "long"}, `""`, "type_mismatch"},
		{Field{Type: "long"}, `true`, "type_mismatch"},
		{Field{Type: "long", OnError: "null"}, `"12x"`, "null"},
		{Field{Type: "long", NullIf: []string{"-1"}}, `-1`, "null"},
		{Field{Type: "long", Parse: "human_number"}, `"2M"`, "2000000"},
		{Field{Type: "long", Parse: "human_number"}, `"1.5M"`, "1500000"},
		{Field{Type: "long", Parse: "human_number"}, `"-1.25k"`, "-1250"},
		{Field{Type: "long", Parse: "human_number"}, `"3b"`, "3000000000"},
		{Field{Type: "long", Parse: "human_number"}, `"1.2345k"`, "type_mismatch"},
		{Field{Type: "long", Parse: "human_number"}, `"k"`, "type_mismatch"},
		{Field{Type: "long", Parse: "human_number"}, `"940"`, "940"},
		{Field{Type: "long", Parse: "human_number"}, `124000`, "124000"},
		{Field{Type: "double", Parse: "human_number"}, `"1.2345k"`, "1234.5"},
		{Field{Type: "double"}, `-88.4642`, "-88.4642"},
		{Field{Type: "double"}, `"-88.4642"`, "-88.4642"},
		{Field{Type: "double"}, `-0.0`, "0"},
		{Field{Type: "double"}, `1e400`, "out_of_range"},
		{Field{Type: "double"}, `1e-400`, "0"},
		{Field{Type: "double"}, `"NaN"`, "type_mismatch"},
		{Field{Type: "boolean"}, `true`, "true"},
		{Field{Type: "boolean"}, `"false"`, "false"},
		{Field{Type: "boolean"}, `"True"`, "type_mismatch"},
		{Field{Type: "boolean", Lower: true}, `"True"`, "true"},
		{Field{Type: "boolean"}, `1`, "type_mismatch"},
		{Field{Type: "string"}, `5`, "type_mismatch"},
		{Field{Type: "string"}, `"a\u0000\u00e9\ud83d\ude00"`, `"a\u0000é😀"`},
		{Field{Type: "string"}, `"\ud83d"`, `"` + "\uFFFD" + `"`},
		{Field{Type: "string", Trim: true, Lower: true}, `"  ÄB "`, `"Äb"`},
		{Field{Type: "timestamptz"}, `"2018-11-19 08:03:51"`, "2018-11-19T08:03:51Z"},
		{Field{Type: "timestamptz"}, `"2018-11-19T08:03:51.1234567+02:00"`, "2018-11-19T06:03:51.123456Z"},
		{Field{Type: "timestamptz"}, `"2018-02-29 08:03:51"`, "type_mismatch"},
		{Field{Type: "timestamptz"}, `"1816-02-29 08:03:51"`, "1816-02-29T08:03:51Z"},
		{Field{Type: "timestamptz"}, `"2018-11-19"`, "type_mismatch"},
		{Field{Type: "timestamptz"}, `1542614631`, "type_mismatch"},
		{Field{Type: "timestamptz", Layout: "unix"}, `1542614631.5`, "2018-11-19T08:03:51.5Z"},
		{Field{Type: "timestamptz", Layout: "unix_ms"}, `"1542614631000"`, "2018-11-19T08:03:51Z"},
		{Field{Type: "timestamptz", Layout: "02/01/2006 15:04"}, `"19/11/2018 08:03"`, "2018-11-19T08:03:00Z"},
		{Field{Type: "timestamptz", Layout: "02/01/2006 15:04"}, `"2018-11-19T08:03:00Z"`, "2018-11-19T08:03:00Z"},
		{Field{Type: "timestamptz", Layout: "2006-01-02 15:04:05"}, `"2018-11-19T08:03:00"`, "type_mismatch"},
		{Field{Type: "date"}, `"2018-11-19"`, `"2018-11-19"`},
		{Field{Type: "date"}, `"1969-12-31"`, `"1969-12-31"`},
		{Field{Type: "date", Layout: "02.01.2006"}, `"19.11.2018"`, `"2018-11-19"`},
		{Field{Type: "list<string>"}, `["a","b"]`, `["a","b"]`},
		{Field{Type: "list<string>"}, `[]`, `[]`},
		{Field{Type: "list<string>"}, `["a",null]`, "type_mismatch"},
		{Field{Type: "list<string>"}, `"a,b"`, "type_mismatch"},
		{Field{Type: "list<string>", Split: ", "}, `"a, b"`, `["a","b"]`},
		{Field{Type: "list<string>", Split: ","}, `""`, `[]`},
		{Field{Type: "list<string>", Split: ","}, `","`, `["",""]`},
		{Field{Type: "json"}, `{"a":[1, 2]}`, `{"a":[1, 2]}`},
		{Field{Type: "json"}, `null`, `null`},
	} {
		t.Run(fmt.Sprintf("%s %s", c.field.Type, c.value), func(t *testing.T) {
			c.field.Name = "f"
			s := compile(t, Stream{Fields: []Field{c.field}})
			d := s.NewDecoder(nil)
			e := `{"f":` + c.value + `}`
			v := d.Append(record(e))
			if v.Dead() {
				if v.Code != c.want || v.Path != "/f" {
					t.Fatalf("verdict %+v, want %s at /f", v, c.want)
				}
				return
			}
			if got := show(&d.Rows().Cols[0], 0); got != c.want {
				t.Fatalf("column %s, want %s", got, c.want)
			}
			sameJSON(t, e, string(s.AppendJSON(nil, d.Rows(), 0)))
		})
	}
}

func TestVerdicts(t *testing.T) {
	s := compile(t, Stream{EventTime: "at", Fields: []Field{{Name: "deep", Type: "long", From: "a.b"}}})
	at := func(d time.Duration) string {
		return time.UnixMicro(testReceived).UTC().Add(d).Format(time.RFC3339Nano)
	}
	for _, c := range []struct{ value, code, path string }{
		{`{}`, "", ""},
		{` {"a" : {"b" : 1 } , "x" : [ ] } `, "", ""},
		{``, "not_json", ""},
		{`{`, "not_json", ""},
		{`{"a":1,}`, "not_json", ""},
		{`{"a":1}{}`, "not_json", ""},
		{`{"a":01}`, "not_json", ""},
		{`{"a":NaN}`, "not_json", ""},
		{`{"a":"\x"}`, "not_json", ""},
		{"{\"a\":\"\x01\"}", "not_json", ""},
		{"{\"a\":\"\xff\"}", "not_json", ""},
		{"{\"\xc3\x28\":1}", "not_json", ""},
		{`[{}]`, "not_an_object", ""},
		{`"a"`, "not_an_object", ""},
		{`{"x":` + strings.Repeat("[", 98) + strings.Repeat("]", 98) + `}`, "", ""},
		{`{"x":` + strings.Repeat("[", 99) + strings.Repeat("]", 99) + `}`, "", ""},
		{`{"x":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`, "too_deep", ""},
		{`{"x":` + strings.Repeat(`{"y":`, 100_000), "too_deep", ""},
		{`{"a":{"b":"x"}}`, "type_mismatch", "/a/b"},
		{`{"a":{"b":"x","b":2}}`, "", ""},
		{`{"a":{"b":"x"},"a":5}`, "", ""},
		{`{"event_id":{}}`, "bad_event_id", "/event_id"},
		{`{"event_id":"\ud800"}`, "bad_event_id", "/event_id"},
		{`{"event_id":"a\u0000b"}`, "bad_event_id", "/event_id"},
		{`{"event_id":"` + strings.Repeat("x", 600) + `"}`, "bad_event_id", "/event_id"},
		{`{"event_id":null,"at":null}`, "", ""},
		{`{"at":"soon"}`, "bad_timestamp", "/at"},
		{`{"at":5}`, "bad_timestamp", "/at"},
		{`{"at":"1969-12-31T23:59:59Z"}`, "bad_timestamp", "/at"},
		{`{"at":"1970-01-01T00:00:00Z"}`, "too_old", "/at"},
		{`{"at":"` + at(-3650*24*time.Hour) + `"}`, "", ""},
		{`{"at":"` + at(-3650*24*time.Hour-time.Microsecond) + `"}`, "too_old", "/at"},
		{`{"at":"` + at(10*time.Minute) + `"}`, "", ""},
		{`{"at":"` + at(10*time.Minute+time.Microsecond) + `"}`, "too_far_ahead", "/at"},
	} {
		v := s.Judge([]byte(c.value), testReceived)
		if v.Code != c.code || v.Path != c.path {
			t.Errorf("%.80q: %+v, want code %q at %q", c.value, v, c.code, c.path)
		}
		if v.Dead() && v.Message == "" {
			t.Errorf("%.80q: no message", c.value)
		}
		d := s.NewDecoder(nil)
		if got := d.Append(record(c.value)); got != v {
			t.Errorf("%.80q: decoder says %+v, inspector %+v", c.value, got, v)
		}
	}
	for _, received := range []int64{0, minReceived - 1, maxReceived, -1 << 63, 1<<63 - 1} {
		if v := s.Judge([]byte(`{}`), received); v.Code != CodeBadTimestamp {
			t.Errorf("received %d: %+v", received, v)
		}
	}
}

func TestDeclaredEventTime(t *testing.T) {
	s := compile(t, Stream{EventTime: "timestamp", Fields: []Field{
		{Name: "timestamp", Type: "timestamptz", Layout: "2006-01-02 15:04:05", NullIf: []string{"?"}, OnError: "null"},
	}})
	for value, want := range map[string]string{
		`{"timestamp":"2018-11-19 08:03:51"}`: "2018-11-19T08:03:51Z",
		`{"timestamp":"?"}`:                   "received",
		`{}`:                                  "received",
		`{"timestamp":"x"}`:                   "bad_timestamp",
	} {
		v := s.Judge([]byte(value), testReceived)
		got := string(appendTime(nil, v.EventTime, false))
		switch {
		case v.Dead():
			got = v.Code
		case v.EventTime == testReceived:
			got = "received"
		}
		if got != want {
			t.Errorf("%s: %s, want %s", value, got, want)
		}
	}
}

func TestInspectorGivesIDAndKey(t *testing.T) {
	i := compile(t, pinStream()).NewInspector()
	for _, c := range []struct{ value, id, key string }{
		{`{"event_id":"e-\u0041","unique_id":"k"}`, "e-A", "k"},
		{`{"event_id":17}`, "17", "17"},
		{`{"unique_id":5,"unique_id":"","event_id":"x"}`, "x", "x"},
		{`{"unique_id":"k","index":"x"}`, "", "k"},
		{`{}`, "", ""},
		{`nonsense`, "", ""},
	} {
		in := i.Inspect([]byte(c.value), testReceived)
		if in.ID != c.id || string(in.Key) != c.key {
			t.Errorf("%s: id %q key %q, want %q %q", c.value, in.ID, in.Key, c.id, c.key)
		}
	}
}

func TestMaskedDecoderGivesTheSameColumns(t *testing.T) {
	s := compile(t, pinStream())
	all := s.NewDecoder(nil)
	all.Append(record(pinEvent))
	for i, c := range s.Columns() {
		mask := make([]bool, len(s.Columns()))
		mask[i] = true
		d := s.NewDecoder(mask)
		d.Append(record(pinEvent))
		if diff := cmp.Diff(all.Rows().Cols[i], d.Rows().Cols[i]); diff != "" {
			t.Errorf("%s alone: %s", c.Name, diff)
		}
		for k := range d.Rows().Cols {
			if k != i && d.Rows().Cols[k].Kind != column.Invalid {
				t.Errorf("column %d was not asked for", k)
			}
		}
	}
}

func TestDeadRecordLeavesRowsUntouched(t *testing.T) {
	s := compile(t, pinStream())
	d, want := s.NewDecoder(nil), s.NewDecoder(nil)
	for range 3 {
		d.Append(record(pinEvent))
		want.Append(record(pinEvent))
		d.Append(record(`{"index":"x","unique_id":"y"}`))
		d.Append(record(`{"index":1,`))
	}
	if diff := cmp.Diff(want.Rows().Cols, d.Rows().Cols); diff != "" || d.Rows().N != 3 {
		t.Fatalf("N=%d %s", d.Rows().N, diff)
	}
}

// sameJSON compares two JSON texts as values: numbers exactly by decimal value, of duplicate keys the last.
func sameJSON(t testing.TB, want, got string) {
	t.Helper()
	w, err := oracle(want)
	if err != nil {
		t.Fatalf("sent %q: %v", want, err)
	}
	g, err := oracle(got)
	if err != nil {
		t.Fatalf("gave back %q: %v", got, err)
	}
	if diff := cmp.Diff(w, g); diff != "" {
		t.Fatalf("sent      %s\ngave back %s\n%s", want, got, diff)
	}
}

func oracle(text string) (any, error) {
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, err
	}
	return normalise(v), nil
}

func normalise(v any) any {
	switch v := v.(type) {
	case json.Number:
		return "number " + plainDecimal(string(v))
	case map[string]any:
		for k := range v {
			v[k] = normalise(v[k])
		}
	case []any:
		for i := range v {
			v[i] = normalise(v[i])
		}
	}
	return v
}

// plainDecimal is a number's value as digits and exponent, independent of decimal's own code.
func plainDecimal(s string) string {
	sign := ""
	if s[0] == '-' {
		sign, s = "-", s[1:]
	}
	mantissa, exp, _ := strings.Cut(strings.ToLower(s), "e")
	e := new(big.Int)
	e.SetString(strings.TrimPrefix("0"+exp, "0+"), 10)
	if strings.HasPrefix(exp, "-") {
		e.SetString(exp, 10)
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	e.Sub(e, big.NewInt(int64(len(fraction))))
	digits := strings.TrimLeft(whole+fraction, "0")
	trimmed := strings.TrimRight(digits, "0")
	if trimmed == "" {
		return "0"
	}
	e.Add(e, big.NewInt(int64(len(digits)-len(trimmed))))
	return sign + trimmed + "e" + e.String()
}

// Half a surrogate pair has no UTF-8: the column shows U+FFFD, _extra keeps what was sent, and keys that
// differ only there stay two keys.
func TestHalfSurrogatePairs(t *testing.T) {
	s := compile(t, Stream{Fields: []Field{{Name: "s", Type: "string"}, {Name: "a", Type: "list<string>"}}})
	d := s.NewDecoder(nil)
	d.Append(record(`{"s":"\ud800x","\ud800":1,"\ud801":2,"\uD800":3,"a":["\udc00"],"\u0061":["b","\ud83d\ude00"]}`))
	if got := show(&d.Rows().Cols[0], 0); got != "\"\uFFFDx\"" {
		t.Errorf("column %s", got)
	}
	want := `{"a":["b","😀"],"s":"\ud800x","\ud801":2,"\uD800":3}`
	if got := string(s.AppendJSON(nil, d.Rows(), 0)); got != want {
		t.Errorf("gave back %s, want %s", got, want)
	}
}
