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

// Judge returns the verdict on an event. To judge many, use an Inspector.
func (s *Schema) Judge(value []byte, received int64) Verdict {
	return s.NewInspector().Inspect(value, received).Verdict
}
