package httpapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pinflow/pinflow/internal/apikey"
)

// eventsStream pushes server-sent events: a tick for each stream that moved, at most one batch per
// pulse; a status when it changed; a heartbeat when there is nothing else. The newest state comes
// first, so that nothing is missed while a client was away; Last-Event-ID spares what it has seen.
func (a *API) eventsStream(w http.ResponseWriter, r *http.Request) error {
	news, ok := a.hub.listen()
	if !ok {
		return &Problem{Status: http.StatusServiceUnavailable, Code: "too_many_streams", Detail: fmt.Sprintf("%d event streams are open, the most there may be", a.cfg.Streams), retryAfter: 5 * time.Second}
	}
	defer a.hub.leave(news)
	a.active.Add(-1) // it is not a request that will be done with
	defer a.active.Add(1)
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // nginx would hold events back
	s := &sender{w: w, ctrl: http.NewResponseController(w), timeout: a.cfg.Timeout}
	w.WriteHeader(http.StatusOK)
	if err := s.send([]byte("retry: 1000\n\n")); err != nil {
		return nil // the client is gone
	}
	seen := a.hub.seen(r.Header.Get("Last-Event-ID"))
	beat := time.NewTicker(a.cfg.Heartbeat)
	defer beat.Stop()
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		var out []byte
		select {
		case <-r.Context().Done():
			return nil
		case <-a.hub.done:
			return nil
		case now := <-beat.C:
			if !a.stillIn(w, r) {
				return nil // the key was revoked, or the session ended
			}
			out = fmt.Appendf(nil, "event: heartbeat\ndata: {\"at\":%q}\n\n", now.UTC().Format(time.RFC3339Nano))
		case <-news:
			select { // not sooner than a pulse after the last batch
			case <-pause.C:
			case <-r.Context().Done():
				return nil
			case <-a.hub.done:
				return nil
			}
			var err error
			if out, seen, err = a.hub.batch(seen, keyOf(w)); err != nil {
				return err
			}
			pause.Reset(a.cfg.Pulse)
		}
		if len(out) == 0 {
			continue
		}
		if err := s.send(out); err != nil {
			return nil // the client is gone
		}
	}
}

// seen reads the id of the last event a client got; ids of another process count for nothing.
func (h *hub) seen(id string) int64 {
	boot, seq, ok := strings.Cut(id, "-")
	if !ok || boot != h.boot {
		return 0
	}
	n, err := strconv.ParseInt(seq, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// batch writes what is newer than seen as events, and returns the newest number among them. A key for
// some streams gets their ticks alone.
func (h *hub) batch(seen int64, key *apikey.Key) ([]byte, int64, error) {
	ticks, status := h.since(seen)
	if key != nil && len(key.Streams) > 0 {
		ticks = slices.DeleteFunc(ticks, func(t tick) bool { return !key.MayStream(t.Stream) })
		status = nil
	}
	var out bytes.Buffer
	write := func(name string, seq int64, v any) error {
		data, err := json.Marshal(v)
		if err != nil {
			return fmt.Errorf("encoding an event: %w", err)
		}
		fmt.Fprintf(&out, "event: %s\nid: %s-%d\ndata: %s\n\n", name, h.boot, max(seen, seq), data)
		seen = max(seen, seq)
		return nil
	}
	if status != nil && (len(ticks) == 0 || status.seq < ticks[0].seq) {
		if err := write("status", status.seq, status); err != nil {
			return nil, seen, err
		}
		status = nil
	}
	for i := range ticks {
		if err := write("tick", ticks[i].seq, &ticks[i]); err != nil {
			return nil, seen, err
		}
	}
	if status != nil {
		if err := write("status", status.seq, status); err != nil {
			return nil, seen, err
		}
	}
	return out.Bytes(), seen, nil
}

// sender writes to a client that has to take it in time.
type sender struct {
	w       http.ResponseWriter
	ctrl    *http.ResponseController
	timeout time.Duration
}

func (s *sender) send(b []byte) error {
	_ = s.ctrl.SetWriteDeadline(time.Now().Add(s.timeout)) // a test's recorder has none
	if _, err := s.w.Write(b); err != nil {
		return err
	}
	return s.ctrl.Flush()
}
