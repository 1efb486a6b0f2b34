package httpapi

import (
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// Server is an http.Server of the handler with every limit set that event streams allow. The handler
// sets the time limits of bodies and answers itself, request by request.
func (a *API) Server(addr string) *http.Server {
	srv := &http.Server{
		Addr:              addr,
		Handler:           a,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(a.log.Handler(), slog.LevelDebug),
		ConnState:         (&conns{most: a.cfg.Conns, open: map[net.Conn]bool{}, metrics: a.metrics}).state,
	}
	if a.cfg.Certificate != nil {
		srv.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: a.cfg.Certificate.Get}
		srv.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: maxStreams}
	}
	return srv
}

// maxStreams is the most requests at the same time on one connection of HTTP/2.
const maxStreams = 64

// conns bounds the open connections.
type conns struct {
	most    int
	metrics *metrics

	mu   sync.Mutex
	open map[net.Conn]bool
}

func (c *conns) state(conn net.Conn, s http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch s {
	case http.StateNew:
		if len(c.open) >= c.most {
			_ = conn.Close() // nothing was read of it yet
			c.metrics.refused.Inc()
			return
		}
		c.open[conn] = true
	case http.StateClosed, http.StateHijacked:
		delete(c.open, conn)
	case http.StateActive, http.StateIdle:
		return
	}
	c.metrics.conns.Set(float64(len(c.open)))
}
