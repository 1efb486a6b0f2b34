package expr

import (
	"bytes"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/pinflow/pinflow/internal/calendar"
)

func longToDouble(s *step, c strictCall, n int) {
	for i := range n {
		s.out.Floats[i] = float64(c.args[0].Ints[i])
	}
}

// appendTexts makes a text of each value; a NULL value's memory may hold anything, so it gets none.
func appendTexts(s *step, c strictCall, n int, add func(dst []byte, i int) []byte) {
	s.beginTexts()
	for i := range n {
		if !c.args[0].null(i) {
			s.out.Bytes = add(s.out.Bytes, i)
		}
		s.endText()
	}
}

func longToText(s *step, c strictCall, n int) {
	appendTexts(s, c, n, func(dst []byte, i int) []byte { return strconv.AppendInt(dst, c.args[0].Ints[i], 10) })
}

func doubleToText(s *step, c strictCall, n int) {
	appendTexts(s, c, n, func(dst []byte, i int) []byte { return AppendDouble(dst, c.args[0].Floats[i]) })
}

// AppendDouble appends the shortest decimal that reads back as x; 0 for −0.
func AppendDouble(dst []byte, x float64) []byte {
	if x == 0 {
		x = 0
	}
	return strconv.AppendFloat(dst, x, 'g', -1, 64)
}

func boolToText(s *step, c strictCall, n int) {
	appendTexts(s, c, n, func(dst []byte, i int) []byte { return strconv.AppendBool(dst, c.args[0].Ints[i] != 0) })
}

func instantToText(s *step, c strictCall, n int) {
	appendTexts(s, c, n, func(dst []byte, i int) []byte { return appendInstant(dst, c.args[0].Ints[i]) })
}

func dateToText(s *step, c strictCall, n int) {
	appendTexts(s, c, n, func(dst []byte, i int) []byte {
		d := c.args[0].Ints[i]
		if d < minDate || d > maxDate {
			c.batch.fail(s, i, c.active)
			return dst
		}
		return appendDate(dst, d)
	})
}

func doubleToLong(s *step, c strictCall, n int) {
	for i := range n {
		s.out.Ints[i] = 0
		if x := math.Trunc(c.args[0].Floats[i]); x >= -1<<63 && x < 1<<63 {
			s.out.Ints[i] = int64(x)
		} else {
			c.batch.fail(s, i, c.active)
		}
	}
}

func boolToLong(s *step, c strictCall, n int) { copy(s.out.Ints, c.args[0].Ints[:n]) }

func instantToDate(s *step, c strictCall, n int) {
	for i := range n {
		s.out.Ints[i] = 0
		us := c.args[0].Ints[i]
		switch {
		case c.args[0].null(i):
		case us < minInstant || us > maxInstant:
			c.batch.fail(s, i, c.active)
		default:
			s.out.Ints[i] = s.clock.Date(us)
		}
	}
}

func dateToInstant(s *step, c strictCall, n int) {
	for i := range n {
		s.out.Ints[i] = 0
		d := c.args[0].Ints[i]
		switch {
		case c.args[0].null(i):
		case d < minDate || d > maxDate:
			c.batch.fail(s, i, c.active)
		default:
			s.out.Ints[i] = s.clock.Midnight(d)
		}
	}
}

// parseInts fills the value from texts; a text that does not parse fails its row.
func parseInts(s *step, c strictCall, n int, texts func(i int) []byte, parse func(string) (int64, bool)) {
	for i := range n {
		s.out.Ints[i] = 0
		if c.args[0].null(i) {
			continue
		}
		x, ok := parse(string(bytes.Trim(texts(i), " ")))
		if !ok {
			c.batch.fail(s, i, c.active)
			continue
		}
		s.out.Ints[i] = x
	}
}

func parseDoubles(s *step, c strictCall, n int, texts func(i int) []byte) {
	for i := range n {
		s.out.Floats[i] = 0
		if c.args[0].null(i) {
			continue
		}
		x, ok := parseDouble(string(bytes.Trim(texts(i), " ")))
		if !ok {
			c.batch.fail(s, i, c.active)
			continue
		}
		s.out.Floats[i] = x
	}
}

func parseLong(s string) (int64, bool) {
	x, err := strconv.ParseInt(s, 10, 64)
	return x, err == nil
}

// parseDouble takes decimal digits, a fraction and an exponent: no hexadecimal, no names, no "_".
func parseDouble(s string) (float64, bool) {
	for i := range len(s) {
		if !isDigit(s[i]) && strings.IndexByte("+-.eE", s[i]) < 0 {
			return 0, false
		}
	}
	x, err := strconv.ParseFloat(s, 64)
	return x, err == nil
}

func parseBool(s string) (int64, bool) {
	switch {
	case foldsTo(s, "true"):
		return 1, true
	case foldsTo(s, "false"):
		return 0, true
	}
	return 0, false
}

// foldsTo compares without regard to case of ASCII letters.
func foldsTo(s, word string) bool {
	if len(s) != len(word) {
		return false
	}
	for i := range len(s) {
		if s[i]|0x20 != word[i] {
			return false
		}
	}
	return true
}

func parseDate(s string) (int64, bool) {
	t, err := time.Parse("2006-01-02", s)
	if err != nil {
		return 0, false
	}
	d := calendar.Days(t.Year(), int(t.Month()), t.Day())
	return d, d >= minDate
}

var instantLayouts = [...]string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02T15:04Z07:00", "2006-01-02T15:04", "2006-01-02"}

func parseInstant(s string, zone *calendar.Zone) (int64, bool) {
	if len(s) > 10 && s[10] == ' ' {
		s = s[:10] + "T" + s[11:]
	}
	for _, layout := range instantLayouts {
		if t, err := time.ParseInLocation(layout, s, zone.Location()); err == nil {
			us := t.UnixMicro()
			return us, us >= minInstant && us <= maxInstant
		}
	}
	return 0, false
}

func textToLong(s *step, c strictCall, n int)   { parseInts(s, c, n, c.args[0].text, parseLong) }
func textToBool(s *step, c strictCall, n int)   { parseInts(s, c, n, c.args[0].text, parseBool) }
func textToDate(s *step, c strictCall, n int)   { parseInts(s, c, n, c.args[0].text, parseDate) }
func textToDouble(s *step, c strictCall, n int) { parseDoubles(s, c, n, c.args[0].text) }

func textToInstant(s *step, c strictCall, n int) {
	parseInts(s, c, n, c.args[0].text, func(t string) (int64, bool) { return parseInstant(t, s.clock.Zone()) })
}

func jsonToText(s *step, c strictCall, n int) {
	appendTexts(s, c, n, func(dst []byte, i int) []byte { return appendJSONText(dst, c.args[0].text(i)) })
}

func jsonTexts(c strictCall) func(i int) []byte {
	var buf []byte
	return func(i int) []byte {
		buf = appendJSONText(buf[:0], c.args[0].text(i))
		return buf
	}
}

func jsonToLong(s *step, c strictCall, n int) {
	parseInts(s, c, n, jsonTexts(c), func(t string) (int64, bool) {
		if x, ok := parseLong(t); ok {
			return x, true
		}
		x, ok := parseDouble(t) // 12.0 and 1e3 are integers in JSON
		if !ok || x != math.Trunc(x) || x < -1<<63 || x >= 1<<63 {
			return 0, false
		}
		return int64(x), true
	})
}

func jsonToDouble(s *step, c strictCall, n int) { parseDoubles(s, c, n, jsonTexts(c)) }
func jsonToBool(s *step, c strictCall, n int)   { parseInts(s, c, n, jsonTexts(c), parseBool) }
func jsonToDate(s *step, c strictCall, n int)   { parseInts(s, c, n, jsonTexts(c), parseDate) }

func jsonToInstant(s *step, c strictCall, n int) {
	parseInts(s, c, n, jsonTexts(c), func(t string) (int64, bool) { return parseInstant(t, s.clock.Zone()) })
}
