package event

import (
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/pinflow/pinflow/internal/column"
)

// Received times outside [2000, 2100) are a clock's fault.
const (
	minReceived = 946_684_800 * microsPerSecond
	maxReceived = 4_102_444_800 * microsPerSecond
)

// judge finds the verdict on one event after another and leaves the cells of the last one behind.
type judge struct {
	schema *Schema
	scan   scanner
	conv   converter
	cells  []cell
	needed []bool // by field: the cell's value is asked for
	time   cell   // the event time, when no field declares it
	inside token  // what the last path led to
}

func newJudge(s *Schema, needed []bool) judge {
	return judge{schema: s, scan: newScanner(s), cells: make([]cell, len(s.fields)), needed: needed}
}

// at returns the value a route leads to.
func (j *judge) at(r *route) *token {
	if r.member < 0 {
		return &absent
	}
	i := j.scan.slots[r.member]
	if i == 0 {
		return &absent
	}
	t := &j.scan.members[i-1].value
	if len(r.path) > 0 {
		j.inside = j.scan.lookup(*t, r.path)
		t = &j.inside
	}
	return t
}

var absent token

func (j *judge) judge(value []byte, received int64) Verdict {
	j.conv.scan = &j.scan
	j.conv.reset()
	if v := j.scan.scan(value); v.Dead() {
		return v
	}
	if received < minReceived || received >= maxReceived {
		return Verdict{Code: CodeBadTimestamp, Message: "received outside 2000 to 2100: " + timeText(received)}
	}
	s := j.schema
	if t := j.at(&s.eventID); t.kind != tokenNone {
		if v := j.checkID(t); v.Dead() {
			return v
		}
	}
	for i := range s.fields {
		f := &s.fields[i]
		t, c := j.at(&f.route), &j.cells[i]
		j.conv.convert(c, f, t, j.needed[i])
		if c.fault != fine && !f.soft && int32(i) != s.timeField {
			bad := &faults[c.fault]
			return j.refusal(bad.code, f.source(), bad.want, t)
		}
	}
	return j.eventTime(received)
}

func (j *judge) refusal(code, path, want string, t *token) Verdict {
	return Verdict{
		Code: code, Path: Pointer(strings.Split(path, ".")),
		Message: "expected " + want + ", got " + excerpt(j.scan.b[t.from:t.to]),
	}
}

const maxEventID = 512 // bytes, quotes included

// checkID refuses what cannot name an event: ids are compared as bytes, so every character must count.
func (j *judge) checkID(t *token) Verdict {
	path := j.schema.Stream.EventID
	switch {
	case t.kind == tokenNull:
		return Verdict{}
	case t.kind != tokenNumber && t.kind != tokenString:
		return j.refusal(CodeBadEventID, path, "string or number", t)
	case t.to-t.from > maxEventID:
		return j.refusal(CodeBadEventID, path, "at most "+strconv.Itoa(maxEventID)+" bytes", t)
	case t.lone():
		return j.refusal(CodeBadEventID, path, "whole characters", t)
	case t.escaped():
		for _, c := range j.conv.unescape(t) {
			if c < ' ' {
				return j.refusal(CodeBadEventID, path, "no control characters", t)
			}
		}
	}
	return Verdict{}
}

// id returns the text of the event id's member, nil when the event names none.
func (j *judge) id() []byte { return j.textOf(j.at(&j.schema.eventID)) }

// textOf is the text of a string or number, nil for anything else.
func (j *judge) textOf(t *token) []byte {
	switch t.kind {
	case tokenNumber:
		return j.scan.b[t.from:t.to]
	case tokenString:
		return j.conv.unescape(t)
	}
	return nil
}

// plainTime reads an event time that no field declares.
var plainTime = field{kind: column.Timestamptz}

// eventTime finds the event time and holds it against the received time.
func (j *judge) eventTime(received int64) Verdict {
	s := j.schema
	t := j.at(&s.eventTime)
	c := &j.time
	if s.timeField >= 0 {
		c = &j.cells[s.timeField]
	} else {
		j.conv.convert(c, &plainTime, t, true)
	}
	path := s.Stream.EventTime
	switch {
	case c.fault != fine:
		return j.refusal(CodeBadTimestamp, path, "timestamp", t)
	case !c.valid:
		return Verdict{EventTime: received}
	case c.i < 0:
		return j.refusal(CodeBadTimestamp, path, "a time since 1970", t)
	case received-c.i > s.Stream.MaxAge.Microseconds():
		return j.refusal(CodeTooOld, path, "at most "+spell(s.Stream.MaxAge)+" before received "+timeText(received), t)
	case c.i-received > s.Stream.MaxAhead.Microseconds():
		return j.refusal(CodeTooFarAhead, path, "at most "+spell(s.Stream.MaxAhead)+" after received "+timeText(received), t)
	}
	return Verdict{EventTime: c.i}
}

func timeText(micros int64) string {
	if micros < 0 || micros > math.MaxInt64/2 {
		return strconv.FormatInt(micros, 10) + " µs"
	}
	return string(appendTime(nil, micros, false))
}

// spell writes a duration as the files do: 3650d, 10m.
func spell(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d%day == 0:
		return strconv.FormatInt(int64(d/day), 10) + "d"
	case d%time.Hour == 0:
		return strconv.FormatInt(int64(d/time.Hour), 10) + "h"
	case d%time.Minute == 0:
		return strconv.FormatInt(int64(d/time.Minute), 10) + "m"
	}
	return d.String()
}
