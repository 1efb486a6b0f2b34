package collect

import (
	"bytes"

	"github.com/pinflow/pinflow/internal/fault"
)

// Forms of a body.
const (
	FormJSON   = "json"   // an object or an array
	FormNDJSON = "ndjson" // an object a line
	FormAuto   = "auto"   // an array, or objects one after another
)

// split finds the events of a body: parts of it, each on one line, every byte of the event kept. What
// is between the brackets is not judged, but a body whose end cannot be found is refused as a whole.
// Line ends between the tokens of an event become spaces, in place. At most most events.
func split(body []byte, form string, most int) ([][]byte, error) {
	body = bytes.TrimPrefix(body, []byte("\xef\xbb\xbf"))
	var events [][]byte
	var err error
	switch at := skipSpace(body, 0); {
	case form == FormNDJSON:
		events = splitLines(body, most)
	case at == len(body):
	case body[at] == '[':
		events, err = splitArray(body, at+1, most)
	case form == FormAuto && body[at] == '{':
		events, err = splitStream(body, at, most)
	default:
		events = [][]byte{bytes.TrimRight(body[at:], space)}
	}
	switch {
	case err != nil:
		return nil, err
	case len(events) == 0:
		return nil, fault.New(fault.Record, "empty_body", "the body holds no event")
	case len(events) > most:
		return nil, fault.New(fault.Record, "batch_too_large", "the body holds more than %d events (limits.batch)", most).
			WithAdvice("Send fewer events at a time")
	}
	for _, e := range events {
		joinLines(e)
	}
	return events, nil
}

// space is what JSON takes for white space.
const space = " \t\r\n"

func skipSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r') {
		i++
	}
	return i
}

func splitLines(b []byte, most int) [][]byte {
	events := make([][]byte, 0, min(most, bytes.Count(b, []byte{'\n'})+1))
	for len(b) > 0 && len(events) <= most {
		line := b
		if end := bytes.IndexByte(b, '\n'); end >= 0 {
			line, b = b[:end], b[end+1:]
		} else {
			b = nil
		}
		if line = bytes.Trim(line, space); len(line) > 0 {
			events = append(events, line)
		}
	}
	return events
}

// splitArray reads the elements after an opening bracket.
func splitArray(b []byte, i, most int) ([][]byte, error) {
	var events [][]byte
	if i = skipSpace(b, i); i < len(b) && b[i] == ']' {
		return nil, onlySpace(b, i+1)
	}
	for len(events) <= most {
		end, ok := skipValue(b, i)
		if !ok || end == i {
			return nil, malformed(i, "the array's element %d does not end", len(events))
		}
		if events == nil {
			events = make([][]byte, 0, min(most+1, 1+len(b)/(end-i+1)))
		}
		events = append(events, b[i:end:end])
		i = skipSpace(b, end)
		switch {
		case i == len(b):
			return nil, malformed(i, "the array does not end")
		case b[i] == ']':
			return events, onlySpace(b, i+1)
		case b[i] != ',':
			return nil, malformed(i, "a comma is missing after the array's element %d", len(events)-1)
		}
		i = skipSpace(b, i+1)
	}
	return events, nil
}

func onlySpace(b []byte, i int) error {
	if i = skipSpace(b, i); i < len(b) {
		return malformed(i, "the array is followed by something")
	}
	return nil
}

// splitStream reads values one after another.
func splitStream(b []byte, i, most int) ([][]byte, error) {
	var events [][]byte
	for i < len(b) && len(events) <= most {
		end, ok := skipValue(b, i)
		if !ok || end == i {
			return nil, malformed(i, "event %d does not end", len(events))
		}
		events = append(events, b[i:end:end])
		i = skipSpace(b, end)
	}
	return events, nil
}

func malformed(at int, format string, args ...any) error {
	return fault.New(fault.Record, "malformed_body", format, args...).At("byte %d", at)
}

// skipValue returns the end of the value that begins at i: of an object or array the bracket that
// closes it, else the next byte that ends a scalar. It tells false if there is no end.
func skipValue(b []byte, i int) (int, bool) {
	depth := 0
	for i < len(b) {
		switch b[i] {
		case '"':
			end := skipString(b, i+1)
			if end < 0 {
				return i, false
			}
			i = end
			if depth == 0 {
				return i, true
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth < 0 {
				return i, true // the end of what holds a scalar
			}
			if depth == 0 {
				return i + 1, true
			}
		case ',', ' ', '\t', '\r', '\n':
			if depth == 0 {
				return i, true
			}
		}
		i++
	}
	return i, depth == 0
}

// skipString returns the index after the quote that closes a string, -1 if there is none.
func skipString(b []byte, i int) int {
	for {
		n := bytes.IndexByte(b[i:], '"')
		if n < 0 {
			return -1
		}
		i += n
		slashes := 0
		for i-slashes > 0 && b[i-slashes-1] == '\\' {
			slashes++
		}
		i++
		if slashes%2 == 0 {
			return i
		}
	}
}

// joinLines replaces line ends outside of strings by spaces: the value stays the same. Inside a string
// they are no JSON, and stay for the judge to see.
func joinLines(b []byte) {
	if bytes.IndexByte(b, '\n') < 0 && bytes.IndexByte(b, '\r') < 0 {
		return
	}
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			end := skipString(b, i+1)
			if end < 0 {
				return
			}
			i = end - 1
		case '\n', '\r':
			b[i] = ' '
		}
	}
}
