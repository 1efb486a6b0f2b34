package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/pinflow/pinflow/internal/collect"
	"github.com/pinflow/pinflow/internal/fault"
)

// Collector takes events. An error means that nothing of the request was stored, unless its kind is
// fault.Ambiguous. The body is not kept after the return.
type Collector interface {
	Ingest(ctx context.Context, stream string, body []byte, o collect.Options) (*collect.Result, error)
	StreamOf(topic string) string // the stream that a topic's name means
}

// eventResult is collect.EventResult as clients read it.
type eventResult struct {
	Index        int    `json:"index"`
	ID           string `json:"id,omitempty"`
	Status       string `json:"status"`
	Code         string `json:"code,omitempty"`
	Path         string `json:"path,omitempty"`
	Message      string `json:"message,omitempty"`
	RetryAfterMS int    `json:"retry_after_ms,omitempty"`
}

// ingestBody is the answer of a request that brought events.
type ingestBody struct {
	RequestID    string `json:"request_id"`
	ValidateOnly bool   `json:"validate_only,omitempty"`
	fates
}

// fates are what became of the events of a request; a problem has them, too.
type fates struct {
	Accepted     int           `json:"accepted"`
	DeadLettered int           `json:"dead_lettered"`
	Rejected     int           `json:"rejected"`
	Retry        int           `json:"retry"`
	Results      []eventResult `json:"results,omitempty"`
}

func (a *API) ingest(w http.ResponseWriter, r *http.Request) error {
	stream := r.PathValue("stream")
	if err := mayStream(w, stream); err != nil {
		return err
	}
	o, err := ingestOptions(w, r)
	if err != nil {
		return err
	}
	b, err := a.readBody(w, r)
	if err != nil {
		return err
	}
	defer b.release()
	if isForm(r, b.bytes) {
		return notTaken(curlDefault)
	}
	res, err := a.deps.Collector.Ingest(r.Context(), stream, b.bytes, o)
	if err != nil {
		return ingestFailure(err)
	}
	return writeResult(w, res, o)
}

// curlDefault is the content type of data posted by curl -d, and of a form.
const curlDefault = "application/x-www-form-urlencoded"

// isForm tells whether a body that says so is a form. What has no members, as a form has them, is what
// curl -d says of anything, and is told what is wrong with it.
func isForm(r *http.Request, b []byte) bool {
	if !strings.HasPrefix(r.Header.Get("Content-Type"), curlDefault) {
		return false
	}
	t := bytes.TrimLeft(b, " \t\r\n")
	return len(t) > 0 && !bytes.ContainsRune([]byte("{[\""), rune(t[0])) && bytes.IndexByte(t, '=') > 0
}

func notTaken(kind string) *Problem {
	return problemf(http.StatusUnsupportedMediaType, "unsupported_type", "Content-Type %q is not taken: send application/json (an object or an array) or application/x-ndjson (an object a line)", kind)
}

// optionsOf says who sends, in the words of the collector.
func optionsOf(w http.ResponseWriter, r *http.Request) (collect.Options, error) {
	o := collect.Options{Results: collect.ResultsErrors, APIKey: keyID(w), IdempotencyKey: r.Header.Get("Idempotency-Key")}
	if len(r.Header["Idempotency-Key"]) > 1 {
		return o, problemf(http.StatusBadRequest, "bad_parameter", "there is more than one Idempotency-Key: which of them names this request cannot be told")
	}
	if len(o.IdempotencyKey) > 256 {
		return o, problemf(http.StatusBadRequest, "bad_parameter", "the Idempotency-Key is longer than 256 bytes")
	}
	return o, nil
}

func ingestOptions(w http.ResponseWriter, r *http.Request) (collect.Options, error) {
	o, err := optionsOf(w, r)
	if err != nil {
		return o, err
	}
	kind, err := mediaType(r)
	if err != nil {
		return o, err
	}
	switch kind {
	case "application/json", "":
		o.Form = collect.FormJSON
	case curlDefault: // what curl -d says of anything; a real form is refused by what it holds
		o.Form = collect.FormJSON
	case "application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines":
		o.Form = collect.FormNDJSON
	default:
		return o, notTaken(kind)
	}
	return o, wishes(&o, r, true)
}

// wishes reads what the query asks of the answer. A strict path takes no other parameter; a compatible
// one leaves those alone, but never stores what it was asked only to check.
func wishes(o *collect.Options, r *http.Request, strict bool) (err error) {
	if r.URL.RawQuery == "" {
		return nil
	}
	for key, values := range r.URL.Query() {
		v := values[len(values)-1]
		switch key {
		case "results":
			if v != collect.ResultsErrors && v != collect.ResultsAll && v != collect.ResultsNone {
				return problemf(http.StatusBadRequest, "bad_parameter", "results=%s is not one of errors, all, none", v)
			}
			o.Results = v
		case "validate_only":
			if o.ValidateOnly, err = strconv.ParseBool(v); err != nil {
				return problemf(http.StatusBadRequest, "bad_parameter", "validate_only=%s is neither true nor false", v)
			}
		default:
			if strict {
				return unknownParameter(key, "results", "validate_only")
			}
		}
	}
	return nil
}

// ingestFailure makes sure that a sender can tell "nothing was stored" from "it is not known".
func ingestFailure(err error) error {
	p := problemOf(err)
	if p.Status == http.StatusServiceUnavailable && p.Code == "unavailable" {
		p.Code = "not_stored"
		if fault.Is(err, fault.Ambiguous) {
			p.Code = "unknown"
		}
	}
	if errors.Is(err, context.DeadlineExceeded) && p.Status == http.StatusInternalServerError {
		p = &Problem{Status: http.StatusServiceUnavailable, Code: "unknown", Detail: "the log did not answer in time; sending the same events again under the same ids counts once", retryAfter: defaultRetry}
	}
	return p
}

// resultStatus is the status of a result: 202 only when every event is durable.
func resultStatus(res *collect.Result, validateOnly bool) int {
	durable := res.Accepted + res.DeadLettered
	switch {
	case res.Rejected == 0 && res.Retry == 0 && validateOnly:
		return http.StatusOK
	case res.Rejected == 0 && res.Retry == 0:
		return http.StatusAccepted
	case durable == 0 && res.Retry == 0:
		return http.StatusUnprocessableEntity
	case durable == 0 && res.Rejected == 0:
		return http.StatusServiceUnavailable
	}
	return http.StatusMultiStatus
}

func writeResult(w http.ResponseWriter, res *collect.Result, o collect.Options) error {
	h := w.Header()
	h["Pinflow-Result"] = []string{resultHeader(res)}
	status := resultStatus(res, o.ValidateOnly)
	out := ingestBody{requestID(w), o.ValidateOnly, fates{res.Accepted, res.DeadLettered, res.Rejected, res.Retry, shown(res.Results)}}
	if p := refusal(status, res); p != nil {
		p.fates = &out.fates
		return p
	}
	setRetryAfter(h, res)
	h["Content-Type"] = []string{"application/json"}
	h["Cache-Control"] = []string{"no-store"}
	var buf bytes.Buffer
	if len(out.Results) == 0 && !out.ValidateOnly {
		buf.Grow(256)
		buf.Write(appendCounts(buf.AvailableBuffer(), &out))
	} else {
		enc := json.NewEncoder(&buf)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(out); err != nil {
			return fmt.Errorf("encoding the result: %w", err)
		}
	}
	w.WriteHeader(status)
	_, _ = w.Write(buf.Bytes()) // the events are durable whether or not the client hears of it
	return nil
}

func setRetryAfter(h http.Header, res *collect.Result) {
	if wait := retryAfter(res); wait > 0 {
		h.Set("Retry-After", strconv.Itoa(int((wait+time.Second-1)/time.Second)))
	}
}

func shown(list []collect.EventResult) []eventResult {
	if len(list) == 0 {
		return nil
	}
	out := make([]eventResult, len(list))
	for i := range list {
		e := &list[i]
		out[i] = eventResult{e.Index, e.ID, e.Status, e.Code, e.Path, e.Message, e.RetryAfterMS}
	}
	return out
}

// refusal is the problem of a batch of which nothing was taken.
func refusal(status int, res *collect.Result) *Problem {
	switch status {
	case http.StatusUnprocessableEntity:
		p := problemf(status, "all_rejected", "every event was refused; nothing was stored")
		for _, e := range res.Results {
			if e.Status == collect.Rejected && len(p.Errors) < 10 {
				p.Errors = append(p.Errors, ProblemError{Path: fmt.Sprintf("/%d%s", e.Index, e.Path), Message: e.Message})
			}
		}
		return p
	case http.StatusServiceUnavailable:
		p := problemf(status, "unknown", "it is not known of every event whether it was stored: sending them again under the same ids counts once")
		if res.Unknown == 0 {
			p.Code, p.Detail = "not_stored", "nothing was stored: send the same events again later"
			if res.Why != "" {
				p.Detail = "nothing was stored: " + res.Why + "; send the same events again later"
			}
		}
		p.retryAfter = max(retryAfter(res), defaultRetry)
		return p
	}
	return nil
}

func retryAfter(res *collect.Result) time.Duration {
	if res.Retry == 0 {
		return 0
	}
	wait := defaultRetry
	for _, e := range res.Results {
		wait = max(wait, time.Duration(e.RetryAfterMS)*time.Millisecond)
	}
	return wait
}

func resultHeader(res *collect.Result) string {
	b := make([]byte, 0, 64)
	b = strconv.AppendInt(append(b, "accepted="...), int64(res.Accepted), 10)
	b = strconv.AppendInt(append(b, ";dead_lettered="...), int64(res.DeadLettered), 10)
	b = strconv.AppendInt(append(b, ";rejected="...), int64(res.Rejected), 10)
	b = strconv.AppendInt(append(b, ";retry="...), int64(res.Retry), 10)
	return string(b)
}

// appendCounts is the answer without results, the one that busy clients get.
func appendCounts(b []byte, o *ingestBody) []byte {
	b = append(append(append(b, `{"request_id":"`...), o.RequestID...), `","accepted":`...)
	b = strconv.AppendInt(b, int64(o.Accepted), 10)
	b = strconv.AppendInt(append(b, `,"dead_lettered":`...), int64(o.DeadLettered), 10)
	b = strconv.AppendInt(append(b, `,"rejected":`...), int64(o.Rejected), 10)
	b = strconv.AppendInt(append(b, `,"retry":`...), int64(o.Retry), 10)
	return append(b, "}\n"...)
}

// writeJSON answers with a value that is not to be cached.
func writeJSON(w http.ResponseWriter, status int, v any) error {
	return writeJSONAs(w, "application/json", status, v)
}

func writeJSONAs(w http.ResponseWriter, kind string, status int, v any) error {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("encoding the answer: %w", err)
	}
	h := w.Header()
	h.Set("Content-Type", kind)
	if h.Get("Cache-Control") == "" {
		h.Set("Cache-Control", "no-store")
	}
	w.WriteHeader(status)
	_, _ = w.Write(buf.Bytes()) // the client is gone: nobody is left to tell
	return nil
}
