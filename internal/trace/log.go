package trace

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/history"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/metric"
	"github.com/pinflow/pinflow/internal/span"
)

// searchLogs reads what is not in the lake yet, and what came after the event's rows in their partitions:
// a duplicate lies within the dedup window there.
func (s *state) searchLogs(ctx context.Context) error {
	rows := s.out.Records
	for _, l := range s.snap.Logs {
		if l.Kind != ledger.KindKafka || !l.ClosedAt.IsZero() || !s.may(l.Stream) {
			continue
		}
		starts, ends, err := s.bounds(ctx, l.Topic)
		if err != nil {
			return err
		}
		for p := range l.Partitions {
			k := span.Key{Log: l.ID, Partition: p}
			committed := max(s.far.Lake[k], starts[p])
			from, note := committed, ""
			if end := ends[p]; end-from > maxTail {
				from = end - maxTail
				note = fmt.Sprintf("%d records before it, which are not in the lake yet, were not read", from-committed)
			}
			if err := s.read(ctx, l, Part{l.Topic, p, from, ends[p], note}); err != nil {
				return err
			}
			for _, r := range rows {
				if r.key != k {
					continue
				}
				after := max(r.Offset+1, starts[p])
				if err := s.read(ctx, l, Part{l.Topic, p, after, min(committed, after+s.window(l.Stream)), ""}); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// bounds are the first offsets of a topic's partitions, and the next ones.
func (s *state) bounds(ctx context.Context, topic string) (starts, ends map[int32]int64, err error) {
	if starts, err = s.log.Starts(ctx, topic); err != nil {
		return nil, nil, err
	}
	ends, err = s.log.HighWatermarks(ctx, topic)
	return starts, ends, err
}

// window is how many records after an event may be its duplicates.
func (s *state) window(stream string) int64 {
	for _, st := range s.snap.Streams {
		if st.Name == stream && len(st.Schemas) > 0 {
			return min(int64(st.Schemas[len(st.Schemas)-1].Definition.Dedup.Records), maxTail)
		}
	}
	return 0
}

// read looks for the event in a stretch of a log.
func (s *state) read(ctx context.Context, l ledger.Log, part Part) error {
	if part.From >= part.To {
		return nil
	}
	s.out.Searched.Logs = append(s.out.Searched.Logs, part)
	k := span.Key{Log: l.ID, Partition: part.Partition}
	return s.log.Read(ctx, part.Topic, part.Partition, part.From, part.To, func(r *event.Record) error {
		if r.ID != s.out.ID {
			return nil
		}
		for _, have := range s.out.Records {
			if have.key == k && have.Offset == r.Offset {
				return nil
			}
		}
		found := Record{
			As: InFlight, Stream: l.Stream, Topic: l.Topic, Log: int64(l.ID), Partition: part.Partition, Offset: r.Offset,
			ReceivedAt: time.UnixMicro(r.Received).UTC(), key: k,
		}
		if r.Offset < s.far.Lake[k] {
			found.As = Duplicate
		} else {
			found.Staged = r.Offset < s.far.Batch[k]
		}
		if l.Dead {
			found.Dead = &Dead{r.Reason, r.Path, r.Message}
		}
		s.out.Records = append(s.out.Records, found)
		return nil
	})
}

// explain says whether live has read a record, and in which buckets a row counts.
func (s *state) explain(ctx context.Context, r *Record) error {
	if at, ok := s.far.Live[r.key]; ok && r.As != DeadLetter {
		r.Live = &Live{at, r.Offset < at}
	}
	if r.row == nil {
		return nil
	}
	for _, v := range s.snap.Views {
		if v.Stream != r.Stream {
			continue
		}
		data, err := s.store.Read(ctx, ledger.Read{View: v.Name, From: 0, To: 1})
		if fault.CodeOf(err) == "unknown_view" {
			continue // dropped
		}
		if err != nil {
			return fmt.Errorf("reading view %s: %w", v.Name, err)
		}
		in, err := s.counts(r, data)
		if err != nil {
			return fmt.Errorf("folding the event for view %s: %w", v.Name, err)
		}
		r.Views = append(r.Views, *in)
	}
	return nil
}

// counts folds the row alone: what it makes are the buckets that it is in.
func (s *state) counts(r *Record, data *ledger.Data) (*View, error) {
	in := &View{View: data.View.Name, Version: data.Version.Hash, Buckets: []time.Time{}, By: "live"}
	reader, err := history.New(s.snap, data.Version.ID)
	if fault.CodeOf(err) == "version_gone" {
		in.Why = "the view has just got another version"
		return in, nil
	}
	if err != nil {
		return nil, err
	}
	if err := reader.Add(r.row, func(span.Key) span.Range { return span.Range{From: r.Offset, To: r.Offset + 1} }); err != nil {
		return nil, err
	}
	seen := map[int64]bool{}
	for _, states := range reader.Take() {
		for _, b := range states.Buckets {
			if !seen[b] {
				seen[b] = true
				in.Buckets = append(in.Buckets, time.UnixMicro(b).UTC())
			}
		}
	}
	if in.Why = s.missing(r, data, in, reader.Compiled()); in.Why == "" {
		in.Counted = true
	}
	return in, nil
}

// missing says why the row is not in the view's numbers, "" if it is, and by what it is or will be.
func (s *state) missing(r *Record, data *ledger.Data, in *View, c *metric.Compiled) string {
	file := slices.IndexFunc(s.snap.Logs, func(l ledger.Log) bool { return l.ID == r.key.Log && l.Kind == ledger.KindImport })
	alone := file >= 0 && data.Filling != nil && slices.Contains(data.Filling.Imports, r.key.Log)
	below := r.Offset < data.Version.Cut[r.key]
	if below || file >= 0 {
		in.By = "history"
	}
	switch {
	case len(in.Buckets) == 0 && c.Time == event.ColumnEventTime && r.EventTime != nil && r.EventTime.UnixMicro() < c.From:
		return "it is older than what the view wants history of: backfill.from is " + time.UnixMicro(c.From).In(c.Zone.Location()).Format(time.DateOnly)
	case len(in.Buckets) == 0:
		return "the view leaves it out: its filter is not true, or it came too late for it"
	case file >= 0 && s.snap.Logs[file].ClosedAt.IsZero():
		return "its file is not imported to the end: the same pinflow import goes on"
	case alone && data.Filling.Lacks(r.key.Log, r.EventTime.Format(time.DateOnly)):
		return "the file's day is not filled in"
	case alone:
		return ""
	case below && !filled(data.Filling, r.EventTime), file >= 0 && !below:
		return "its day is not filled in"
	case !below && r.Offset >= data.Positions[r.key]:
		return fmt.Sprintf("the live unit has read up to offset %d", data.Positions[r.key])
	}
	return ""
}

// filled tells whether the lake's day of a time is in the view's history.
func filled(f *ledger.Filling, at *time.Time) bool {
	if at == nil {
		return false
	}
	day := at.Format(time.DateOnly)
	return f.Has(day) && f.First != "" && day >= f.First
}
