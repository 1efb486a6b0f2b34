package emulate

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/prove"
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func emulation(m *memory, t *testing.T) Config {
	return Config{
		URL: m.URL, Events: 3000, BatchSize: 100, Seed: 7, Run: "r1", Truth: filepath.Join(t.TempDir(), "truth"),
		Shares: Shares{Late: 0.02, Bad: 0.01, Duplicate: 0.02, Malformed: 0.01, Future: 0.01},
	}
}

func emulate(t *testing.T, cfg Config) Counts {
	t.Helper()
	e, err := New(cfg, quiet())
	if err != nil {
		t.Fatal(err)
	}
	c, err := e.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func verify(t *testing.T, m *memory, truth ...string) (*Report, error) {
	t.Helper()
	return Verify(t.Context(), VerifyConfig{URL: m.URL, Truth: truth, Wait: 5 * time.Second}, quiet())
}

func TestAnHonestServerIsEqual(t *testing.T) {
	m := newMemory(t)
	cfg := emulation(m, t)
	c := emulate(t, cfg)
	if c.Sent != 3000 || c.Accepted+c.DeadLettered+c.Rejected != 3000 || c.Unexpected != 0 || c.Retried != 0 {
		t.Errorf("counts %+v", c)
	}
	if c.DeadLettered == 0 || c.Rejected == 0 || c.Duplicates == 0 {
		t.Errorf("not every kind of event was sent: %+v", c)
	}
	r, err := verify(t, m, cfg.Truth)
	if err != nil {
		t.Fatalf("%v\n%v", err, r)
	}
	for _, s := range r.Streams {
		if s.Days < 2 || s.Numbers < 100 {
			t.Errorf("compared too little: %+v", s)
		}
	}
}

// C2: what fails is sent again under the same ids and counts once.
func TestFailuresAndRetries(t *testing.T) {
	prove.Invariant(t, "C2")
	m := newMemory(t)
	m.fail = failures(3)
	cfg := emulation(m, t)
	cfg.Connections = 8
	c := emulate(t, cfg)
	if c.Unresolved != 0 || c.Retried == 0 || c.Unexpected != 0 {
		t.Errorf("counts %+v", c)
	}
	if r, err := verify(t, m, cfg.Truth); err != nil {
		t.Fatalf("%v\n%v", err, r)
	}
}

func TestSinglePosts(t *testing.T) {
	m := newMemory(t)
	cfg := emulation(m, t)
	cfg.Single, cfg.Events, cfg.Shares.Bad = true, 600, 0.1
	if c := emulate(t, cfg); c.Sent != 600 || c.Unexpected != 0 {
		t.Errorf("counts %+v", c)
	}
	if r, err := verify(t, m, cfg.Truth); err != nil {
		t.Fatalf("%v\n%v", err, r)
	}
}

func TestLiesAreNamed(t *testing.T) {
	for name, lie := range map[string]struct {
		tell func(m *memory, id string)
		says []string
	}{
		"lost":    {func(m *memory, id string) { m.lose = id }, []string{"was accepted and is not in the lake", "pins.posted"}},
		"doubled": {func(m *memory, id string) { m.double = id }, []string{"2 times in the lake", "pins.posted"}},
		"wrong sum": {func(m *memory, _ string) {
			m.tamper = func(column string, v any) any {
				if x, ok := v.(float64); ok && column == "reach" && x > 0 {
					return x + 1
				}
				return v
			}
		}, []string{"pins.reach"}},
		"foreign": {func(m *memory, _ string) {
			s := m.streams[Pin]
			e := s.rows[0]
			e.id = "foreign"
			e.time -= 3 * microsPerMinute * 60
			s.rows = append(s.rows, e)
			s.appended++
		}, []string{"event foreign is in the lake and was not accepted", "pins.posted", "rows, "}},
		"swapped": {func(m *memory, _ string) {
			s := m.streams[Geo]
			s.rows[0].id, s.rows[0].fields = "other", s.rows[1].fields
		}, []string{"event other is in the lake"}},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMemory(t)
			cfg := emulation(m, t)
			cfg.Events = 900
			emulate(t, cfg)
			lie.tell(m, m.streams[Pin].rows[17].id)
			r, err := verify(t, m, cfg.Truth)
			if fault.CodeOf(err) != "not_equal" || fault.ExitCode(err) != 1 {
				t.Fatalf("error %v", err)
			}
			for _, want := range lie.says {
				if !strings.Contains(r.String(), want) {
					t.Errorf("does not say %q:\n%s", want, r)
				}
			}
			foreign := name == "foreign" || name == "swapped"
			if (r.Foreign == 1) != foreign || strings.Contains(err.Error(), "no run in the truth") != foreign {
				t.Errorf("%d foreign events, %v", r.Foreign, err)
			}
		})
	}
}

// A killed emulation leaves events whose fate nobody knows, and a torn line.
func TestTruthOfAKilledEmulation(t *testing.T) {
	m := newMemory(t)
	cfg := emulation(m, t)
	cfg.Connections = 1
	emulate(t, cfg)
	text, err := os.ReadFile(cfg.Truth)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(text, []byte("\n"))
	for i := len(lines) - 1; ; i-- { // cut in the middle of the last batch's fates
		if bytes.Contains(lines[i], []byte(`"settle"`)) {
			text = append(bytes.Join(lines[:i], nil), lines[i][:len(lines[i])/2]...)
			break
		}
	}
	if err := os.WriteFile(cfg.Truth, text, 0o644); err != nil {
		t.Fatal(err)
	}
	check := func(unresolved, arrived int64) {
		t.Helper()
		r, err := verify(t, m, cfg.Truth)
		if err != nil {
			t.Fatalf("%v\n%v", err, r)
		}
		var u, a int64
		for _, s := range r.Streams {
			u, a = u+s.Unresolved, a+s.Arrived
		}
		if u != unresolved || a != arrived {
			t.Errorf("%d unresolved, %d arrived, want %d, %d", u, a, unresolved, arrived)
		}
	}
	last := m.streams[User].rows
	check(100, 100-int64(badIn(t, cfg, 100)))
	m.streams[User].rows = last[:len(last)-1] // one of them did not arrive: that is no loss
	m.streams[User].appended--
	check(100, 99-int64(badIn(t, cfg, 100)))

	cfg.Run = "r2" // a second run goes on in the same file
	emulate(t, cfg)
	check(100, 99-int64(badIn(t, cfg, 100)))
}

// badIn counts the bad events of the last batch.
func badIn(t *testing.T, cfg Config, n int64) (bad int) {
	t.Helper()
	cfg.Run = "r1"
	e, err := New(cfg, quiet())
	if err != nil {
		t.Fatal(err)
	}
	for p := int64(1000) - n; p < 1000; p++ {
		if m, _ := e.gen.event(nil, User, p, when{width: freshWidth}); m.want != accepted {
			bad++
		}
	}
	return bad
}

func TestTheEndLeavesUnresolvedEvents(t *testing.T) {
	m := newMemory(t)
	m.fail = func() string { return "not stored" }
	cfg := emulation(m, t)
	e, err := New(cfg, quiet())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan Counts)
	go func() {
		c, err := e.Run(ctx)
		if err != nil {
			t.Error(err)
		}
		done <- c
	}()
	for e.Counts().Retried == 0 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	if c := <-done; c.Unresolved != c.Sent || c.Sent == 0 {
		t.Errorf("counts %+v", c)
	}
	m.fail = func() string { return "" }
	if r, err := verify(t, m, cfg.Truth); err != nil {
		t.Fatalf("%v\n%v", err, r)
	}
}

func TestARefusalEndsTheRun(t *testing.T) {
	m := newMemory(t)
	cfg := emulation(m, t)
	cfg.URL += "/nothing/here"
	e, err := New(cfg, quiet())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Run(t.Context()); !fault.Is(err, fault.Config) {
		t.Errorf("error %v", err)
	}
}

func TestBadConfig(t *testing.T) {
	for _, cfg := range []Config{
		{URL: "http://x", Users: maxUsers + 1},
		{URL: "http://x", Shares: Shares{Future: -1}},
		{URL: "http://x", Rate: 1, Pace: Pace{Rhythm: 2}},
		{URL: "http://x", Pace: Pace{Rhythm: 0.5}},
		{URL: "http://x", Rate: 1, Pace: Pace{Since: time.Hour}},
		{URL: "http://x", Rate: 1, Pace: Pace{Burst: Burst{Factor: 2, For: time.Minute, Every: time.Second}}},
		{URL: "http://x", Rate: 1, Pace: Pace{Growth: -1}},
		{URL: "localhost"},
		{URL: "http://x", Streams: []string{"pins"}},
		{URL: "http://x", Shares: Shares{Late: 1.5}},
		{URL: "http://x", Rate: -1},
	} {
		if _, err := New(cfg, quiet()); fault.ExitCode(err) != fault.ExitUsage {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
}

func TestVerifyGivesUpOnAServerThatDoesNotCatchUp(t *testing.T) {
	m := newMemory(t)
	cfg := emulation(m, t)
	cfg.Events = 300
	emulate(t, cfg)
	m.Close()
	_, err := Verify(t.Context(), VerifyConfig{URL: m.URL, Truth: []string{cfg.Truth}, Wait: 50 * time.Millisecond}, quiet())
	if fault.ExitCode(err) != fault.ExitNotComplete {
		t.Errorf("error %v", err)
	}
}

// The same seed makes the same events, and the verdict on each is the one it should get.
func TestEventsAreAFunctionOfTheSeed(t *testing.T) {
	m := newMemory(t)
	cfg := emulation(m, t)
	cfg.Shares = Shares{Late: 0.2, Bad: 0.3, Duplicate: 0.1, Malformed: 0.05, Future: 0.1}
	e, err := New(cfg, quiet())
	if err != nil {
		t.Fatal(err)
	}
	other, err := New(cfg, quiet())
	if err != nil {
		t.Fatal(err)
	}
	const at = 1_795_000_000_000_000
	links := map[int64]int{}
	for _, stream := range Streams {
		schema := m.streams[stream].schema
		for p := range int64(3000) {
			a, _ := e.gen.event(nil, stream, p, when{at: at, width: freshWidth})
			b, _ := other.gen.event(nil, stream, p, when{at: at, width: freshWidth})
			if !bytes.Equal(a.body, b.body) || a.id() != b.id() {
				t.Fatalf("two events of one seed: %s and %s", a.body, b.body)
			}
			v := schema.Judge(a.body, at)
			fate := byte(accepted)
			if v.Malformed() {
				fate = rejected
			} else if v.Dead() {
				fate = dead
			}
			if fate != a.want || fate == accepted && v.EventTime != a.time {
				t.Fatalf("%s: %+v, want %s at %d", a.body, v, fateName(a.want), a.time)
			}
			if json.Valid(a.body) == (a.want == rejected) && a.body[0] == '{' {
				t.Fatalf("%s", a.body)
			}
			links[a.index()]++
			if id, ok := idOf(schema, a.body, at); ok && id != a.id() {
				t.Fatalf("id %q, want %q", id, a.id())
			}
		}
	}
	if len(links) != 3000 || links[17] != 3 {
		t.Errorf("%d links", len(links))
	}
}

func idOf(s *event.Schema, body []byte, at int64) (string, bool) {
	in := s.NewInspector().Inspect(body, at)
	return in.ID, !in.Verdict.Malformed()
}

func TestFatesPack(t *testing.T) {
	for _, fates := range []string{"", "a", "aaadru", "uuuuuuuuuuuu"} {
		got, err := unpackFates(packFates([]byte(fates)), len(fates))
		if err != nil || string(got) != fates {
			t.Errorf("%q: %q %v", fates, got, err)
		}
	}
	for _, bad := range []string{"3", "x", "2a", "99999999999999a", "-1a", "0a1a"} {
		if _, err := unpackFates(bad, 1); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func BenchmarkGeneratePin(b *testing.B) {
	e, err := New(Config{URL: "http://x", Shares: Shares{Late: 0.01, Bad: 0.001, Duplicate: 0.005}}, quiet())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	var text []byte
	for p := int64(0); b.Loop(); p++ {
		_, text = e.gen.event(text[:0], Pin, p, when{at: 1_795_000_000_000_000, width: freshWidth})
	}
}
