package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/pinflow/pinflow/internal/event"
)

// Tail hands over what comes to a stream and to its dead log after ready was called, until ctx ends or
// fn fails.
type Tail interface {
	Tail(ctx context.Context, stream string, ready func(), fn func(dead bool, recs []event.Record) error) error
}

// Limits of a tail.
const (
	maxTails    = 16       // at the same time
	tailRate    = 50       // events a second shown, unless asked for another
	maxTailRate = 1000     // most that can be asked for
	maxShown    = 64 << 10 // most bytes of an event that are shown
)

// tailed is an event as a tail shows it.
type tailed struct {
	Partition  int32           `json:"partition"`
	Offset     int64           `json:"offset"`
	ID         string          `json:"id,omitempty"`
	ReceivedAt time.Time       `json:"received_at"`
	Event      json.RawMessage `json:"event,omitempty"`
	Text       string          `json:"text,omitempty"` // instead of event: what is no JSON, or the beginning of what is too long to show
	Dead       *tailedDead     `json:"dead_lettered,omitempty"`
}

// tailedDead says why an event is a dead letter; its offset is one of the dead log.
type tailedDead struct {
	Code    string `json:"code"`
	Path    string `json:"path"`
	Message string `json:"message"`
}

// sampled says that a second had more events than were shown.
type sampled struct {
	Shown int `json:"shown"`
	Of    int `json:"of"`
}

// showing is what one tail shows.
type showing struct {
	rate     int
	contains []byte // lower case; empty: everything

	shown, of int // in the second that runs
}

// arrived is what a tail brought at once.
type arrived struct {
	dead bool
	recs []event.Record
}

func (a *API) tail(w http.ResponseWriter, r *http.Request) error {
	if err := a.hasTable(w, r); err != nil {
		return err
	}
	show, err := showingOf(r)
	if err != nil {
		return err
	}
	a.active.Add(-1) // it is not a request that will be done with
	defer a.active.Add(1)
	defer a.tails.Add(-1)
	if a.tails.Add(1) > maxTails {
		return &Problem{Status: http.StatusServiceUnavailable, Code: "too_many_streams", Detail: fmt.Sprintf("%d tails are open, the most there may be", maxTails), retryAfter: 5 * time.Second}
	}
	ctx, stop := context.WithCancel(r.Context())
	ready, done, news := make(chan struct{}), make(chan struct{}), make(chan arrived)
	var failed error
	go func() {
		defer close(done)
		failed = a.deps.Tail.Tail(ctx, r.PathValue("stream"), func() { close(ready) }, func(dead bool, recs []event.Record) error {
			select {
			case news <- arrived{dead, recs}:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	defer func() {
		stop()
		<-done
	}()
	select {
	case <-ready:
	case <-done:
		return failed
	}
	a.sendTail(w, r, show, news, done)
	return nil
}

// sendTail sends what the tail brings until one side ends.
func (a *API) sendTail(w http.ResponseWriter, r *http.Request, show *showing, news <-chan arrived, done <-chan struct{}) {
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // nginx would hold events back
	s := &sender{w: w, ctrl: http.NewResponseController(w), timeout: a.cfg.Timeout}
	w.WriteHeader(http.StatusOK)
	second := time.NewTicker(time.Second)
	defer second.Stop()
	beat := time.NewTicker(a.cfg.Heartbeat)
	defer beat.Stop()
	out := []byte("event: open\ndata: {}\n\n")
	for {
		if len(out) > 0 && s.send(out) != nil {
			return // the client is gone
		}
		select {
		case <-r.Context().Done():
			return
		case <-a.closing.Done():
			return
		case <-done: // the log went away: the client asks again
			return
		case now := <-beat.C:
			if !a.stillIn(w, r) {
				return // the key was revoked, or the session ended
			}
			out = fmt.Appendf(nil, "event: heartbeat\ndata: {\"at\":%q}\n\n", now.UTC().Format(time.RFC3339Nano))
		case n := <-news:
			out = show.events(n)
		case <-second.C:
			out = show.second()
		}
	}
}

// events writes what is to be shown of a batch.
func (s *showing) events(n arrived) []byte {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	for i := range n.recs {
		rec := &n.recs[i]
		if len(s.contains) > 0 && !bytes.Contains(bytes.ToLower(rec.Value), s.contains) {
			continue
		}
		if s.of++; s.shown >= s.rate {
			continue
		}
		s.shown++
		out.WriteString("event: event\ndata: ")
		if enc.Encode(tailedOf(rec, n.dead)) != nil { // a struct of texts and numbers: it does not fail
			return nil
		}
		out.WriteByte('\n')
	}
	return out.Bytes()
}

// second ends a second: it says so when not everything was shown.
func (s *showing) second() []byte {
	was := sampled{s.shown, s.of}
	s.shown, s.of = 0, 0
	if was.Shown == was.Of {
		return nil
	}
	return fmt.Appendf(nil, "event: sampled\ndata: {\"shown\":%d,\"of\":%d}\n\n", was.Shown, was.Of)
}

func tailedOf(rec *event.Record, dead bool) *tailed {
	t := &tailed{Partition: rec.Key.Partition, Offset: rec.Offset, ID: rec.ID, ReceivedAt: time.UnixMicro(rec.Received).UTC()}
	switch {
	case len(rec.Value) > maxShown:
		t.Text = strings.ToValidUTF8(string(rec.Value[:maxShown]), "") + "…"
	case json.Valid(rec.Value):
		t.Event = rec.Value
	default:
		t.Text = strings.ToValidUTF8(string(rec.Value), "\ufffd")
	}
	if dead {
		t.Dead = &tailedDead{rec.Reason, rec.Path, rec.Message}
	}
	return t
}

func showingOf(r *http.Request) (*showing, error) {
	s := &showing{rate: tailRate}
	for key, values := range r.URL.Query() {
		switch v := values[len(values)-1]; key {
		case "rate":
			n, err := strconv.Atoi(v)
			if err != nil || n < 1 || n > maxTailRate {
				return nil, problemf(http.StatusBadRequest, "bad_parameter", "rate=%s is not a number from 1 to %d", v, maxTailRate)
			}
			s.rate = n
		case "contains":
			s.contains = bytes.ToLower([]byte(v))
		default:
			return nil, unknownParameter(key, "rate", "contains")
		}
	}
	return s, nil
}
