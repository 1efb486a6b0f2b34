package main

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"time"
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
		return bytesText(f)
	case "duration_ms":
		return durationText(f), true
	case "currency":
		return grouped(strconv.FormatFloat(f, 'f', 2, 64)), true
	case "integer":
		if text := n.String(); !strings.ContainsAny(text, ".eE") {
			return grouped(text), true
		}
		if math.Abs(f) < 1e15 {
			return grouped(strconv.FormatFloat(math.RoundToEven(f), 'f', 0, 64)), true
		}
	case "number":
		if f != 0 && math.Abs(f) < 0.01 {
			return strconv.FormatFloat(f, 'g', 3, 64), true
		}
		return grouped(shortest(f, 2)), true
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
			return grouped(n.String())
		case f != 0 && math.Abs(f) < 1:
			return strconv.FormatFloat(f, 'g', 3, 64)
		}
		return grouped(shortest(f, 2))
	}
	units := []string{"K", "M", "B", "T"}
	f /= 1000
	i := 0
	for ; i < len(units)-1 && math.Abs(f) >= 999.5; i++ {
		f /= 1000
	}
	return threeDigits(f) + units[i]
}

func bytesText(f float64) (string, bool) {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	i := 0
	for ; i < len(units)-1 && math.Abs(f) >= 1023.5; i++ {
		f /= 1024
	}
	if math.Abs(f) >= 1e6 {
		return "", false
	}
	return grouped(threeDigits(f)) + " " + units[i], true
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
		return sign + threeDigits(ms) + " ms"
	case ms < 59_950:
		return sign + strconv.FormatFloat(ms/1000, 'f', 1, 64) + " s"
	}
	return sign + roughly(time.Duration(ms)*time.Millisecond)
}

// threeDigits keeps at least the whole part.
func threeDigits(f float64) string {
	switch a := math.Abs(f); {
	case f == math.Trunc(f) || a >= 99.95:
		return strconv.FormatFloat(f, 'f', 0, 64)
	case a >= 9.995:
		return shortest(f, 1)
	}
	return shortest(f, 2)
}

// shortest has at most so many digits after the point, and no zeros at the end.
func shortest(f float64, digits int) string {
	text := strconv.FormatFloat(f, 'f', digits, 64)
	return strings.TrimSuffix(strings.TrimRight(text, "0"), ".")
}

// grouped puts a comma between each three digits of the whole part.
func grouped(text string) string {
	sign := ""
	if strings.HasPrefix(text, "-") {
		sign, text = "-", text[1:]
	}
	whole, fraction, point := strings.Cut(text, ".")
	var b strings.Builder
	for i, r := range whole {
		if i > 0 && (len(whole)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(r)
	}
	if point {
		b.WriteString("." + fraction)
	}
	return sign + b.String()
}
