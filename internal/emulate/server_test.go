package emulate

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pinflow/pinflow/internal/config"
	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/sketch"
)

// stored is an event that the test's server holds.
type stored struct {
	id     string
	time   int64
	fields map[string]any
}

type storedStream struct {
	schema          *event.Schema
	seen            map[string]bool
	rows            []stored
	dead, duplicate int64
	appended        int64
}

// memory is an honest server, in memory and without the kernel. It lies and fails as it is told.
type memory struct {
	*httptest.Server
	mu      sync.Mutex
	streams map[string]*storedStream
	fail    func() string // "" or a way to fail, asked per request

	lose, double string                         // event ids
	tamper       func(column string, v any) any // on live answers
}

func newMemory(t *testing.T) *memory {
	t.Helper()
	p, err := config.BuiltIn()
	if err != nil {
		t.Fatal(err)
	}
	m := &memory{streams: map[string]*storedStream{}, fail: func() string { return "" }}
	for _, s := range p.EventStreams() {
		schema, err := event.Compile(s, 1)
		if err != nil {
			t.Fatal(err)
		}
		m.streams[s.Name] = &storedStream{schema: schema, seen: map[string]bool{}}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/streams/{stream}/events", m.ingest)
	for s := range m.streams {
		mux.HandleFunc("POST /"+s+"/", func(w http.ResponseWriter, r *http.Request) {
			r.SetPathValue("stream", s)
			m.ingest(w, r)
		})
	}
	mux.HandleFunc("GET /v1/status", m.status)
	mux.HandleFunc("GET /v1/lake/{stream}/digest", m.digest)
	mux.HandleFunc("GET /v1/lake/{stream}/ids", m.ids)
	mux.HandleFunc("GET /v1/query", m.query)
	m.Server = httptest.NewServer(mux)
	t.Cleanup(m.Close)
	return m
}

func write(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func (m *memory) ingest(w http.ResponseWriter, r *http.Request) {
	var body bytes.Buffer
	_, _ = body.ReadFrom(r.Body)
	m.mu.Lock()
	defer m.mu.Unlock()
	how := m.fail()
	switch how {
	case "busy":
		w.Header().Set("Retry-After", "0")
		write(w, 429, map[string]any{"code": "busy"})
		return
	case "not stored":
		write(w, 503, map[string]any{"code": "not_stored"})
		return
	case "cut before":
		panic(http.ErrAbortHandler)
	}
	s := m.streams[r.PathValue("stream")]
	var results []map[string]any
	counts := map[string]int{}
	inspector := s.schema.NewInspector()
	lines := bytes.Split(bytes.TrimSpace(body.Bytes()), []byte("\n"))
	for i, text := range lines {
		status, code := m.store(s, inspector, text), ""
		if how == "half" && i%2 == 1 && status != "rejected" {
			status, code = "retry", "unknown" // and it was stored
		}
		counts[status]++
		if status != "accepted" {
			results = append(results, map[string]any{"index": i, "status": status, "code": code})
		}
	}
	if how == "cut after" {
		panic(http.ErrAbortHandler)
	}
	status := http.StatusAccepted
	if len(results) > counts["dead_lettered"] {
		status = http.StatusMultiStatus
	}
	write(w, status, map[string]any{
		"accepted": counts["accepted"], "dead_lettered": counts["dead_lettered"], "rejected": counts["rejected"], "retry": counts["retry"],
		"results": results,
	})
}

func (m *memory) store(s *storedStream, inspector *event.Inspector, text []byte) string {
	in := inspector.Inspect(text, time.Now().UnixMicro())
	if in.Verdict.Malformed() {
		return "rejected"
	}
	s.appended++
	switch {
	case s.seen[in.ID]:
		s.duplicate++
		if in.Verdict.Dead() {
			return "dead_lettered"
		}
		return "accepted"
	case in.Verdict.Dead():
		s.seen[in.ID] = true
		s.dead++
		return "dead_lettered"
	}
	s.seen[in.ID] = true
	e := stored{id: in.ID, time: in.Verdict.EventTime}
	if err := json.Unmarshal(text, &e.fields); err != nil {
		panic(err)
	}
	s.rows = append(s.rows, e)
	return "accepted"
}

// lake is what the lake holds, lies included.
func (m *memory) lake(stream string) (out []stored) {
	for _, e := range m.streams[stream].rows {
		if e.id == m.lose {
			continue
		}
		out = append(out, e)
		if e.id == m.double {
			out = append(out, e)
		}
	}
	return out
}

func (m *memory) status(w http.ResponseWriter, _ *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var streams []map[string]any
	for name, s := range m.streams {
		counts := map[string]any{"rows": len(s.rows), "dead": s.dead, "duplicates": s.duplicate}
		conservation := map[string]any{"accepted": s.appended, "rows": len(s.rows), "dead": s.dead, "duplicates": s.duplicate, "ok": true}
		unit := map[string]any{"position": s.appended, "counts": counts}
		streams = append(streams, map[string]any{
			"name": name, "complete_to": time.Now(), "conservation": conservation,
			"partitions": []any{map[string]any{"topic": name, "end": s.appended, "batch": unit, "live": unit, "conservation": conservation}},
		})
	}
	write(w, 200, map[string]any{"at": time.Now(), "streams": streams})
}

func (m *memory) digest(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	type day struct {
		Day    string              `json:"day"`
		Rows   int64               `json:"rows"`
		IDs    string              `json:"ids"`
		Longs  map[string]*big.Int `json:"longs"`
		Floats map[string]float64  `json:"floats"`
		sum    [2]uint64
	}
	days := map[string]*day{}
	for _, e := range m.lake(r.PathValue("stream")) {
		date := dateOf(e.time)
		d := days[date]
		if d == nil {
			d = &day{Day: date, Longs: map[string]*big.Int{}, Floats: map[string]float64{}}
			days[date] = d
		}
		d.Rows++
		addID(&d.sum, e.id)
		d.IDs = fmt.Sprintf("%016x%016x", d.sum[0], d.sum[1])
		for _, f := range []string{"index", "ind", "downloaded", "follower_count", "age"} {
			v, ok := e.fields[f].(float64)
			if text, isText := e.fields[f].(string); isText {
				n, err := followers(text)
				v, ok = float64(n), err == nil
			}
			if ok {
				if d.Longs[f] == nil {
					d.Longs[f] = new(big.Int)
				}
				d.Longs[f].Add(d.Longs[f], big.NewInt(int64(v)))
			}
		}
		for _, f := range []string{"latitude", "longitude"} {
			if v, ok := e.fields[f].(float64); ok {
				d.Floats[f] += v
			}
		}
	}
	list := []*day{}
	for _, d := range days {
		list = append(list, d)
	}
	write(w, 200, map[string]any{"days": list})
}

func (m *memory) ids(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.lake(r.PathValue("stream")) {
		if dateOf(e.time) == r.URL.Query().Get("day") {
			_ = json.NewEncoder(w).Encode(e.id)
		}
	}
}

func (m *memory) query(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	q := r.URL.Query()
	from, err := time.Parse(time.RFC3339, q.Get("from"))
	to, err2 := time.Parse(time.RFC3339, q.Get("to"))
	if err != nil || err2 != nil {
		write(w, 400, map[string]any{"code": "bad_parameter"})
		return
	}
	stream := map[string]string{"pins": Pin, "geos": Geo, "users": User}[q.Get("view")]
	size := map[string]time.Duration{"minute": time.Minute, "day": 24 * time.Hour}[q.Get("grain")]
	var dims []string
	if q.Get("by") != "" {
		dims = strings.Split(q.Get("by"), ",")
	}
	groups := map[string][]stored{}
	for _, e := range m.lake(stream) {
		at := time.UnixMicro(e.time).UTC()
		if e.fields["is_test"] == true || at.Before(from) || !at.Before(to) {
			continue
		}
		k := at.Truncate(size).Format(time.RFC3339)
		for _, d := range dims {
			k += "\x00" + dimension(d, e.fields)
		}
		groups[k] = append(groups[k], e)
	}
	measures := strings.Split(q.Get("measures"), ",")
	columns := append(append([]string{"time"}, dims...), measures...)
	rows := [][]any{}
	for k, events := range groups {
		row := []any{}
		for part := range strings.SplitSeq(k, "\x00") {
			row = append(row, part)
		}
		for _, name := range measures {
			v := measure(name, events)
			if m.tamper != nil {
				v = m.tamper(name, v)
			}
			row = append(row, v)
		}
		rows = append(rows, row)
	}
	write(w, 200, map[string]any{"columns": columns, "rows": rows})
}

func dimension(name string, fields map[string]any) string {
	switch name {
	case "media":
		if text := fields["is_image_or_video"].(string); !strings.HasPrefix(text, "multi") {
			return text
		}
		return "story"
	case "hemisphere":
		if fields["latitude"].(float64) < 0 {
			return "south"
		}
		return "north"
	case "age_group":
		return ageGroup(int64(fields["age"].(float64)))
	}
	return fields[name].(string)
}

// measure is a measure of a view, one event after the other.
func measure(name string, events []stored) any {
	var values []float64
	var posters sketch.HLL
	share := 0
	for _, e := range events {
		var v any
		switch {
		case strings.HasPrefix(name, "latitude"):
			v = e.fields["latitude"]
		case strings.HasPrefix(name, "age"):
			v = e.fields["age"]
		case name == "downloads":
			v = e.fields["downloaded"]
		case name == "reach" || strings.HasPrefix(name, "followers"):
			if n, err := followers(e.fields["follower_count"].(string)); err == nil {
				v = float64(n)
			}
		}
		if x, ok := v.(float64); ok {
			values = append(values, x)
		}
		if name == "posters" && e.fields["poster_name"] != "User Info Error" {
			posters = posters.Add(sketch.HashText([]byte(e.fields["poster_name"].(string))))
		}
		lat, _ := e.fields["latitude"].(float64)
		if e.fields["is_image_or_video"] == "video" || lat < 0 {
			share++
		}
	}
	switch name {
	case "posted", "located", "active":
		return len(events)
	case "posters":
		return math.Round(posters.Estimate())
	case "video", "southern":
		return share
	case "video_share", "southern_share":
		return float64(share) / float64(len(events))
	}
	if len(values) == 0 {
		return nil
	}
	sum, least, most := 0.0, values[0], values[0]
	for _, v := range values {
		sum, least, most = sum+v, min(least, v), max(most, v)
	}
	switch {
	case strings.HasSuffix(name, "_min"):
		return least
	case strings.HasSuffix(name, "_p50"):
		slices.Sort(values)
		return min(max(sketch.Middle(sketch.Bucket(values[(len(values)-1)/2])), least), most)
	case strings.HasSuffix(name, "_max"):
		return most
	case strings.HasSuffix(name, "_avg"):
		return sum / float64(len(values))
	}
	return sum
}

// failures fails often, in every way, for a while.
func failures(seed uint64) func() string {
	rnd := rand.New(rand.NewPCG(seed, 0))
	ways := []string{"busy", "not stored", "cut before", "cut after", "half", "", "", ""}
	return func() string { return ways[rnd.IntN(len(ways))] }
}
