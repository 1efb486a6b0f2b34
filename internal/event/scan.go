package event

import (
	"encoding/binary"
	"math/bits"
	"strconv"
	"unicode/utf8"
)

// MaxDepth is how deep objects and arrays of an event may nest, the event itself being 1.
const MaxDepth = 100

// token is one JSON value inside a text: b[from:to], quotes included. Texts are below 2 GiB.
type token struct {
	from, to int32
	kind     tokenKind
	flags    tokenFlags
}

type tokenFlags uint8

const (
	flagEscaped tokenFlags = 1 << iota // string: holds a backslash
	flagLone                           // string: holds half a surrogate pair, which UTF-8 cannot express
	flagInteger                        // number: neither fraction nor exponent
)

func (t *token) escaped() bool { return t.flags&flagEscaped != 0 }
func (t *token) lone() bool    { return t.flags&flagLone != 0 }
func (t *token) integer() bool { return t.flags&flagInteger != 0 }

type tokenKind uint8

const (
	tokenNone tokenKind = iota // absent
	tokenNull
	tokenTrue
	tokenFalse
	tokenNumber
	tokenString
	tokenArray
	tokenObject
)

// found is a member of the event's object. The key's quotes are at keyFrom and keyTo-1.
type found struct {
	id             int32 // index into Schema.members, or unknownMember
	keyFrom, keyTo int32
	keyEscaped     bool
	value          token
}

const unknownMember = -1

// So many unknown members have numbers, and names of so many bytes.
const (
	manyOthers = 32
	longOther  = 64
)

// scanner reads one JSON object, strictly by RFC 8259 and UTF-8, in one pass. What follows which member
// is remembered from event to event, because producers keep their order: most keys are found by one comparison.
// For that, some members that no schema knows have numbers, too, beyond those of the schema.
type scanner struct {
	schema  *Schema
	members []found
	slots   []int32  // by member id: 1 + index into members of its last occurrence; 0: absent
	next    []int32  // by 1 + member id or number: the member that came after it last time
	others  []string // unknown names as they are written, by number
	numbers map[string]int32
	key     []byte // an unescaped key
	other   []byte // a key to compare with

	last      map[string]int // see lastUnknown
	lastKnown bool

	b      []byte
	failAt int
	fail   string
	deep   bool
}

func newScanner(s *Schema) scanner {
	return scanner{
		schema: s, slots: make([]int32, len(s.members)), next: make([]int32, len(s.members)+1+manyOthers),
	}
}

// scan finds the members of the object b. It returns a dead verdict when b is not exactly one JSON object.
func (s *scanner) scan(b []byte) Verdict {
	for i := range s.members {
		if id := s.members[i].id; id >= 0 {
			s.slots[id] = 0
		}
	}
	s.members = s.members[:0]
	s.b, s.fail, s.deep, s.lastKnown = b, "", false, false
	i := skipSpace(b, 0)
	if i >= len(b) {
		return Verdict{Code: CodeNotJSON, Message: "empty"}
	}
	if b[i] != '{' {
		end := s.skip(i, 1)
		if end < 0 || skipSpace(b, end) != len(b) {
			return s.malformed(end)
		}
		return Verdict{Code: CodeNotObject, Message: "expected an object, got " + excerpt(b[i:end])}
	}
	end := s.object(i)
	if end < 0 || skipSpace(b, end) != len(b) {
		return s.malformed(end)
	}
	return Verdict{}
}

func (s *scanner) malformed(end int) Verdict {
	switch {
	case s.deep:
		return Verdict{Code: CodeTooDeep, Message: "nested deeper than " + strconv.Itoa(MaxDepth)}
	case end >= 0:
		return Verdict{Code: CodeNotJSON, Message: "text after the end of the value at byte " + strconv.Itoa(end)}
	}
	return Verdict{Code: CodeNotJSON, Message: s.fail + " at byte " + strconv.Itoa(s.failAt)}
}

// failed notes what is wrong where, and returns the end of a value that has none.
func (s *scanner) failed(at int, what string) int {
	if at >= len(s.b) {
		at, what = len(s.b), "unexpected end"
	}
	s.failAt, s.fail = at, what
	return -1
}

// object reads the event's own object, whose brace is at i, and notes its members. Like all that read, it
// returns where the value ends, or -1.
func (s *scanner) object(i int) int {
	b := s.b
	i = skipSpace(b, i+1)
	if i < len(b) && b[i] == '}' {
		return i + 1
	}
	previous := int32(unknownMember)
	for {
		if i >= len(b) || b[i] != '"' {
			return s.failed(i, "expected a member's name")
		}
		s.members = append(s.members, found{})
		m := &s.members[len(s.members)-1]
		m.keyFrom = int32(i)
		if i, previous = s.name(i, previous, m); i < 0 {
			return i
		}
		m.keyTo = int32(i)
		if i = skipSpace(b, i); i >= len(b) || b[i] != ':' {
			return s.failed(i, "expected a colon")
		}
		if i = s.value(skipSpace(b, i+1), &m.value); i < 0 {
			return i
		}
		if m.id >= 0 {
			s.slots[m.id] = int32(len(s.members))
		}
		i = skipSpace(b, i)
		if i >= len(b) {
			return s.failed(i, "")
		}
		switch b[i] {
		case ',':
			i = skipSpace(b, i+1)
		case '}':
			return i + 1
		default:
			return s.failed(i, "expected a comma or a closing brace")
		}
	}
}

// name reads the key whose quote is at i, says which member it is, and by what number that is remembered.
func (s *scanner) name(i int, previous int32, m *found) (end int, number int32) {
	b := s.b
	guess, known := s.next[previous+1], int32(len(s.schema.members))
	if guess < known {
		if q := s.schema.members[guess].quoted; q != "" && len(b)-i >= len(q) && string(b[i:i+len(q)]) == q {
			m.id = guess
			return i + len(q), guess
		}
	} else if o := int(guess - known); o < len(s.others) {
		if q := s.others[o]; len(b)-i >= len(q) && string(b[i:i+len(q)]) == q {
			m.id = unknownMember
			return i + len(q), guess
		}
	}
	end, flags := s.text(i)
	m.id = unknownMember
	if end < 0 {
		return end, unknownMember
	}
	key := b[i+1 : end-1]
	if flags&flagEscaped != 0 {
		m.keyEscaped = true
		s.key = appendUnescaped(s.key[:0], key, true)
		key = s.key
	}
	if id, known := s.schema.memberIDs[string(key)]; known {
		s.next[previous+1] = id
		m.id = id
		return end, id
	}
	if number = s.numberOf(b[i:end], m.keyEscaped); number != unknownMember {
		s.next[previous+1] = number
	}
	return end, number
}

// numberOf is the number of an unknown name as it is written, quotes included; unknownMember: it gets none.
func (s *scanner) numberOf(quoted []byte, escaped bool) int32 {
	if escaped || len(quoted) > longOther {
		return unknownMember
	}
	if n, ok := s.numbers[string(quoted)]; ok {
		return n
	}
	if len(s.others) == manyOthers {
		return unknownMember
	}
	if s.numbers == nil {
		s.numbers = make(map[string]int32, manyOthers)
	}
	n := int32(len(s.schema.members) + len(s.others))
	s.others = append(s.others, string(quoted))
	s.numbers[string(quoted)] = n
	return n
}

// value reads the value at i, a member's of the event.
func (s *scanner) value(i int, t *token) (end int) {
	b := s.b
	if i >= len(b) {
		return s.failed(i, "")
	}
	switch c := b[i]; {
	case c == '"':
		t.kind = tokenString
		end, t.flags = s.text(i)
	case c == '{':
		t.kind = tokenObject
		end = s.skip(i, 1)
	case c == '[':
		t.kind = tokenArray
		end = s.skip(i, 1)
	case c == 't':
		t.kind = tokenTrue
		end = s.literal(i, "true")
	case c == 'f':
		t.kind = tokenFalse
		end = s.literal(i, "false")
	case c == 'n':
		t.kind = tokenNull
		end = s.literal(i, "null")
	default:
		t.kind = tokenNumber
		var integer bool
		if end, integer = s.number(i); integer {
			t.flags = flagInteger
		}
	}
	t.from, t.to = int32(i), int32(end)
	return end
}

// skip reads the value at i, which lies below depth levels.
func (s *scanner) skip(i, depth int) int {
	b := s.b
	if i >= len(b) {
		return s.failed(i, "")
	}
	switch c := b[i]; {
	case c == '"':
		end, _ := s.text(i)
		return end
	case c == '{' || c == '[':
		if depth >= MaxDepth {
			s.deep = true
			return -1
		}
		if c == '{' {
			return s.nested(i, depth+1)
		}
		return s.array(i, depth+1)
	case c == 't':
		return s.literal(i, "true")
	case c == 'f':
		return s.literal(i, "false")
	case c == 'n':
		return s.literal(i, "null")
	}
	end, _ := s.number(i)
	return end
}

func (s *scanner) literal(i int, word string) int {
	if len(s.b)-i < len(word) || string(s.b[i:i+len(word)]) != word {
		return s.failed(i, "expected a value")
	}
	return i + len(word)
}

// nested reads an object inside the event.
func (s *scanner) nested(i, depth int) int {
	b := s.b
	i = skipSpace(b, i+1)
	if i < len(b) && b[i] == '}' {
		return i + 1
	}
	for {
		if i >= len(b) || b[i] != '"' {
			return s.failed(i, "expected a member's name")
		}
		if i, _ = s.text(i); i < 0 {
			return i
		}
		if i = skipSpace(b, i); i >= len(b) || b[i] != ':' {
			return s.failed(i, "expected a colon")
		}
		if i = s.skip(skipSpace(b, i+1), depth); i < 0 {
			return i
		}
		if i = skipSpace(b, i); i >= len(b) {
			return s.failed(i, "")
		}
		if b[i] == '}' {
			return i + 1
		}
		if b[i] != ',' {
			return s.failed(i, "expected a comma or a closing brace")
		}
		i = skipSpace(b, i+1)
	}
}

func (s *scanner) array(i, depth int) int {
	b := s.b
	i = skipSpace(b, i+1)
	if i < len(b) && b[i] == ']' {
		return i + 1
	}
	for {
		if i = s.skip(i, depth); i < 0 {
			return i
		}
		if i = skipSpace(b, i); i >= len(b) {
			return s.failed(i, "")
		}
		if b[i] == ']' {
			return i + 1
		}
		if b[i] != ',' {
			return s.failed(i, "expected a comma or a closing bracket")
		}
		i = skipSpace(b, i+1)
	}
}

func (s *scanner) number(i int) (end int, integer bool) {
	if c := s.b[i]; c != '-' && c-'0' > 9 {
		return s.failed(i, "expected a value"), false
	}
	end, integer = numberEnd(s.b, i)
	if end < 0 {
		return s.failed(-end, "malformed number"), false
	}
	return end, integer
}

// numberEnd returns where the JSON number at b[i] ends, -?(0|[1-9][0-9]*)(.[0-9]+)?([eE][+-]?[0-9]+)?,
// or minus the place of its fault; and whether it has neither fraction nor exponent.
func numberEnd(b []byte, i int) (end int, integer bool) {
	if b[i] == '-' {
		i++
	}
	start := i
	i = digitsEnd(b, i)
	if i == start || b[start] == '0' && i > start+1 {
		return -max(start, 1), false
	}
	integer = true
	if i < len(b) && b[i] == '.' {
		integer = false
		start = i + 1
		if i = digitsEnd(b, start); i == start {
			return -i, false
		}
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		integer = false
		if i++; i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		start = i
		if i = digitsEnd(b, start); i == start {
			return -i, false
		}
	}
	return i, integer
}

func digitsEnd(b []byte, i int) int {
	for i < len(b) && b[i]-'0' <= 9 {
		i++
	}
	return i
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// text reads the string whose opening quote is at i. Eight plain bytes are passed at a time: a byte
// stops the run when it is a quote, a backslash, a control character or not ASCII.
func (s *scanner) text(i int) (end int, flags tokenFlags) {
	b := s.b
	i++
	for {
		for i+8 <= len(b) {
			w := binary.LittleEndian.Uint64(b[i:])
			q, e := w^(ones*'"'), w^(ones*'\\')
			stop := (q-ones)&^q | (e-ones)&^e | (w - ones*0x20) | w
			if stop &= highs; stop != 0 {
				i += bits.TrailingZeros64(stop) >> 3
				break
			}
			i += 8
		}
		if i >= len(b) {
			return s.failed(i, ""), flags
		}
		switch c := b[i]; {
		case c == '"':
			return i + 1, flags
		case c == '\\':
			flags |= flagEscaped
			n, lone := escapeLen(b[i:])
			if n == 0 {
				return s.failed(i, "malformed escape"), flags
			}
			if lone {
				flags |= flagLone
			}
			i += n
		case c < 0x20:
			return s.failed(i, "control character in a string"), flags
		case c < utf8.RuneSelf:
			i++ // fewer than eight bytes are left
		default:
			if i = runesEnd(b, i); i < 0 {
				return s.failed(-i, "invalid UTF-8"), flags
			}
		}
	}
}

// runesEnd passes characters outside ASCII. It returns minus the place of the first invalid one.
func runesEnd(b []byte, i int) int {
	for i < len(b) && b[i] >= utf8.RuneSelf {
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n <= 1 {
			return -i
		}
		i += n
	}
	return i
}

// escapeLen returns the length of the escape at b[0], of both halves of a surrogate pair, or 0 when it
// is malformed; and whether it is half a pair.
func escapeLen(b []byte) (n int, lone bool) {
	if len(b) < 2 {
		return 0, false
	}
	switch b[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2, false
	case 'u':
	default:
		return 0, false
	}
	r, ok := hex4(b, 2)
	switch {
	case !ok:
		return 0, false
	case r < 0xD800 || r > 0xDFFF:
		return 6, false
	case r < 0xDC00 && len(b) >= 8 && b[6] == '\\' && b[7] == 'u':
		if low, ok := hex4(b, 8); ok && low >= 0xDC00 && low <= 0xDFFF {
			return 12, false
		}
	}
	return 6, true
}

func hex4(b []byte, i int) (r rune, ok bool) {
	if len(b) < i+4 {
		return 0, false
	}
	for _, c := range b[i : i+4] {
		switch {
		case c-'0' <= 9:
			c -= '0'
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

func skipSpace(b []byte, i int) int {
	for i < len(b) && b[i] <= ' ' && (b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r') {
		i++
	}
	return i
}

// lookup finds the member at path inside the object at t; of duplicate keys the last.
func (s *scanner) lookup(t token, path []string) token {
	for _, name := range path {
		if t.kind != tokenObject {
			return token{}
		}
		t = s.child(t, name)
	}
	return t
}

// child reads an object that is known to be well-formed once more, for one of its members.
func (s *scanner) child(t token, name string) (last token) {
	b := s.b
	i := skipSpace(b, int(t.from)+1)
	for b[i] == '"' {
		end, flags := s.text(i)
		key := b[i+1 : end-1]
		if flags&flagEscaped != 0 {
			s.key = appendUnescaped(s.key[:0], key, true)
			key = s.key
		}
		hit := string(key) == name
		var v token
		i = skipSpace(b, s.value(skipSpace(b, skipSpace(b, end)+1), &v))
		if hit {
			last = v
		}
		if b[i] == ',' {
			i = skipSpace(b, i+1)
		}
	}
	return last
}
