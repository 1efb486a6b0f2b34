package expr

import (
	"bytes"
	"unicode/utf8"

	"github.com/pinflow/pinflow/internal/calendar"
)

// prepare makes what a step needs of its literals, once.
func (s *step) prepare() {
	if s.n.form != nodeCall {
		return
	}
	switch s.n.fn.name {
	case "in":
		s.aux = newLiteralSet(s.n.args[1:])
	case "like":
		s.aux = newPattern(s.n.args[1].s)
	case "date_trunc":
		s.aux = grainOf(s.n.args[0].s)
	}
}

func (s *step) beginTexts() { s.out.Offs = append(s.out.Offs, 0) }

func (s *step) endText() { s.out.Offs = append(s.out.Offs, int32(len(s.out.Bytes))) }

func trimText(s *step, c strictCall, n int) {
	s.beginTexts()
	for i := range n {
		s.out.Bytes = append(s.out.Bytes, bytes.Trim(c.args[0].text(i), " ")...)
		s.endText()
	}
}

func lowerText(s *step, c strictCall, n int) { mapText(s, c, n, 'A', 'Z') }
func upperText(s *step, c strictCall, n int) { mapText(s, c, n, 'a', 'z') }

func mapText(s *step, c strictCall, n int, from, to byte) {
	s.beginTexts()
	for i := range n {
		for _, b := range c.args[0].text(i) {
			if b >= from && b <= to {
				b ^= 0x20
			}
			s.out.Bytes = append(s.out.Bytes, b)
		}
		s.endText()
	}
}

func lengthText(s *step, c strictCall, n int) {
	for i := range n {
		s.out.Ints[i] = int64(utf8.RuneCount(c.args[0].text(i)))
	}
}

func startsWith(s *step, c strictCall, n int) {
	for i := range n {
		s.out.Ints[i] = toBool(bytes.HasPrefix(c.args[0].text(i), c.args[1].text(i)))
	}
}

func containsText(s *step, c strictCall, n int) {
	for i := range n {
		s.out.Ints[i] = toBool(bytes.Contains(c.args[0].text(i), c.args[1].text(i)))
	}
}

func containsElement(s *step, c strictCall, n int) {
	a := c.args[0]
	for i := range n {
		s.out.Ints[i] = 0
		want := c.args[1].text(i)
		for e, to := a.List(i); e < to; e++ {
			if bytes.Equal(a.Text(int(e)), want) {
				s.out.Ints[i] = 1
				break
			}
		}
	}
}

func cardinality(s *step, c strictCall, n int) {
	for i := range n {
		from, to := c.args[0].List(i)
		s.out.Ints[i] = int64(to - from)
	}
}

// pattern is a like pattern cut at its % signs. Each part is literal bytes and _ for one character.
type pattern struct {
	parts        [][]byte
	head, tail   bool // the text begins with the first part, ends with the last
	hasUnderline bool
}

func newPattern(src string) *pattern {
	p := &pattern{parts: bytes.Split([]byte(src), []byte{'%'}), hasUnderline: bytes.IndexByte([]byte(src), '_') >= 0}
	p.head, p.tail = len(p.parts[0]) > 0, len(p.parts[len(p.parts)-1]) > 0
	return p
}

// at tells how many bytes of text the part takes at its start, -1 if it does not match there.
func (p *pattern) at(part, text []byte) int {
	if !p.hasUnderline {
		if bytes.HasPrefix(text, part) {
			return len(part)
		}
		return -1
	}
	n := 0
	for _, b := range part {
		switch {
		case n >= len(text):
			return -1
		case b == '_':
			_, size := utf8.DecodeRune(text[n:])
			n += size
		case text[n] != b:
			return -1
		default:
			n++
		}
	}
	return n
}

func (p *pattern) match(text []byte) bool {
	if len(p.parts) == 1 { // no %
		return p.at(p.parts[0], text) == len(text)
	}
	first, last := p.parts[0], p.parts[len(p.parts)-1]
	n := p.at(first, text)
	if n < 0 {
		return false
	}
	text = text[n:]
	for _, part := range p.parts[1 : len(p.parts)-1] {
		if text = p.after(part, text); text == nil {
			return false
		}
	}
	return p.ends(last, text)
}

// after returns what follows the first place where the part matches, nil if there is none.
func (p *pattern) after(part, text []byte) []byte {
	for {
		if n := p.at(part, text); n >= 0 {
			return text[n:]
		}
		if len(text) == 0 {
			return nil
		}
		_, size := utf8.DecodeRune(text)
		text = text[size:]
	}
}

func (p *pattern) ends(part, text []byte) bool {
	if !p.hasUnderline {
		return bytes.HasSuffix(text, part)
	}
	for {
		if p.at(part, text) == len(text) {
			return true
		}
		if len(text) == 0 {
			return false
		}
		_, size := utf8.DecodeRune(text)
		text = text[size:]
	}
}

func likePattern(s *step, c strictCall, n int) {
	p := s.aux.(*pattern)
	for i := range n {
		s.out.Ints[i] = toBool(p.match(c.args[0].text(i)))
	}
}

// Times that a calendar can be asked about: years 1 to 9999.
const (
	minInstant = -62_135_596_800 * calendar.Second
	maxInstant = 253_402_300_799*calendar.Second + calendar.Second - 1
	minDate    = -719_162
	maxDate    = 2_932_896
)

func truncInstant(s *step, c strictCall, n int) {
	grain := s.aux.(calendar.Grain)
	for i := range n {
		us := c.args[1].Ints[i]
		s.out.Ints[i] = 0
		switch {
		case c.args[1].null(i):
		case us < minInstant || us > maxInstant:
			c.batch.fail(s, i, c.active)
		default:
			s.out.Ints[i] = s.clock.Start(grain, us)
		}
	}
}

func truncDate(s *step, c strictCall, n int) {
	grain := s.aux.(calendar.Grain)
	for i := range n {
		d := c.args[1].Ints[i]
		s.out.Ints[i] = 0
		switch {
		case c.args[1].null(i):
		case d < minDate || d > maxDate:
			c.batch.fail(s, i, c.active)
		default:
			s.out.Ints[i] = calendar.FirstDay(grain, d)
		}
	}
}

func extractInstant(s *step, c strictCall, n int) {
	unit := s.n.args[0].s
	for i := range n {
		us := c.args[1].Ints[i]
		s.out.Ints[i] = 0
		switch {
		case c.args[1].null(i):
			continue
		case us < minInstant || us > maxInstant:
			c.batch.fail(s, i, c.active)
			continue
		}
		if unit == "hour" {
			s.out.Ints[i] = s.clock.Hour(us)
			continue
		}
		s.out.Ints[i] = datePart(unit, s.clock.Date(us))
	}
}

func extractDate(s *step, c strictCall, n int) {
	for i := range n {
		s.out.Ints[i] = 0
		if d := c.args[1].Ints[i]; d >= minDate && d <= maxDate {
			s.out.Ints[i] = datePart(s.n.args[0].s, d)
		} else {
			c.batch.fail(s, i, c.active)
		}
	}
}

func datePart(unit string, d int64) int64 {
	y, m, day := calendar.Civil(d)
	switch unit {
	case "year":
		return int64(y)
	case "month":
		return int64(m)
	}
	return int64(day)
}
