package httpapi

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/pinflow/pinflow/internal/apikey"
)

// endpoint wraps a route: who may ask, what every answer carries, and how failures are told.
func (a *API) endpoint(rt *route) http.Handler {
	label := rt.path
	if rt.method == "" {
		label = "page"
	}
	seen := a.metrics.route(label)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		rec := &recorder{ResponseWriter: w, id: newRequestID(start), route: rt}
		active := a.active.Add(1)
		defer a.active.Add(-1)
		h := w.Header()
		h["Pinflow-Request-Id"] = []string{rec.id}
		for name, value := range always {
			h[name] = value
		}
		defer func() {
			if v := recover(); v != nil {
				a.panicked(rec, r, v)
			}
			seen.observe(rec.status, time.Since(start))
		}()
		a.deadlines(w, r, start)
		err := a.admit(rt, r)
		if err == nil {
			rec.key, err = a.authorize(rt, r)
		}
		if err == nil && active > int64(a.cfg.Requests) && !rt.public {
			err = overCapacity("the server has as many requests in hand as it may")
		}
		if err == nil {
			err = rt.handle(rec, r)
		}
		if err != nil {
			a.fail(rec, r, err)
		}
	})
}

// deadlines bound how long a body may take to come and an answer to go. Whoever has read a body whole
// calls received: while a read deadline stands, the server takes its end for a client that is gone,
// and cancels the request.
func (a *API) deadlines(w http.ResponseWriter, r *http.Request, now time.Time) {
	ctrl := http.NewResponseController(w)
	_ = ctrl.SetWriteDeadline(now.Add(2 * a.cfg.Timeout)) // a writer without deadlines has no connection to protect
	if r.ContentLength != 0 {
		_ = ctrl.SetReadDeadline(now.Add(a.cfg.Timeout))
	}
}

// hurry is what a body that is still coming gets when the API closes: a client that stopped in the
// middle of one does not hold up the end.
const hurry = time.Second

// coming has a body hurry when the API closes, until what it returns is called, once.
func (a *API) coming(w http.ResponseWriter) (arrived func()) {
	hurried := make(chan struct{})
	stop := context.AfterFunc(a.closing, func() {
		defer close(hurried)
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(hurry))
	})
	return func() {
		if !stop() {
			<-hurried // it must not set a deadline after received took it away
		}
	}
}

func (a *API) received(w http.ResponseWriter) {
	ctrl := http.NewResponseController(w)
	_ = ctrl.SetReadDeadline(time.Time{})
	_ = ctrl.SetWriteDeadline(time.Now().Add(2 * a.cfg.Timeout))
}

// always is what every answer carries, in canonical form. The values are shared: they are replaced,
// never appended to.
var always = http.Header{
	"X-Content-Type-Options":       {"nosniff"},
	"Content-Security-Policy":      {"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"},
	"Referrer-Policy":              {"no-referrer"},
	"X-Frame-Options":              {"DENY"},
	"Cross-Origin-Opener-Policy":   {"same-origin"},
	"Cross-Origin-Resource-Policy": {"same-origin"},
}

// admit refuses requests that a browser was tricked into: a Host that is not ours (DNS rebinding), or
// a change asked for by another site's page.
func (a *API) admit(rt *route, r *http.Request) error {
	if !rt.anyHost && !a.hosts["*"] {
		host := r.Host
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		host = strings.ToLower(strings.Trim(host, "[]"))
		if !a.hosts[host] && !ownAddress(r, host) {
			return problemf(http.StatusForbidden, "host_not_allowed", "the host %q is not a configured name of this server; add it to its hosts", r.Host)
		}
	}
	if err := a.cross.Check(r); err != nil {
		return problemf(http.StatusForbidden, "foreign_origin", "a page of another site may not change anything here")
	}
	return nil
}

// ownAddress tells whether the host is the address at which the connection came in: no name that
// somebody else could have pointed here.
func ownAddress(r *http.Request, host string) bool {
	local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	if !ok {
		return false
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.Equal(local.IP)
}

// fail tells of a failure, unless the answer has begun: then the connection is cut, so that nobody
// takes half an answer for a whole one.
func (a *API) fail(rec *recorder, r *http.Request, err error) {
	if errors.Is(err, context.Canceled) && r.Context().Err() != nil {
		rec.status = statusClientGone
		return
	}
	p := problemOf(err)
	if p.Status >= 500 {
		if unsaid, say := a.failures.Say(p.Code, time.Now()); say {
			a.log.Warn("request failed", "request_id", rec.id, "method", r.Method, "path", r.URL.Path, "status", p.Status, "unsaid", unsaid, "err", err)
		}
	}
	if rec.status != 0 {
		panic(http.ErrAbortHandler)
	}
	if p.Status == http.StatusUnauthorized || p.Status == http.StatusForbidden {
		a.metrics.denied.WithLabelValues(p.Code).Inc()
		if p.Status == http.StatusUnauthorized && wantsPage(r) && a.deps.Access != nil {
			_ = toLogin(rec, r)
			return
		}
		challenge(rec.Header(), p)
	}
	writeProblem(rec, p, rec.id)
}

// statusClientGone is counted when nobody waits for the answer any more.
const statusClientGone = 499

// panicked keeps a mistake of ours from ending the process, and its trace from leaving the house.
func (a *API) panicked(rec *recorder, r *http.Request, v any) {
	if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(http.ErrAbortHandler)
	}
	a.log.Error("handler panicked", "request_id", rec.id, "method", r.Method, "path", r.URL.Path, "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
	if rec.status != 0 {
		panic(http.ErrAbortHandler)
	}
	writeProblem(rec, problemOf(errors.New("panic")), rec.id)
}

// recorder remembers the status that was sent and the request's id.
type recorder struct {
	http.ResponseWriter
	id     string
	status int
	route  *route
	key    *apikey.Key // nil: none was asked for
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	return r.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// requestID is the id of the request that w answers.
func requestID(w http.ResponseWriter) string {
	if r, ok := w.(*recorder); ok {
		return r.id
	}
	return ""
}

const crockford = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

// newRequestID is a ULID: 48 bits of milliseconds, 80 random ones. It names, it protects nothing.
func newRequestID(at time.Time) string {
	var b [26]byte
	ms := uint64(at.UnixMilli())
	for i := 9; i >= 0; i-- {
		b[i] = crockford[ms&31]
		ms >>= 5
	}
	lo, hi := rand.Uint64(), rand.Uint64()
	for i := 10; i < 18; i++ {
		b[i] = crockford[lo&31]
		lo >>= 5
	}
	for i := 18; i < 26; i++ {
		b[i] = crockford[hi&31]
		hi >>= 5
	}
	return string(b[:])
}
