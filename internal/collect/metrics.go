package collect

import "github.com/prometheus/client_golang/prometheus"

// Metrics are the collector's figures.
type Metrics struct {
	events   *prometheus.CounterVec // stream, result
	bytes    *prometheus.CounterVec // stream
	append   prometheus.Histogram
	inFlight prometheus.Gauge
	refused  *prometheus.CounterVec // code
	stale    prometheus.Gauge
}

// NewMetrics registers the collector's figures.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "pinflow_collect_events_total", Help: "Events by what became of them.",
		}, []string{"stream", "result"}),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "pinflow_collect_bytes_total", Help: "Bytes of events that are durable.",
		}, []string{"stream"}),
		append: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "pinflow_collect_append_seconds", Help: "Time until the log had the events of a request.",
			Buckets: prometheus.ExponentialBuckets(0.00025, 2, 17),
		}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "pinflow_collect_in_flight_bytes", Help: "Bytes of requests in hand.",
		}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "pinflow_collect_refused_total", Help: "Requests refused as a whole.",
		}, []string{"code"}),
		stale: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "pinflow_collect_catalogue_stale", Help: "1 while the ledger does not answer and the last catalogue known is used.",
		}),
	}
	reg.MustRegister(m.events, m.bytes, m.append, m.inFlight, m.refused, m.stale)
	return m
}
