package rowfile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/intake"
	"github.com/pinflow/pinflow/internal/span"
)

// Log is a file that is registered as a log.
type Log struct {
	*File
	ID     span.Log
	At     time.Time     // when it was registered: of events that do not say when they were
	Schema *event.Schema // that its rows are judged under
	// Held fails when another process may be importing the file.
	Held func(ctx context.Context) error
	// Ended is called when all rows were given out.
	Ended func()
	// Taken is told how many rows were given out.
	Taken func(rows int64)
}

// Opener lets an intake read the file as if it were a topic of one partition.
func (l *Log) Opener() intake.Opener {
	return func(ctx context.Context, _ []string, h intake.Handler) (intake.Source, error) {
		if err := l.Held(ctx); err != nil {
			return nil, err
		}
		return &source{log: l, tp: intake.TP{Topic: intake.ImportTopic(l.ID)}, handler: h, inspector: l.Schema.NewInspector()}, nil
	}
}

// source is a member of a group that has no other.
type source struct {
	log       *Log
	tp        intake.TP
	handler   intake.Handler
	assigned  bool
	next      int64
	reader    reader // at next; nil: to be opened
	inspector *event.Inspector
	records   []event.Record
	values    []byte
}

var _ intake.Source = (*source)(nil)

// pollBytes is how much of a file one poll gives at most.
const pollBytes = 8 << 20

// Poll gives the next rows. After the last one it says so and waits.
func (s *source) Poll(ctx context.Context, most int) ([]intake.Fetch, error) {
	if !s.assigned {
		at, err := s.handler.Assigned(ctx, []intake.TP{s.tp})
		if err != nil {
			return nil, err
		}
		s.assigned, s.next = true, at[s.tp]
	}
	if s.next >= s.log.Rows {
		if err := s.log.unchanged(); err != nil {
			return nil, err
		}
		s.log.Ended()
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if err := s.log.Held(ctx); err != nil {
		return nil, err
	}
	if s.reader == nil {
		var err error
		if s.reader, err = s.log.openAt(s.next); err != nil {
			return nil, err
		}
	}
	f := intake.Fetch{TP: s.tp, From: s.next}
	err := s.fill(most)
	// What was read of a file that was written meanwhile may be rows of another content, or none that can be read.
	if changed := s.log.unchanged(); changed != nil {
		return nil, changed
	}
	if err != nil {
		return nil, err
	}
	s.log.Taken(s.next)
	f.To, f.Records = s.next, s.records
	return []intake.Fetch{f}, nil
}

// fill takes the next rows, as many as one poll gives.
func (s *source) fill(most int) error {
	s.records, s.values = s.records[:0], s.values[:0]
	for s.next < s.log.Rows && len(s.records) < most && len(s.values) < pollBytes {
		r, err := s.take()
		if err != nil {
			return err
		}
		s.records = append(s.records, r)
		s.next++
	}
	return nil
}

// take makes a record of the next row.
func (s *source) take() (event.Record, error) {
	x, err := s.reader.next()
	if errors.Is(err, io.EOF) {
		return event.Record{}, bad(s.log.Path, 0, "ends after %d rows, it had %d", s.next, s.log.Rows).WithAdvice("it was changed while it was read")
	}
	if err != nil {
		return event.Record{}, err
	}
	at := len(s.values)
	s.values = append(s.values, x.value...)
	x.value = s.values[at:len(s.values):len(s.values)]
	return s.log.record(x, s.next, s.inspector), nil
}

// record says what a row would have been as a record of a topic.
func (l *Log) record(x row, offset int64, in *event.Inspector) event.Record {
	o := in.Origin(x.value)
	r := event.Record{Offset: offset, Value: x.value, ID: x.id, Received: x.received}
	if r.ID == "" {
		if r.ID = o.ID; r.ID == "" {
			r.ID = l.rowID(offset)
		}
	}
	for _, at := range []int64{o.Received, o.At, l.At.UnixMicro()} {
		if r.Received == 0 {
			r.Received = at
		}
	}
	r.Timestamp = r.Received
	return r
}

// openAt opens the file at a row.
func (f *File) openAt(offset int64) (reader, error) {
	if err := f.unchanged(); err != nil {
		return nil, err
	}
	r, err := f.open(nil)
	if err != nil {
		return nil, err
	}
	if err := r.skip(offset); err != nil {
		return nil, errors.Join(fmt.Errorf("looking for row %d: %w", offset, err), r.Close())
	}
	return r, nil
}

// Seek implements intake.Source.
func (s *source) Seek(_ intake.TP, offset int64) {
	s.shut()
	s.next = offset
}

// shut closes what is open; that it was only read.
func (s *source) shut() {
	if s.reader != nil {
		_ = s.reader.Close()
		s.reader = nil
	}
}

// ReadBack shows the rows that a dedup window is made of.
func (s *source) ReadBack(ctx context.Context, _ intake.TP, from, to int64, fn func(*event.Record) error) (err error) {
	r, err := s.log.openAt(from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	for at := from; at < to; at++ {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		x, err := r.next()
		if err != nil {
			return fmt.Errorf("reading row %d of %s: %w", at, s.log.Path, err)
		}
		record := s.log.record(x, at, s.inspector)
		if err := fn(&record); err != nil {
			return err
		}
	}
	return nil
}

// Start implements intake.Source.
func (s *source) Start(context.Context, intake.TP) (int64, error) { return 0, nil }

// Close implements intake.Source.
func (s *source) Close(context.Context) error {
	s.shut()
	return nil
}

// momentOf reads a time in RFC 3339, "": none.
func momentOf(text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return 0, fault.New(fault.Config, "bad_file", "%w", err)
	}
	return at.UnixMicro(), nil
}
