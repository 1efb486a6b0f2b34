package metric

import (
	"fmt"
	"iter"
	"maps"
	"math"
	"strconv"
	"time"

	"github.com/pinflow/pinflow/internal/calendar"
)

// Forever is the duration that never ends.
const Forever = math.MaxInt64

// ParseDuration reads durations like 10m, 1h30m and 7d as microseconds. It takes no negative ones.
func ParseDuration(text string) (int64, error) {
	bad := fmt.Errorf("bad duration %q", text)
	units := map[byte]int64{'s': 1, 'm': 60, 'h': 3600, 'd': 86400, 'w': 7 * 86400}
	if text == "" {
		return 0, bad
	}
	total := int64(0)
	for rest := text; rest != ""; {
		i := 0
		for i < len(rest) && rest[i] >= '0' && rest[i] <= '9' {
			i++
		}
		if i == 0 || i == len(rest) || i > 9 {
			return 0, bad
		}
		n, err := strconv.ParseInt(rest[:i], 10, 64)
		unit, ok := units[rest[i]]
		if err != nil || !ok {
			return 0, bad
		}
		rest = rest[i+1:]
		if total += n * unit; total > 400*365*86400 {
			return 0, fmt.Errorf("duration %q is longer than 400 years", text)
		}
	}
	return total * calendar.Second, nil
}

// ParseDate reads a date like 2026-01-01 as days since 1970-01-01.
func ParseDate(text string) (int64, error) {
	t, err := time.Parse("2006-01-02", text)
	if err != nil {
		return 0, fmt.Errorf("bad date %q", text)
	}
	return calendar.Days(t.Year(), int(t.Month()), t.Day()), nil
}

// clockTime reads a time of day like 06:00 as minutes since midnight.
func clockTime(text string) (int, bool) {
	t, err := time.Parse("15:04", text)
	return t.Hour()*60 + t.Minute(), err == nil
}

func mapsKeys[V any](m map[string]V) iter.Seq[string] { return maps.Keys(m) }
