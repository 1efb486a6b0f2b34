package status

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/prove"
	"github.com/pinflow/pinflow/internal/span"
)

// source is a ledger at one moment: pin has a log of one partition, and a dead log.
type source struct {
	progress ledger.Progress
	marks    map[string]ledger.Mark
	failed   []ledger.Backfill
	audits   map[int64]ledger.AuditSum
	logs     []ledger.Log // beside them
	leases   []ledger.LeaseInfo
	ahead    time.Duration // of the clock of those who note marks
}

var (
	row    = span.Key{Log: 1}
	letter = span.Key{Log: 2}
	now    = time.Now().UTC()
)

func newSource() *source {
	return &source{
		marks: map[string]ledger.Mark{"pin": {Stream: "pin", At: now}},
		progress: ledger.Progress{
			Start: span.Vector{row: 100, letter: 0}, Live: span.Vector{row: 160}, Batch: span.Vector{row: 150, letter: 4},
			Lake:        span.Vector{row: 130, letter: 4},
			LiveCounts:  map[span.Key]ledger.Counts{row: {Rows: 55, Dead: 1, Duplicates: 2, Gaps: 2}},
			BatchCounts: map[span.Key]ledger.Counts{row: {Rows: 46, Duplicates: 2, Gaps: 2}, letter: {Dead: 4}},
		},
	}
}

func (s *source) Load(context.Context) (*ledger.Snapshot, error) {
	return &ledger.Snapshot{
		Streams: []ledger.Stream{{Name: "geo", Epoch: 1}, {Name: "pin", Epoch: 3, Schemas: []ledger.SchemaVersion{{Version: 1}, {Version: 2}}}},
		Logs: append([]ledger.Log{
			{ID: 1, Kind: ledger.KindKafka, Stream: "pin", Topic: "pin", Partitions: 1},
			{ID: 2, Kind: ledger.KindKafka, Stream: "pin", Topic: "pin.dead", Partitions: 1, Dead: true},
		}, s.logs...),
		Views: []ledger.View{{Name: "pins", Stream: "pin", Versions: []ledger.ViewVersion{
			{ID: 1, Hash: "a", State: ledger.Dropped}, {ID: 2, Hash: "b", State: ledger.Serving},
		}}},
	}, nil
}

func (s *source) Progress(context.Context) (*ledger.Progress, error) { return &s.progress, nil }

func (s *source) FailedBackfills(context.Context) ([]ledger.Backfill, error) {
	return s.failed, nil
}

func (s *source) AuditSums(context.Context) (map[int64]ledger.AuditSum, error) { return s.audits, nil }

func (s *source) Status(context.Context) (*ledger.Status, error) {
	return &ledger.Status{OpenWrites: 1, Leases: append([]ledger.LeaseInfo{{Name: "x", Holder: "h", Number: 2}}, s.leases...), NewestMarks: s.marks}, nil
}

func (s *source) CompleteTo(_ context.Context, stream string, _ ledger.Unit) (time.Time, error) {
	if stream == "geo" {
		return time.Time{}, nil
	}
	return now.Add(s.ahead - time.Second), nil
}

func ends(_ context.Context, l ledger.Log) (map[int32]int64, error) {
	return map[int32]int64{0: map[string]int64{"pin": 170, "pin.dead": 4}[l.Topic]}, nil
}

func report(t *testing.T, s *source, e Ends, missing map[string]string) *Report {
	t.Helper()
	r, err := New(s, e, func() map[string]string { return missing }, nil).Report(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// A host whose clock is ahead notes marks of a time to come: that is no negative lag.
func TestLagIsNeverNegative(t *testing.T) {
	s := newSource()
	s.ahead = time.Hour
	if pin := report(t, s, ends, nil).Streams[1]; pin.LagSeconds == nil || *pin.LagSeconds != 0 {
		t.Errorf("%+v", pin)
	}
}

func TestD1Conservation(t *testing.T) {
	r := report(t, newSource(), ends, nil)
	if !r.OK || len(r.Problems) != 0 {
		t.Fatalf("problems: %v", r.Problems)
	}
	pin := r.Streams[1]
	want := Conservation{Accepted: 70, Rows: 46, Duplicates: 2, Gaps: 2, InFlight: 20, Uncommitted: 20, OK: true}
	if d := cmp.Diff(want, pin.Partitions[0].Conservation); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(Conservation{Accepted: 4, Dead: 4, OK: true}, pin.Partitions[1].Conservation); d != "" {
		t.Error(d)
	}
	want.Accepted, want.Dead = 74, 4
	if d := cmp.Diff(want, pin.Conservation); d != "" {
		t.Error(d)
	}
	if p := pin.Partitions[0]; *p.End != 170 || p.Start != 100 || *p.Live.Lag != 10 || *p.Batch.Lag != 20 || p.Lake != 130 || p.Live.Counts.Dead != 1 {
		t.Errorf("partition %+v", p)
	}
	if pin.Partitions[1].Live != nil || !pin.Partitions[1].Dead {
		t.Errorf("dead log %+v", pin.Partitions[1])
	}
	if pin.Schema != 2 || pin.Epoch != 3 || pin.CompleteTo == nil || *pin.LagSeconds < 0.9 || len(pin.Views[0].Versions) != 1 {
		t.Errorf("stream %+v", pin)
	}
	if geo := r.Streams[0]; geo.CompleteTo != nil || geo.Mark != nil || !geo.Conservation.OK {
		t.Errorf("stream without a log %+v", geo)
	}
}

func TestD1BrokenSumsAreNamed(t *testing.T) {
	prove.Invariant(t, "D1")
	for name, spoil := range map[string]func(p *ledger.Progress){
		"batch sum": func(p *ledger.Progress) { p.BatchCounts[row] = ledger.Counts{Rows: 49} },
		"live sum":  func(p *ledger.Progress) { p.LiveCounts[row] = ledger.Counts{Rows: 61} },
		"units differ at the same offset": func(p *ledger.Progress) {
			p.Live[row], p.LiveCounts[row] = 150, ledger.Counts{Rows: 47, Duplicates: 1, Gaps: 2}
		},
		"position beyond the end": func(p *ledger.Progress) { p.Batch[row], p.BatchCounts[row] = 180, ledger.Counts{Rows: 80} },
	} {
		s := newSource()
		spoil(&s.progress)
		r := report(t, s, ends, nil)
		if r.OK || r.Streams[1].Conservation.OK || len(r.Problems) != 1 || !strings.HasPrefix(r.Problems[0], "pin/0: offsets are not accounted for") {
			t.Errorf("%s: %v", name, r.Problems)
		}
	}
	s := newSource()
	s.progress.BatchCounts[row] = ledger.Counts{Rows: 40, Lost: 10}
	r := report(t, s, ends, nil)
	if d := cmp.Diff([]string{"pin/0: 10 records are lost"}, r.Problems); d != "" {
		t.Error(d)
	}
}

func TestLogThatTakesNothingIsAProblem(t *testing.T) {
	full := func(context.Context) error { return errors.New("the disk is full") }
	r, err := New(newSource(), ends, nil, full).Report(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"the log takes no events: the disk is full"}, r.Problems); d != "" || r.OK {
		t.Error(r.OK, d)
	}
}

func TestSilentLogIsNamedOnce(t *testing.T) {
	silent := func(ctx context.Context, l ledger.Log) (map[int32]int64, error) {
		if l.Topic == "pin" {
			return nil, errors.New("no route")
		}
		return ends(ctx, l)
	}
	r := report(t, newSource(), silent, map[string]string{"pin": "topic pin does not answer: timed out"})
	if d := cmp.Diff([]string{"topic pin does not answer: no route"}, r.Problems); d != "" {
		t.Error(d)
	}
	p := r.Streams[1].Partitions[0]
	if p.End != nil || p.Batch.Lag != nil || p.Conservation.Accepted != 50 || p.Conservation.InFlight != 0 || !p.Conservation.OK {
		t.Errorf("partition %+v", p)
	}
	r = report(t, newSource(), ends, map[string]string{"pin": "partition 0 of topic pin does not answer"})
	if d := cmp.Diff([]string{"stream pin: partition 0 of topic pin does not answer"}, r.Problems); d != "" {
		t.Error(d)
	}
	s := newSource()
	s.marks["pin"] = ledger.Mark{Stream: "pin", At: now.Add(-time.Hour)}
	if r := report(t, s, ends, nil); len(r.Problems) != 1 || !strings.HasPrefix(r.Problems[0], "stream pin: no mark for 1h0m0s") {
		t.Errorf("problems %v", r.Problems)
	}
}

func TestListsAreNeverNull(t *testing.T) {
	b, err := json.Marshal(report(t, newSource(), ends, nil))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"problems", "streams", "leases", "partitions", "views", "versions", "segments", "wrong"} {
		if strings.Contains(string(b), `"`+name+`":null`) {
			t.Errorf("%s is null in %s", name, b)
		}
	}
}

func TestABackfillThatGaveUpIsAProblem(t *testing.T) {
	s := newSource()
	s.failed = []ledger.Backfill{{
		ID: 7, View: "pins", State: ledger.Failed, VersionIs: ledger.Building,
		Tasks: map[string]int64{ledger.Failed: 2, ledger.Done: 5}, Trouble: "2026-11-20: no disk",
	}}
	r := report(t, s, ends, nil)
	want := []string{"back-fill 7 of pins gave up on 2 of its days: 2026-11-20: no disk: set it right, then: pinflow backfill retry 7"}
	if d := cmp.Diff(want, r.Problems); d != "" || r.OK {
		t.Errorf("ok %v, problems (-want +got):\n%s", r.OK, d)
	}
}

// What the background audit found of the version that serves is told, and is a problem with day, bucket and what to
// do; of another version it is not.
func TestWhatTheAuditFound(t *testing.T) {
	s := newSource()
	right := ledger.AuditSum{At: now, From: "2026-11-01", To: "2026-11-21", Days: 21, Uncovered: 1, Rows: 700}
	s.audits = map[int64]ledger.AuditSum{2: right, 1: {Days: 1, WrongDays: 1, Wrong: []ledger.DayAudit{{Day: "2026-11-01", Result: ledger.AuditDifferent}}}}
	r := report(t, s, ends, nil)
	want := &Audit{At: now, From: "2026-11-01", To: "2026-11-21", Days: 21, Uncovered: 1, Rows: 700, Wrong: []WrongDay{}}
	if d := cmp.Diff(want, r.Streams[1].Views[0].Audit); d != "" || !r.OK {
		t.Errorf("ok %v, audit (-want +got):\n%s", r.OK, d)
	}
	for result, problem := range map[string]string{
		ledger.AuditDifferent: "view pins differs from the lake on 2026-11-21 (and 2 more days) in 4 numbers, first posted of x: 1 in the view, 2 in the lake: " +
			"all of it: pinflow audit pins --range 2026-11-21; if the lake is right, build the view anew: pinflow backfill start pins",
		ledger.AuditDamaged: "view pins has 4 segments of 2026-11-21 that cannot be read (and 2 more days): posted of x: 1 in the view, 2 in the lake: " +
			"all of it: pinflow audit pins --range 2026-11-21; if the lake is right, build the view anew: pinflow backfill start pins",
		ledger.AuditFailed: "view pins could not be compared with the lake on 2026-11-21 (and 2 more days): posted of x: 1 in the view, 2 in the lake: " +
			"set it right; it is tried again each hour, or now: pinflow audit pins --range 2026-11-21",
	} {
		sum := right
		sum.Differences, sum.WrongDays = 4, 3
		sum.Wrong = []ledger.DayAudit{{Day: "2026-11-21", At: now, Result: result, Differences: 4, First: "posted of x: 1 in the view, 2 in the lake"}, {Day: "2026-11-20", At: now, Result: result}}
		s.audits[2] = sum
		r := report(t, s, ends, nil)
		if d := cmp.Diff([]string{problem}, r.Problems); d != "" || r.OK {
			t.Errorf("%s: ok %v, problems (-want +got):\n%s", result, r.OK, d)
		}
		wrong := WrongDay{Day: "2026-11-21", At: now, Result: result, Differences: 4, First: "posted of x: 1 in the view, 2 in the lake"}
		if d := cmp.Diff([]WrongDay{wrong, {Day: "2026-11-20", At: now, Result: result}}, r.Streams[1].Views[0].Audit.Wrong); d != "" {
			t.Errorf("%s: wrong days (-want +got):\n%s", result, d)
		}
	}
}

// A file's log has no end to be asked for: it says how far its import is, and one that stopped is a problem.
func TestAFilesLogSaysHowFarItsImportIs(t *testing.T) {
	s := newSource()
	for id, closed := range map[span.Log]time.Time{3: now, 4: {}, 5: {}, 6: {}} {
		s.logs = append(s.logs, ledger.Log{ID: id, Kind: ledger.KindImport, Stream: "pin", Topic: "old.csv", Partitions: 1, ClosedAt: closed})
	}
	s.leases = []ledger.LeaseInfo{{Name: ledger.ImportLease(4), Expires: now.Add(time.Minute)}, {Name: ledger.ImportLease(5), Expires: now.Add(-time.Minute)}}
	r := report(t, s, ends, nil)
	got := map[int64]string{}
	for _, p := range r.Streams[1].Partitions {
		got[p.Log] = p.Import
	}
	if d := cmp.Diff(map[int64]string{1: "", 2: "", 3: ImportEnded, 4: ImportRuns, 5: ImportStopped, 6: ImportStopped}, got); d != "" {
		t.Error(d)
	}
	if len(r.Problems) != 2 || !strings.HasPrefix(r.Problems[0], "the import of old.csv into pin stopped after 0 rows") {
		t.Errorf("problems %q", r.Problems)
	}
}
