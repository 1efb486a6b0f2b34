package event

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"github.com/pinflow/pinflow/internal/column"
)

// Decoder makes rows of records. It is reused batch after batch and not safe for concurrent use.
type Decoder struct {
	judge judge
	asked []bool
	extra bool // _extra is asked for
	rows  Rows
}

// NewDecoder returns a decoder of the asked columns, parallel to Columns(); nil asks for all.
func (s *Schema) NewDecoder(columns []bool) *Decoder {
	d := &Decoder{asked: make([]bool, len(s.columns))}
	for i := range d.asked {
		d.asked[i] = columns == nil || columns[i]
	}
	d.extra = d.asked[len(s.fields)+sysExtra]
	needed := make([]bool, len(s.fields))
	for i := range needed {
		needed[i] = d.asked[i] || d.extra
	}
	d.judge = newJudge(s, needed)
	d.rows = Rows{Schema: s, Cols: make([]column.Vec, len(s.columns))}
	for i, c := range s.columns {
		if d.asked[i] {
			d.rows.Cols[i].Kind = c.Kind
		}
	}
	return d
}

// Append judges a record and, unless it is dead, appends its row. The verdict never depends on which
// columns are asked for, nor on who judged before: a full judgement costs less than trusting would risk.
func (d *Decoder) Append(r *Record) Verdict {
	j := &d.judge
	v := j.judge(r.Value, r.Received)
	if v.Dead() {
		return v
	}
	n := len(j.cells)
	for i := range j.cells {
		if d.asked[i] {
			appendConverted(&d.rows.Cols[i], &j.conv, &j.cells[i])
		}
	}
	id := r.ID
	if id == "" && d.asked[n+sysEventID] {
		id = string(j.id())
	}
	system := d.rows.Cols[n:]
	d.appendID(&system[sysEventID], id)
	for i, value := range [...]int64{
		sysEventTime: v.EventTime, sysReceivedAt: r.Received, sysLog: int64(r.Key.Log),
		sysPartition: int64(r.Key.Partition), sysOffset: r.Offset, sysSchema: int64(j.schema.Version),
	} {
		if i >= sysEventTime && d.asked[n+i] {
			appendInt(&system[i], value)
		}
	}
	if d.extra {
		d.appendExtra(&system[sysExtra], v.EventTime != r.Received)
	}
	d.rows.N++
	return v
}

// Rows returns what was appended since the last Reset, and is valid until the next.
func (d *Decoder) Rows() *Rows { return &d.rows }

// Reset forgets the rows and keeps their memory.
func (d *Decoder) Reset() {
	d.rows.N = 0
	for i := range d.rows.Cols {
		d.rows.Cols[i].Reset()
	}
}

// Bytes is about how much memory the rows take.
func (d *Decoder) Bytes() int { return d.rows.Bytes() }

// Bytes is about how much memory the rows take.
func (r *Rows) Bytes() (n int) {
	for i := range r.Cols {
		c := &r.Cols[i]
		n += len(c.Valid) + 8*(len(c.Ints)+len(c.Floats)) + 4*(len(c.Offs)+len(c.ListOffs)+len(c.Codes)) + len(c.Bytes)
	}
	return n
}

func appendConverted(v *column.Vec, conv *converter, c *cell) {
	if !c.valid {
		appendNull(v)
		return
	}
	switch v.Kind {
	case column.String, column.JSON:
		appendText(v, c.text)
	case column.List:
		appendList(v, conv.items[c.list[0]:c.list[1]])
	case column.Double:
		appendFloat(v, c.f)
	default:
		appendInt(v, c.i)
	}
}

func (d *Decoder) appendID(v *column.Vec, id string) {
	switch {
	case v.Kind == column.Invalid:
	case id == "":
		appendNull(v)
	case !utf8.ValidString(id): // another producer's header
		appendText(v, []byte(strings.ToValidUTF8(id, "\uFFFD")))
	default:
		startText(v)
		v.Bytes = append(v.Bytes, id...)
		endText(v)
	}
}

// appendExtra writes the members that the columns do not give back. timed: the event time is not the
// received time, so that _event_time can stand for its member.
func (d *Decoder) appendExtra(v *column.Vec, timed bool) {
	j := &d.judge
	startText(v)
	from := len(v.Bytes)
	for i := range j.scan.members {
		m := &j.scan.members[i]
		if j.superseded(i) || m.id >= 0 && j.givenBack(m, timed) {
			continue
		}
		if len(v.Bytes) == from {
			v.Bytes = append(v.Bytes, '{')
		} else {
			v.Bytes = append(v.Bytes, ',')
		}
		v.Bytes = append(v.Bytes, j.scan.b[m.keyFrom:m.value.to]...)
	}
	if len(v.Bytes) == from {
		appendNull(v)
		return
	}
	v.Bytes = append(v.Bytes, '}')
	endText(v)
}

// givenBack tells whether the columns give the member's value back.
func (j *judge) givenBack(m *found, timed bool) bool {
	if of := &j.schema.members[m.id]; of.owner >= 0 {
		return !of.later && !j.cells[of.owner].keep
	}
	return m.id == j.schema.timeMember && timed && j.time.valid && !j.time.keep
}

// superseded tells whether a later member of the same name takes the place of member i.
func (j *judge) superseded(i int) bool {
	s := &j.scan
	m := &s.members[i]
	if m.id >= 0 {
		return int(s.slots[m.id]) != i+1
	}
	return s.repeated(i)
}

const fewMembers = 24

// repeated tells whether an unknown member's name comes again later.
func (s *scanner) repeated(i int) bool {
	m := &s.members[i]
	if len(s.members) > fewMembers {
		return s.lastUnknown()[string(s.keyOf(m))] != i
	}
	key := s.b[m.keyFrom+1 : m.keyTo-1]
	if m.keyEscaped {
		s.other = append(s.other[:0], s.keyOf(m)...)
		key = s.other
	}
	for k := i + 1; k < len(s.members); k++ {
		if o := &s.members[k]; o.id < 0 && bytes.Equal(key, s.keyOf(o)) {
			return true
		}
	}
	return false
}

// lastUnknown says where each unknown member's name comes last, for events with many members.
func (s *scanner) lastUnknown() map[string]int {
	if !s.lastKnown {
		s.lastKnown = true
		s.last = make(map[string]int, len(s.members))
		for i := range s.members {
			if m := &s.members[i]; m.id < 0 {
				s.last[string(s.keyOf(m))] = i
			}
		}
	}
	return s.last
}

// keyOf is a member's name, valid until the next call.
func (s *scanner) keyOf(m *found) []byte {
	key := s.b[m.keyFrom+1 : m.keyTo-1]
	if m.keyEscaped {
		s.key = appendUnescaped(s.key[:0], key, true)
		return s.key
	}
	return key
}
