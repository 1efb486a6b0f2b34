package main

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/pinflow/pinflow/internal/human"
)

// formatted is a number in a measure's format, as the page shows it: for tables only, since it leaves digits
// out. What has no format, or no number that a format could make readable, is left to the caller.
func formatted(n json.Number, format string) (string, bool) {
	f, err := n.Float64()
	if err != nil || math.IsInf(f, 0) || math.Abs(f) >= 1e15 && format != "integer" && format != "bytes" {
		return "", false
	}
	switch format {
	case "percent":
		return percentText(100 * f), true
	case "humanize":
		return humanize(n, f), true
	case "bytes":
		return human.Bytes(f), math.Abs(f) < 1e6*(1<<50)
	case "duration_ms":
		return durationText(f), true
	case "currency":
		return human.Grouped(strconv.FormatFloat(f, 'f', 2, 64)), true
	case "integer":
		if text := n.String(); !strings.ContainsAny(text, ".eE") {
			return human.Grouped(text), true
		}
		if math.Abs(f) < 1e15 {
			return human.Grouped(strconv.FormatFloat(math.RoundToEven(f), 'f', 0, 64)), true
		}
	case "number":
		if f != 0 && math.Abs(f) < 0.01 {
			return strconv.FormatFloat(f, 'g', 3, 64), true
		}
		return human.Grouped(human.Shortest(f, 2)), true
	}
	return "", false
}

// percentText has one digit after the point, and more where the part is so small that it would be 0.0.
func percentText(f float64) string {
	if f != 0 && math.Abs(f) < 0.1 {
		return strconv.FormatFloat(f, 'g', 2, 64) + " %"
	}
	return strconv.FormatFloat(f, 'f', 1, 64) + " %"
}

// humanize is 12.4K: three digits from ten thousand on, all of them below.
func humanize(n json.Number, f float64) string {
	if math.Abs(f) < 10_000 {
		switch {
		case !strings.ContainsAny(n.String(), ".eE"):
			return human.Grouped(n.String())
		case f != 0 && math.Abs(f) < 1:
			return strconv.FormatFloat(f, 'g', 3, 64)
		}
		return human.Grouped(human.Shortest(f, 2))
	}
	units := []string{"K", "M", "B", "T"}
	f /= 1000
	i := 0
	for ; i < len(units)-1 && math.Abs(f) >= 999.5; i++ {
		f /= 1000
	}
	return human.ThreeDigits(f) + units[i]
}

// durationText is 12 ms, 1.2 s, or the two largest units that matter.
func durationText(ms float64) string {
	sign := ""
	if ms < 0 {
		sign, ms = "-", -ms
	}
	switch {
	case ms >= float64(math.MaxInt64/time.Millisecond):
		return sign + strconv.FormatFloat(ms/86_400_000, 'g', 3, 64) + " d"
	case ms < 999.5:
		return sign + human.ThreeDigits(ms) + " ms"
	case ms < 59_950:
		return sign + strconv.FormatFloat(ms/1000, 'f', 1, 64) + " s"
	}
	return sign + roughly(time.Duration(ms)*time.Millisecond)
}
