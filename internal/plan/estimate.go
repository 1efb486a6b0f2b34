package plan

import (
	"cmp"
	"math"
	"time"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/metric"
)

// Estimate is what filling in a history takes.
type Estimate struct {
	Engine string  `json:"engine"`
	From   string  `json:"from,omitempty"` // first and last day
	To     string  `json:"to,omitempty"`
	Days   int     `json:"days"`
	Rows   int64   `json:"rows"`
	Bytes  int64   `json:"bytes"`
	Low    float64 `json:"low_seconds"`
	High   float64 `json:"high_seconds"`
}

// Speed is how fast back-fills go: what a row and what a day take of a worker's time, for many days of a few rows
// take another time than few days of many; and how many workers there were. The zero value was never measured.
type Speed struct {
	Row, Day float64 // seconds
	Workers  float64
}

// assumed is the speed of an engine before there is a measurement.
func assumed(engine string) Speed {
	if engine == ledger.EngineSpark {
		return Speed{Row: 1.0 / 500_000, Day: 3, Workers: 1}
	}
	return Speed{Row: 1.0 / 500_000, Day: 0.05, Workers: 1}
}

// Measuring: the newest back-fills count, those of some seconds fully, and a little of what is assumed, without
// which one back-fill would not tell rows from days.
const (
	measured    = 20
	fullSeconds = 10
	prior       = 0.01
)

// SpeedOf measures the back-fills that an engine did, newest first: the least squares of the relative errors.
func SpeedOf(all []ledger.Backfill, engine string) Speed {
	engine = cmp.Or(engine, ledger.EngineKernel)
	base := assumed(engine)
	rr, rd, dd, r1, d1 := prior, 0.0, prior, prior, prior // of unknowns in units of what is assumed
	n := 0
	var workers float64
	for i := range all {
		b := &all[i]
		if b.Engine != engine || b.Tasks[ledger.Done] == 0 || b.Seconds <= 0 || n == measured {
			continue
		}
		n++
		row, day := float64(b.Read)*base.Row/b.Seconds, float64(b.Tasks[ledger.Done])*base.Day/b.Seconds
		w := min(1, b.Seconds/fullSeconds)
		rr, rd, dd, r1, d1 = rr+w*row*row, rd+w*row*day, dd+w*day*day, r1+w*row, d1+w*day
		if took := b.FinishedAt.Sub(b.ListedAt).Seconds(); workers == 0 && !b.FinishedAt.IsZero() && took > 0 {
			workers = max(1, b.Seconds/took)
		}
	}
	if n == 0 {
		return Speed{}
	}
	det := rr*dd - rd*rd // positive, thanks to the prior
	row, day := (r1*dd-d1*rd)/det, (d1*rr-r1*rd)/det
	switch { // neither takes time back
	case row < 0:
		row, day = 0, d1/dd
	case day < 0:
		row, day = r1/rr, 0
	}
	return Speed{Row: row * base.Row, Day: day * base.Day, Workers: max(1, workers)}
}

// seconds is how long so much takes.
func (s Speed) seconds(rows int64, days int) float64 {
	return (float64(rows)*s.Row + float64(days)*s.Day) / max(1, min(s.Workers, float64(days)))
}

// estimate counts what the lake holds of the days to be filled in. They are those that the back-fill will list: of
// a view by another time than the event's, rows of any day of the lake may be wanted.
func estimate(c *Change, in Input) *Estimate {
	e := &Estimate{Engine: cmp.Or(in.Engine, ledger.EngineKernel)}
	from := metric.HistoryFrom(c.change.Metadata)
	if c.compiled != nil && c.compiled.Time != event.ColumnEventTime {
		from = math.MinInt64
	}
	for _, d := range in.Days[c.Stream] {
		at, err := time.Parse(time.DateOnly, d.Day)
		if err != nil || at.Add(24*time.Hour).UnixMicro() <= from {
			continue
		}
		if e.From == "" {
			e.From = d.Day
		}
		e.To = d.Day
		e.Days++
		e.Rows += d.Rows
		e.Bytes += d.Bytes
	}
	speed := in.Speed
	if speed == (Speed{}) {
		speed = assumed(e.Engine)
	}
	seconds := speed.seconds(e.Rows, e.Days)
	e.Low, e.High = seconds*0.8, seconds*1.25+1
	return e
}
