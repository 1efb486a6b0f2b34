package rowfile

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/icelake"
	"github.com/pinflow/pinflow/internal/intake"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/testbed"
)

func schema(t *testing.T) *event.Schema {
	t.Helper()
	def := event.Stream{Name: "pin", Fields: []event.Field{{Name: "title", Type: "string"}, {Name: "n", Type: "long"}}}
	def.SetDefaults()
	s, err := event.Compile(def, 1)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func write(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func look(t *testing.T, path string) (*File, error) {
	t.Helper()
	return Look(t.Context(), path, Config{MaxRow: 1000, Schemas: map[int64]*event.Schema{1: schema(t)}})
}

// registered is the file as a log.
func registered(t *testing.T, path string) *Log {
	t.Helper()
	f, err := look(t, path)
	if err != nil {
		t.Fatal(err)
	}
	return &Log{
		File: f, ID: 7, At: time.Unix(1_700_000_000, 0), Schema: schema(t),
		Held: func(context.Context) error { return nil }, Ended: func() {}, Taken: func(int64) {},
	}
}

// group assigns the file's one partition at an offset.
type group int64

func (g group) Assigned(_ context.Context, tps []intake.TP) (map[intake.TP]int64, error) {
	return map[intake.TP]int64{tps[0]: int64(g)}, nil
}
func (group) Revoked(context.Context, []intake.TP) {}
func (group) Lost(context.Context, []intake.TP)    {}

// records reads the file through its source from an offset to its end, at most so many at once.
func records(t *testing.T, l *Log, from int64, most int) []event.Record {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	l.Ended = cancel
	src, err := l.Opener()(ctx, nil, group(from))
	if err != nil {
		t.Fatal(err)
	}
	var all []event.Record
	next := from
	for ctx.Err() == nil {
		fetches, err := src.Poll(ctx, most)
		if err != nil && ctx.Err() == nil {
			t.Fatal(err)
		}
		for _, f := range fetches {
			if f.From != next || f.To != f.From+int64(len(f.Records)) {
				t.Fatalf("got [%d, %d) with %d records after %d", f.From, f.To, len(f.Records), next)
			}
			next = f.To
			for _, r := range f.Records {
				r.Value = bytes.Clone(r.Value)
				all = append(all, r)
			}
		}
	}
	if next != l.Rows {
		t.Fatalf("the rows end at %d of %d", next, l.Rows)
	}
	if err := src.Close(t.Context()); err != nil {
		t.Error(err)
	}
	return all
}

func texts(all []event.Record) (out []string) {
	for _, r := range all {
		out = append(out, string(r.Value))
	}
	return out
}

var packers = map[string]func(io.Writer) io.WriteCloser{
	".gz":  func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) },
	".lz4": func(w io.Writer) io.WriteCloser { return lz4.NewWriter(w) },
	".zst": func(w io.Writer) io.WriteCloser { z, _ := zstd.NewWriter(w); return z },
}

func packed(t *testing.T, how string, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := packers[how](&b)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// However a file is packed, and wherever reading goes on, a row is the same record.
func TestRowsAreTheSameFromAnywhere(t *testing.T) {
	rnd := rand.New(rand.NewPCG(testbed.Seed(t), 1))
	lines, table := "\ufeff", "title,n,event_id\r\n"
	for i := range 500 {
		lines += fmt.Sprintf("{\"title\":\"t%d\",\"n\":%d}%s", i, rnd.IntN(100), []string{"\n", "\r\n", "\n\n  \n"}[rnd.IntN(3)])
		table += fmt.Sprintf("\"a \"\"%d\"\",\nb\",%d,%s\n", i, rnd.IntN(9), []string{"", fmt.Sprintf("e%d", i)}[rnd.IntN(2)])
	}
	for name, text := range map[string]string{"a.jsonl": strings.TrimRight(lines, "\r\n "), "b.csv": table} {
		t.Run(name, func(t *testing.T) {
			plain := registered(t, write(t, name, []byte(text)))
			want := records(t, plain, 0, 1<<20)
			if len(want) != 500 || plain.Rows != 500 {
				t.Fatalf("%d rows, %d records", plain.Rows, len(want))
			}
			for how := range packers {
				l := registered(t, write(t, name+how, packed(t, how, []byte(text))))
				if l.Hash != plain.Hash || l.Rows != plain.Rows {
					t.Errorf("%s: another file", how)
				}
				from := rnd.Int64N(501)
				if diff := cmp.Diff(want[from:], records(t, l, from, 1+rnd.IntN(100)), cmp.Transformer("empty", func(r []event.Record) []event.Record { return append([]event.Record{}, r...) })); diff != "" {
					t.Errorf("%s from %d: %s", how, from, diff)
				}
			}
		})
	}
}

func TestBzip2(t *testing.T) {
	raw, err := base64.StdEncoding.DecodeString("QlpoOTFBWSZTWV8/k9cAAAZZgAAQEAAwEAABAAogADEMCBKAeonCJoaL4u5IpwoSC+fyeuA=")
	if err != nil {
		t.Fatal(err)
	}
	got := texts(records(t, registered(t, write(t, "a.jsonl.bz2", raw)), 0, 1))
	if diff := cmp.Diff([]string{`{"n":1}`, `{"n":2}`}, got); diff != "" {
		t.Error(diff)
	}
}

func TestWhatARowTells(t *testing.T) {
	at := func(text string) int64 {
		moment, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatal(err)
		}
		return moment.UnixMicro()
	}
	registration := int64(1_700_000_000_000_000)
	for _, test := range []struct {
		name, text string
		value, id  string // id "": made of the row
		received   int64
	}{
		{"a.jsonl", `{"n":1}`, `{"n":1}`, "", registration},
		{"a.jsonl", `{"event_id":"x","event_time":"2020-01-02T03:04:05Z"}`, `{"event_id":"x","event_time":"2020-01-02T03:04:05Z"}`, "x", at("2020-01-02T03:04:05Z")},
		{"a.jsonl", `{"event_time":"2020-01-02 03:04:05","_received_at":"2020-01-02T03:05:05Z"}`, `{"event_time":"2020-01-02 03:04:05","_received_at":"2020-01-02T03:05:05Z"}`, "", at("2020-01-02T03:05:05Z")},
		{"a.jsonl", `{"event_time":"yesterday","event_id":[1]}`, `{"event_time":"yesterday","event_id":[1]}`, "", registration},
		{"a.jsonl", `{"n":1`, `{"n":1`, "", registration}, // no event: the judge says so
		{"a.csv", "title,n\nä,\n", `{"title":"ä"}`, "", registration},
		{"a.tsv", "title\t_event_id\t_received_at\nx\ty\t2020-01-02T03:04:05Z\n", `{"title":"x"}`, "y", at("2020-01-02T03:04:05Z")},
		{"a.csv", "title,n\r\n\"a\r\nb\r\r\n\"\"\r\n\n\r\",\"1\"\r\n", `{"title":"a\r\nb\r\r\n\"\r\n\n\r","n":"1"}`, "", registration},
		{"a.csv", "\ufefftitle\n\"a,b\nc\"\n", `{"title":"a,b\nc"}`, "", registration},
	} {
		l := registered(t, write(t, test.name, []byte(test.text)))
		got := records(t, l, 0, 10)
		if len(got) != 1 {
			t.Fatalf("%s: %d records", test.text, len(got))
		}
		r := got[0]
		if test.id == "" && !strings.HasPrefix(r.ID, "import-") || test.id != "" && r.ID != test.id || string(r.Value) != test.value || r.Received != test.received {
			t.Errorf("%s: got %s id %s received %d", test.text, r.Value, r.ID, r.Received)
		}
	}
}

// What stands between quotes is the text, line ends of any kind and all.
func TestTextsOfTablesAreKept(t *testing.T) {
	rnd := rand.New(rand.NewPCG(testbed.Seed(t), 2))
	table := "title,n\r\n"
	var want []string
	for range 2000 {
		text := "x" // an empty one is no member
		for range rnd.IntN(12) {
			text += string("ab,\"\r\n"[rnd.IntN(6)])
		}
		value, err := json.Marshal(map[string]string{"title": text, "n": "1"})
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, string(value))
		table += `"` + strings.ReplaceAll(text, `"`, `""`) + `",1` + []string{"\n", "\r\n"}[rnd.IntN(2)]
	}
	for i, r := range records(t, registered(t, write(t, "a.csv", []byte(table))), 0, 1<<20) {
		if diff := cmp.Diff(asJSON(t, want[i]), asJSON(t, string(r.Value))); diff != "" {
			t.Fatalf("row %d: %s", i, diff)
		}
	}
}

func asJSON(t *testing.T, text string) any {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestBadFilesAreRefused(t *testing.T) {
	long := `{"title":"` + strings.Repeat("x", 1000) + `"}`
	for _, test := range []struct{ name, text, says string }{
		{"a.txt", "x", "does not say what it is"},
		{"a.jsonl", "[\n{\"n\":1}]", "a.jsonl:1: is not JSON Lines"},
		{"a.jsonl", "title,n\n1,2\n", "a.jsonl:1: is not JSON Lines"},
		{"a.json", "{\n  \"n\": 1\n}\n", "a.json:1: is not JSON Lines"},
		{"a.jsonl", "{\"n\":1}\n" + long + "\n", "a.jsonl:2: row 2 has 1012 bytes"},
		{"a.csv", "", "a.csv:1: is empty"},
		{"a.csv", "a,a\n1,2\n", `a.csv:1: names the column "a" twice`},
		{"a.csv", "a,b\n1,2\n1\n", "a.csv:3: column 1: wrong number of fields"},
		{"a.csv", "a\n\"x\n", "a.csv:2: column 4"},
		{"a.csv", "a\n\"" + strings.Repeat("x,y\n", 17<<20), "has a row of more than 64 MiB"},
		{"a.csv", "title;n\nx;1\n", "a.csv:1: is not separated by ','"},
		{"a.csv", "a\n\xe4\n", "a.csv:2: is not UTF-8"},
		{"a.csv", "a,_received_at\n1,soon\n", `a.csv:2: _received_at "soon" is no time`},
		{"a.csv", "title,_schema,_extra\n", "was exported by pinflow as CSV"},
		{"a.parquet", "PAR1", "is no Parquet file"},
		{"a.jsonl", "\xfd7zXZ\x00abc", "is an xz or zip file"},
		{"a.jsonl.gz", "\x1f\x8b\x08garbage", "a.jsonl.gz"},
	} {
		_, err := look(t, write(t, test.name, []byte(test.text)))
		if err == nil || !strings.Contains(err.Error(), test.says) || fault.CodeOf(err) != "bad_file" {
			t.Errorf("%s %.20q: got %v, want %q", test.name, test.text, err, test.says)
		}
	}
	cut := packed(t, ".gz", []byte("{\"n\":1}\n"))
	if _, err := look(t, write(t, "a.jsonl.gz", cut[:len(cut)-9])); fault.CodeOf(err) != "bad_file" {
		t.Errorf("a cut file: %v", err)
	}
	if _, err := look(t, t.TempDir()); fault.CodeOf(err) != "bad_file" {
		t.Errorf("a folder: %v", err)
	}
	if _, err := look(t, "nowhere.csv"); fault.CodeOf(err) != "no_file" {
		t.Errorf("no file: %v", err)
	}
}

// A file that changes after it was looked at is noticed.
func TestFileThatChanges(t *testing.T) {
	l := registered(t, write(t, "a.jsonl", []byte("{}\n{}\n")))
	if err := os.WriteFile(l.Path, []byte("{}\n{}\n{}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	src, err := l.Opener()(t.Context(), nil, group(0))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := src.Poll(t.Context(), 10); err == nil || !strings.Contains(err.Error(), "was changed") {
		t.Errorf("got %v", err)
	}
	gone := errors.New("gone")
	l.Held = func(context.Context) error { return gone }
	if _, err := l.Opener()(t.Context(), nil, group(0)); !errors.Is(err, gone) {
		t.Errorf("opened without the lease: %v", err)
	}
}

// Of Parquet that others wrote each column is a member.
func TestForeignParquet(t *testing.T) {
	moment := arrow.FixedWidthTypes.Timestamp_ms
	sc := arrow.NewSchema([]arrow.Field{
		{Name: "title", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "n", Type: arrow.PrimitiveTypes.Int32, Nullable: true},
		{Name: "x", Type: arrow.PrimitiveTypes.Float64},
		{Name: "at", Type: moment},
		{Name: "day", Type: arrow.FixedWidthTypes.Date32},
		{Name: "tags", Type: arrow.ListOf(arrow.BinaryTypes.String)},
		{Name: "_event_id", Type: arrow.BinaryTypes.String},
		{Name: "in", Type: arrow.StructOf(arrow.Field{Name: "a", Type: arrow.FixedWidthTypes.Boolean})},
	}, nil)
	rows := `[{"title":"ä","n":1,"x":0.5,"at":"2020-01-02 03:04:05.006Z","day":"2020-01-02","tags":["a","b"],"_event_id":"e1","in":{"a":true}},
	    {"title":null,"n":null,"x":-1,"at":"1969-01-02 03:04:05Z","day":"1969-01-02","tags":[],"_event_id":"e2","in":{"a":false}}]`
	rec, _, err := array.RecordFromJSON(memory.DefaultAllocator, sc, strings.NewReader(rows))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w, err := pqarrow.NewFileWriter(sc, &b, parquet.NewWriterProperties(), pqarrow.DefaultWriterProps())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Write(rec), w.Close()); err != nil {
		t.Fatal(err)
	}
	got := records(t, registered(t, write(t, "a.parquet", b.Bytes())), 0, 10)
	want := []string{
		`{"title":"ä","n":1,"x":0.5,"at":"2020-01-02T03:04:05.006Z","day":"2020-01-02","tags":["a","b"],"in":{"a":true}}`,
		`{"x":-1,"at":"1969-01-02T03:04:05Z","day":"1969-01-02","tags":[],"in":{"a":false}}`,
	}
	for i, r := range got {
		var have, should any
		if err := errors.Join(json.Unmarshal(r.Value, &have), json.Unmarshal([]byte(want[i]), &should)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(should, have); diff != "" || r.ID != fmt.Sprintf("e%d", i+1) {
			t.Errorf("id %s: %s", r.ID, diff)
		}
	}
	if len(got) != 2 {
		t.Errorf("%d rows: %v", len(got), texts(got))
	}
}

// What pinflow exported as Parquet gives the events back as they were, with their ids and received times.
func TestExportedParquet(t *testing.T) {
	s := schema(t)
	sent := []string{
		`{"event_id":"a","title":"x","n":1,"event_time":"2026-11-22T10:00:00Z"}`,
		`{"title":"","n":"12","mood":{"deep":[1,2.50]}}`,
		`{"n":null,"title":"\u0000ä"}`,
	}
	d := s.NewDecoder(nil)
	for i, text := range sent {
		r := event.Record{Value: []byte(text), ID: fmt.Sprintf("id%d", i), Received: 1_796_000_000_000_000 + int64(i), Offset: int64(i)}
		if v := d.Append(&r); v.Dead() {
			t.Fatalf("%s: %+v", text, v)
		}
	}
	var b bytes.Buffer
	w, err := icelake.NewParquetWriter(&b, lake.Columns(s), nil)
	if err != nil {
		t.Fatal(err)
	}
	block := &lake.Block{Columns: lake.Columns(s), N: d.Rows().N, Cols: d.Rows().Cols}
	if err := errors.Join(w.Write(block, []int32{0, 1}), w.Write(block, []int32{2}), w.Close()); err != nil {
		t.Fatal(err)
	}
	l := registered(t, write(t, "pin.parquet", b.Bytes()))
	for from := range int64(4) {
		for i, r := range records(t, l, from, 2) {
			at := i + int(from)
			var have, want any
			if err := errors.Join(json.Unmarshal(r.Value, &have), json.Unmarshal([]byte(sent[at]), &want)); err != nil {
				t.Fatalf("%v: %s", err, r.Value)
			}
			if diff := cmp.Diff(want, have); diff != "" || r.ID != fmt.Sprintf("id%d", at) || r.Received != 1_796_000_000_000_000+int64(at) {
				t.Errorf("id %s, received %d:\n%s", r.ID, r.Received, diff)
			}
		}
	}
	other := event.Stream{Name: "pin", Fields: []event.Field{{Name: "title", Type: "string"}}}
	other.SetDefaults()
	less, err := event.Compile(other, 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Look(t.Context(), l.Path, Config{MaxRow: 1000, Schemas: map[int64]*event.Schema{1: less}}); err == nil || !strings.Contains(err.Error(), `field "n"`) {
		t.Errorf("of another stream: %v", err)
	}
	if _, err := Look(t.Context(), l.Path, Config{MaxRow: 1000, Schemas: map[int64]*event.Schema{2: mustVersion(t, s, 2)}}); err == nil || !strings.Contains(err.Error(), "schema 1") {
		t.Errorf("of another version: %v", err)
	}
}

func mustVersion(t *testing.T, s *event.Schema, version int32) *event.Schema {
	t.Helper()
	c, err := event.Compile(s.Stream, version)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
