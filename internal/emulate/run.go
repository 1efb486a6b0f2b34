package emulate

import (
	"bytes"
	"context"
	"sync"
	"time"
)

// batch is a request to be: posts [first, first+n) of a stream.
type batch struct {
	number int64
	stream string
	first  int64
	n      int
	when
}

// drain is how long a request under way may go on after the end.
const drain = 3 * time.Second

// Run posts until all events are resolved or ctx ends; then what is under way gets a moment to finish.
// An error means that the server refuses what must be right, or that the truth cannot be written.
func (e *Emulator) Run(ctx context.Context) (Counts, error) {
	var truth *truthWriter
	if e.cfg.Truth != "" {
		var err error
		if truth, err = openTruth(e.cfg.Truth, e.head); err != nil {
			return Counts{}, err
		}
		defer truth.close()
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	posting, abandon := context.WithCancel(context.WithoutCancel(ctx))
	defer abandon()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(drain, abandon) })()

	batches := make(chan batch)
	var workers sync.WaitGroup
	var mu sync.Mutex
	var failure error
	for range e.cfg.Connections {
		workers.Go(func() {
			for b := range batches {
				if err := e.send(ctx, posting, b, truth); err != nil {
					mu.Lock()
					if failure == nil {
						failure = err
					}
					mu.Unlock()
					stop(err)
				}
			}
		})
	}
	e.dispatch(ctx, batches)
	close(batches)
	workers.Wait()
	if truth != nil && failure == nil {
		failure = truth.sync()
	}
	return e.Counts(), failure
}

// dispatch cuts the run into batches and hands them out at the rate.
func (e *Emulator) dispatch(ctx context.Context, batches chan<- batch) {
	left, streams := e.cfg.Events, int64(len(e.cfg.Streams))
	timer := time.NewTimer(0)
	defer timer.Stop()
	begin := time.Now()
	due, days := begin, newCalendar(e.cfg.Pace, begin)
	for k := int64(0); e.cfg.Events == 0 || left > 0; k++ {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		n := int64(e.cfg.BatchSize)
		if e.cfg.Events > 0 {
			n = min(n, left)
		}
		b := batch{number: k, stream: e.cfg.Streams[k%streams], first: k / streams * int64(e.cfg.BatchSize), n: int(n)}
		b.at = time.Now().UnixMicro()
		begun := b.first * streams // the streams' batches of one number are of the same time
		b.back, b.width = days.stretch(begun, begun+int64(e.cfg.BatchSize)*streams, e.cfg.Events)
		select {
		case batches <- b:
		case <-ctx.Done():
			return
		}
		left -= n
		if e.cfg.Rate > 0 {
			rate := e.cfg.Rate
			if days == nil { // else the rhythm is in the times, not in the posting
				rate *= e.cfg.Pace.factor(due, due.Sub(begin))
			}
			due = due.Add(time.Duration(float64(n) / rate * float64(time.Second)))
			if late := time.Since(due); late > time.Second && !e.cfg.MakeUp {
				due = due.Add(late)
			}
		}
		timer.Reset(time.Until(due))
	}
}

// send posts a batch until each of its events is resolved, then once more those that are to be duplicates.
func (e *Emulator) send(ctx, posting context.Context, b batch, truth *truthWriter) error {
	events := make([]made, b.n)
	todo := make([]*made, b.n)
	text := make([]byte, 0, b.n*1024)
	for i := range events {
		events[i], text = e.gen.event(text, b.stream, b.first+int64(i), b.when)
		todo[i] = &events[i]
	}
	if err := truth.intend(b); err != nil {
		return err
	}
	e.count(func(c *Counts) { c.Sent += int64(b.n) })
	fates, copies, err := e.resolve(ctx, posting, b.stream, todo)
	if werr := truth.settle(b, fates, copies); err == nil {
		err = werr
	}
	e.tally(todo, fates)
	if err != nil || ctx.Err() != nil {
		return err
	}
	again := todo[:0]
	for i := range events {
		if events[i].again && fates[i] == accepted {
			again = append(again, &events[i])
		}
	}
	if len(again) == 0 {
		return nil
	}
	if err := truth.intendAgain(b, len(again)); err != nil {
		return err
	}
	fates, copies, err = e.resolve(ctx, posting, b.stream, again)
	stored := bytes.Count(fates, []byte{accepted})
	e.count(func(c *Counts) { c.Duplicates += int64(stored) })
	if werr := truth.settleAgain(b, stored, copies); err == nil {
		err = werr
	}
	return err
}

const (
	firstPause = 50 * time.Millisecond
	maxPause   = time.Second
)

// resolve sends events until each has a fate or ctx ends. copies counts how many the server may have
// stored beside those it owned up to.
func (e *Emulator) resolve(ctx, posting context.Context, stream string, events []*made) (fates []byte, copies int, err error) {
	fates = bytes.Repeat([]byte{unresolved}, len(events))
	open := make([]int, len(events))
	for i := range open {
		open[i] = i
	}
	pause := firstPause
	for {
		request := make([]*made, len(open))
		for k, i := range open {
			request[k] = events[i]
		}
		t, err := e.post(posting, stream, request)
		if err != nil {
			return fates, copies, err
		}
		copies += t.copies
		rest := open[:0]
		for k, i := range open {
			if fates[i] = t.fates[k]; fates[i] == unresolved {
				rest = append(rest, i)
			}
		}
		if open = rest; len(open) == 0 {
			return fates, copies, nil
		}
		select {
		case <-ctx.Done():
			return fates, copies, nil
		case <-time.After(max(pause, t.wait)):
		}
		if len(open) < len(request) {
			pause = firstPause
		}
		pause = min(2*pause, maxPause)
		e.count(func(c *Counts) { c.Retried += int64(len(open)) })
	}
}

// tally counts fates and names events whose fate is not the one they should have.
func (e *Emulator) tally(events []*made, fates []byte) {
	var add Counts
	for i, m := range events {
		switch fates[i] {
		case accepted:
			add.Accepted++
		case dead:
			add.DeadLettered++
		case rejected:
			add.Rejected++
		default:
			add.Unresolved++
			continue
		}
		if fates[i] != m.want {
			if add.Unexpected++; add.Unexpected == 1 {
				e.log.Warn("an event has another fate than it should", "id", m.id(), "fate", fateName(fates[i]), "want", fateName(m.want))
			}
		}
	}
	e.count(func(c *Counts) {
		c.Accepted += add.Accepted
		c.DeadLettered += add.DeadLettered
		c.Rejected += add.Rejected
		c.Unresolved += add.Unresolved
		c.Unexpected += add.Unexpected
	})
}

func fateName(f byte) string {
	switch f {
	case accepted:
		return "accepted"
	case dead:
		return "dead_lettered"
	case rejected:
		return "rejected"
	}
	return "unresolved"
}
