package event

import (
	"strconv"

	"github.com/pinflow/pinflow/internal/column"
)

// restorer turns rows back into events.
type restorer struct {
	scan scanner
	text []byte
}

func (s *Schema) restorer() *restorer {
	if r, ok := s.restorers.Get().(*restorer); ok {
		return r
	}
	return &restorer{scan: newScanner(s)}
}

// AppendJSON appends the event that became row i, as the same JSON value: numbers by decimal value, of
// duplicate keys the last. It needs the declared columns, _event_time, _received_at and _extra. What
// _extra holds goes before what a column would give back; that also serves rows of older versions.
func (s *Schema) AppendJSON(dst []byte, rows *Rows, i int) []byte {
	r := s.restorer()
	defer s.restorers.Put(r)
	r.readExtra(s, rows, i)
	dst = append(dst, '{')
	start := len(dst)
	for id := range s.members {
		if r.scan.slots[id] == 0 {
			dst = s.appendMember(dst, start, rows, i, int32(id))
		}
	}
	for k := range r.scan.members {
		m := &r.scan.members[k]
		dst = append(comma(dst, start), r.scan.b[m.keyFrom:m.value.to]...)
	}
	return append(dst, '}')
}

// readExtra scans _extra of row i. Without one there are no members.
func (r *restorer) readExtra(s *Schema, rows *Rows, i int) {
	extra := []byte("{}")
	if v := &rows.Cols[len(s.fields)+sysExtra]; v.Kind != column.Invalid && !v.IsNull(i) {
		extra = v.Text(i)
	}
	r.scan.scan(extra)
}

func comma(dst []byte, start int) []byte {
	if len(dst) > start {
		return append(dst, ',')
	}
	return dst
}

// appendMember appends a member that is not in _extra, if the columns hold it. dst[start:] is what the
// object has so far.
func (s *Schema) appendMember(dst []byte, start int, rows *Rows, i int, id int32) []byte {
	m := &s.members[id]
	if m.owner >= 0 {
		if v := &rows.Cols[m.owner]; v.Kind != column.Invalid && !v.IsNull(i) {
			dst = append(append(comma(dst, start), m.key...), ':')
			return appendOriginal(dst, &s.fields[m.owner], v, i)
		}
	}
	if id != s.eventTime.member || len(s.eventTime.path) > 0 {
		return dst
	}
	at, received := &rows.Cols[len(s.fields)+sysEventTime], &rows.Cols[len(s.fields)+sysReceivedAt]
	if at.Kind == column.Invalid || received.Kind == column.Invalid || at.Ints[i] == received.Ints[i] {
		return dst // an event without the member has the received time
	}
	dst = append(append(comma(dst, start), m.key...), ':', '"')
	return append(appendTime(dst, at.Ints[i], false), '"')
}

// appendOriginal appends what the column's form gives back.
func appendOriginal(dst []byte, f *field, v *column.Vec, i int) []byte {
	switch v.Kind {
	case column.Long:
		return strconv.AppendInt(dst, v.Ints[i], 10)
	case column.Double:
		return strconv.AppendFloat(dst, v.Floats[i], 'g', -1, 64)
	case column.Boolean:
		return strconv.AppendBool(dst, v.Ints[i] != 0)
	case column.JSON:
		return append(dst, v.Text(i)...)
	case column.String:
		dst = appendEscaped(append(dst, '"'), f.prefix)
		return append(appendEscaped(dst, v.Text(i)), '"')
	case column.List:
		return appendElements(dst, f, v, i)
	}
	return appendMoment(dst, f, v, i)
}

func appendElements(dst []byte, f *field, v *column.Vec, i int) []byte {
	from, to := v.List(i)
	if f.Split == "" {
		dst = append(dst, '[')
		for e := from; e < to; e++ {
			if e > from {
				dst = append(dst, ',')
			}
			dst = appendQuoted(dst, v.Text(int(e)))
		}
		return append(dst, ']')
	}
	dst = appendEscaped(append(dst, '"'), f.prefix)
	for e := from; e < to; e++ {
		if e > from {
			dst = appendEscaped(dst, f.sep)
		}
		dst = appendEscaped(dst, v.Text(int(e)))
	}
	return append(dst, '"')
}

func appendMoment(dst []byte, f *field, v *column.Vec, i int) []byte {
	micros := v.Ints[i]
	if f.unix {
		return appendUnix(dst, micros, f.shift)
	}
	switch date := v.Kind == column.Date; {
	case date && (f.Layout == "" || f.Layout == layoutDate):
		return append(appendDate(append(dst, '"'), micros), '"')
	case date:
		return appendQuoted(dst, appendLayout(nil, f.Layout, micros*microsPerDay))
	case f.Layout == "" || f.Layout == layoutPlain:
		return append(appendTime(append(dst, '"'), micros, f.Layout != ""), '"')
	}
	return appendQuoted(dst, appendLayout(nil, f.Layout, micros))
}

// appendUnix appends microseconds as an exact number of the layout's unit.
func appendUnix(dst []byte, micros, shift int64) []byte {
	dst = strconv.AppendInt(dst, micros, 10)
	if micros == 0 || shift == 0 {
		return dst
	}
	return strconv.AppendInt(append(dst, 'e', '-'), shift, 10)
}

// FromOlder gives rows of an older version of the stream the columns of this one: a field declared since
// is computed from the original member, NULL where that fails, for the row was judged before. It needs
// what AppendJSON needs. The old columns are shared and _schema stays as it is; _extra gains an event
// time that _event_time gave back until a field took that over.
func (s *Schema) FromOlder(rows *Rows) *Rows {
	old := rows.Schema
	if old == s || old.Version >= s.Version {
		return rows
	}
	out := &Rows{Schema: s, N: rows.N, Cols: make([]column.Vec, len(s.columns))}
	var added []int
	for i, c := range s.columns {
		if k := old.Index(c.Name); k >= 0 {
			out.Cols[i] = rows.Cols[k]
		} else {
			added = append(added, i)
			out.Cols[i].Kind = c.Kind
		}
	}
	if len(added) == 0 {
		return out
	}
	j := newJudge(s, nil)
	j.conv.scan = &j.scan
	var c cell
	r := old.restorer()
	defer old.restorers.Put(r)
	taker := s.takesEventTime(old)
	extra := column.Vec{Kind: column.JSON}
	for i := range rows.N {
		j.conv.reset()
		j.scan.scan(r.originals(old, s, added, rows, i))
		for _, a := range added {
			f := &s.fields[a]
			j.conv.convert(&c, f, j.at(&f.route), true)
			appendConverted(&out.Cols[a], &j.conv, &c)
		}
		if taker {
			r.appendExtra(&extra, s, &j)
		}
	}
	if taker {
		out.Cols[len(s.fields)+sysExtra] = extra
	}
	return out
}

// Sources tells which columns of an older version's rows FromOlder needs so that the wanted columns of
// this one are right: parallel to old.Columns().
func (s *Schema) Sources(old *Schema, wanted []bool) []bool {
	need := make([]bool, len(old.columns))
	for i, c := range s.columns {
		if !wanted[i] {
			continue
		}
		if k := old.Index(c.Name); k >= 0 {
			need[k] = true
			continue
		}
		system := len(old.fields)
		need[system+sysExtra], need[system+sysEventTime], need[system+sysReceivedAt] = true, true, true
		if id, ok := old.memberIDs[s.members[s.fields[i].route.member].name]; ok && old.members[id].owner >= 0 {
			need[old.members[id].owner] = true
		}
	}
	return need
}

// takesEventTime tells whether a field declared since old gives back the event time's member, which
// _event_time gave back before.
func (s *Schema) takesEventTime(old *Schema) bool {
	return old.timeMember >= 0 && s.timeMember < 0
}

// appendExtra appends the members that _extra held, and the event time's if it was not among them.
// originals wrote both.
func (r *restorer) appendExtra(v *column.Vec, s *Schema, j *judge) {
	startText(v)
	from := len(v.Bytes)
	add := func(b []byte, m *found) {
		sep := byte(',')
		if len(v.Bytes) == from {
			sep = '{'
		}
		v.Bytes = append(append(v.Bytes, sep), b[m.keyFrom:m.value.to]...)
	}
	for k := range r.scan.members {
		add(r.scan.b, &r.scan.members[k])
	}
	if at := j.scan.slots[s.eventTime.member]; at > 0 && r.scan.slots[r.scan.schema.eventTime.member] == 0 {
		add(j.scan.b, &j.scan.members[at-1])
	}
	if len(v.Bytes) == from {
		appendNull(v)
		return
	}
	v.Bytes = append(v.Bytes, '}')
	endText(v)
}

// originals writes an object of the members that the added fields read, as row i holds them.
func (r *restorer) originals(old, s *Schema, added []int, rows *Rows, i int) []byte {
	r.readExtra(old, rows, i)
	r.text = append(r.text[:0], '{')
	for k := range r.scan.members {
		m := &r.scan.members[k]
		r.text = append(comma(r.text, 1), r.scan.b[m.keyFrom:m.value.to]...)
	}
	for _, a := range added {
		name := s.members[s.fields[a].route.member].name
		if id, ok := old.memberIDs[name]; ok && r.scan.slots[id] == 0 {
			r.text = old.appendMember(r.text, 1, rows, i, id)
		}
	}
	return append(r.text, '}')
}
