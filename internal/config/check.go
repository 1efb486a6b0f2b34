package config

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/pinflow/pinflow/internal/calendar"
)

// wrong notes that a place holds another kind of thing than it should.
func (w *walker) wrong(path string, s *shape, got string) {
	w.add(path, w.find(path), fmt.Sprintf("%s must be %s, not %s", subject(path), kindNames[s.kind], got), allowed(s))
}

// subject names the place in a message.
func subject(path string) string {
	switch {
	case path == "":
		return "the file"
	case strings.HasSuffix(path, "]"):
		return "an entry of " + path[:strings.LastIndexByte(path, '[')]
	}
	return fmt.Sprintf("%q", last(path))
}

// allowed says what would be right at a place.
func allowed(s *shape) string {
	switch {
	case s.kind == object:
		return strings.Join(s.keyNames(), ", ")
	case s.kind == dict && s.names != nil:
		return strings.Join(s.names, ", ")
	case s.like != "":
		return s.like
	case len(s.words) > 0:
		return strings.Join(s.words, ", ")
	case s.says != "":
		return s.says
	case s.min != nil && s.max != nil && *s.min == *s.max:
		return fmt.Sprint(*s.min)
	case s.min != nil && s.max != nil:
		return fmt.Sprintf("%s to %s", plain(*s.min), plain(*s.max))
	case s.kind == boolean:
		return "true, false"
	case s.kind == list:
		return "a list of " + strings.TrimPrefix(kindNames[s.of.kind], "a ") + " entries: - …"
	}
	return ""
}

func plain(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

// scalarValue checks the text of a scalar, from a file (kind says what YAML took it for), a flag or
// the environment (kind text), and makes the value of it.
func (w *walker) scalarValue(raw string, k kind, s *shape, path string) any {
	v, message := readScalar(raw, k, s, subject(path))
	if message != "" {
		w.add(path, w.find(path), message, allowed(s))
		return nil
	}
	return v
}

// readScalar is the value of a text at a place of that shape, or what is wrong with it.
func readScalar(raw string, k kind, s *shape, subject string) (v any, message string) {
	switch s.kind {
	case text:
		if k != text {
			return nil, fmt.Sprintf("%s must be text, not %s: write %q", subject, kindNames[k], raw)
		}
		return readText(raw, s, subject)
	case expression:
		return raw, ""
	case word:
		return readWord(raw, s, subject)
	case integer, number:
		return readNumber(raw, s, subject)
	case boolean:
		switch raw {
		case "true", "True", "TRUE":
			return true, ""
		case "false", "False", "FALSE":
			return false, ""
		}
		return nil, fmt.Sprintf("%s must be true or false, not %q", subject, raw)
	case duration:
		return readDuration(raw, s, subject)
	case size:
		n, err := parseSize(raw)
		if err != nil || n <= 0 {
			return nil, fmt.Sprintf("%s must be a size, not %q", subject, raw)
		}
		return json.Number(strconv.FormatInt(n, 10)), ""
	case address:
		if m := checkAddress(raw); m != "" {
			return nil, fmt.Sprintf("%s: %s", subject, m)
		}
		return raw, ""
	}
	return nil, fmt.Sprintf("%s must be %s, not %q", subject, kindNames[s.kind], raw)
}

func readText(raw string, s *shape, subject string) (any, string) {
	if s.pattern != "" && !regexp.MustCompile(`^(?:`+s.pattern+`)$`).MatchString(raw) {
		return nil, fmt.Sprintf("%s cannot be %q", subject, raw)
	}
	if s == zoneShape {
		if _, err := calendar.Load(raw); err != nil || raw == "" {
			message, advice := calendar.UnknownZone(raw)
			return nil, message + ": " + advice
		}
	}
	if s.pattern == backfillRE && raw != "earliest" && raw != "none" {
		if _, err := time.Parse(time.DateOnly, raw); err != nil {
			return nil, fmt.Sprintf("there is no day %s", raw)
		}
	}
	return raw, ""
}

func readWord(raw string, s *shape, subject string) (any, string) {
	if contains(s.words, raw) {
		return raw, ""
	}
	return nil, fmt.Sprintf("unknown %s %q%s", strings.Trim(subject, `"`), raw, didYouMean(raw, s.words))
}

func readNumber(raw string, s *shape, subject string) (any, string) {
	digits := strings.ReplaceAll(raw, "_", "")
	f, err := strconv.ParseFloat(digits, 64)
	if err != nil || f != f || f > 1e300 || f < -1e300 {
		return nil, fmt.Sprintf("%s must be %s, not %q", subject, kindNames[s.kind], raw)
	}
	if s.kind == integer {
		n, err := strconv.ParseInt(digits, 10, 64)
		if err != nil {
			return nil, fmt.Sprintf("%s must be a whole number, not %q", subject, raw)
		}
		f, digits = float64(n), strconv.FormatInt(n, 10)
	} else {
		digits = strconv.FormatFloat(f, 'g', -1, 64)
	}
	switch {
	case s.min != nil && s.max != nil && *s.min == *s.max && f != *s.min:
		return nil, fmt.Sprintf("%s %s is not known to this release", strings.Trim(subject, `"`), raw)
	case s.percent && f > 1 && f <= 100:
		return nil, fmt.Sprintf("%s is a share of 1: write %s", subject, plain(f/100))
	case s.min != nil && f < *s.min, s.max != nil && f > *s.max:
		return nil, fmt.Sprintf("%s cannot be %s", subject, raw)
	}
	return json.Number(digits), ""
}

func readDuration(raw string, s *shape, subject string) (any, string) {
	if contains(s.words, raw) {
		return raw, ""
	}
	d, err := parseDuration(raw)
	if err != nil {
		return nil, fmt.Sprintf("%s must be a duration, not %q%s", subject, raw, didYouMean(raw, s.words))
	}
	if s.min != nil && float64(d) < *s.min {
		return nil, fmt.Sprintf("%s must be above 0", subject)
	}
	if s.asText {
		return raw, ""
	}
	return json.Number(strconv.FormatInt(int64(d), 10)), ""
}
