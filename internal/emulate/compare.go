package emulate

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"math/big"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/pinflow/pinflow/internal/fault"
)

const pollEvery = 250 * time.Millisecond

// catchUp waits until lake and live have passed all that the logs hold and say that they are complete
// to a moment after the question.
func (v *verifier) catchUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, v.cfg.Wait)
	defer cancel()
	var since time.Time
	behind := "the server did not answer"
	for {
		var s status
		err := v.http.json(ctx, "/v1/status", nil, &s)
		switch {
		case err == nil:
			if since.IsZero() {
				since = s.At
			}
			if behind = v.behind(&s, since); behind == "" {
				return nil
			}
		case ctx.Err() == nil && !fault.Is(err, fault.Transient):
			return err
		case ctx.Err() == nil:
			behind = err.Error()
		}
		select {
		case <-ctx.Done():
			if ctx.Err() == context.DeadlineExceeded {
				return fault.New(fault.Unknown, "not_caught_up", "after %s: %s", v.cfg.Wait, behind).WithExit(fault.ExitNotComplete)
			}
			return context.Cause(ctx)
		case <-time.After(pollEvery):
		}
	}
}

// behind names what has not caught up, "" when everything has.
func (v *verifier) behind(s *status, since time.Time) string {
	for _, name := range v.names {
		found := false
		for i := range s.Streams {
			st := &s.Streams[i]
			if st.Name != name {
				continue
			}
			found = true
			if st.Conservation.InFlight != 0 || st.Conservation.Uncommitted != 0 {
				return fmt.Sprintf("%s: %d events are not in the lake yet", name, st.Conservation.InFlight+st.Conservation.Uncommitted)
			}
			for _, p := range st.Partitions {
				at := p.Topic + "/" + strconv.Itoa(int(p.Partition))
				switch {
				case p.Closed:
				case p.End == nil:
					return at + ": the log does not answer"
				case p.Batch == nil || p.Batch.Position < *p.End:
					return at + ": the batch unit is behind"
				case !p.Dead && (p.Live == nil || p.Live.Position < *p.End):
					return at + ": the live unit is behind"
				}
			}
			if st.CompleteTo == nil || st.CompleteTo.Before(since) {
				return name + ": not complete to " + since.Format(time.RFC3339)
			}
		}
		if !found {
			return "there is no stream " + name
		}
	}
	return ""
}

// compareCounts holds the conservation of each stream against what was answered.
func (v *verifier) compareCounts(ctx context.Context) error {
	var s status
	if err := v.http.json(ctx, "/v1/status", nil, &s); err != nil {
		return err
	}
	for i := range s.Streams {
		st := &s.Streams[i]
		t := v.streams[st.Name]
		if t == nil {
			continue
		}
		var sum conservation
		var live int64
		for _, p := range st.Partitions {
			c := &p.Conservation
			if !c.OK || c.Lost != 0 || c.Accepted != c.Rows+c.Dead+c.Duplicates+c.Gaps+c.Lost+c.InFlight {
				v.report.differ("%s/%d: counts do not add up: %+v", p.Topic, p.Partition, *c)
			}
			sum.Rows += c.Rows
			sum.Dead += c.Dead
			sum.Duplicates += c.Duplicates
			if !p.Dead && p.Live != nil {
				live += p.Live.Counts.Rows
			}
		}
		want := t.report.Accepted + t.report.Arrived
		if sum.Rows != want {
			v.report.differ("%s: the batch unit counts %d rows, %d were accepted", st.Name, sum.Rows, want)
		}
		if live != want {
			v.report.differ("%s: the live unit counts %d rows, %d were accepted", st.Name, live, want)
		}
		if d := sum.Dead - t.report.DeadLettered; d < 0 || d > t.deadMaybe {
			v.report.differ("%s: %d dead letters, %d were answered so and %d never answered", st.Name, sum.Dead, t.report.DeadLettered, t.deadMaybe)
		}
		if d := sum.Duplicates - t.report.Duplicates; d < 0 || d > t.copies && !t.unbounded {
			v.report.differ("%s: %d duplicates, %d were sent and at most %d more may have been stored", st.Name, sum.Duplicates, t.report.Duplicates, t.copies)
		}
	}
	return nil
}

// compareLake holds every day of the lake against the truth and names the events that differ.
func (v *verifier) compareLake(ctx context.Context) error {
	for _, name := range v.names {
		t := v.streams[name]
		d, err := v.http.digest(ctx, name)
		if err != nil {
			return err
		}
		seen := map[string]bool{}
		for i := range d.Days {
			day := &d.Days[i]
			seen[day.Day] = true
			want := t.days[day.Day]
			if want == nil {
				want = &dayRows{}
			}
			if ids := fmt.Sprintf("%016x%016x", want.ids[0], want.ids[1]); day.Rows != want.rows || day.IDs != ids {
				v.report.differ("%s %s: the lake holds %d rows, %d were accepted", name, day.Day, day.Rows, want.rows)
				if err := v.nameEvents(ctx, name, day.Day); err != nil {
					return err
				}
				continue
			}
			v.compareSums(name, day.Day, want, day.Longs, day.Floats)
			t.report.Days++
		}
		for _, date := range slices.Sorted(maps.Keys(t.days)) {
			if !seen[date] {
				v.report.differ("%s %s: the lake holds nothing, %d events were accepted", name, date, t.days[date].rows)
			}
		}
	}
	return nil
}

func (v *verifier) compareSums(stream, date string, want *dayRows, longs map[string]json.Number, floats map[string]float64) {
	for _, field := range slices.Sorted(maps.Keys(want.longs)) {
		w := want.longs[field]
		got, ok := new(big.Int).SetString(string(longs[field]), 10)
		if longs[field] == "" && w.Sign() == 0 { // every value is NULL
			continue
		}
		if !ok || got.Cmp(w) != 0 {
			v.report.differ("%s %s: the sum of %s is %s in the lake, %s was accepted", stream, date, field, longs[field], w)
		}
	}
	for _, field := range slices.Sorted(maps.Keys(want.floats)) {
		w := want.floats[field]
		if got, ok := floats[field]; !ok || math.Abs(got-w.sum) > 1e-9*w.abs {
			v.report.differ("%s %s: the sum of %s is %v in the lake, %v was accepted", stream, date, field, got, w.sum)
		}
	}
}

// nameEvents compares a day id by id.
func (v *verifier) nameEvents(ctx context.Context, stream, date string) error {
	held, err := v.http.ids(ctx, stream, date)
	if err != nil {
		return err
	}
	want := map[string]bool{}
	v.each(func(s string, m *made, fate byte) {
		if s == stream && m.want == accepted && dateOf(m.time) == date && (fate == accepted || fate == unresolved) {
			want[m.id()] = fate == accepted
		}
	})
	for _, id := range slices.Sorted(maps.Keys(want)) {
		if want[id] && held[id] == 0 {
			v.report.differ("%s %s: event %s was accepted and is not in the lake", stream, date, id)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(held)) {
		if !v.ours(id) {
			v.report.Foreign += int64(held[id])
		}
		if _, ours := want[id]; !ours {
			v.report.differ("%s %s: event %s is in the lake and was not accepted", stream, date, id)
		} else if held[id] > 1 {
			v.report.differ("%s %s: event %s is %d times in the lake", stream, date, id, held[id])
		}
	}
	return nil
}

// askMinutes bounds one question to the live side.
const askMinutes = 30

// compareLive holds every measure of the views by minute and all dimensions against the truth, and the
// days as a whole, which shows what lies in minutes where nothing should be.
func (v *verifier) compareLive(ctx context.Context) error {
	for _, name := range v.names {
		for _, x := range v.streams[name].views {
			n, err := v.compareView(ctx, x)
			if err != nil {
				return err
			}
			v.streams[name].report.Numbers += n
		}
	}
	return nil
}

func (v *verifier) compareView(ctx context.Context, x *expected) (n int, err error) {
	starts := map[int64]bool{}
	for at := range x.minutes {
		starts[at.time] = true
	}
	minutes := slices.Sorted(maps.Keys(starts))
	for len(minutes) > 0 {
		from, to := minutes[0], minutes[0]+askMinutes*microsPerMinute
		k, err := v.compareRange(ctx, x, x.minutes, "minute", x.spec.dims, from, to)
		if err != nil {
			return n, err
		}
		n += k
		i, _ := slices.BinarySearch(minutes, to)
		minutes = minutes[i:]
	}
	days := slices.SortedFunc(maps.Keys(x.days), func(a, b group) int { return int(a.time/microsPerDay - b.time/microsPerDay) })
	if len(days) > 0 {
		k, err := v.compareRange(ctx, x, x.days, "day", nil, days[0].time-microsPerDay, days[len(days)-1].time+2*microsPerDay)
		if err != nil {
			return n, err
		}
		n += k
	}
	return n, nil
}

func (v *verifier) compareRange(ctx context.Context, x *expected, all figures, grain string, dims []string, from, to int64) (int, error) {
	names := make([]string, len(x.spec.measures))
	for i, m := range x.spec.measures {
		names[i] = m.name
	}
	q := url.Values{
		"view": {x.spec.name}, "measures": {join(names)}, "grain": {grain}, "tz": {"UTC"},
		"from": {rfc3339(from)}, "to": {rfc3339(to)},
	}
	if len(dims) > 0 {
		q.Set("by", join(dims))
	}
	var a liveAnswer
	if err := v.http.json(ctx, "/v1/query", q, &a); err != nil {
		return 0, err
	}
	rows, err := a.index(dims, names)
	if err != nil {
		return 0, fault.New(fault.Unknown, "bad_answer", "reading the answer about %s: %w", x.spec.name, err)
	}
	n := 0
	for at, want := range all {
		if at.time < from || at.time >= to {
			continue
		}
		row, ok := rows[at]
		if !ok {
			v.report.differ("%s %s %s: nothing there, expected %s", x.spec.name, rfc3339(at.time), describe(at), tell(x.spec.measures, want))
			continue
		}
		delete(rows, at)
		for i := range x.spec.measures {
			n++
			v.compareNumber(x, want, i, row[i], at)
		}
	}
	for at, row := range rows {
		if !empty(row) {
			v.report.differ("%s %s %s: nothing expected, there is %s", x.spec.name, rfc3339(at.time), describe(at), tellRow(names, row))
		}
	}
	return n, nil
}

func (v *verifier) compareNumber(x *expected, want []figure, i int, got any, at group) {
	w, null, off := value(x.spec.measures, want, i)
	text, isNumber := number(got)
	f, err := strconv.ParseFloat(text, 64)
	switch {
	case null && got == nil:
	case !null && isNumber && err == nil && math.Abs(f-w) <= off:
	default:
		expect := plain(w)
		if null {
			expect = "null"
		}
		if got == nil {
			text = "null"
		}
		v.report.differ("%s.%s %s %s: %s, expected %s", x.spec.name, x.spec.measures[i].name, rfc3339(at.time), describe(at), text, expect)
	}
}
