package testbed

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"testing"
)

// Trouble is what becomes of a request.
type Trouble int

// Kinds of trouble. The late ones come after the server has done what it was asked.
const (
	None Trouble = iota
	SlowDown
	Reset
	Torn // half of the answer's body
	LateError
	LateReset
	troubles
)

// Troubles are all kinds but none.
func Troubles() []Trouble {
	var all []Trouble
	for t := None + 1; t < troubles; t++ {
		all = append(all, t)
	}
	return all
}

func (t Trouble) String() string {
	return [...]string{"none", "slow_down", "reset", "torn", "late_error", "late_reset"}[t]
}

// Proxy stands before a real HTTP server and makes trouble.
type Proxy struct {
	URL string

	mu     sync.Mutex
	n      int
	decide func(n int, r *http.Request) Trouble
}

// NewProxy starts one, which lets everything through.
func NewProxy(t testing.TB, server string) *Proxy {
	t.Helper()
	to, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{decide: func(int, *http.Request) Trouble { return None }}
	forward := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { // the host stays: it is in the signature
			r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = to.Scheme, to.Host, r.In.Host
		},
		ErrorLog: nil,
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		p.n++
		trouble := p.decide(p.n, r)
		p.mu.Unlock()
		p.serve(w, r, trouble, forward)
	}))
	t.Cleanup(s.Close)
	p.URL = s.URL
	return p
}

// Make sets what becomes of the requests from now on: decide is given their number, from 1.
func (p *Proxy) Make(decide func(n int, r *http.Request) Trouble) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.n, p.decide = 0, decide
}

// Requests counts them since the last Make.
func (p *Proxy) Requests() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.n
}

const slowDown = `<?xml version="1.0" encoding="UTF-8"?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>`

func (p *Proxy) serve(w http.ResponseWriter, r *http.Request, trouble Trouble, forward http.Handler) {
	switch trouble {
	case SlowDown:
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, slowDown)
	case Reset:
		reset(w)
	case LateError, LateReset, Torn:
		rec := httptest.NewRecorder()
		forward.ServeHTTP(rec, r)
		switch body := rec.Body.Bytes(); {
		case trouble == LateError:
			w.WriteHeader(http.StatusInternalServerError)
		case trouble == Torn && len(body) > 1:
			for k, v := range rec.Header() {
				w.Header()[k] = v
			}
			w.WriteHeader(rec.Code)
			_, _ = w.Write(body[:len(body)/2])
			panic(http.ErrAbortHandler)
		default:
			reset(w)
		}
	case None, troubles:
		forward.ServeHTTP(w, r)
	}
}

// reset ends the connection as a crash does.
func reset(w http.ResponseWriter) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}
