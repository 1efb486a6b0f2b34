package emulate

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/pinflow/pinflow/internal/fault"
)

// answer is the body of the server's answer to events, or of a problem.
type answer struct {
	Accepted     int `json:"accepted"`
	DeadLettered int `json:"dead_lettered"`
	Rejected     int `json:"rejected"`
	Retry        int `json:"retry"`
	Results      []struct {
		Index  int    `json:"index"`
		Status string `json:"status"`
		Code   string `json:"code"`
	} `json:"results"`

	Code   string `json:"code"`
	Detail string `json:"detail"`
}

// attempt is what one request made known.
type attempt struct {
	fates  []byte        // of each event; unresolved ones are to be sent again
	copies int           // of the unresolved, how many may nevertheless be stored
	wait   time.Duration // the server asked for
}

func unknownFates(n, copies int) attempt {
	return attempt{fates: bytes.Repeat([]byte{unresolved}, n), copies: copies}
}

// maxAnswer bounds what is read of an answer.
const maxAnswer = 64 << 20

// post sends events once. An error means that trying again will not help.
func (e *Emulator) post(ctx context.Context, stream string, events []*made) (attempt, error) {
	req, err := e.request(ctx, stream, events)
	if err != nil {
		return attempt{}, err
	}
	n := len(events)
	resp, err := e.cfg.Client.Do(req)
	if err != nil {
		return unknownFates(n, n), nil // refused or broken: only the same ids again will tell
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return unknownFates(n, n), nil
	}
	var a answer
	parsed := json.Unmarshal(body, &a) == nil
	if parsed && a.Accepted+a.DeadLettered+a.Rejected+a.Retry > 0 {
		return a.fates(n, retryAfter(resp))
	}
	return e.plainAnswer(resp, &a, events)
}

// plainAnswer reads an answer that tells nothing of single events.
func (e *Emulator) plainAnswer(resp *http.Response, a *answer, events []*made) (attempt, error) {
	n := len(events)
	switch s := resp.StatusCode; {
	case s == http.StatusTooManyRequests, s == http.StatusServiceUnavailable && a.Code != "unknown" && a.Code != "":
		t := unknownFates(n, 0)
		t.wait = retryAfter(resp)
		return t, nil
	case s >= 500:
		t := unknownFates(n, n)
		t.wait = retryAfter(resp)
		return t, nil
	case s == http.StatusBadRequest && allRejected(events):
		return attempt{fates: bytes.Repeat([]byte{rejected}, n)}, nil
	case s < 300:
		return attempt{}, fault.New(fault.Unknown, "bad_answer", "the server answered %s without saying what became of the events", resp.Status)
	}
	return attempt{}, fault.New(fault.Config, "refused", "the server refuses the events with %s: %s %s", resp.Status, a.Code, a.Detail)
}

func allRejected(events []*made) bool {
	for _, e := range events {
		if e.want != rejected {
			return false
		}
	}
	return true
}

func (e *Emulator) request(ctx context.Context, stream string, events []*made) (*http.Request, error) {
	url, kind := e.cfg.URL+"/v1/streams/"+stream+"/events", "application/x-ndjson"
	if e.cfg.Single {
		url, kind = e.cfg.URL+"/"+stream+"/", "application/json"
	}
	size := 0
	for _, m := range events {
		size += len(m.body) + 1
	}
	body := make([]byte, 0, size)
	for _, m := range events {
		body = append(append(body, m.body...), '\n')
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("posting to %s: %w", url, err)
	}
	req.Header.Set("Content-Type", kind)
	if e.cfg.APIKey != "" {
		req.Header.Set("Authorization", "Bearer "+e.cfg.APIKey)
	}
	return req, nil
}

// fates reads what became of n events: accepted is what no result names otherwise.
func (a *answer) fates(n int, wait time.Duration) (attempt, error) {
	t := attempt{fates: bytes.Repeat([]byte{accepted}, n), wait: wait}
	for _, r := range a.Results {
		if r.Index < 0 || r.Index >= n {
			return t, fault.New(fault.Unknown, "bad_answer", "the server tells of event %d of %d", r.Index, n)
		}
		switch r.Status {
		case "accepted":
		case "dead_lettered":
			t.fates[r.Index] = dead
		case "rejected":
			t.fates[r.Index] = rejected
		case "retry":
			t.fates[r.Index] = unresolved
			if r.Code != "not_stored" {
				t.copies++
			}
		default:
			return t, fault.New(fault.Unknown, "bad_answer", "the server calls event %d %q", r.Index, r.Status)
		}
	}
	for fate, says := range map[byte]int{accepted: a.Accepted, dead: a.DeadLettered, rejected: a.Rejected, unresolved: a.Retry} {
		if got := bytes.Count(t.fates, []byte{fate}); got != says {
			return t, fault.New(fault.Unknown, "bad_answer", "the server's counts say %d events are %q, its results %d", says, string(rune(fate)), got)
		}
	}
	return t, nil
}

const maxWait = 2 * time.Second

// retryAfter is how long the server asks to wait, within reason.
func retryAfter(resp *http.Response) time.Duration {
	s, err := strconv.Atoi(resp.Header.Get("Retry-After"))
	if err != nil || s <= 0 {
		return 0
	}
	return min(time.Duration(s)*time.Second, maxWait)
}
