package expr

import (
	"bytes"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// member computes column.path for every row: NULL where a member is missing or JSON null. The
// column holds valid JSON; whatever else it holds reads as missing.
func (s *step) member(b *batch) operand {
	in := &b.cols[s.in]
	resetVec(&s.out, json, b.n)
	s.beginTexts()
	for i := range b.n {
		var value []byte
		if !in.IsNull(i) {
			value = lookup(in.Text(i), s.n.path)
		}
		if value == nil || value[0] == 'n' {
			setNull(&s.out, i)
		} else {
			s.out.Bytes = append(s.out.Bytes, value...)
		}
		s.endText()
	}
	return operand{Vec: &s.out}
}

// lookup returns the value under the path in a JSON text, nil if there is none. Of duplicate keys
// the last counts.
func lookup(src []byte, path []string) []byte {
	for _, key := range path {
		if src = lookupKey(src, key); src == nil {
			return nil
		}
	}
	return src
}

func lookupKey(src []byte, key string) []byte {
	i := skipSpace(src, 0)
	if i >= len(src) || src[i] != '{' {
		return nil
	}
	var found []byte
	for i++; ; i++ {
		if i = skipSpace(src, i); i >= len(src) || src[i] != '"' {
			return found
		}
		end := skipString(src, i)
		name := src[i:end]
		i = skipSpace(src, end)
		if i >= len(src) || src[i] != ':' {
			return found
		}
		i = skipSpace(src, i+1)
		if end = skipValue(src, i); end <= i {
			return found
		}
		if sameKey(name, key) {
			found = src[i:end]
		}
		i = skipSpace(src, end)
		if i >= len(src) || src[i] != ',' {
			return found
		}
	}
}

func sameKey(quoted []byte, key string) bool {
	if len(quoted) < 2 {
		return false
	}
	inner := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(inner, '\\') < 0 {
		return string(inner) == key
	}
	return string(appendJSONText(nil, quoted)) == key
}

func skipSpace(src []byte, i int) int {
	for i < len(src) && (src[i] == ' ' || src[i] == '\t' || src[i] == '\n' || src[i] == '\r') {
		i++
	}
	return i
}

// skipString returns the end of the string that begins at i, or the end of the text.
func skipString(src []byte, i int) int {
	for i++; i < len(src); i++ {
		switch src[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(src)
}

// skipValue returns the end of the value that begins at i.
func skipValue(src []byte, i int) int {
	if i >= len(src) {
		return i
	}
	switch src[i] {
	case '"':
		return skipString(src, i)
	case '{', '[':
		depth := 0
		for i < len(src) {
			switch src[i] {
			case '"':
				i = skipString(src, i)
				continue
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return i + 1
				}
			}
			i++
		}
		return i
	}
	for i < len(src) && bytes.IndexByte([]byte(",]} \t\r\n"), src[i]) < 0 {
		i++
	}
	return i
}

// appendJSONText appends the text of a JSON string, or another JSON value as it is written.
func appendJSONText(dst, src []byte) []byte {
	if len(src) < 2 || src[0] != '"' {
		return append(dst, src...)
	}
	src = src[1 : len(src)-1]
	for {
		i := bytes.IndexByte(src, '\\')
		if i < 0 || i+1 >= len(src) {
			return append(dst, src...)
		}
		dst = append(dst, src[:i]...)
		c := src[i+1]
		src = src[i+2:]
		switch c {
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		case 'u':
			dst, src = appendEscape(dst, src)
		default:
			dst = append(dst, c)
		}
	}
}

// appendEscape appends the character of \uXXXX, two of them where they are a pair.
func appendEscape(dst, src []byte) (out, rest []byte) {
	r, ok := hex4(src)
	if !ok {
		return utf8.AppendRune(dst, utf8.RuneError), src
	}
	src = src[4:]
	if utf16.IsSurrogate(r) {
		if len(src) >= 6 && src[0] == '\\' && src[1] == 'u' {
			if low, ok := hex4(src[2:]); ok {
				if both := utf16.DecodeRune(r, low); both != utf8.RuneError {
					return utf8.AppendRune(dst, both), src[6:]
				}
			}
		}
		r = utf8.RuneError
	}
	return utf8.AppendRune(dst, r), src
}

func hex4(src []byte) (rune, bool) {
	if len(src) < 4 {
		return 0, false
	}
	x, err := strconv.ParseUint(string(src[:4]), 16, 16)
	return rune(x), err == nil
}
