package httpapi

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pinflow/pinflow/internal/deadletter"
	"github.com/pinflow/pinflow/internal/fault"
)

// morgue stands in for the reader of dead letters, and notes what it was asked for.
type morgue struct {
	in    deadletter.Range
	most  int
	group string
}

var deadGroup = deadletter.Group{
	ID: "a1", Stream: "pin", Code: "type_mismatch", Path: "/n", Letters: 2, First: time.UnixMicro(1).UTC(), Last: time.UnixMicro(2).UTC(),
	Days: []deadletter.Day{{Day: "2026-11-22", Letters: 2}}, Sample: &deadletter.Letter{ID: "e-1", Topic: "pin.dead", Body: `{"n":"x"}`, Message: "no number"},
}

func (m *morgue) Groups(_ context.Context, in deadletter.Range) (*deadletter.Groups, error) {
	m.in = in
	return &deadletter.Groups{From: in.From, To: in.To, Letters: 2, Groups: []deadletter.Group{deadGroup}}, nil
}

func (m *morgue) Letters(_ context.Context, in deadletter.Range, group string, most int) (*deadletter.Letters, error) {
	m.in, m.group, m.most = in, group, most
	if group != "a1" {
		return nil, fault.New(fault.Record, "unknown_group", "there are no dead letters of group %q", group)
	}
	return &deadletter.Letters{Group: deadGroup, Newest: []deadletter.Letter{*deadGroup.Sample}}, nil
}

func TestDeadLettersAreAskedForByRangeAndStream(t *testing.T) {
	g := newGuarded(t, Config{})
	m := g.deps.DeadLetters.(*morgue)
	g.w.snap = pins(t)
	with := []string{"Authorization", "Bearer " + g.keys["read"]}
	for path, want := range map[string]struct {
		status int
		says   string
		in     deadletter.Range // zero From: the usual one
		most   int
	}{
		"/v1/dlq":                               {200, `"groups":[{"id":"a1","stream":"pin","code":"type_mismatch","path":"/n"`, deadletter.Range{}, 0},
		"/v1/dlq?stream=pin&from=2026-11-01":    {200, `"sample":{"id":"e-1"`, deadletter.Range{From: day(2026, 11, 1), Streams: []string{"pin"}}, 0},
		"/v1/dlq/a1?from=2026-11-01&limit=1000": {200, `"newest":[{"id":"e-1"`, deadletter.Range{From: day(2026, 11, 1)}, 1000},
		"/v1/dlq/a1":                            {200, `"complete_to":null`, deadletter.Range{}, 20},
		"/v1/dlq/a2":                            {404, "unknown_group", deadletter.Range{}, 20},
		"/v1/dlq?stream=none":                   {404, "unknown_stream", deadletter.Range{}, 0},
		"/v1/dlq?from=yesterday":                {400, "bad time", deadletter.Range{}, 0},
		"/v1/dlq?from=now&to=now-1d":            {400, "the range ends", deadletter.Range{}, 0},
		"/v1/dlq?limit=3":                       {400, "limit", deadletter.Range{}, 0},
		"/v1/dlq/a1?limit=0":                    {400, "limit=0 is not a number from 1 to 1000", deadletter.Range{}, 0},
		"/v1/dlq/a1?limit=1001":                 {400, "bad_parameter", deadletter.Range{}, 0},
	} {
		*m = morgue{}
		got := ask(g, "GET", path, nil, with...)
		if got.Code != want.status || !strings.Contains(got.Body.String(), want.says) {
			t.Errorf("%s: %d %s", path, got.Code, got.Body)
		}
		if want.status != 200 {
			continue
		}
		if want.in.From.IsZero() {
			want.in.From = time.Now().UTC().AddDate(0, 0, -30).Truncate(24 * time.Hour)
		}
		if d := time.Since(m.in.To).Abs(); d > time.Hour {
			t.Errorf("%s: to %v", path, m.in.To)
		}
		m.in.To = time.Time{}
		if d := cmp.Diff(want.in, m.in); d != "" || m.most != want.most {
			t.Errorf("%s: most %d, range -want +got:\n%s", path, m.most, d)
		}
	}
	ask(g, "GET", "/v1/dlq", nil, "Authorization", "Bearer "+g.keys["read geo"])
	if d := cmp.Diff([]string{"geo"}, m.in.Streams); d != "" {
		t.Errorf("a key for some streams asks for others: %s", d)
	}
}

func day(y int, m time.Month, d int) time.Time { return time.Date(y, m, d, 0, 0, 0, 0, time.UTC) }
