package httpapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/pinflow/pinflow/internal/fault"
)

// Problem is an error as application/problem+json says it (RFC 9457).
type Problem struct {
	Status    int            `json:"status"`
	Title     string         `json:"title"`
	Code      string         `json:"code"` // stable
	Detail    string         `json:"detail"`
	RequestID string         `json:"request_id"`
	Errors    []ProblemError `json:"errors,omitempty"`

	retryAfter time.Duration
	fates      *fates // of a refused batch
}

// ProblemError is one thing wrong with what was sent.
type ProblemError struct {
	Path       string `json:"path,omitempty"`
	Line       int    `json:"line,omitempty"`
	Message    string `json:"message"`
	Suggestion string `json:"suggestion,omitempty"`
}

// Error makes a problem an error, so that handlers return it.
func (p *Problem) Error() string { return p.Code + ": " + p.Detail }

func problemf(status int, code, format string, args ...any) *Problem {
	return &Problem{Status: status, Code: code, Detail: fmt.Sprintf(format, args...)}
}

// statusByCode is where a stable code says more than its kind.
var statusByCode = map[string]int{
	"unknown_stream":       http.StatusNotFound,
	"unknown_view":         http.StatusNotFound,
	"unknown_version":      http.StatusNotFound,
	"unknown_dashboard":    http.StatusNotFound,
	"unknown_record":       http.StatusNotFound,
	"unknown_backfill":     http.StatusNotFound,
	"unknown_group":        http.StatusNotFound,
	"backfill_state":       http.StatusConflict,
	"no_history":           http.StatusConflict,
	"unknown_key":          http.StatusNotFound,
	"body_too_large":       http.StatusRequestEntityTooLarge,
	"batch_too_large":      http.StatusRequestEntityTooLarge,
	"event_too_large":      http.StatusRequestEntityTooLarge,
	"unsupported_type":     http.StatusUnsupportedMediaType,
	"unsupported_encoding": http.StatusUnsupportedMediaType,
	"over_capacity":        http.StatusTooManyRequests,
	"log_full":             http.StatusServiceUnavailable,
	"not_stored":           http.StatusServiceUnavailable,
	"unknown":              http.StatusServiceUnavailable,
}

// statusByKind is the rest of the one table from faults to HTTP.
var statusByKind = map[fault.Kind]int{
	fault.Record:    http.StatusBadRequest,
	fault.Transient: http.StatusServiceUnavailable,
	fault.Stale:     http.StatusConflict,
	fault.Lost:      http.StatusServiceUnavailable,
	fault.Ambiguous: http.StatusServiceUnavailable,
	fault.Config:    http.StatusInternalServerError,
	fault.Corrupt:   http.StatusInternalServerError,
	fault.Unknown:   http.StatusInternalServerError,
}

// defaultRetry is how long a client is asked to wait when nothing says better.
const defaultRetry = time.Second

// problemOf turns any failure into what is said of it. What is our own fault is told by its code
// alone: its text may name hosts, paths or values.
func problemOf(err error) *Problem {
	var p *Problem
	if errors.As(err, &p) {
		return p
	}
	kind, code := fault.KindOf(err), fault.CodeOf(err)
	status, ok := statusByCode[code]
	if !ok {
		status = statusByKind[kind]
	}
	if code == "" {
		code = map[int]string{http.StatusServiceUnavailable: "unavailable", http.StatusConflict: "conflict", http.StatusBadRequest: "bad_request"}[status]
	}
	out := &Problem{Status: status, Code: code, Detail: err.Error()}
	switch status {
	case http.StatusInternalServerError:
		if code == "" {
			out.Code = "internal"
		}
		out.Detail = "something failed inside; the log of the server has it under this request id"
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		out.retryAfter = defaultRetry
	}
	var f *fault.Error
	if (status < 500 || code == "bad_segment") && errors.As(err, &f) { // which names no host and no path
		out.Detail = f.Error() // without what we were doing when it was noticed
		if f.Advice != "" {
			out.Errors = []ProblemError{{Path: f.Where, Message: f.Err.Error(), Suggestion: f.Advice}}
		}
	}
	return out
}

// writeProblem answers with a problem. Problems are never cached.
func writeProblem(w http.ResponseWriter, p *Problem, requestID string) {
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	h.Del("ETag")
	if p.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int((p.retryAfter+time.Second-1)/time.Second)))
	}
	p.RequestID, p.Title = requestID, http.StatusText(p.Status)
	w.WriteHeader(p.Status)
	var body any = p
	if p.fates != nil {
		body = struct {
			*Problem
			*fates
		}{p, p.fates}
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(body) // the client is gone: nobody is left to tell
}
