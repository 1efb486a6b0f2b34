package query

import (
	"fmt"
	"regexp"
	"strconv"
	"time"

	"github.com/pinflow/pinflow/internal/calendar"
)

var (
	relative = regexp.MustCompile(`^now((?:[+-]\d{1,6}[smhdwMy])*)(?:/([mhdwMy]))?$`)
	shift    = regexp.MustCompile(`([+-]\d{1,6})([smhdwMy])`)
	layouts  = [...]string{time.RFC3339Nano, "2006-01-02T15:04Z07:00", "2006-01-02T15:04:05.999999999", "2006-01-02T15:04", "2006-01-02"}
)

// The times a query may speak of.
var (
	firstTime = time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()
	lastTime  = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()
)

// When reads a time, to microseconds: absolute, in the zone where it names none, or like now, now-7d, now-7d/d, where
// s m h d w M y are units and /d rounds down to the start of the day in the zone.
func When(text string, now time.Time, zone *calendar.Zone) (int64, error) {
	us, err := instant(text, now, zone)
	if err != nil {
		return 0, err
	}
	if us < firstTime || us > lastTime {
		return 0, fmt.Errorf("%q is not between 1900 and 2200", text)
	}
	return us, nil
}

func instant(text string, now time.Time, zone *calendar.Zone) (int64, error) {
	m := relative.FindStringSubmatch(text)
	if m == nil {
		for _, layout := range layouts {
			if t, err := time.ParseInLocation(layout, text, zone.Location()); err == nil {
				return t.UnixMicro(), nil
			}
		}
		return 0, fmt.Errorf("bad time %q: write 2026-11-22, 2026-11-22T10:00:00Z, now, now-7d or now-7d/d", text)
	}
	t := now.In(zone.Location())
	for _, s := range shift.FindAllStringSubmatch(m[1], -1) {
		n, err := strconv.Atoi(s[1])
		if err != nil {
			return 0, fmt.Errorf("bad time %q: %w", text, err)
		}
		t = move(t, n, s[2])
	}
	us := t.UnixMicro()
	grains := map[string]calendar.Grain{
		"m": calendar.Minute, "h": calendar.Hour, "d": calendar.Day, "w": calendar.Week, "M": calendar.Month, "y": calendar.Year,
	}
	if g, ok := grains[m[2]]; ok {
		us = calendar.NewClock(zone).Start(g, us)
	}
	return us, nil
}

// move shifts by units of the wall clock from days up, and of time below.
func move(t time.Time, n int, unit string) time.Time {
	switch unit {
	case "s":
		return t.Add(time.Duration(n) * time.Second)
	case "m":
		return t.Add(time.Duration(n) * time.Minute)
	case "h":
		return t.Add(time.Duration(n) * time.Hour)
	case "w":
		return t.AddDate(0, 0, 7*n)
	case "M":
		return t.AddDate(0, n, 0)
	case "y":
		return t.AddDate(n, 0, 0)
	}
	return t.AddDate(0, 0, n)
}
