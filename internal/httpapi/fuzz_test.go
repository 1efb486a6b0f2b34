package httpapi

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// realRows are the rows of the demonstration as the public emulation scripts send them.
func realRows(tb testing.TB) (rows [][]byte) {
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
		for _, line := range lines[1:4] {
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

// nasty are bodies that parsers stumble over.
func nasty() [][]byte {
	deep := strings.Repeat("[", 20_000)
	return [][]byte{
		nil, []byte("\x00"), []byte("\xef\xbb\xbf"), []byte("\xef\xbb\xbf{}"), []byte(`{"a":"\xff"}`), []byte("{\"a\":\"\xff\"}"), []byte(`{"a":"\u0000"}`),
		[]byte(`{"a":1,"a":2}`), []byte(`{"a":1` + strings.Repeat("0", 5000) + `}`), []byte(`{"a":1e999999999}`), []byte(deep), []byte(`{"a":` + deep + strings.Repeat("]", 20_000) + `}`),
		[]byte(`"` + strings.Repeat(`\"`, 100) + `"`), []byte(`"\"\\\"\\\\\\\"\\\"\""`), []byte(`{"a":"` + strings.Repeat("x", 70_000) + `"}`), []byte("a=1&b=2"), []byte("a=%zz"),
		[]byte(`{"records":[{"value":{}}],"records":[]}`), []byte(`{"records":null}`), []byte(`{"records":{}}`), []byte(`{"Records":[{"value":1}]}`), []byte(`{"records":[{"value":{},"value":1}]}`),
	}
}

// FuzzEnvelope: whatever a Kafka REST body holds, what comes out is an array of as many values as it has
// records, or a refusal; no value is lost, moved or invented.
func FuzzEnvelope(f *testing.F) {
	for _, b := range nasty() {
		f.Add(b)
	}
	for _, row := range realRows(f) {
		f.Add([]byte(`{"records":[{"value":` + string(row) + `}]}`))
		text, err := json.Marshal(string(row))
		if err != nil {
			f.Fatal(err)
		}
		f.Add([]byte(`{"value_schema_id":1,"records":[{"key":"k","value":` + string(text) + `},{"value":` + string(row) + `}]}`))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		events, n, err := restValues(b)
		if err != nil {
			if p := problemOf(err); p.Status != 400 {
				t.Fatalf("%q: %v", b, err)
			}
			return
		}
		var got []json.RawMessage
		if err := json.Unmarshal(events, &got); err != nil || len(got) != n || n == 0 {
			t.Fatalf("%q became %q of %d: %v", b, events, n, err)
		}
		if len(events) > len(b)+5*n {
			t.Fatalf("%d bytes became %d", len(b), len(events))
		}
		var in struct {
			Records []map[string]json.RawMessage `json:"records"`
		}
		if json.Unmarshal(bytes.TrimPrefix(bytes.TrimSpace(b), bom), &in) != nil || len(in.Records) != n {
			return // a member of another case, which encoding/json takes for it
		}
		for i, rec := range in.Records {
			var want, is any
			if err := json.Unmarshal(valueOf(rec["value"]), &want); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(got[i], &is); err != nil || cmp.Diff(want, is) != "" {
				t.Fatalf("record %d of %q became %s", i, b, got[i])
			}
		}
	})
}

// FuzzPlain: a body out of its quotes or its form holds no more than it did, and its booked memory comes
// back.
func FuzzPlain(f *testing.F) {
	for _, b := range append(nasty(), realRows(f)...) {
		f.Add(b, false)
		f.Add(b, true)
		text, err := json.Marshal(string(b))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text, false)
	}
	f.Fuzz(func(t *testing.T, in []byte, form bool) {
		a := newAPI(t, &world{}, Config{})
		b := &body{bytes: bytes.Clone(in), from: a.bodies} // a body that is released is written to again
		got, err := b.plain(form)
		if err != nil {
			if p := problemOf(err); p.Status != 400 && p.Status != 429 {
				t.Fatalf("%q: %v", in, err)
			}
		} else if len(got) > 6*len(in)+16 {
			t.Fatalf("%d bytes became %d", len(in), len(got))
		}
		b.release()
		if used := a.bodies.used.Load(); used != 0 {
			t.Fatalf("%d bytes are still booked", used)
		}
	})
}

// FuzzUnpack: no packed body becomes more than the limit, and the memory booked for it comes back.
func FuzzUnpack(f *testing.F) {
	bomb := make([]byte, 4<<20)
	for _, b := range append(append(nasty(), bomb), realRows(f)...) {
		f.Add("gzip", gzipped(b))
		f.Add("zstd", zstded(f, b))
		f.Add("", b)
		if packed := gzipped(b); len(packed) > 8 {
			f.Add("gzip", packed[:len(packed)-5])
			f.Add("zstd", zstded(f, b)[:len(zstded(f, b))-1])
		}
	}
	const limit = 1 << 20
	f.Fuzz(func(t *testing.T, encoding string, packed []byte) {
		a := newAPI(t, &world{}, Config{Body: limit, InFlight: 4 * limit})
		r := httptest.NewRequest("POST", "/", bytes.NewReader(packed))
		r.Header["Content-Encoding"] = []string{encoding}
		b, err := a.readBody(httptest.NewRecorder(), r)
		if err != nil {
			if p := problemOf(err); p.Status < 400 || p.Status > 499 {
				t.Fatalf("%q: %v", encoding, err)
			}
		} else {
			if len(b.bytes) > limit {
				t.Fatalf("%d bytes", len(b.bytes))
			}
			b.release()
		}
		if used := a.bodies.used.Load(); used != 0 {
			t.Fatalf("%d bytes are still booked", used)
		}
	})
}
