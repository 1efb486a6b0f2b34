package deadletter_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pinflow/pinflow/internal/column"
	"github.com/pinflow/pinflow/internal/deadletter"
	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/testbed"
)

// row is a letter of the table; its offset is its place in it.
type row struct {
	stream, code, path, body string
	at                       time.Time
}

// table is the lake's table of dead letters, and the ledger of it.
type table struct {
	rows  []row
	scans []lake.Selection
	none  bool
	marks map[string]time.Time
}

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func (t *table) Load(context.Context) (*ledger.Snapshot, error) {
	return &ledger.Snapshot{
		Streams: []ledger.Stream{{Name: "geo"}, {Name: "pin"}},
		Logs:    []ledger.Log{{ID: 1, Topic: "pin"}, {ID: 2, Topic: "pin.dead", Dead: true}},
	}, nil
}

func (t *table) CompleteTo(_ context.Context, stream string, unit ledger.Unit) (time.Time, error) {
	if unit != ledger.Batch {
		panic("how far live is says nothing of the lake")
	}
	return t.marks[stream], nil
}

// Scan shows a few rows at a time, of the files of days that the range touches, as the lake does.
func (t *table) Scan(_ context.Context, sel lake.Selection, fn func(*lake.Block) error) (int64, error) {
	t.scans = append(t.scans, sel)
	if t.none {
		return 0, fault.New(fault.Config, "no_table", "there is no table %s", sel.Table)
	}
	const day = 24 * 60 * 60 * 1_000_000
	for from := 0; from < len(t.rows); from += 3 {
		b := &lake.Block{}
		for _, c := range lake.DeadLetterTable().Columns {
			if slices.Contains(sel.Columns, c.Name) {
				b.Columns, b.Cols = append(b.Columns, c), append(b.Cols, column.Vec{Kind: c.Kind, Offs: []int32{0}})
			}
		}
		for i := from; i < min(from+3, len(t.rows)); i++ {
			r := t.rows[i]
			if us := r.at.UnixMicro(); us/day < sel.From/day || us/day > (sel.To-1)/day {
				continue
			}
			texts := map[string]string{"stream": r.stream, "code": r.code, "path": r.path, "message": "message of " + r.body, "body": r.body, event.ColumnEventID: fmt.Sprint("e-", i)}
			numbers := map[string]int64{event.ColumnReceivedAt: r.at.UnixMicro(), event.ColumnLog: 2, event.ColumnPartition: 0, event.ColumnOffset: int64(i), event.ColumnSchema: 1}
			for k, c := range b.Columns {
				v := &b.Cols[k]
				v.Len++
				if text, is := texts[c.Name]; is {
					v.Bytes = append(v.Bytes, text...)
					v.Offs, v.Valid = append(v.Offs, int32(len(v.Bytes))), append(v.Valid, text != "")
				} else {
					v.Ints = append(v.Ints, numbers[c.Name])
				}
			}
			b.N++
		}
		if err := fn(b); err != nil {
			return 0, err
		}
	}
	return 77, nil
}

func week() deadletter.Range {
	return deadletter.Range{From: noon.AddDate(0, 0, -7), To: noon.AddDate(0, 0, 1)}
}

func TestGroupsByStreamReasonAndField(t *testing.T) {
	tab := &table{marks: map[string]time.Time{"pin": noon, "geo": noon.Add(-time.Minute)}}
	add := func(back int, stream, code, path, body string) {
		tab.rows = append(tab.rows, row{stream, code, path, body, noon.AddDate(0, 0, -back).Add(time.Duration(len(tab.rows)) * time.Second)})
	}
	add(0, "pin", "type_mismatch", "/n", "first")
	add(2, "pin", "type_mismatch", "/n", "old")
	add(0, "pin", "bad_event_time", "", "late")
	add(0, "pin", "type_mismatch", "/n", "newest")
	add(0, "geo", "type_mismatch", "/n", "elsewhere")
	add(8, "pin", "type_mismatch", "/n", "too old")
	add(-2, "pin", "type_mismatch", "/n", "too new")
	r := deadletter.New(tab, tab)
	got, err := r.Groups(t.Context(), week())
	if err != nil {
		t.Fatal(err)
	}
	at := func(i int) time.Time { return tab.rows[i].at }
	sample := func(i int) *deadletter.Letter {
		body := tab.rows[i].body
		return &deadletter.Letter{ID: fmt.Sprint("e-", i), ReceivedAt: at(i), Topic: "pin.dead", Log: 2, Offset: int64(i), Schema: 1, Message: "message of " + body, Body: body}
	}
	early := noon.Add(-time.Minute)
	want := &deadletter.Groups{From: week().From, To: week().To, Letters: 5, CompleteTo: &early, Groups: []deadletter.Group{
		{Stream: "pin", Code: "type_mismatch", Path: "/n", Letters: 3, First: at(1), Last: at(3), Days: []deadletter.Day{{Day: "2026-11-20", Letters: 1}, {Day: "2026-11-22", Letters: 2}}, Sample: sample(3)},
		{Stream: "geo", Code: "type_mismatch", Path: "/n", Letters: 1, First: at(4), Last: at(4), Days: []deadletter.Day{{Day: "2026-11-22", Letters: 1}}, Sample: sample(4)},
		{Stream: "pin", Code: "bad_event_time", Letters: 1, First: at(2), Last: at(2), Days: []deadletter.Day{{Day: "2026-11-22", Letters: 1}}, Sample: sample(2)},
	}}
	byStream := cmpopts.SortSlices(func(a, b deadletter.Group) bool {
		return a.Letters > b.Letters || a.Letters == b.Letters && a.Stream < b.Stream
	})
	if d := cmp.Diff(want, got, cmpopts.IgnoreFields(deadletter.Group{}, "ID"), byStream); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	if len(tab.scans) != 2 || tab.scans[1].Snapshot != 77 || slices.Contains(tab.scans[0].Columns, "body") {
		t.Errorf("bodies are read of the letters that are shown, from the same snapshot: %+v", tab.scans)
	}
	in := week()
	in.Streams = []string{"geo"}
	if got, err = r.Groups(t.Context(), in); err != nil || got.Letters != 1 || got.Groups[0].Stream != "geo" || !got.CompleteTo.Equal(early) {
		t.Errorf("of geo alone: %+v %v", got, err)
	}
	// A group keeps its id, and shows its newest letters.
	id := got.Groups[0].ID
	if _, err := r.Letters(t.Context(), deadletter.Range{From: week().From, To: week().To, Streams: []string{"pin"}}, id, 3); fault.CodeOf(err) != "unknown_group" {
		t.Errorf("a group of another stream: %v", err)
	}
	if got, err = r.Groups(t.Context(), week()); err != nil {
		t.Fatal(err)
	}
	letters, err := r.Letters(t.Context(), week(), got.Groups[0].ID, 2)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]deadletter.Letter{*sample(3), *sample(0)}, letters.Newest); d != "" || letters.Letters != 3 || !letters.CompleteTo.Equal(noon) {
		t.Errorf("%+v, letters -want +got:\n%s", letters.Group, d)
	}
}

func TestNothingIsThereYet(t *testing.T) {
	for _, tab := range []*table{{none: true}, {}} {
		got, err := deadletter.New(tab, tab).Groups(t.Context(), week())
		if err != nil || got.Groups == nil || len(got.Groups) > 0 || got.CompleteTo != nil {
			t.Errorf("%+v %v", got, err)
		}
		if _, err := deadletter.New(tab, tab).Letters(t.Context(), week(), "a1", 1); fault.CodeOf(err) != "unknown_group" {
			t.Error(err)
		}
	}
}

// However many fields are wrong in however many ways, the answer is bounded, and counts every letter once.
func TestEveryLetterIsCountedOnce(t *testing.T) {
	rnd := rand.New(rand.NewPCG(testbed.Seed(t), 9))
	tab := &table{}
	for i := range 3000 {
		tab.rows = append(tab.rows, row{"pin", "type_mismatch", fmt.Sprint("/", rnd.IntN(700)), strings.Repeat("x", rnd.IntN(3)*40_000), noon.Add(-time.Duration(rnd.IntN(7*24)) * time.Hour).Add(time.Duration(i))})
	}
	r := deadletter.New(tab, tab)
	got, err := r.Groups(t.Context(), week())
	if err != nil {
		t.Fatal(err)
	}
	sum, samples, ids := got.More, 0, map[string]bool{}
	for _, g := range got.Groups {
		days := int64(0)
		for _, d := range g.Days {
			days += d.Letters
		}
		if sum += g.Letters; days != g.Letters || ids[g.ID] {
			t.Errorf("group %+v", g)
		}
		if ids[g.ID] = true; g.Sample != nil {
			samples++
			if len(g.Sample.Body) > 64<<10 || g.Sample.Cut != (len(g.Sample.Body) == 64<<10) || !g.Sample.ReceivedAt.Equal(g.Last) {
				t.Errorf("sample of %d bytes, cut %v", len(g.Sample.Body), g.Sample.Cut)
			}
		}
	}
	if sum != 3000 || got.Letters != 3000 || len(got.Groups) != 500 || samples != 50 || got.More == 0 {
		t.Errorf("%d of %d letters in %d groups, %d beyond, %d samples", sum, got.Letters, len(got.Groups), got.More, samples)
	}
}
