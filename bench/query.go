package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/pinflow/pinflow/internal/calendar"
	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/fold"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/metric"
	"github.com/pinflow/pinflow/internal/segment"
	"github.com/pinflow/pinflow/internal/sqlledger"
)

var queryBench = bench{
	name: "query", title: "queries over 90 days of 1,000 values",
	how: "The real binary on a ledger that holds, of a view with 1,000 values of one dimension, every value in every hour of 90 days (2.2 M states) and in every minute of the last two hours, and, of a view with a distinct count, 365 days of 20 values with 3,000 people each; the binary's own compactor has rolled them up. One client asks over HTTP, one question after the other, to the last byte of the answer; the cold figure is the first answer after the start.",
	run: runQuery,
}

const (
	queryDays   = 90
	queryValues = 1000
	queryAsks   = 150
)

var queryProject = map[string]string{
	"pinflow.yaml":     "version: 1\n",
	"streams/pin.yaml": "version: 1\nname: pin\nevent_time: event_time\nfields: [{name: value, type: string}, {name: likes, type: long}, {name: who, type: long}]\n",
	"metrics/wide.yaml": "version: 1\nname: wide\nstream: pin\nkeep: {hour: forever}\ndimensions: [{name: value}]\n" +
		"measures: [{name: posted, agg: count}, {name: likes, agg: sum, expr: likes}, {name: best, agg: max, expr: likes}]\n",
	"metrics/people.yaml": "version: 1\nname: people\nstream: pin\ndimensions: [{name: value}]\n" +
		"measures: [{name: visitors, agg: count_distinct_approx, expr: who}]\n",
}

// asked is a question of the bench.
type asked struct {
	what   string
	params url.Values
	target float64 // ms, of p99
	rows   int
}

func questions() []asked {
	return []asked{
		{"totals of 1,000 values over 90 days", url.Values{"view": {"wide"}, "measures": {"posted,likes"}, "by": {"value"}, "from": {"now-90d/d"}, "order": {"-posted"}}, 100, queryValues},
		{"top 10 + other by hour over 90 days", url.Values{"view": {"wide"}, "measures": {"posted"}, "by": {"value"}, "grain": {"hour"}, "limit": {"10"}, "from": {"now-90d/d"}}, 100, 11 * 24 * queryDays},
		{"top 10 + other by day over 90 days", url.Values{"view": {"wide"}, "measures": {"posted,likes"}, "by": {"value"}, "grain": {"day"}, "limit": {"10"}, "from": {"now-90d/d"}}, 0, 11 * queryDays},
		{"last hour by minute, top 10 + other", url.Values{"view": {"wide"}, "measures": {"posted"}, "by": {"value"}, "grain": {"minute"}, "limit": {"10"}, "from": {"now-1h"}}, 0, 11 * 59},
		{"distinct over a year, one number", url.Values{"view": {"people"}, "from": {"now-365d/d"}}, 0, 1},
		{"distinct over a year by day and value", url.Values{"view": {"people"}, "by": {"value"}, "grain": {"day"}, "from": {"now-365d/d"}}, 0, 20 * 364},
	}
}

func runQuery(ctx context.Context, e *env) ([]figure, error) {
	project, data := filepath.Join(e.dir, "project"), filepath.Join(e.dir, "data")
	for name, text := range queryProject {
		path := filepath.Join(project, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return nil, err
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	setting := settingOfProject + filepath.Join(project, "pinflow.yaml")
	s, err := e.up(ctx, data, setting) // it makes the ledger and the catalogue
	if err == nil {
		err = s.stop()
	}
	if err != nil {
		return nil, err
	}
	start := time.Now()
	if err := fillLedger(ctx, filepath.Join(data, "ledger.db")); err != nil {
		return nil, err
	}
	e.say("filled in %s", time.Since(start).Round(time.Second))
	if s, err = e.up(ctx, data, setting); err != nil {
		return nil, err
	}
	figures, err := askAll(ctx, e, s)
	if err != nil {
		return nil, errors.Join(err, s.kill())
	}
	return figures, s.stop()
}

// fillLedger puts the states into the finest tier that keeps them, as a flush and a roll-up would.
func fillLedger(ctx context.Context, path string) error {
	db, err := sqlledger.Open(ctx, path, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer db.Close() //nolint:errcheck // what was written is committed
	snap, err := db.Load(ctx)
	if err != nil {
		return err
	}
	f := filler{db: db, rnd: rand.New(rand.NewPCG(1, 2)), now: time.Now()}
	if f.codec, err = segment.NewCodec(); err != nil {
		return err
	}
	if f.lease, err = db.Acquire(ctx, "fill", "bench", time.Minute); err != nil {
		return err
	}
	for _, v := range snap.Views {
		if v.Stream != "pin" || len(v.Versions) == 0 {
			continue
		}
		schema, err := event.Compile(snap.Streams[slices.IndexFunc(snap.Streams, func(s ledger.Stream) bool { return s.Name == "pin" })].Schemas[0].Definition, 1)
		if err != nil {
			return err
		}
		f.version = v.Versions[0].ID
		if f.c, err = metric.CompileStored(v.Versions[0].Definition, v.Metadata, schema); err != nil {
			return err
		}
		if err := f.fill(ctx, v.Name); err != nil {
			return err
		}
	}
	return db.Release(ctx, f.lease)
}

type filler struct {
	db      *sqlledger.DB
	codec   *segment.Codec
	lease   ledger.Lease
	rnd     *rand.Rand
	now     time.Time
	c       *metric.Compiled
	version int64
}

func (f *filler) fill(ctx context.Context, view string) error {
	today := f.now.UTC().Truncate(24 * time.Hour)
	if view == "people" {
		for d := range 365 {
			if err := f.add(ctx, calendar.Day, today.AddDate(0, 0, -d-1), 24*time.Hour, 1, 20, 3000); err != nil {
				return err
			}
		}
		return nil
	}
	for d := range queryDays {
		if err := f.add(ctx, calendar.Hour, today.AddDate(0, 0, -d-1), time.Hour, 24, queryValues, 2); err != nil {
			return err
		}
	}
	return f.add(ctx, calendar.Minute, f.now.Add(-2*time.Hour).Truncate(time.Minute), time.Minute, 120, queryValues, 1)
}

// add folds so many events of each value in each of so many buckets.
func (f *filler) add(ctx context.Context, tier calendar.Grain, from time.Time, step time.Duration, buckets, values, events int) error {
	folder := fold.New(f.c)
	d := f.c.Schema.NewDecoder(f.c.Columns(f.c.Schema))
	for b := range buckets {
		at := from.Add(time.Duration(b) * step)
		for v := range values {
			for range events {
				text := fmt.Sprintf(`{"event_time":%q,"value":"value %d","likes":%d,"who":%d}`, at.Format(time.RFC3339), v, f.rnd.IntN(1000), f.rnd.IntN(2_000_000))
				if verdict := d.Append(&event.Record{Value: []byte(text), Received: at.UnixMicro()}); verdict.Dead() {
					return fmt.Errorf("an event of the bench is dead: %s", verdict.Message)
				}
			}
		}
		if err := folder.Add(d.Rows()); err != nil {
			return err
		}
		d.Reset()
	}
	merged, err := fold.Regroup(f.c, fold.Everything(f.c, tier), folder.Take()...)
	if err != nil {
		return err
	}
	var out []ledger.Segment
	for _, st := range merged.Split(fold.MaxBlock, calendar.NewClock(f.c.Zone).Date) {
		data, err := f.codec.Encode(st)
		if err != nil {
			return err
		}
		first, last := st.Range()
		out = append(out, ledger.Segment{Version: f.version, Tier: tier.String(), From: first, To: last, Rows: int64(st.N), Source: ledger.SourceCompacted, Data: data})
	}
	for len(out) > 0 {
		n := min(len(out), 3)
		if err := f.db.Replace(ctx, f.lease, ledger.Compacted, nil, out[:n]); err != nil {
			return err
		}
		out = out[n:]
	}
	return f.db.Renew(ctx, f.lease, time.Minute)
}

// askAll waits until everything is rolled up, then asks each question again and again.
func askAll(ctx context.Context, e *env, s *server) ([]figure, error) {
	var out []figure
	for _, q := range questions() {
		took, err := s.question(ctx, q)
		if err != nil {
			return nil, err
		}
		out = append(out, fact(q.what+", cold", float64(took.Microseconds())/1000, "ms"))
	}
	if err := s.rolledUp(ctx); err != nil {
		return nil, err
	}
	for _, q := range questions() {
		var delays []time.Duration
		for range queryAsks {
			took, err := s.question(ctx, q)
			if err != nil {
				return nil, err
			}
			delays = append(delays, took)
		}
		slices.Sort(delays)
		e.say("%s: p50 %.1f ms", q.what, quantile(delays, 0.5))
		out = append(out, fact(q.what+", p50", quantile(delays, 0.5), "ms"))
		if q.target > 0 {
			out = append(out, most(q.what+", p99", quantile(delays, 0.99), "ms", q.target))
		} else {
			out = append(out, fact(q.what+", p99", quantile(delays, 0.99), "ms"))
		}
	}
	return out, nil
}

// question asks once and wants about as many rows as there are.
func (s *server) question(ctx context.Context, q asked) (time.Duration, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.addr+"/v1/query?"+q.params.Encode(), nil)
	if err != nil {
		return 0, err
	}
	start := time.Now()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end
	body, err := io.ReadAll(resp.Body)
	took := time.Since(start)
	if err != nil {
		return 0, err
	}
	var answer struct{ Rows []json.RawMessage }
	if resp.StatusCode == http.StatusOK {
		err = json.Unmarshal(body, &answer)
	}
	if n := len(answer.Rows); err != nil || n < q.rows || n > q.rows*3/2+1000 {
		return 0, fmt.Errorf("%s: %s, %d rows, want about %d: %w: %.200s", q.what, resp.Status, n, q.rows, err, body)
	}
	return took, nil
}

// rolledUp waits until the number of segments stands still for a while.
func (s *server) rolledUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	last, since := "", time.Now()
	for time.Since(since) < 5*time.Second {
		var r struct {
			Ledger struct {
				Segments map[string]int64 `json:"segments"`
			} `json:"ledger"`
		}
		if err := s.ask(ctx, "/v1/status", &r); err != nil {
			return err
		}
		if now := fmt.Sprint(r.Ledger.Segments); now != last || r.Ledger.Segments["day"] < 365+queryDays {
			last, since = now, time.Now()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for the roll-up: %w: %s", ctx.Err(), last)
		case <-time.After(100 * time.Millisecond):
		}
	}
	return nil
}
