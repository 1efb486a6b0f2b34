package status

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/span"
)

// Source is the part of the ledger that a report reads.
type Source interface {
	Load(ctx context.Context) (*ledger.Snapshot, error)
	Progress(ctx context.Context) (*ledger.Progress, error)
	Status(ctx context.Context) (*ledger.Status, error)
	CompleteTo(ctx context.Context, stream string, unit ledger.Unit) (time.Time, error)
	FailedBackfills(ctx context.Context) ([]ledger.Backfill, error)
	AuditSums(ctx context.Context) (map[int64]ledger.AuditSum, error)
}

// Ends returns the next offset of every partition of an open log. A topic that is no longer that log is an error.
type Ends func(ctx context.Context, l ledger.Log) (map[int32]int64, error)

// Reporter makes reports.
type Reporter struct {
	led     Source
	ends    Ends
	missing func() map[string]string
	takes   func(ctx context.Context) error
	lake    func(ctx context.Context) []string
}

// New returns a reporter. missing tells, by stream, why there is no newer mark (days.Unit.Missing); nil
// in a process that keeps no marks. takes tells why the log takes no events; nil where nobody knows.
func New(led Source, ends Ends, missing func() map[string]string, takes func(ctx context.Context) error) *Reporter {
	if missing == nil {
		missing = func() map[string]string { return nil }
	}
	if takes == nil {
		takes = func(context.Context) error { return nil }
	}
	return &Reporter{led: led, ends: ends, missing: missing, takes: takes}
}

// Lake makes the report name what is wrong with the lake, a line a problem.
func (r *Reporter) Lake(problems func(ctx context.Context) []string) { r.lake = problems }

// answerWait is how long a log may take to tell its ends.
const answerWait = 2 * time.Second

// staleMark is how old the newest mark may be before the report calls it a problem.
const staleMark = time.Minute

// Report reads the ledger, then the ends of the open logs, so that no position lies beyond an end.
func (r *Reporter) Report(ctx context.Context) (*Report, error) {
	f := facts{at: time.Now().UTC(), missing: r.missing()}
	var err error
	if f.snap, err = r.led.Load(ctx); err != nil {
		return nil, fmt.Errorf("reporting: %w", err)
	}
	if f.status, err = r.led.Status(ctx); err != nil {
		return nil, fmt.Errorf("reporting: %w", err)
	}
	f.completeTo = make(map[string]time.Time, len(f.snap.Streams))
	for _, s := range f.snap.Streams {
		if f.completeTo[s.Name], err = r.led.CompleteTo(ctx, s.Name, ledger.Live); err != nil {
			return nil, fmt.Errorf("reporting: %w", err)
		}
	}
	if f.progress, err = r.led.Progress(ctx); err != nil {
		return nil, fmt.Errorf("reporting: %w", err)
	}
	if f.failed, err = r.led.FailedBackfills(ctx); err != nil {
		return nil, fmt.Errorf("reporting: %w", err)
	}
	if f.audits, err = r.led.AuditSums(ctx); err != nil {
		return nil, fmt.Errorf("reporting: %w", err)
	}
	f.ends, f.silent = r.askEnds(ctx, f.snap.Logs)
	if len(f.silent) == 0 { // a log that does not answer takes nothing either
		if err := r.askTakes(ctx); err != nil {
			f.silent = append(f.silent, fmt.Sprintf("the log takes no events: %v", err))
		}
	}
	if r.lake != nil {
		f.lake = r.lake(ctx)
	}
	return f.report(), nil
}

func (r *Reporter) askTakes(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, answerWait)
	defer cancel()
	return r.takes(ctx)
}

// askEnds asks all open logs at once. silent says which did not answer, and how.
func (r *Reporter) askEnds(ctx context.Context, logs []ledger.Log) (ends span.Vector, silent []string) {
	ctx, cancel := context.WithTimeout(ctx, answerWait)
	defer cancel()
	ends = span.Vector{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, l := range logs {
		if l.Kind != ledger.KindKafka || !l.ClosedAt.IsZero() {
			continue
		}
		wg.Go(func() {
			got, err := r.ends(ctx, l)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				silent = append(silent, fmt.Sprintf("topic %s does not answer: %v", l.Topic, err))
				return
			}
			for p := range l.Partitions {
				at, ok := got[p]
				if !ok {
					silent = append(silent, fmt.Sprintf("partition %d of topic %s does not answer", p, l.Topic))
					continue
				}
				ends[span.Key{Log: l.ID, Partition: p}] = at
			}
		})
	}
	wg.Wait()
	slices.Sort(silent)
	return ends, silent
}

// facts are what was read; a report is a function of them.
type facts struct {
	at         time.Time
	snap       *ledger.Snapshot
	progress   *ledger.Progress
	status     *ledger.Status
	completeTo map[string]time.Time
	failed     []ledger.Backfill
	audits     map[int64]ledger.AuditSum
	ends       span.Vector
	silent     []string
	lake       []string
	missing    map[string]string
}

func (f *facts) report() *Report {
	r := &Report{At: f.at, Problems: append([]string{}, f.silent...), Streams: []Stream{}, Leases: []Lease{}}
	for i := range f.snap.Streams {
		s := f.stream(&f.snap.Streams[i])
		r.Problems = append(r.Problems, f.problems(&s)...)
		r.Streams = append(r.Streams, s)
	}
	r.Problems = append(r.Problems, f.unfilled()...)
	r.Problems = append(r.Problems, f.halfImported()...)
	r.Problems = append(r.Problems, r.wrongNumbers()...)
	r.Problems = append(r.Problems, f.lake...)
	for _, l := range f.status.Leases {
		r.Leases = append(r.Leases, Lease(l))
	}
	r.Ledger = figures(f.status)
	r.OK = len(r.Problems) == 0
	return r
}

func figures(s *ledger.Status) Ledger {
	l := Ledger{OpenWrites: s.OpenWrites, UncommittedFiles: s.UncommittedFiles, Segments: s.Segments, SegmentBytes: s.SegmentBytes}
	if l.Segments == nil {
		l.Segments = map[string]int64{}
	}
	return l
}

// problems are what somebody should look at. A silent log is named once, not again for its mark.
func (f *facts) problems(s *Stream) []string {
	var all []string
	for i := range s.Partitions {
		p := &s.Partitions[i]
		where := fmt.Sprintf("%s/%d", p.Topic, p.Partition)
		if !p.Conservation.OK {
			all = append(all, fmt.Sprintf("%s: offsets are not accounted for: %+v", where, p.Conservation))
		}
		if n := p.Conservation.Lost; n > 0 {
			all = append(all, fmt.Sprintf("%s: %d records are lost", where, n))
		}
	}
	if s.Mark == nil {
		return all
	}
	if why := s.Mark.Missing; why != "" && !slices.Contains(f.silent, why) && !mentions(f.silent, why) {
		all = append(all, fmt.Sprintf("stream %s: %s", s.Name, why))
	} else if age := f.at.Sub(s.Mark.At); why == "" && age > staleMark {
		all = append(all, fmt.Sprintf("stream %s: no mark for %s: is a process with the unit serve running?", s.Name, age.Round(time.Second)))
	}
	return all
}

// unfilled are the back-fills that gave up and leave a hole until somebody acts.
func (f *facts) unfilled() []string {
	var all []string
	for i := range f.failed {
		b := &f.failed[i]
		all = append(all, fmt.Sprintf("back-fill %d of %s gave up on %d of its days: %s: set it right, then: pinflow backfill retry %d",
			b.ID, b.View, b.Tasks[ledger.Failed], b.Trouble, b.ID))
	}
	return all
}

// imported is how far a file's log is; "" of a topic.
func (f *facts) imported(l *ledger.Log) string {
	switch {
	case l.Kind != ledger.KindImport:
		return ""
	case !l.Importing():
		return ImportEnded
	case slices.ContainsFunc(f.status.Leases, func(x ledger.LeaseInfo) bool {
		return x.Name == ledger.ImportLease(l.ID) && x.Expires.After(f.at)
	}):
		return ImportRuns
	}
	return ImportStopped
}

// halfImported are the imports that stopped, and that no process goes on with. A lease that a killed one left
// runs out first.
func (f *facts) halfImported() []string {
	var all []string
	for i := range f.snap.Logs {
		l := &f.snap.Logs[i]
		if f.imported(l) != ImportStopped {
			continue
		}
		all = append(all, fmt.Sprintf("the import of %s into %s stopped after %d rows: to go on, repeat it with the same file; if that was changed or is gone: pinflow import %s --abandon %d",
			l.Topic, l.Stream, f.progress.Batch[span.Key{Log: l.ID}], l.Stream, l.ID))
	}
	return all
}

// mentions tells whether one of the lines is about the same topic or partition.
func mentions(lines []string, why string) bool {
	subject, _, _ := strings.Cut(why, " does not answer")
	return slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, subject) })
}

func (f *facts) stream(in *ledger.Stream) Stream {
	s := Stream{Name: in.Name, Epoch: in.Epoch, Partitions: []Partition{}, Views: []View{}, Conservation: Conservation{OK: true}}
	if n := len(in.Schemas); n > 0 {
		s.Schema = in.Schemas[n-1].Version
	}
	if to := f.completeTo[in.Name]; !to.IsZero() {
		lag := max(0, f.at.Sub(to).Seconds()) // the mark may be of a clock that is ahead
		s.CompleteTo, s.LagSeconds = &to, &lag
	}
	if m, ok := f.status.NewestMarks[in.Name]; ok || f.missing[in.Name] != "" {
		s.Mark = &Mark{At: m.At, Missing: f.missing[in.Name]}
	}
	for _, l := range f.snap.LogsOf(in.Name) {
		for p := range l.Partitions {
			part := f.partition(&l, span.Key{Log: l.ID, Partition: p})
			s.Partitions = append(s.Partitions, part)
			s.Conservation = s.Conservation.add(part.Conservation)
		}
	}
	for _, v := range f.snap.Views {
		if v.Stream == in.Name {
			s.Views = append(s.Views, f.view(&v))
		}
	}
	return s
}

func (f *facts) partition(l *ledger.Log, k span.Key) Partition {
	p := Partition{
		Log: int64(k.Log), Topic: l.Topic, Partition: k.Partition, Dead: l.Dead, Closed: !l.ClosedAt.IsZero(), Import: f.imported(l),
		Start: f.progress.Start[k], Lake: f.progress.Lake[k],
	}
	if end, ok := f.ends[k]; ok {
		p.End = &end
	}
	p.Batch = unitOf(f.progress.Batch, f.progress.BatchCounts, k, p.End)
	p.Live = unitOf(f.progress.Live, f.progress.LiveCounts, k, p.End)
	p.Conservation = f.conservation(&p, k)
	return p
}

func unitOf(positions span.Vector, counts map[span.Key]ledger.Counts, k span.Key, end *int64) *Unit {
	at, ok := positions[k]
	if !ok {
		return nil
	}
	u := &Unit{Position: at, Counts: Counts(counts[k])}
	if end != nil {
		lag := *end - at
		u.Lag = &lag
	}
	return u
}

// conservation accounts for a partition by the batch unit's counts. What lies in the log beyond its
// position is in flight; without the log's answer nothing is known of it.
func (f *facts) conservation(p *Partition, k span.Key) Conservation {
	c := Conservation{OK: f.progress.Conserved(k)}
	position := p.Start
	if p.Batch != nil {
		n := p.Batch.Counts
		position = p.Batch.Position
		c.Rows, c.Dead, c.Duplicates, c.Gaps, c.Lost = n.Rows, n.Dead, n.Duplicates, n.Gaps, n.Lost
		c.Uncommitted = position - p.Lake
	}
	c.Accepted = position - p.Start
	if p.End != nil {
		c.InFlight = *p.End - position
		c.Accepted += c.InFlight
	}
	c.OK = c.OK && c.InFlight >= 0 && c.Accepted == c.Rows+c.Dead+c.Duplicates+c.Gaps+c.Lost+c.InFlight
	return c
}

func (c Conservation) add(o Conservation) Conservation {
	return Conservation{
		Accepted: c.Accepted + o.Accepted, Rows: c.Rows + o.Rows, Dead: c.Dead + o.Dead, Duplicates: c.Duplicates + o.Duplicates,
		Gaps: c.Gaps + o.Gaps, Lost: c.Lost + o.Lost, InFlight: c.InFlight + o.InFlight, Uncommitted: c.Uncommitted + o.Uncommitted,
		OK: c.OK && o.OK,
	}
}
