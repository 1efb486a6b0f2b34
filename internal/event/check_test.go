package event

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func paths(problems []Problem) (out []string) {
	for _, p := range problems {
		out = append(out, p.Path)
	}
	return out
}

func TestCheckFindsEveryFault(t *testing.T) {
	s := Stream{Name: "Pin", Topic: "a b", Key: "a..b", Partitions: -1, Fields: []Field{
		{Name: "ok", Type: "string"},
		{Name: "OK", Type: "int"},
		{Name: "_x", Type: "long", Split: ",", Layout: "2006", From: ".a"},
		{Name: "s", Type: "string", Parse: "human_number"},
		{Name: "n", Type: "long", Parse: "human", OnError: "nul"},
		{Name: "t", Type: "timestamptz", Layout: "15:04"},
		{Name: "z", Type: "timestamptz", Layout: "2006-01-02 15:04 MST"},
		{Name: "d", Type: "date", Layout: "unix"},
		{Name: "j", Type: "json", Trim: true},
	}}
	s.SetDefaults()
	got := paths(s.Check())
	want := []string{
		"name", "topic", "partitions", "key", "fields[1].type", "fields[1].name", "fields[2].name", "fields[2].from",
		"fields[2].split", "fields[2].layout", "fields[3].parse", "fields[4].parse", "fields[4].on_error",
		"fields[5].layout", "fields[6].layout", "fields[7].layout", "fields[8]",
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func TestCheckSuggestsTheNearestType(t *testing.T) {
	for word, want := range map[string]string{"strin": "string", "int": "", "timestamp": "timestamptz", "bool": "boolean"} {
		s := Stream{Name: "x", Fields: []Field{{Name: "a", Type: word}}}
		s.SetDefaults()
		p := s.Check()
		if len(p) != 1 || p[0].Suggestion != want && want != "" {
			t.Errorf("%s: %+v", word, p)
		}
	}
}

func TestFollowKeepsWhatWasDeclared(t *testing.T) {
	old := Stream{Name: "pin", Fields: []Field{{Name: "a", Type: "long"}, {Name: "b", Type: "string", Trim: true}}}
	old.SetDefaults()
	next := Stream{Name: "pin", Partitions: 4, Grace: time.Hour, Fields: []Field{
		{Name: "c", Type: "long", From: "a"}, {Name: "b", Type: "string", Trim: true, From: "b", OnError: "dead_letter"}, {Name: "a", Type: "long"},
	}}
	next.SetDefaults()
	merged, problems := next.Follow(old)
	if len(problems) > 0 {
		t.Fatalf("%+v", problems)
	}
	var names []string
	for _, f := range merged.Fields {
		names = append(names, f.Name)
	}
	if strings.Join(names, " ") != "a b c" || merged.Partitions != 4 || merged.Grace != time.Hour {
		t.Errorf("merged %v %+v", names, merged)
	}
	bad := Stream{Name: "pin", Partitions: 1, EventTime: "at", Fields: []Field{{Name: "a", Type: "double"}}}
	bad.SetDefaults()
	bad.Partitions = 1
	_, problems = bad.Follow(old)
	got := paths(problems)
	if strings.Join(got, " ") != "partitions event_time fields[0] fields" {
		t.Errorf("%v", problems)
	}
}

func TestDecodingAllocatesNothingOnceWarm(t *testing.T) {
	s := compile(t, pinStream())
	d := s.NewDecoder(nil)
	r := record(pinEvent)
	r.ID = "e-1"
	for range 1000 {
		d.Append(r)
	}
	d.Reset()
	for range 10 {
		d.Append(r)
	}
	if n := testing.AllocsPerRun(100, func() { d.Append(r) }); n != 0 {
		t.Errorf("%v allocations a row", n)
	}
}
