package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// load posts events over keep-alive connections, each with one request in flight. It speaks plain
// HTTP/1.1 by itself: the generator is to take as little of the shared cores as it can, and the same of
// every server that is compared.
type load struct {
	addr, path string
	conns      int
	batch      int           // events a request
	array      bool          // a JSON array instead of lines
	rate       float64       // events a second; 0: each connection sends when it has its answer
	duration   time.Duration // bounds on what is sent
	events     int64         // 0: none
	run        uint64        // of ids: two loads of one server must differ
}

// posted is what became of a load. Latencies are of accepted requests, from the first byte sent (under
// a rate: from the moment it was due) to the last byte of the answer, sorted.
type posted struct {
	events, requests, refused int64
	elapsed                   time.Duration
	latency                   []time.Duration
	firstRefusal              string
}

func (p *posted) perSecond() float64 { return float64(p.events) / p.elapsed.Seconds() }

// request is a prepared request: the events in it are patched in place before each sending.
type request struct {
	bytes []byte
	at    []int // where events begin
}

func (l *load) prepare(pins []template, from int) *request {
	var body bytes.Buffer
	var at []int
	begin, between, end, kind := "", "\n", "\n", "application/x-ndjson"
	if l.array {
		begin, between, end = "[", ",", "]"
	}
	if l.array || l.batch == 1 {
		kind = "application/json"
	}
	body.WriteString(begin)
	for i := range l.batch {
		if i > 0 {
			body.WriteString(between)
		}
		at = append(at, body.Len())
		body.Write(pins[(from+i)%len(pins)])
	}
	body.WriteString(end)
	head := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n", l.path, l.addr, kind, body.Len())
	r := &request{bytes: append([]byte(head), body.Bytes()...), at: at}
	for i := range r.at {
		r.at[i] += len(head)
	}
	return r
}

// perWorker is how many different requests a connection sends in turn.
const perWorker = 8

// post runs the load to its end.
func (l *load) post(ctx context.Context) (*posted, error) {
	pins, err := pins()
	if err != nil {
		return nil, err
	}
	var sent atomic.Int64
	start := time.Now()
	out, errs := make([]posted, l.conns), make([]error, l.conns)
	var wg sync.WaitGroup
	for w := range l.conns {
		wg.Go(func() { errs[w] = l.worker(ctx, w, pins, start, &sent, &out[w]) })
	}
	wg.Wait()
	total := &posted{elapsed: time.Since(start)}
	for w := range out {
		if errs[w] != nil {
			return nil, errs[w]
		}
		total.events += out[w].events
		total.requests += out[w].requests
		total.refused += out[w].refused
		total.latency = append(total.latency, out[w].latency...)
		if total.firstRefusal == "" {
			total.firstRefusal = out[w].firstRefusal
		}
	}
	slices.Sort(total.latency)
	return total, nil
}

func (l *load) worker(ctx context.Context, w int, pins []template, start time.Time, sent *atomic.Int64, out *posted) error {
	c, err := net.Dial("tcp", l.addr)
	if err != nil {
		return err
	}
	defer c.Close() //nolint:errcheck // the end of a load
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	requests := make([]*request, perWorker)
	for i := range requests {
		requests[i] = l.prepare(pins, (w*perWorker+i)*max(l.batch, 13))
	}
	in := bufio.NewReaderSize(c, 16<<10)
	for k := 0; time.Since(start) < l.duration; k++ {
		n := sent.Add(int64(l.batch))
		if l.events > 0 && n > l.events {
			break
		}
		from := time.Now()
		if l.rate > 0 {
			from = start.Add(time.Duration(float64(n-int64(l.batch)) / l.rate * float64(time.Second)))
			time.Sleep(time.Until(from))
		}
		r := requests[k%perWorker]
		now := moment(time.Now())
		for i, at := range r.at {
			patch(r.bytes[at:], l.run<<40+uint64(n)-uint64(i), now)
		}
		if _, err := c.Write(r.bytes); err != nil {
			return ended(ctx, err)
		}
		status, body, err := answer(in)
		if err != nil {
			return ended(ctx, err)
		}
		out.requests++
		if status >= 300 {
			out.refused++
			out.firstRefusal = strconv.Itoa(status) + " " + string(body)
			time.Sleep(20 * time.Millisecond)
			continue
		}
		out.events += int64(l.batch)
		out.latency = append(out.latency, time.Since(from))
	}
	return nil
}

// ended hides the end of a connection that we ended.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// answer reads one answer; the body must have a length.
func answer(in *bufio.Reader) (status int, body []byte, err error) {
	line, err := in.ReadSlice('\n')
	if err != nil {
		return 0, nil, err
	}
	if len(line) < 12 {
		return 0, nil, fmt.Errorf("not HTTP: %q", line)
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, nil, err
	}
	length := -1
	for {
		if line, err = in.ReadSlice('\n'); err != nil {
			return 0, nil, err
		}
		if len(line) <= 2 {
			break
		}
		if name := "content-length:"; len(line) > len(name) && bytes.EqualFold(line[:len(name)], []byte(name)) {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(line[len(name):]))); err != nil {
				return 0, nil, err
			}
		}
	}
	if length < 0 {
		return 0, nil, fmt.Errorf("an answer %d without a length", status)
	}
	if status >= 300 {
		body = make([]byte, length)
		_, err = io.ReadFull(in, body)
		return status, body, err
	}
	_, err = in.Discard(length)
	return status, nil, err
}
