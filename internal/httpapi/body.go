package httpapi

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/prometheus/client_golang/prometheus"
)

// budget bounds the bytes of bodies in memory, all requests together.
type budget struct {
	limit, used atomic.Int64
	gauge       prometheus.Gauge
}

func newBudget(limit int64, gauge prometheus.Gauge) *budget {
	b := &budget{gauge: gauge}
	b.limit.Store(limit)
	return b
}

// take reserves n bytes, or tells that there is no room.
func (b *budget) take(n int64) bool {
	if b.used.Add(n) > b.limit.Load() {
		b.used.Add(-n)
		return false
	}
	b.gauge.Add(float64(n))
	return true
}

func (b *budget) give(n int64) {
	b.used.Add(-n)
	b.gauge.Sub(float64(n))
}

// body is a request's body, whole and unpacked. release gives its memory back; bytes are not to be
// used after it.
type body struct {
	bytes []byte
	held  int64
	from  *budget
}

func (b *body) release() {
	if cap(b.bytes) <= pooled {
		keep := b.bytes[:0]
		buffers.Put(&keep)
	}
	b.bytes = nil
	b.from.give(b.held)
}

// pooled is the largest buffer that is kept for the next request.
const pooled = 1 << 20

// The pools hold what is costly to make; what is in them belongs to nobody.
var (
	buffers = sync.Pool{New: func() any { b := make([]byte, 0, 4<<10); return &b }}
	gzips   = sync.Pool{New: func() any { return new(gzip.Reader) }}
	zstds   = sync.Pool{}
)

// maxWindow is the most memory that unpacking zstd may take beside its output.
const maxWindow = 8 << 20

// readBody reads and unpacks a body within the limits on one body and on all together.
func (a *API) readBody(w http.ResponseWriter, r *http.Request) (*body, error) {
	arrived := a.coming(w)
	b, err := a.takeBody(w, r)
	if p := (*Problem)(nil); errors.As(err, &p) && (p.Status == http.StatusRequestEntityTooLarge || p.Status == http.StatusTooManyRequests) {
		drain(r, 4*a.cfg.Body)
	}
	arrived()
	if err != nil {
		return nil, err
	}
	a.received(w)
	return b, nil
}

// drain lets the rest of a body that is not taken pass by, unless it is far too large: many clients
// send all of a body before they read, and would find the connection cut instead of the reason.
func drain(r *http.Request, most int64) {
	if r.ContentLength <= most {
		_, _ = io.CopyN(io.Discard, r.Body, most) // whatever happens, the answer is the same
	}
}

func (a *API) takeBody(w http.ResponseWriter, r *http.Request) (*body, error) {
	if r.ContentLength > a.cfg.Body {
		return nil, tooLarge(a.cfg.Body)
	}
	packed := http.MaxBytesReader(w, r.Body, a.cfg.Body)
	in, done, err := unpack(packed, r.Header.Values("Content-Encoding"))
	if err != nil {
		return nil, err
	}
	defer done()
	b := &body{bytes: (*buffers.Get().(*[]byte))[:0], from: a.bodies}
	if err := b.fill(in, a.cfg.Body, r.ContentLength); err != nil {
		b.release()
		return nil, bodyProblem(err, a.cfg.Body, encoding(r.Header.Values("Content-Encoding")))
	}
	return b, nil
}

var (
	errOverBody   = errors.New("the body is over the limit")
	errOverBudget = errors.New("the bodies in memory are over the limit")
)

// fill reads all of in; hint is its length as announced, or negative.
func (b *body) fill(in io.Reader, limit, hint int64) error {
	grow := func(size int64) error {
		if more := size - b.held; more > 0 {
			if !b.from.take(more) {
				return errOverBudget
			}
			b.held += more
		}
		return nil
	}
	if err := grow(max(int64(cap(b.bytes)), min(hint+1, limit+1))); err != nil {
		return err
	}
	if int64(cap(b.bytes)) < b.held {
		b.bytes = make([]byte, 0, b.held)
	}
	for {
		if len(b.bytes) == cap(b.bytes) {
			size := min(2*int64(cap(b.bytes)), limit+1)
			if err := grow(size); err != nil {
				return err
			}
			b.bytes = append(make([]byte, 0, size), b.bytes...)
		}
		n, err := in.Read(b.bytes[len(b.bytes):cap(b.bytes)])
		b.bytes = b.bytes[:len(b.bytes)+n]
		if int64(len(b.bytes)) > limit {
			return errOverBody
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// encoding is the name of a body's content encoding, "" when it has none.
func encoding(values []string) string {
	name := strings.ToLower(strings.TrimSpace(strings.Join(values, ",")))
	if name == "identity" {
		return ""
	}
	return name
}

// unpack undoes the content encoding.
func unpack(in io.Reader, encodings []string) (io.Reader, func(), error) {
	name := encoding(encodings)
	switch name {
	case "":
		return in, func() {}, nil
	case "gzip", "x-gzip":
		z, _ := gzips.Get().(*gzip.Reader)
		if err := z.Reset(in); err != nil {
			gzips.Put(z)
			return nil, nil, bodyProblem(err, 0, name)
		}
		return z, func() { gzips.Put(z) }, nil
	case "zstd":
		z, _ := zstds.Get().(*zstd.Decoder)
		if z == nil {
			var err error
			if z, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow)); err != nil {
				return nil, nil, fmt.Errorf("making a zstd reader: %w", err)
			}
		}
		if err := z.Reset(in); err != nil {
			return nil, nil, bodyProblem(err, 0, name)
		}
		return z, func() {
			if z.Reset(nil) == nil {
				zstds.Put(z)
			}
		}, nil
	}
	return nil, nil, problemf(http.StatusUnsupportedMediaType, "unsupported_encoding", "Content-Encoding %q is not taken: send gzip, zstd or none", name)
}

func tooLarge(limit int64) *Problem {
	return problemf(http.StatusRequestEntityTooLarge, "body_too_large", "the body is larger than the limit of %d bytes (limits.body), as sent or unpacked: send fewer events at a time", limit)
}

func overCapacity(why string) *Problem {
	return &Problem{Status: http.StatusTooManyRequests, Code: "over_capacity", Detail: why + "; nothing of this request was stored", retryAfter: defaultRetry}
}

// bodyProblem says what is wrong with a body that could not be read, unpacked or held.
func bodyProblem(err error, limit int64, packed string) error {
	var over *http.MaxBytesError
	var p *Problem
	switch {
	case errors.As(err, &p):
		return p
	case errors.As(err, &over), errors.Is(err, errOverBody):
		return tooLarge(limit)
	case errors.Is(err, errOverBudget):
		return overCapacity("the server has as many events in hand as it may")
	case errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrDecoderSizeExceeded):
		return problemf(http.StatusRequestEntityTooLarge, "body_too_large", "the zstd window is larger than %d bytes", maxWindow)
	}
	var timeout interface{ Timeout() bool }
	if errors.As(err, &timeout) && timeout.Timeout() {
		return problemf(http.StatusRequestTimeout, "body_too_slow", "the body did not arrive in time; nothing of it was stored")
	}
	short := errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF)
	switch {
	case short && packed != "":
		return problemf(http.StatusBadRequest, "malformed_body", "the body is cut short, or is no %s as its Content-Encoding says; nothing of it was stored", packed)
	case short:
		return problemf(http.StatusBadRequest, "malformed_body", "the body is shorter than it was said to be; nothing of it was stored")
	case packed != "":
		return problemf(http.StatusBadRequest, "malformed_body", "the body cannot be unpacked as %s, its Content-Encoding: %v", packed, err)
	}
	return problemf(http.StatusBadRequest, "malformed_body", "the body cannot be read: %v", err)
}

// mediaType is the body's type without parameters, "" when none is named.
func mediaType(r *http.Request) (string, error) {
	text := r.Header.Get("Content-Type")
	if text == "" {
		return "", nil
	}
	if text == "application/json" || text == "application/x-ndjson" {
		return text, nil
	}
	name, params, err := mime.ParseMediaType(text)
	if err != nil {
		return "", problemf(http.StatusUnsupportedMediaType, "unsupported_type", "Content-Type %q cannot be read", text)
	}
	if charset := params["charset"]; charset != "" && !strings.EqualFold(charset, "utf-8") && !strings.EqualFold(charset, "utf8") && !strings.EqualFold(charset, "us-ascii") {
		return "", problemf(http.StatusUnsupportedMediaType, "unsupported_type", "the charset %q is not taken: send UTF-8", charset)
	}
	return name, nil
}
