package status

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
)

// scraped is what a scrape gives: values by name and labels.
func scraped(t *testing.T, g *Gauges) map[string]float64 {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	if err := reg.Register(g); err != nil {
		t.Fatal(err)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			out[name] = m.GetGauge().GetValue()
		}
	}
	return out
}

func TestGaugesSayWhatTheReportSays(t *testing.T) {
	at, lag, n, m := time.Unix(1_790_000_000, 0), 2.5, int64(7), int64(5)
	g := &Gauges{report: func(context.Context) (*Report, error) {
		return &Report{OK: true, Streams: []Stream{{
			Name: "pin", CompleteTo: &at, LagSeconds: &lag,
			Conservation: Conservation{Accepted: 100, Rows: 90, Dead: 1, Duplicates: 2, InFlight: 7, Uncommitted: 3, OK: true},
			Partitions:   []Partition{{Live: &Unit{Lag: &n}, Batch: &Unit{Lag: &m}}, {Live: &Unit{}, Batch: &Unit{Lag: &m}}},
		}, {Name: "geo", Conservation: Conservation{Lost: 1}}}}, nil
	}}
	want := map[string]float64{
		"pinflow_ok": 1, "pinflow_lag_seconds pin": 2.5, "pinflow_complete_to_timestamp_seconds pin": 1_790_000_000,
		"pinflow_unit_lag_records pin batch": 10, "pinflow_unit_lag_records pin live": 7,
		"pinflow_conservation_ok geo": 0, "pinflow_conservation_ok pin": 1,
		"pinflow_log_offsets accepted pin": 100, "pinflow_log_offsets rows pin": 90, "pinflow_log_offsets dead pin": 1,
		"pinflow_log_offsets duplicates pin": 2, "pinflow_log_offsets gaps pin": 0, "pinflow_log_offsets lost pin": 0,
		"pinflow_log_offsets in_flight pin": 7, "pinflow_log_offsets uncommitted pin": 3,
		"pinflow_log_offsets accepted geo": 0, "pinflow_log_offsets rows geo": 0, "pinflow_log_offsets dead geo": 0,
		"pinflow_log_offsets duplicates geo": 0, "pinflow_log_offsets gaps geo": 0, "pinflow_log_offsets lost geo": 1,
		"pinflow_log_offsets in_flight geo": 0, "pinflow_log_offsets uncommitted geo": 0,
	}
	if diff := cmp.Diff(want, scraped(t, g)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestGaugesAreNotOKWhenNothingCanBeTold(t *testing.T) {
	g := &Gauges{report: func(context.Context) (*Report, error) { return nil, errors.New("away") }}
	if diff := cmp.Diff(map[string]float64{"pinflow_ok": 0}, scraped(t, g)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
