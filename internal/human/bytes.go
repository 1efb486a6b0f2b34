// Package human writes numbers as people read them, the same way in every command and answer.
package human

import (
	"math"
	"strconv"
	"strings"
)

// Bytes is a number of bytes in three digits, and in more only where it has a whole part of more: 1,023 B,
// 1.5 KiB, 38.2 GiB. web/src/format.ts does the same.
func Bytes(n float64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	i := 0
	for ; i < len(units)-1 && math.Abs(n) >= 1023.5; i++ {
		n /= 1024
	}
	return Grouped(ThreeDigits(n)) + " " + units[i]
}

// ThreeDigits keeps at least the whole part.
func ThreeDigits(f float64) string {
	switch a := math.Abs(f); {
	case f == math.Trunc(f) || a >= 99.95:
		return strconv.FormatFloat(f, 'f', 0, 64)
	case a >= 9.995:
		return Shortest(f, 1)
	}
	return Shortest(f, 2)
}

// Shortest has at most so many digits after the point, and no zeros at the end.
func Shortest(f float64, digits int) string {
	text := strconv.FormatFloat(f, 'f', digits, 64)
	return strings.TrimSuffix(strings.TrimRight(text, "0"), ".")
}

// Grouped puts a comma between each three digits of the whole part.
func Grouped(text string) string {
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
