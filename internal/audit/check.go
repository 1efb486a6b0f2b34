package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/ledger"
)

// lease names the background check: one process does it.
const lease = "audit"

// again is how long a day that was looked at is left alone, soon how long one that could not be.
const (
	again = 24 * time.Hour
	soon  = time.Hour
)

// Closed is the part of the ledger that the background check needs beside an audit's.
type Closed interface {
	ledger.Jobs
	Load(ctx context.Context) (*ledger.Snapshot, error)
	Days(ctx context.Context, stream string, limit int) ([]ledger.Day, error)
}

// Metrics of the background check.
type Metrics struct {
	Days        *prometheus.CounterVec // by view and result
	Differences *prometheus.CounterVec // by view
}

// NewMetrics builds and registers them.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		Days:        prometheus.NewCounterVec(prometheus.CounterOpts{Name: "pinflow_audit_days_total", Help: "Closed days of views compared with the lake, by result."}, []string{"view", "result"}),
		Differences: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "pinflow_audit_differences_total", Help: "Numbers that differ from the lake's: never expected."}, []string{"view"}),
	}
	r.MustRegister(m.Days, m.Differences)
	return m
}

// Checker audits closed days in the background, slowly, newest first.
type Checker struct {
	a      *Auditor
	log    *slog.Logger
	m      *Metrics
	led    Closed
	keeper *ledger.Keeper
	due    map[string]time.Time // view and day → not to be looked at before
	worked time.Time
	said   fault.Repeats
}

// NewChecker returns a checker that has started nothing.
func NewChecker(a *Auditor, log *slog.Logger, m *Metrics, led Closed) (*Checker, error) {
	if a.cfg.Owner == "" {
		return nil, fault.New(fault.Config, "no_owner", "the background audit needs the name of its process")
	}
	return &Checker{a: a, log: log, m: m, led: led, keeper: ledger.NewKeeper(led, a.cfg.Owner), due: map[string]time.Time{}}, nil
}

// Run checks a day at a time until ctx ends. A difference is told loudly and stops nothing: the numbers
// are there to be looked at.
func (c *Checker) Run(ctx context.Context) error {
	tick := time.NewTicker(c.a.cfg.Every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			if err := c.keeper.Release(last); err != nil {
				c.log.Info("leases run out by themselves", "error", err)
			}
			return nil
		case <-tick.C:
		}
		if err := c.pass(ctx); err != nil && ctx.Err() == nil {
			c.keeper.Forget(lease)
			if unsaid, say := c.said.Say(fault.CodeOf(err), time.Now()); say {
				c.log.Warn("the background audit is put off", "error", err, "unsaid", unsaid)
			}
		}
	}
}

func (c *Checker) pass(ctx context.Context) error {
	if c.a.cfg.GiveWay(ctx) != "" {
		return nil
	}
	if _, ok, err := c.keeper.Hold(ctx, lease); err != nil || !ok {
		return err
	}
	view, day, err := c.next(ctx)
	if err != nil || view == "" {
		return err
	}
	c.worked = time.Now()
	r, err := c.a.audit(ctx, Request{View: view, From: day}, c.pause)
	next := again
	switch {
	case ctx.Err() != nil:
		return err
	case err != nil:
		c.m.Days.WithLabelValues(view, "failed").Inc()
		c.log.Warn("a closed day could not be audited", "view", view, "day", day, "again_in", soon, "error", err)
		next = soon
	case len(r.Damaged) > 0:
		c.m.Days.WithLabelValues(view, "damaged").Inc()
		c.m.Differences.WithLabelValues(view).Add(float64(len(r.Differences) + r.More))
		c.log.Error("a closed day has segments that cannot be read: run pinflow audit", "view", view, "day", day, "segments", len(r.Damaged), "first", fmt.Sprintf("%+v", r.Damaged[0]))
	case !r.OK:
		c.m.Days.WithLabelValues(view, "different").Inc()
		c.m.Differences.WithLabelValues(view).Add(float64(len(r.Differences) + r.More))
		c.log.Error("a closed day differs from the lake: run pinflow audit", "view", view, "day", day, "differences", len(r.Differences)+r.More, "first", fmt.Sprintf("%+v", r.Differences[0]))
	case len(r.Uncovered) > 0:
		c.m.Days.WithLabelValues(view, "uncovered").Inc()
		next = soon
	default:
		c.m.Days.WithLabelValues(view, "right").Inc()
	}
	c.due[view+"/"+day] = time.Now().Add(next)
	return nil
}

// pause leaves the machine to others.
func (c *Checker) pause(ctx context.Context) error {
	rest := time.Duration(float64(time.Since(c.worked)) * (1/c.a.cfg.Share - 1))
	timer := time.NewTimer(min(rest, 2*time.Second))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
	}
	c.worked = time.Now()
	return nil
}

// daysKept bounds the days of a stream that are looked at.
const daysKept = 400

// next is a closed day that was not looked at for a while, of the view whose turn is first.
func (c *Checker) next(ctx context.Context) (view, day string, err error) {
	snap, err := c.led.Load(ctx)
	if err != nil {
		return "", "", fmt.Errorf("reading the catalogue: %w", err)
	}
	var errs []error
	for _, v := range snap.Views {
		zone := zoneOf(&v)
		if zone == "" {
			continue
		}
		days, err := c.led.Days(ctx, v.Stream, daysKept)
		errs = append(errs, err)
		for _, d := range days {
			if d.LandedAt.IsZero() || d.Zone != zone || time.Now().Before(c.due[v.Name+"/"+d.Date]) {
				continue
			}
			if day == "" || d.Date > day {
				view, day = v.Name, d.Date
			}
			break // days come newest first
		}
	}
	return view, day, errors.Join(errs...)
}

// zoneOf is the zone of the version that serves, "" when none does. A view by another time than the event's
// is left to audits on demand: each of its days may have rows in every day of the lake.
func zoneOf(v *ledger.View) string {
	for i := range v.Versions {
		var d struct {
			Time     string `json:"time"`
			TimeZone string `json:"time_zone"`
		}
		if x := &v.Versions[i]; x.State == ledger.Serving && json.Unmarshal(x.Definition, &d) == nil && d.Time == event.ColumnEventTime {
			return d.TimeZone
		}
	}
	return ""
}
