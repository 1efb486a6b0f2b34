package calendar

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

var zones = []string{
	"UTC", "Europe/London", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "Atlantic/Azores",
	"America/Sao_Paulo", "America/St_Johns", "America/Havana", "Pacific/Apia", "Africa/Casablanca", "Asia/Gaza",
}

func zone(t testing.TB, name string) *Zone {
	z, err := Load(name)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func at(s string) int64 {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		panic(err)
	}
	return t.UnixMicro()
}

func show(us int64) string { return time.UnixMicro(us).UTC().Format(time.RFC3339) }

func TestStart(t *testing.T) {
	for _, c := range []struct {
		zone  string
		grain Grain
		at    string
		want  string
		end   string
	}{
		{"UTC", Minute, "2026-11-22T10:11:12Z", "2026-11-22T10:11:00Z", "2026-11-22T10:12:00Z"},
		{"UTC", Week, "2026-11-22T10:11:12Z", "2026-11-16T00:00:00Z", "2026-11-23T00:00:00Z"},
		{"UTC", Month, "2024-02-29T23:59:59Z", "2024-02-01T00:00:00Z", "2024-03-01T00:00:00Z"},
		{"UTC", Year, "2024-12-31T23:59:59Z", "2024-01-01T00:00:00Z", "2025-01-01T00:00:00Z"},
		{"UTC", Day, "1969-12-31T23:59:59Z", "1969-12-31T00:00:00Z", "1970-01-01T00:00:00Z"},
		{"Asia/Kathmandu", Hour, "2026-01-01T00:20:00Z", "2026-01-01T00:15:00Z", "2026-01-01T01:15:00Z"},
		{"Europe/London", Day, "2026-03-29T12:00:00Z", "2026-03-29T00:00:00Z", "2026-03-29T23:00:00Z"}, // 23 hours
		{"Europe/London", Day, "2026-10-25T12:00:00Z", "2026-10-24T23:00:00Z", "2026-10-26T00:00:00Z"}, // 25 hours
		{"Europe/London", Hour, "2026-10-25T00:30:00Z", "2026-10-25T00:00:00Z", "2026-10-25T01:00:00Z"},
		{"Europe/London", Hour, "2026-10-25T01:30:00Z", "2026-10-25T01:00:00Z", "2026-10-25T02:00:00Z"}, // 01:30 again
		{"Atlantic/Azores", Day, "2026-10-25T01:30:00Z", "2026-10-25T00:00:00Z", "2026-10-26T01:00:00Z"},
		{"America/Sao_Paulo", Day, "2018-11-04T12:00:00Z", "2018-11-04T03:00:00Z", "2018-11-05T02:00:00Z"}, // no midnight
		{"Australia/Lord_Howe", Hour, "2026-04-04T15:10:00Z", "2026-04-04T15:00:00Z", "2026-04-04T15:30:00Z"},
		{"Pacific/Apia", Day, "2011-12-30T09:59:00Z", "2011-12-29T10:00:00Z", "2011-12-30T10:00:00Z"}, // 30 December was skipped
		{"Pacific/Apia", Day, "2011-12-30T10:00:00Z", "2011-12-30T10:00:00Z", "2011-12-31T10:00:00Z"},
	} {
		k := NewClock(zone(t, c.zone))
		if got := show(k.Start(c.grain, at(c.at))); got != c.want {
			t.Errorf("%s %s of %s starts %s, want %s", c.zone, c.grain, c.at, got, c.want)
		}
		if got := show(NewClock(zone(t, c.zone)).End(c.grain, at(c.at))); got != c.end {
			t.Errorf("%s %s of %s ends %s, want %s", c.zone, c.grain, c.at, got, c.end)
		}
	}
}

// Buckets partition the time line and coarser ones are unions of finer ones, in every zone.
func TestPartition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SampledFrom(zones).Draw(t, "zone")
		z, err := Load(name)
		if err != nil {
			t.Fatal(err)
		}
		x := rapid.Int64Range(at("1970-01-01T00:00:00Z"), at("2040-01-01T00:00:00Z")).Draw(t, "x")
		if rapid.Bool().Draw(t, "near a change") {
			c := NewClock(z)
			if p := c.periodAt(x); p.to < farFuture {
				x = p.to + rapid.Int64Range(-2*hour, 2*hour).Draw(t, "d")
			}
		}
		k := NewClock(z)
		for g := Minute; g <= Year; g++ {
			from, to := k.Start(g, x), NewClock(z).End(g, x)
			if x < from || x >= to {
				t.Fatalf("%s %s: %s outside [%s, %s)", name, g, show(x), show(from), show(to))
			}
			for _, y := range []int64{from, to - 1} {
				if got := NewClock(z).Start(g, y); got != from {
					t.Fatalf("%s %s: %s starts %s, %s starts %s", name, g, show(x), show(from), show(y), show(got))
				}
			}
			if got := NewClock(z).Start(g, to); got != to {
				t.Fatalf("%s %s: end %s of %s is no start: %s", name, g, show(to), show(x), show(got))
			}
			for f := Minute; f < g; f++ {
				if g.Contains(f) && NewClock(z).Start(g, k.Start(f, x)) != from {
					t.Fatalf("%s: %s in %s: %s", name, f, g, show(x))
				}
			}
		}
	})
}

func TestCivil(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := rapid.Int64Range(-800000, 800000).Draw(t, "days")
		y, m, dd := Civil(d)
		want := time.Unix(d*86400, 0).UTC()
		if y != want.Year() || m != int(want.Month()) || dd != want.Day() || Days(y, m, dd) != d {
			t.Fatalf("%d: %d-%d-%d, want %s", d, y, m, dd, want)
		}
	})
}
