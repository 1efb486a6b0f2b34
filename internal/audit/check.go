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

// again is how long a day that was right is left alone, soon how long any other: what was set right is to be
// seen soon.
const (
	again = 24 * time.Hour
	soon  = time.Hour
)

// Closed is the part of the ledger that the background check needs beside an audit's.
type Closed interface {
	ledger.Jobs
	ledger.Audits
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
	failed map[string]time.Time // view and day → when it could not be looked at, for a reason that passes
	worked time.Time
	said   fault.Repeats
}

// NewChecker returns a checker that has started nothing.
func NewChecker(a *Auditor, log *slog.Logger, m *Metrics, led Closed) (*Checker, error) {
	if a.cfg.Owner == "" {
		return nil, fault.New(fault.Config, "no_owner", "the background audit needs the name of its process")
	}
	return &Checker{a: a, log: log, m: m, led: led, keeper: ledger.NewKeeper(led, a.cfg.Owner), failed: map[string]time.Time{}}, nil
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
	view, version, day, err := c.next(ctx)
	if err != nil || view == "" {
		return err
	}
	c.worked = time.Now()
	r, err := c.a.audit(ctx, Request{View: view, From: day}, c.pause)
	if ctx.Err() != nil {
		return err
	}
	found := outcome{view: view, DayAudit: ledger.DayAudit{Version: version, Day: day}}
	if err != nil {
		found.fails(err)
	} else {
		found.says(r)
	}
	c.tell(&found, err)
	if fault.Is(err, fault.Transient) { // what was found of the day before still holds
		c.failed[view+"/"+day] = time.Now()
		return nil
	}
	delete(c.failed, view+"/"+day)
	held, ok, err := c.keeper.Hold(ctx, lease)
	if err != nil || !ok {
		return err
	}
	return c.led.NoteAudit(ctx, held, found.DayAudit)
}

// tell counts what was found, and is loud about what is wrong.
func (c *Checker) tell(o *outcome, err error) {
	c.m.Days.WithLabelValues(o.view, o.Result).Inc()
	log := c.log.With("view", o.view, "day", o.Day)
	switch o.Result {
	case ledger.AuditFailed:
		log.Warn("a closed day could not be audited", "again_in", soon, "error", err)
	case ledger.AuditDamaged:
		log.Error("a closed day has segments that cannot be read: run pinflow audit", "segments", o.Differences, "first", o.First)
	case ledger.AuditDifferent:
		log.Error("a closed day differs from the lake: run pinflow audit", "differences", o.Differences, "first", o.First)
	}
	if o.numbers > 0 {
		c.m.Differences.WithLabelValues(o.view).Add(float64(o.numbers))
	}
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
func (c *Checker) next(ctx context.Context) (view string, version int64, day string, err error) {
	snap, err := c.led.Load(ctx)
	if err != nil {
		return "", 0, "", fmt.Errorf("reading the catalogue: %w", err)
	}
	var errs []error
	for i := range snap.Views {
		v := &snap.Views[i]
		serving, zone := audited(v)
		if zone == "" {
			continue
		}
		days, err := c.led.Days(ctx, v.Stream, daysKept)
		errs = append(errs, err)
		looked, err := c.led.DayAudits(ctx, serving)
		errs = append(errs, err)
		due := make(map[string]time.Time, len(looked))
		for i := range looked {
			due[looked[i].Day] = looked[i].At.Add(rest(looked[i].Result))
		}
		for _, d := range days {
			if d.LandedAt.IsZero() || d.Zone != zone || time.Now().Before(due[d.Date]) || time.Since(c.failed[v.Name+"/"+d.Date]) < soon {
				continue
			}
			if day == "" || d.Date > day {
				view, version, day = v.Name, serving, d.Date
			}
			break // days come newest first
		}
	}
	return view, version, day, errors.Join(errs...)
}

// rest is how long a day is left alone.
func rest(result string) time.Duration {
	if result == ledger.AuditRight {
		return again
	}
	return soon
}

// audited is the version that serves and its zone; "" when none does. A view by another time than the event's
// is left to audits on demand: each of its days may have rows in every day of the lake.
func audited(v *ledger.View) (version int64, zone string) {
	for i := range v.Versions {
		var d struct {
			Time     string `json:"time"`
			TimeZone string `json:"time_zone"`
		}
		if x := &v.Versions[i]; x.State == ledger.Serving && json.Unmarshal(x.Definition, &d) == nil && d.Time == event.ColumnEventTime {
			return x.ID, d.TimeZone
		}
	}
	return 0, ""
}
