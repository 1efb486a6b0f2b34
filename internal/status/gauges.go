package status

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Gauges are the report as Prometheus asks for it: what a deployment is watched by.
type Gauges struct {
	report func(ctx context.Context) (*Report, error)

	mu   sync.Mutex // one report at a time
	last *Report
	at   time.Time
}

var _ prometheus.Collector = (*Gauges)(nil)

// Gauges returns the reporter's gauges. Each scrape makes a report, at most one a second.
func (r *Reporter) Gauges() *Gauges { return &Gauges{report: r.Report} }

// scrapeWait is how long a scrape waits for the report; freshFor is how long one is used again.
const (
	scrapeWait = 5 * time.Second
	freshFor   = time.Second
)

var (
	okDesc       = prometheus.NewDesc("pinflow_ok", "1 while no problem is named, as pinflow status does; 0 also when nothing can be told.", nil, nil)
	completeDesc = prometheus.NewDesc("pinflow_complete_to_timestamp_seconds", "Everything received before is in the live numbers.", []string{"stream"}, nil)
	lagDesc      = prometheus.NewDesc("pinflow_lag_seconds", "Age of what the live numbers are complete to.", []string{"stream"}, nil)
	unitDesc     = prometheus.NewDesc("pinflow_unit_lag_records", "Offsets of the stream's logs that a unit has not sealed yet.", []string{"stream", "unit"}, nil)
	holdsDesc    = prometheus.NewDesc("pinflow_conservation_ok", "1 while every offset of the stream's logs is accounted for.", []string{"stream"}, nil)
	offsetsDesc  = prometheus.NewDesc("pinflow_log_offsets", "Offsets of the stream's logs: accepted = rows + dead + duplicates + gaps + lost + in_flight; uncommitted are those of rows and dead that no lake commit has yet.", []string{"stream", "as"}, nil)
)

// Describe implements prometheus.Collector.
func (g *Gauges) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{okDesc, completeDesc, lagDesc, unitDesc, holdsDesc, offsetsDesc} {
		out <- d
	}
}

// Collect implements prometheus.Collector. What cannot be told is left out.
func (g *Gauges) Collect(out chan<- prometheus.Metric) {
	tell := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	r := g.fresh()
	if r == nil {
		tell(okDesc, 0)
		return
	}
	tell(okDesc, oneIf(r.OK))
	for i := range r.Streams {
		s := &r.Streams[i]
		if s.CompleteTo != nil {
			tell(completeDesc, float64(s.CompleteTo.UnixMicro())/1e6, s.Name)
			tell(lagDesc, *s.LagSeconds, s.Name)
		}
		for unit, lag := range s.unitLags() {
			tell(unitDesc, float64(lag), s.Name, unit)
		}
		c := s.Conservation
		tell(holdsDesc, oneIf(c.OK), s.Name)
		for as, n := range map[string]int64{
			"accepted": c.Accepted, "rows": c.Rows, "dead": c.Dead, "duplicates": c.Duplicates, "gaps": c.Gaps,
			"lost": c.Lost, "in_flight": c.InFlight, "uncommitted": c.Uncommitted,
		} {
			tell(offsetsDesc, float64(n), s.Name, as)
		}
	}
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// unitLags sums the lags of the partitions whose ends are known.
func (s *Stream) unitLags() map[string]int64 {
	lags := map[string]int64{}
	for i := range s.Partitions {
		p := &s.Partitions[i]
		for unit, u := range map[string]*Unit{"live": p.Live, "batch": p.Batch} {
			if u != nil && u.Lag != nil {
				lags[unit] += *u.Lag
			}
		}
	}
	return lags
}

// fresh is a report that is a second old at most; nil: none could be made.
func (g *Gauges) fresh() *Report {
	g.mu.Lock()
	defer g.mu.Unlock()
	if time.Since(g.at) < freshFor {
		return g.last
	}
	ctx, cancel := context.WithTimeout(context.Background(), scrapeWait)
	defer cancel()
	r, err := g.report(ctx)
	if err != nil {
		r = nil // said as pinflow_ok 0: readyz and the log tell why
	}
	g.last, g.at = r, time.Now()
	return r
}
