package event

// Inspected is what the collector needs to know of an event, from one parse.
type Inspected struct {
	Verdict Verdict
	ID      string // text of the stream's event_id member; "" when the event has none
	Key     []byte // text of the stream's key member, else of the id; nil when it has neither. Shares memory with the value or the inspector
}

// Inspector judges events without making columns. It is not safe for concurrent use.
type Inspector struct{ judge judge }

// NewInspector returns an inspector of the schema.
func (s *Schema) NewInspector() *Inspector {
	return &Inspector{judge: newJudge(s, make([]bool, len(s.fields)))}
}

// Inspect judges an event that was received at that time, in microseconds. A dead event keeps its id and
// key as far as it is an object. The result is valid until the next call.
func (i *Inspector) Inspect(value []byte, received int64) Inspected {
	in := Inspected{Verdict: i.judge.judge(value, received)}
	if in.Verdict.Malformed() || in.Verdict.Code == CodeBadEventID {
		return in
	}
	id := i.judge.id()
	in.ID = string(id)
	if in.Key = i.judge.textOf(i.judge.at(&i.judge.schema.key)); len(in.Key) == 0 {
		in.Key = id
	}
	return in
}

// Origin is what an event tells of where it comes from, as one that was never collected does.
type Origin struct {
	ID       string // "": it names none, or what cannot be one
	At       int64  // its event time, microseconds; 0: it does not say, or nobody can read it
	Received int64  // the same of a member _received_at, in which an export keeps when it was received
}

// Origin reads it. What no event is has none.
func (i *Inspector) Origin(value []byte) (o Origin) {
	j, s := &i.judge, i.judge.schema
	j.conv.scan = &j.scan
	j.conv.reset()
	if j.scan.scan(value).Dead() {
		return o
	}
	if t := j.at(&s.eventID); t.kind != tokenNone && !j.checkID(t).Dead() {
		o.ID = string(j.id())
	}
	read := func(f *field, t *token) int64 {
		c := cell{}
		if j.conv.convert(&c, f, t, true); c.fault != fine || !c.valid {
			return 0
		}
		return c.i
	}
	f := &plainTime
	if s.timeField >= 0 {
		f = &s.fields[s.timeField]
	}
	o.At = read(f, j.at(&s.eventTime))
	for k := range j.scan.members { // of several of that name the last counts
		m := &j.scan.members[k]
		if m.id == unknownMember && !m.keyEscaped && string(value[m.keyFrom+1:m.keyTo-1]) == ColumnReceivedAt {
			o.Received = read(&plainTime, &m.value)
		}
	}
	return o
}

// Judge returns the verdict on an event. To judge many, use an Inspector.
func (s *Schema) Judge(value []byte, received int64) Verdict {
	return s.NewInspector().Inspect(value, received).Verdict
}
