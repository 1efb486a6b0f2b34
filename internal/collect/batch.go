package collect

import (
	"cmp"
	"context"
	"time"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/fault"
)

// batch is the events of one request.
type batch struct {
	c      *Collector
	r      *route
	o      *Options
	events [][]byte
	fates  []EventResult
	live   outbox
	dead   outbox
	keys   []byte // memory of the records' keys
}

// outbox is what goes to one topic.
type outbox struct {
	recs  []event.Record
	index []int // of each record: its event
}

func newBatch(c *Collector, r *route, o *Options, events [][]byte) *batch {
	return &batch{
		c: c, r: r, o: o, events: events, fates: make([]EventResult, len(events)),
		live: outbox{recs: make([]event.Record, 0, len(events)), index: make([]int, 0, len(events))},
	}
}

// judge decides each event's fate but for the storing. An error refuses the request as a whole.
func (b *batch) judge() error {
	inspector := b.r.inspectors.Get().(*event.Inspector)
	defer b.r.inspectors.Put(inspector)
	now := b.c.cfg.Now()
	var again *repeats
	if b.o.IdempotencyKey != "" {
		again = newRepeats(b.o.APIKey, b.r.name, b.o.IdempotencyKey)
	}
	for i, value := range b.events {
		f := &b.fates[i]
		f.Index = i
		if int64(len(value)) > b.c.cfg.Event {
			if len(b.events) == 1 {
				return fault.New(fault.Record, "event_too_large", "the event has %d bytes, over the limit of %d (limits.event)", len(value), b.c.cfg.Event)
			}
			f.reject("event_too_large", "", "the event is over limits.event")
			continue
		}
		in := inspector.Inspect(value, now.UnixMicro())
		if in.Verdict.Malformed() {
			if len(b.events) == 1 && in.Verdict.Code == event.CodeNotJSON && b.o.Form != FormNDJSON {
				return notJSON(value, in.Verdict.Message)
			}
			f.reject(in.Verdict.Code, in.Verdict.Path, in.Verdict.Message)
			continue
		}
		if f.ID = in.ID; f.ID == "" {
			f.ID = b.newID(again, value, now)
		}
		b.put(i, value, &in, now)
	}
	return nil
}

// notJSON refuses a body that should be one event.
func notJSON(value []byte, why string) error {
	err := fault.New(fault.Record, "malformed_body", "the body is not JSON: %s", why)
	if end, ok := skipValue(value, 0); ok && value[0] == '{' && end < len(value) && skipSpace(value, end) < len(value) && value[skipSpace(value, end)] == '{' {
		return err.WithAdvice("Send several objects as an array, or one a line with Content-Type: application/x-ndjson")
	}
	return err
}

func (b *batch) newID(again *repeats, value []byte, now time.Time) string {
	if again != nil {
		return again.id(value)
	}
	return newID(now)
}

func (f *EventResult) reject(code, path, message string) {
	f.Status, f.Code, f.Path, f.Message = Rejected, code, path, message
}

// put makes the record of an event that will be stored.
func (b *batch) put(i int, value []byte, in *event.Inspected, now time.Time) {
	f := &b.fates[i]
	from := len(b.keys)
	if len(in.Key) > 0 {
		b.keys = append(b.keys, in.Key...) // the inspector will use its memory again
	} else {
		b.keys = append(b.keys, f.ID...)
	}
	rec := event.Record{
		Partition: b.keys[from:len(b.keys):len(b.keys)], Value: value, ID: f.ID,
		Received: now.UnixMicro(), Schema: b.r.version,
	}
	box, to := &b.live, b.r.live
	f.Status = Accepted
	if in.Verdict.Dead() {
		box, to = &b.dead, b.r.dead
		f.Status, f.Code, f.Path, f.Message = DeadLettered, in.Verdict.Code, in.Verdict.Path, in.Verdict.Message
		rec.Reason, rec.Path, rec.Message = f.Code, f.Path, f.Message
	}
	rec.Key.Partition = partitionOf(rec.Partition, to.partitions)
	box.recs = append(box.recs, rec)
	box.index = append(box.index, i)
}

// store hands over what was judged and notes the fates that the log tells. A sender that hangs up does
// not change them.
func (b *batch) store(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), b.c.cfg.Wait)
	defer cancel()
	start := time.Now()
	b.send(ctx, &b.live, b.r.live.topic)
	b.send(ctx, &b.dead, b.r.dead.topic)
	b.c.metrics.append.Observe(time.Since(start).Seconds())
}

func (b *batch) send(ctx context.Context, box *outbox, topic string) {
	if len(box.recs) == 0 {
		return
	}
	var first error
	failed := b.c.to.Append(ctx, topic, box.recs)
	for n, i := range box.index {
		f := &b.fates[i]
		if failed != nil && failed[n] != nil {
			f.failed(failed[n])
			first = cmp.Or(first, failed[n])
			continue
		}
		f.Partition, f.Offset = box.recs[n].Key.Partition, box.recs[n].Offset
	}
	if first != nil {
		b.c.log.Debug("events could not be stored", "topic", topic, "err", first)
	}
}

// retryAfter is how long a sender is asked to wait.
const retryAfter = time.Second

// failed notes what the log said. Its text is for the log of the server: it may name hosts and folders.
func (f *EventResult) failed(err error) {
	switch fault.KindOf(err) {
	case fault.Record:
		f.reject("event_too_large", "", "the log takes no event of this size")
		return
	case fault.Transient:
		f.Code, f.Message = "not_stored", "the log cannot be reached"
		if fault.CodeOf(err) == "log_full" {
			f.Message = "the log is full: the units have to catch up, or its disk needs room"
		}
	default: // whatever cannot be said for sure
		f.Code, f.Message = "unknown", "the log did not answer; sent again under its id, the event counts once"
	}
	f.Status, f.Path, f.RetryAfterMS = Retry, "", int(retryAfter.Milliseconds())
}

// result adds up the fates.
func (b *batch) result() *Result {
	res := &Result{}
	var size int
	for i := range b.fates {
		f := &b.fates[i]
		switch f.Status {
		case Accepted:
			res.Accepted++
			size += len(b.events[i])
		case DeadLettered:
			res.DeadLettered++
			size += len(b.events[i])
		case Rejected:
			res.Rejected++
		case Retry:
			res.Retry++
			res.Why = cmp.Or(res.Why, f.Message)
			if f.Code != "not_stored" {
				res.Unknown++
			}
		}
	}
	if !b.o.ValidateOnly {
		b.r.counters.count(res, size)
	}
	switch {
	case b.o.Results == ResultsAll:
		res.Results = b.fates
	case b.o.Results != ResultsNone && res.Accepted < len(b.fates):
		for i := range b.fates {
			if b.fates[i].Status != Accepted {
				res.Results = append(res.Results, b.fates[i])
			}
		}
	}
	return res
}
