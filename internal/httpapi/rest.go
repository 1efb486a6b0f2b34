package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/pinflow/pinflow/internal/collect"
)

// emulation takes what the public user-emulation scripts post: one object, or several, whatever the
// content type says; also JSON inside a JSON string, and a form of the object's members.
func (a *API) emulation(stream string) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := mayStream(w, stream); err != nil {
			return err
		}
		o, err := optionsOf(w, r)
		if err == nil {
			err = wishes(&o, r, false)
		}
		if err != nil {
			return err
		}
		b, err := a.readBody(w, r)
		if err != nil {
			return err
		}
		defer b.release()
		text, err := b.plain(strings.HasPrefix(r.Header.Get("Content-Type"), curlDefault))
		if err != nil {
			return err
		}
		o.Form = collect.FormAuto
		res, err := a.deps.Collector.Ingest(r.Context(), stream, text, o)
		if err != nil {
			return ingestFailure(err)
		}
		return writeResult(w, res, o)
	}
}

// maxQuotes is how often JSON may be wrapped into a JSON string.
const maxQuotes = 3

var bom = []byte("\xef\xbb\xbf")

// plain takes JSON out of a JSON string, or makes an object of a form. What it makes counts as much as
// the body itself.
func (b *body) plain(form bool) ([]byte, error) {
	text := bytes.TrimSpace(bytes.TrimPrefix(bytes.TrimSpace(b.bytes), bom))
	if len(text) == 0 || text[0] != '"' && (!form || text[0] == '{' || text[0] == '[') {
		return b.bytes, nil
	}
	if err := b.hold(2 * int64(len(b.bytes))); err != nil {
		return nil, err
	}
	if text[0] != '"' {
		return ofForm(text)
	}
	for range maxQuotes {
		var inner string
		if err := json.Unmarshal(text, &inner); err != nil {
			return nil, problemf(http.StatusBadRequest, "malformed_body", "the body is not JSON: %v", err)
		}
		if text = bytes.TrimSpace([]byte(inner)); len(text) == 0 || text[0] != '"' {
			break
		}
	}
	return text, nil
}

// ofForm makes an object of a form's members, all of them texts, as the scripts' values are.
func ofForm(text []byte) ([]byte, error) {
	members := map[string]string{}
	for pair := range strings.SplitSeq(string(text), "&") {
		name, value, ok := strings.Cut(pair, "=")
		key, err := url.QueryUnescape(name)
		if err == nil {
			value, err = url.QueryUnescape(value)
		}
		if _, twice := members[key]; err != nil || !ok || key == "" || twice {
			return nil, problemf(http.StatusBadRequest, "malformed_body", "the body is neither JSON nor a form: send an object")
		}
		members[key] = value
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	err := enc.Encode(members)
	return bytes.TrimSpace(out.Bytes()), err
}

// hold books more memory for a body that is being remade.
func (b *body) hold(more int64) error {
	if !b.from.take(more) {
		return overCapacity("the server has as many events in hand as it may")
	}
	b.held += more
	return nil
}

// topics takes Kafka REST v2 bodies, {"records":[{"value":{…}}]}, and answers in their shape.
func (a *API) topics(w http.ResponseWriter, r *http.Request) error {
	stream := a.deps.Collector.StreamOf(r.PathValue("topic"))
	if err := mayStream(w, stream); err != nil {
		return err
	}
	o, err := optionsOf(w, r)
	if err != nil {
		return err
	}
	if r.URL.RawQuery != "" && r.URL.Query().Has("validate_only") {
		return problemf(http.StatusBadRequest, "bad_parameter", "validate_only is not known here, and the records would be stored: check them at /v1/streams/%s/events", stream)
	}
	if kind := r.Header.Get("Content-Type"); strings.Contains(kind, "kafka.binary") || strings.Contains(kind, "kafka.avro") || strings.Contains(kind, "kafka.protobuf") {
		return problemf(http.StatusUnsupportedMediaType, "unsupported_type", "Content-Type %q is not taken: send application/vnd.kafka.json.v2+json", kind)
	}
	b, err := a.readBody(w, r)
	if err != nil {
		return err
	}
	defer b.release()
	text, err := b.plain(false)
	if err != nil {
		return err
	}
	if err := b.hold(2 * int64(len(text))); err != nil { // its values, twice
		return err
	}
	events, n, err := restValues(text)
	if err != nil {
		return err
	}
	o.Form, o.Results = collect.FormJSON, collect.ResultsAll
	res, err := a.deps.Collector.Ingest(r.Context(), stream, events, o)
	if err != nil {
		return ingestFailure(err)
	}
	return writeOffsets(w, r, res, o, n)
}

// restValues gathers the values of Kafka REST records into one array of events. A value that is a text
// is taken for JSON inside of it; what is no JSON there stays the text that it is, and is refused
// alone. So is a record without a value.
func restValues(b []byte) (events []byte, n int, err error) {
	dec := json.NewDecoder(bytes.NewReader(bytes.TrimPrefix(bytes.TrimSpace(b), bom)))
	if err := opening(dec, '{'); err != nil {
		return nil, 0, err
	}
	seen := false
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return nil, 0, notRecords(err)
		}
		if name != "records" {
			var ignored json.RawMessage
			if err := dec.Decode(&ignored); err != nil {
				return nil, 0, notRecords(err)
			}
			continue
		}
		if seen {
			return nil, 0, notRecords(errors.New("records is there twice"))
		}
		seen = true
		if events, n, err = records(dec); err != nil {
			return nil, 0, err
		}
	}
	if _, err := dec.Token(); err != nil {
		return nil, 0, notRecords(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, 0, notRecords(errors.New("something follows it"))
	}
	if !seen {
		return nil, 0, notRecords(errors.New("it has no records"))
	}
	if n == 0 {
		return nil, 0, problemf(http.StatusBadRequest, "empty_body", "the body has no records")
	}
	return append(events, ']'), n, nil
}

func records(dec *json.Decoder) (events []byte, n int, err error) {
	if err := opening(dec, '['); err != nil {
		return nil, 0, err
	}
	events = append(events, '[')
	for ; dec.More(); n++ {
		var rec map[string]json.RawMessage
		if err := dec.Decode(&rec); err != nil {
			return nil, 0, notRecords(fmt.Errorf("record %d: %w", n, err))
		}
		if n > 0 {
			events = append(events, ',')
		}
		events = append(events, valueOf(rec["value"])...)
	}
	_, err = dec.Token()
	if err != nil {
		return nil, 0, notRecords(err)
	}
	return events, n, nil
}

// valueOf is the event in a record's value.
func valueOf(v json.RawMessage) []byte {
	if len(v) == 0 {
		return []byte("null")
	}
	if v[0] != '"' {
		return v
	}
	var inner string
	if json.Unmarshal(v, &inner) != nil || !json.Valid([]byte(inner)) {
		return v
	}
	return []byte(inner)
}

func opening(dec *json.Decoder, want json.Delim) error {
	t, err := dec.Token()
	if err != nil {
		return notRecords(err)
	}
	if t != want {
		return notRecords(fmt.Errorf("%v stands where %v should", t, want))
	}
	return nil
}

func notRecords(err error) error {
	if errors.Is(err, io.EOF) {
		err = errors.New("it ends too soon")
	}
	return problemf(http.StatusBadRequest, "malformed_body", `the body is not {"records":[{"value":{…}}]}: %v`, err)
}

// restOffset is what Kafka REST v2 says of a record. A dead-lettered one is durable, but lies in
// another topic, never in a metric: it has no offset here, and an error that says so.
type restOffset struct {
	Partition *int32  `json:"partition"`
	Offset    *int64  `json:"offset"`
	ErrorCode *int    `json:"error_code"`
	Error     *string `json:"error"`
}

// Error codes of Kafka REST.
const (
	restNotStored    = 50002 // Kafka error: send it again
	restRefused      = 42205 // the record cannot be taken as it is
	restDeadLettered = 42206 // kept as a dead letter: sending it again changes nothing
)

// writeOffsets answers as Kafka REST v2 does, but never 200 when a record failed; nor 422 when one was
// kept as a dead letter, for that says that nothing was stored.
func writeOffsets(w http.ResponseWriter, r *http.Request, res *collect.Result, o collect.Options, n int) error {
	status := resultStatus(res, false)
	if status != http.StatusAccepted && status != http.StatusMultiStatus {
		return writeResult(w, res, o)
	}
	offsets, failed := make([]restOffset, n), 0
	for i := range res.Results {
		e := &res.Results[i]
		if e.Index >= n {
			continue
		}
		switch to := &offsets[e.Index]; e.Status {
		case collect.Accepted:
			to.Partition, to.Offset = &e.Partition, &e.Offset
		default:
			code, text := restNotStored, e.Code+": "+e.Message
			switch e.Status {
			case collect.Rejected:
				code = restRefused
			case collect.DeadLettered:
				code, text = restDeadLettered, e.Code+": "+e.Path+": "+e.Message
			}
			to.ErrorCode, to.Error = &code, &text
			failed++
		}
	}
	status = http.StatusOK
	if failed > 0 {
		status = http.StatusMultiStatus
	}
	h := w.Header()
	h.Set("Pinflow-Result", resultHeader(res))
	setRetryAfter(h, res)
	kind := "application/json"
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/vnd.kafka") || strings.Contains(r.Header.Get("Accept"), "application/vnd.kafka") {
		kind = "application/vnd.kafka.v2+json"
	}
	return writeJSONAs(w, kind, status, map[string]any{"key_schema_id": nil, "value_schema_id": nil, "offsets": offsets})
}
