package httpapi

import (
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// Server is an http.Server of the handler with every limit set that event streams allow. The handler
// sets the time limits of bodies and answers itself, request by request.
func (a *API) Server(addr string) *http.Server {
	return &http.Server{
		Addr:              addr,
		Handler:           a,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(a.log.Handler(), slog.LevelDebug),
		ConnState:         (&conns{most: a.cfg.Conns, open: map[net.Conn]bool{}, metrics: a.metrics}).state,
	}
}

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
