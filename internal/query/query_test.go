package query_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"

	"github.com/pinflow/pinflow/internal/calendar"
	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/fold"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/metric"
	"github.com/pinflow/pinflow/internal/prove"
	"github.com/pinflow/pinflow/internal/query"
	"github.com/pinflow/pinflow/internal/segment"
	"github.com/pinflow/pinflow/internal/span"
)

// memory is a ledger that holds one view.
type memory struct {
	data     ledger.Data
	segments []ledger.Segment
	reads    []ledger.Read
	loaded   int // segments whose data was given out
	onRead   func(n int)
	versions map[string]ledger.ViewVersion // beside the one that answers, as they are asked for
}

func (m *memory) Read(_ context.Context, q ledger.Read) (*ledger.Data, error) {
	m.reads = append(m.reads, q)
	if m.onRead != nil {
		m.onRead(len(m.reads))
	}
	if q.View != m.data.View.Name {
		return nil, fault.New(fault.Record, "unknown_view", "there is no view %q", q.View)
	}
	out := m.data
	if v, ok := m.versions[q.Version]; ok {
		out.Version, out.View.Metadata = v, v.Metadata
	}
	for i, s := range m.segments {
		if i == 0 || s.From < out.Earliest {
			out.Earliest = s.From
		}
		if !slices.ContainsFunc(q.Parts, func(p ledger.Part) bool { return p.Takes(&s) }) {
			continue
		}
		if q.Cached != nil && q.Cached(s.ID) {
			s.Data = nil
		} else {
			m.loaded++
		}
		out.Segments = append(out.Segments, s)
	}
	return &out, nil
}

// add stores blocks as segments.
func (m *memory) add(t testing.TB, c *metric.Compiled, blocks ...*fold.States) {
	t.Helper()
	codec, err := segment.NewCodec()
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range blocks {
		data, err := codec.Encode(b)
		if err != nil {
			t.Fatal(err)
		}
		from, to := b.Range()
		m.segments = append(m.segments, ledger.Segment{
			ID: int64(len(m.segments) + 1), Version: 1, Tier: c.Grain.String(), From: from, To: to, Rows: int64(b.N), Source: ledger.SourceLive, Data: data,
		})
	}
}

// newMemory is a ledger with the view alone, made at the given time with its stream.
func newMemory(c *metric.Compiled, at time.Time) *memory {
	return &memory{data: ledger.Data{
		View:    ledger.View{Name: c.Name, Stream: c.Stream, Metadata: c.Metadata()},
		Version: ledger.ViewVersion{ID: 1, Hash: c.Hash(), Definition: c.Definition(), State: ledger.Serving, Schema: 1, CreatedAt: at},
		Stream: ledger.Stream{Name: c.Stream, Epoch: 1, Schemas: []ledger.SchemaVersion{
			{Version: 1, Definition: c.Schema.Stream, CreatedAt: at},
		}},
	}}
}

func engine(t testing.TB, m *memory, now time.Time) *query.Engine {
	t.Helper()
	e, err := query.New(query.Config{}, m, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func parseTime(t testing.TB, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

var update = flag.Bool("update", false, "write what the engine answers into testdata")

// TestBehaviour runs testdata/*.txt: a stream, a view, events, and queries with their answers.
//
//	== stream     YAML of event.Stream
//	== view       YAML of metric.View
//	== began T    when stream and view were made; "cut" after it: on a log that had events
//	== events     lines: time received (- for the event's own), JSON
//	== building …  how much of the history is there: see filling
//	== importing N  a file has N rows in the lake and is not at its end
//	== rolled G     rolls what is not rolled yet up to tier G
//	== dropped G T  drops rolled segments of tier G that end before T
//	== now T      and == complete_to T
//	== query a=b&c=d
//	the answer: header, rows with their state, notes
func TestBehaviour(t *testing.T) {
	prove.Invariant(t, "M5")
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no testdata", err)
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txt"), func(t *testing.T) { runFile(t, name) })
	}
}

type script struct {
	stream event.Stream
	schema *event.Schema
	c      *metric.Compiled
	m      *memory
	now    time.Time
}

func runFile(t *testing.T, name string) {
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var s script
	var out strings.Builder
	head, rest, _ := strings.Cut(string(raw), "== ")
	out.WriteString(head)
	for _, section := range strings.Split(rest, "\n== ") {
		title, body, _ := strings.Cut(section, "\n")
		word, arg, _ := strings.Cut(title, " ")
		if word == "query" {
			want := body
			body = s.query(t, arg)
			if d := cmp.Diff(strings.TrimSpace(want), strings.TrimSpace(body)); d != "" && !*update {
				t.Errorf("%s: query %s: -want +got:\n%s", name, arg, d)
			}
			body += "\n"
		} else {
			s.set(t, word, arg, body)
		}
		fmt.Fprintf(&out, "== %s\n%s", title, body)
		if !strings.HasSuffix(body, "\n") {
			out.WriteString("\n")
		}
	}
	if *update {
		if err := os.WriteFile(name, []byte(strings.TrimRight(out.String(), "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func (s *script) set(t *testing.T, word, arg, body string) {
	t.Helper()
	switch word {
	case "stream":
		if err := yaml.UnmarshalWithOptions([]byte(body), &s.stream, yaml.Strict()); err != nil {
			t.Fatal(err)
		}
		s.stream.Grace = 10 * time.Minute
		schema, err := event.Compile(s.stream, 1)
		if err != nil {
			t.Fatal(err)
		}
		s.schema = schema
	case "view":
		var v metric.View
		if err := yaml.UnmarshalWithOptions([]byte(body), &v, yaml.Strict()); err != nil {
			t.Fatal(err)
		}
		c, problems := metric.Compile(v, s.schema)
		if len(problems) > 0 {
			t.Fatalf("%+v", problems)
		}
		s.c, s.m = c, newMemory(c, time.UnixMicro(0))
	case "began":
		at, cut, _ := strings.Cut(arg, " ")
		old := s.m.segments
		s.m = newMemory(s.c, parseTime(t, at))
		s.m.segments = old
		if cut == "cut" {
			s.m.data.Version.Cut = span.Vector{{Log: 1}: 7}
		}
	case "building":
		s.m.data.Version.State = ledger.Building
		s.m.data.Filling = filling(arg)
	case "events":
		s.events(t, body)
	case "importing":
		rows, err := strconv.ParseInt(arg, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		s.m.data.Importing = []ledger.Importing{{Log: 9, Name: "old.csv", Rows: rows}}
	case "rolled":
		s.roll(t, arg)
	case "dropped":
		tier, at, _ := strings.Cut(arg, " ")
		s.drop(tier, parseTime(t, at))
	case "now":
		s.now = parseTime(t, arg)
	case "complete_to":
		s.m.data.CompleteTo = parseTime(t, arg)
	default:
		t.Fatalf("unknown section %q", word)
	}
}

// filling reads: unlisted, paused, and days with what is missing of them, as 2026-03-01=queued, or of an
// imported file as import:2026-03-01=queued. With nothing but imported files there is no other history.
func filling(text string) *ledger.Filling {
	f := &ledger.Filling{State: ledger.Running, Listed: true}
	for _, word := range strings.Fields(text) {
		day, state, _ := strings.Cut(word, "=")
		log := span.Log(0)
		if rest, ok := strings.CutPrefix(day, "import:"); ok {
			day, log, f.Imports = rest, 9, []span.Log{9}
		} else {
			f.Backfill = 1
		}
		switch word {
		case "unlisted":
			f.Listed, f.State = false, ledger.Queued
		case "paused":
			f.State = ledger.Paused
		default:
			if f.First == "" || day < f.First {
				f.First = day
			}
			if state != ledger.Done {
				f.Missing = append(f.Missing, ledger.TaskDay{Day: day, State: state, Log: log})
			}
		}
	}
	return f
}

// roll does what a compactor does: the merge of the finer segments goes to the tier, they are marked.
func (s *script) roll(t *testing.T, tier string) {
	t.Helper()
	codec, err := segment.NewCodec()
	if err != nil {
		t.Fatal(err)
	}
	var blocks []*fold.States
	for i := range s.m.segments {
		x := &s.m.segments[i]
		if x.Rolled || ledger.TierOf(x.Tier) != ledger.TierOf(tier)-1 {
			continue
		}
		b, err := codec.Decode(x.Data)
		if err != nil {
			t.Fatal(err)
		}
		blocks, x.Rolled = append(blocks, b), true
	}
	grain, _ := calendar.GrainOf(tier)
	merged, err := fold.Regroup(s.c, fold.Everything(s.c, grain), blocks...)
	if err != nil {
		t.Fatal(err)
	}
	before := len(s.m.segments)
	s.m.add(t, s.c, merged.Split(fold.MaxBlock, calendar.NewClock(s.c.Zone).Date)...)
	for i := range s.m.segments[before:] {
		s.m.segments[before+i].Tier, s.m.segments[before+i].Source = tier, ledger.SourceRolled
	}
}

// drop leaves the segments' numbers as they are: a cache must not take one for another.
func (s *script) drop(tier string, before time.Time) {
	for i := range s.m.segments {
		if x := &s.m.segments[i]; x.Tier == tier && x.Rolled && x.To < before.UnixMicro() {
			x.Version, x.Tier = 0, "gone"
		}
	}
	if s.m.data.Floors == nil {
		s.m.data.Floors = map[string]int64{}
	}
	s.m.data.Floors[tier] = before.UnixMicro()
}

func (s *script) events(t *testing.T, body string) {
	t.Helper()
	d := s.schema.NewDecoder(s.c.Columns(s.schema))
	f := fold.New(s.c)
	for _, line := range strings.Split(strings.TrimSpace(body), "\n") {
		at, value, _ := strings.Cut(line, " ")
		rec := event.Record{Value: []byte(value)}
		if at == "-" {
			var e map[string]any
			if err := json.Unmarshal([]byte(value), &e); err != nil {
				t.Fatal(err)
			}
			at = e["event_time"].(string)
		}
		rec.Received = parseTime(t, at).UnixMicro()
		if v := d.Append(&rec); v.Dead() {
			t.Fatalf("%s: %+v", line, v)
		}
		if d.Rows().N == 2 { // several segments
			if err := f.Add(d.Rows()); err != nil {
				t.Fatal(err)
			}
			s.m.add(t, s.c, f.Take()...)
			d.Reset()
		}
	}
	if err := f.Add(d.Rows()); err != nil {
		t.Fatal(err)
	}
	s.m.add(t, s.c, f.Take()...)
}

func requestOf(t *testing.T, view, params string) query.Request {
	t.Helper()
	v, err := url.ParseQuery(params)
	if err != nil {
		t.Fatal(err)
	}
	list := func(key string) []string {
		if v.Get(key) == "" {
			return nil
		}
		return strings.Split(v.Get(key), ",")
	}
	limit := 0
	if v.Get("limit") != "" {
		if limit, err = strconv.Atoi(v.Get("limit")); err != nil {
			t.Fatal(err)
		}
	}
	return query.Request{
		View: view, Measures: list("measures"), By: list("by"), Filter: v.Get("f"), From: v.Get("from"), To: v.Get("to"),
		Grain: v.Get("grain"), TZ: v.Get("tz"), AsOf: v.Get("as_of"), Order: v.Get("order"), Limit: limit,
	}
}

// query runs a query and writes its answer as the files have it.
func (s *script) query(t *testing.T, params string) string {
	t.Helper()
	a, err := engine(t, s.m, s.now).Query(context.Background(), requestOf(t, s.c.Name, params))
	if err != nil {
		if fault.KindOf(err) != fault.Record {
			t.Fatal(err)
		}
		return "error: " + err.Error() + "\n"
	}
	var b strings.Builder
	b.WriteString(strings.Join(a.Columns, " | ") + " | state\n")
	for i, row := range a.Rows {
		cells := make([]string, len(row))
		for k, v := range row {
			text, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			cells[k] = strings.Trim(string(text), `"`)
		}
		b.WriteString(strings.Join(cells, " | ") + " | " + a.Points.State[i] + "\n")
	}
	for _, c := range a.Meta.Coverage {
		fmt.Fprintf(&b, "%s … %s %s", c.From, c.To, c.Source)
		if c.Reason != "" {
			b.WriteString(": " + c.Reason)
		}
		b.WriteString("\n")
	}
	for _, r := range a.Meta.Revised {
		fmt.Fprintf(&b, "revised %s by %d\n", r.Time, r.Late)
	}
	for _, x := range a.Meta.Partial {
		fmt.Fprintf(&b, "%s since %s\n", x.Time, x.Since)
	}
	if a.Meta.Other != nil {
		fmt.Fprintf(&b, "%s is %d groups\n", a.Meta.Other.Label, a.Meta.Other.Groups)
	}
	for _, w := range a.Meta.Warnings {
		fmt.Fprintf(&b, "warning: %s\n", w)
	}
	return b.String()
}
