package simtest

import (
	"path/filepath"
	"time"

	"github.com/pinflow/pinflow/internal/days"
	schema "github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/icelake"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/span"
	"github.com/pinflow/pinflow/internal/sqlledger"
)

// answers notes when events were answered accepted.
type answers map[string]time.Time

// note looks for events that were accepted since; call it whenever something was sent.
func (a answers) note(w *world) {
	if len(a) == len(w.truth) {
		return
	}
	for id := range w.truth {
		if _, known := a[id]; !known {
			a[id] = time.Now()
		}
	}
}

// compareDays opens the stores of a stopped app and wants every event that was answered before a
// complete day's end and grace and wait to lie below the day's cut, which live and lake had reached
// when it landed. Events of other days too: the cut is one of the log.
func (w *world) compareDays(answered answers) {
	ctx := w.t.Context()
	led, err := sqlledger.Open(ctx, filepath.Join(w.dir, "ledger.db"), w.log)
	if err != nil {
		w.t.Fatal(err)
	}
	defer led.Close()
	all, err := led.Days(ctx, "pin", 400)
	if err != nil {
		w.t.Fatal(err)
	}
	type place struct {
		key    span.Key
		offset int64
	}
	at := map[string]place{}
	lk, err := icelake.Open(ctx, icelake.Config{Warehouse: filepath.Join(w.dir, "lake", "warehouse"), Catalog: filepath.Join(w.dir, "lake", "catalog.db"), Log: w.log})
	if err != nil {
		w.t.Fatal(err)
	}
	defer lk.Close()
	columns := []string{schema.ColumnEventID, schema.ColumnLog, schema.ColumnPartition, schema.ColumnOffset}
	_, err = lk.Scan(ctx, lake.Selection{Table: "pin", Columns: columns}, func(b *lake.Block) error {
		id, log := &b.Cols[b.Index(schema.ColumnEventID)], &b.Cols[b.Index(schema.ColumnLog)]
		part, offset := &b.Cols[b.Index(schema.ColumnPartition)], &b.Cols[b.Index(schema.ColumnOffset)]
		for i := range b.N {
			at[string(id.Text(i))] = place{span.Key{Log: span.Log(log.Ints[i]), Partition: int32(part.Ints[i])}, offset.Ints[i]}
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	landed, below := 0, 0
	for _, d := range all {
		if d.LandedAt.IsZero() || d.Zone != "UTC" {
			continue
		}
		date, err := time.Parse(time.DateOnly, d.Date)
		if err != nil {
			w.t.Fatal(err)
		}
		landed++
		until := date.Add(24*time.Hour + 10*time.Minute + days.Wait) // the built-in stream's grace
		if d.CutAt.Before(until) || d.LandedAt.Before(d.CutAt) {
			w.t.Errorf("day %s was cut at %v and landed at %v, before %v", d.Date, d.CutAt, d.LandedAt, until)
		}
		for id, when := range answered {
			if !when.Before(until) {
				continue
			}
			below++
			if p, ok := at[id]; !ok || p.offset >= d.Cut[p.key] {
				w.t.Errorf("event %s, answered at %v, is at %+v, not below the cut %v of %s", id, when, p, d.Cut, d.Date)
			}
		}
	}
	if long := w.lived(answered); long > 26*time.Hour && (landed == 0 || below == 0) {
		w.t.Errorf("after %v no day is complete: %+v", long, all)
	}
	w.t.Logf("%d days complete, %d events below their cuts", landed, below)
	sums, err := led.AuditSums(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	looked := int64(0)
	for version, s := range sums {
		if looked += s.Days; s.WrongDays > 0 {
			w.t.Errorf("of version %d the background audit found %+v", version, s.Wrong)
		}
	}
	if landed > 0 && looked == 0 {
		w.t.Errorf("%d days are complete, and the background audit looked at none", landed)
	}
	w.t.Logf("%d closed days of views compared with the lake in the background", looked)
}

// lived is the time between the first and the last answer.
func (w *world) lived(answered answers) time.Duration {
	var first, last time.Time
	for _, at := range answered {
		if first.IsZero() || at.Before(first) {
			first = at
		}
		if at.After(last) {
			last = at
		}
	}
	return last.Sub(first)
}
