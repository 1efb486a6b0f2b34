package plan_test

import (
	"math"
	"testing"
	"time"

	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/metric"
	"github.com/pinflow/pinflow/internal/plan"
)

// done is a back-fill that took so many seconds of its workers.
func done(rows, days int64, seconds float64, workers int) ledger.Backfill {
	at := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	return ledger.Backfill{
		Engine: ledger.EngineKernel, State: ledger.Done, Tasks: map[string]int64{ledger.Done: days}, Read: rows, Seconds: seconds,
		ListedAt: at, FinishedAt: at.Add(time.Duration(seconds / float64(workers) * 1e9)),
	}
}

// Many days of a few rows and few days of many rows take what they took, whichever of them was measured before.
func TestEstimateIsWhatItTook(t *testing.T) {
	near := func(what string, want float64, e *plan.Estimate) {
		t.Helper()
		if e.Low > want || e.High < want || e.High > 2*want+2 {
			t.Errorf("%s: estimated %.0f to %.0f s, it takes %.0f s", what, e.Low, e.High, want)
		}
	}
	estimate := func(rows int64, days int, all ...ledger.Backfill) *plan.Estimate {
		in := input(t, func(v *metric.View) { v.Filter = "category <> 'y'" })
		in.Speed = plan.SpeedOf(all, "")
		in.Days = map[string][]lake.DayFiles{}
		for n := range days {
			day := time.Date(2020, 1, 1+n, 0, 0, 0, 0, time.UTC).Format(time.DateOnly)
			in.Days["pin"] = append(in.Days["pin"], lake.DayFiles{Day: day, Rows: rows / int64(days)})
		}
		return made(t, in).Changes[0].Backfill
	}
	small, large := done(22_000, 1100, 132, 1), done(60_000_000, 30, 20, 1)
	near("small after small", 132, estimate(22_000, 1100, small))
	near("large after large", 20, estimate(60_000_000, 30, large))
	near("large after both", 20, estimate(60_000_000, 30, large, small))
	near("small after both", 132, estimate(22_000, 1100, small, large))
	if e := estimate(60_000_000, 30, small); e.High > 300 { // a row was never measured: what is assumed of it
		t.Errorf("many rows were estimated at %.0f s by days of twenty", e.High)
	}
	near("four workers", 33, estimate(22_000, 1100, done(22_000, 1100, 132, 4)))
	if s := plan.SpeedOf([]ledger.Backfill{{Engine: ledger.EngineKernel, Tasks: map[string]int64{}}}, ""); s != (plan.Speed{}) {
		t.Errorf("nothing was done, and its speed is %+v", s)
	}
	if s := plan.SpeedOf([]ledger.Backfill{small}, ledger.EngineSpark); s != (plan.Speed{}) {
		t.Errorf("the kernel's speed was taken for that of Spark: %+v", s)
	}
	for _, all := range [][]ledger.Backfill{{done(1000, 1, 1, 1), done(10, 1, 9, 1)}, {done(1_000_000, 1, 1, 1), done(1_000_000, 100, 1, 1)}} {
		if s := plan.SpeedOf(all, ""); s.Row < 0 || s.Day < 0 || math.IsNaN(s.Row+s.Day) {
			t.Errorf("%+v", s)
		}
	}
}

// A view by another time than the event's is filled in from all days of the lake, whatever day its history begins.
func TestEstimateByOtherTime(t *testing.T) {
	in := input(t, func(v *metric.View) { v.Time, v.Grain, v.Backfill.From = "_received_at", "day", "2026-01-01" })
	if e := made(t, in).Changes[0].Backfill; e.Days != 2 || e.From != "2025-12-31" {
		t.Errorf("%+v", e)
	}
}
