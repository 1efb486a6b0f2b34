package query

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
)

// AppendJSON appends the answer as JSON, as json.Marshal would write it: it may have many rows.
func (a *Answer) AppendJSON(dst []byte) ([]byte, error) {
	dst = appendStrings(append(dst, `{"columns":`...), a.Columns)
	dst = append(dst, `,"rows":[`...)
	for i, row := range a.Rows {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, '[')
		for j, v := range row {
			if j > 0 {
				dst = append(dst, ',')
			}
			var err error
			if dst, err = appendValue(dst, v); err != nil {
				return nil, fmt.Errorf("row %d: %w", i, err)
			}
		}
		dst = append(dst, ']')
	}
	dst = appendStrings(append(dst, `],"points":{"state":`...), a.Points.State)
	meta, err := json.Marshal(a.Meta)
	if err != nil {
		return nil, err
	}
	return append(append(append(dst, `},"meta":`...), meta...), '}'), nil
}

func appendStrings(dst []byte, texts []string) []byte {
	dst = append(dst, '[')
	for i, s := range texts {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendString(dst, s)
	}
	return append(dst, ']')
}

func appendValue(dst []byte, v any) ([]byte, error) {
	switch v := v.(type) {
	case nil:
		return append(dst, "null"...), nil
	case int64:
		return strconv.AppendInt(dst, v, 10), nil
	case float64:
		format := byte('f')
		if abs := math.Abs(v); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
			format = 'e'
		}
		return strconv.AppendFloat(dst, v, format, -1, 64), nil
	case string:
		return appendString(dst, v), nil
	case bool:
		return strconv.AppendBool(dst, v), nil
	case json.Number:
		return append(dst, v...), nil
	}
	text, err := json.Marshal(v)
	return append(dst, text...), err
}

// appendString quotes plain texts itself and leaves the others to the library.
func appendString(dst []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			text, err := json.Marshal(s)
			if err != nil { // a string always marshals
				return append(dst, `""`...)
			}
			return append(dst, text...)
		}
	}
	return append(append(append(dst, '"'), s...), '"')
}
