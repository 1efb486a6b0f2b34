package httpapi

import (
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are what the package counts.
type metrics struct {
	requests  *prometheus.CounterVec
	seconds   *prometheus.HistogramVec
	bodyBytes prometheus.Gauge
	listeners prometheus.Gauge
	conns     prometheus.Gauge
	refused   prometheus.Counter
	denied    *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "pinflow_http_requests_total", Help: "Requests by route and status.",
		}, []string{"route", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "pinflow_http_request_seconds", Help: "Time to answer by route.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10},
		}, []string{"route"}),
		bodyBytes: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "pinflow_http_body_bytes", Help: "Bytes of request bodies in memory.",
		}),
		listeners: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "pinflow_http_event_streams", Help: "Open event streams.",
		}),
		conns: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "pinflow_http_connections", Help: "Open connections.",
		}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "pinflow_http_connections_refused_total", Help: "Connections closed at once because too many were open.",
		}),
		denied: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "pinflow_http_denied_total", Help: "Requests refused for who asked, or whence.",
		}, []string{"code"}),
	}
	for _, c := range []prometheus.Collector{m.requests, m.seconds, m.bodyBytes, m.listeners, m.conns, m.refused, m.denied} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("registering metrics of httpapi: %w", err)
		}
	}
	return m, nil
}

// routeMetrics are a route's, its counters looked up once per status.
type routeMetrics struct {
	all     *prometheus.CounterVec
	name    string
	byCode  [600]atomic.Pointer[prometheus.Counter]
	seconds prometheus.Observer
}

func (m *metrics) route(name string) *routeMetrics {
	return &routeMetrics{all: m.requests, name: name, seconds: m.seconds.WithLabelValues(name)}
}

func (m *routeMetrics) observe(status int, took time.Duration) {
	if status < 0 || status >= len(m.byCode) {
		status = 0
	}
	c := m.byCode[status].Load()
	if c == nil {
		made := m.all.WithLabelValues(m.name, strconv.Itoa(status))
		c = &made
		m.byCode[status].Store(c)
	}
	(*c).Inc()
	m.seconds.Observe(took.Seconds())
}
