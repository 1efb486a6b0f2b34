package emulate

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/pinflow/pinflow/internal/fault"
)

// VerifyConfig says which server is held against which truth.
type VerifyConfig struct {
	URL    string
	APIKey string
	Client *http.Client  // nil: one of its own
	Truth  []string      // files; together they must tell of everything that the server holds
	Wait   time.Duration // for lake and live to catch up; default 2 minutes
}

// Report is what was compared and what differs.
type Report struct {
	Streams     []StreamReport `json:"streams"`     // by name
	Differences []string       `json:"differences"` // the first ones, never null
	More        int            `json:"more"`        // differences beyond those
	Foreign     int64          `json:"foreign"`     // events of the lake that are of no run in the truth
}

// StreamReport is what the truth tells of a stream, and how much of it was compared.
type StreamReport struct {
	Stream       string `json:"stream"`
	Accepted     int64  `json:"accepted"`
	DeadLettered int64  `json:"dead_lettered"`
	Rejected     int64  `json:"rejected"`
	Duplicates   int64  `json:"duplicates"` // sent again on purpose
	Unresolved   int64  `json:"unresolved"` // never answered; Arrived of them were stored all the same
	Arrived      int64  `json:"arrived"`
	Days         int    `json:"days"`    // compared with the lake
	Numbers      int    `json:"numbers"` // compared with the live answer
}

// Equal tells whether nothing differs.
func (r *Report) Equal() bool { return len(r.Differences) == 0 }

// String says in a line a stream what was compared, then the differences.
func (r *Report) String() string {
	var b strings.Builder
	for _, s := range r.Streams {
		fmt.Fprintf(&b, "%s: %d accepted, %d dead-lettered, %d rejected, %d sent twice, %d never answered (%d of them arrived); compared counts, %d days of the lake, %d live numbers\n",
			s.Stream, s.Accepted, s.DeadLettered, s.Rejected, s.Duplicates, s.Unresolved, s.Arrived, s.Days, s.Numbers)
	}
	for _, d := range r.Differences {
		fmt.Fprintf(&b, "differs: %s\n", d)
	}
	if r.More > 0 {
		fmt.Fprintf(&b, "and %d more differences\n", r.More)
	}
	return b.String()
}

// maxDifferences are named, the others counted.
const maxDifferences = 1000

func (r *Report) differ(format string, args ...any) {
	if len(r.Differences) == maxDifferences {
		r.More++
		return
	}
	r.Differences = append(r.Differences, fmt.Sprintf(format, args...))
}

// streamTruth is what the truth files tell of a stream.
type streamTruth struct {
	report     *StreamReport
	copies     int64 // at most so many duplicates beside those sent on purpose
	unbounded  bool  // any number of copies
	deadMaybe  int64 // never answered, to be dead-lettered
	days       map[string]*dayRows
	views      []*expected
	unresolved []made // never answered, to be accepted
}

type verifier struct {
	cfg     VerifyConfig
	log     *slog.Logger
	http    *asker
	runs    []run
	rows    templates
	streams map[string]*streamTruth
	names   []string
	report  Report
}

// Verify holds counts, lake and live answers of a server against the truth, exactly. The report is
// there whenever the server could be asked; differences are an error, too, of code not_equal.
func Verify(ctx context.Context, cfg VerifyConfig, log *slog.Logger) (*Report, error) {
	if cfg.Wait == 0 {
		cfg.Wait = 2 * time.Minute
	}
	v := &verifier{
		cfg: cfg, log: log, streams: map[string]*streamTruth{}, report: Report{Differences: []string{}},
		http: newAsker(cfg.URL, cfg.APIKey, cfg.Client),
	}
	var err error
	if v.rows, err = loadTemplates(); err != nil {
		return nil, fmt.Errorf("loading the demonstration: %w", err)
	}
	for _, name := range cfg.Truth {
		runs, err := readTruth(name)
		if err != nil {
			return nil, err
		}
		v.runs = append(v.runs, runs...)
	}
	v.gather()
	for _, step := range []func(context.Context) error{v.catchUp, v.lookForUnresolved, v.compareLake, v.compareLive} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	for _, name := range v.names {
		v.report.Streams = append(v.report.Streams, *v.streams[name].report)
	}
	if !v.report.Equal() {
		err := fault.New(fault.Unknown, "not_equal", "the server differs from the truth in %d places", len(v.report.Differences)+v.report.More).
			WithExit(fault.ExitFailed)
		if n := v.report.Foreign; n > 0 {
			err = err.WithAdvice("the lake holds %d events of no run in the truth: name the truth of every run, on a server to which nothing else posts", n)
		}
		return &v.report, err
	}
	return &v.report, nil
}

// ours tells whether an event's id is one that a run of the truth gives.
func (v *verifier) ours(id string) bool {
	name, _, _ := strings.Cut(id, "-")
	return slices.ContainsFunc(v.runs, func(r run) bool { return r.header.Run == name })
}

// each makes every event of the truth again and shows it with its fate. Its body lasts for the call.
func (v *verifier) each(fn func(stream string, m *made, fate byte)) {
	var text []byte
	for _, r := range v.runs {
		g := newGenerator(&r.header, v.rows)
		for _, b := range r.batches {
			for i := range b.n {
				fate := byte(unresolved)
				if b.fates != nil {
					fate = b.fates[i]
				}
				var m made
				m, text = g.event(text[:0], b.stream, b.first+int64(i), b.when)
				fn(b.stream, &m, fate)
			}
		}
	}
}

func (v *verifier) gather() {
	for _, r := range v.runs {
		for _, b := range r.batches {
			s := v.stream(b.stream)
			s.report.Duplicates += int64(b.again)
			s.copies += int64(b.copies)
			s.unbounded = s.unbounded || b.open
		}
	}
	slices.Sort(v.names)
	v.each(func(stream string, m *made, fate byte) {
		s := v.streams[stream]
		switch fate {
		case accepted:
			s.report.Accepted++
			if m.want == accepted {
				s.arrived(stream, m)
			}
		case dead:
			s.report.DeadLettered++
		case rejected:
			s.report.Rejected++
		default:
			s.report.Unresolved++
			if m.want == accepted {
				s.unresolved = append(s.unresolved, *m)
			} else if m.want == dead {
				s.deadMaybe++
			}
			return
		}
		if fate != m.want {
			v.report.differ("%s event %s was answered %s, but should be %s", stream, m.id(), fateName(fate), fateName(m.want))
		}
	})
}

func (v *verifier) stream(name string) *streamTruth {
	s := v.streams[name]
	if s == nil {
		s = &streamTruth{report: &StreamReport{Stream: name}, days: map[string]*dayRows{}}
		for _, spec := range viewSpecs() {
			if spec.stream == name {
				s.views = append(s.views, newExpected(spec))
			}
		}
		v.streams[name] = s
		v.names = append(v.names, name)
	}
	return s
}

// arrived counts an event that must be in the lake and in the views.
func (s *streamTruth) arrived(stream string, m *made) {
	date := dateOf(m.time)
	d := s.days[date]
	if d == nil {
		d = &dayRows{}
		s.days[date] = d
	}
	d.add(stream, m)
	for _, x := range s.views {
		x.add(m)
	}
}

// lookForUnresolved asks the lake which of the events that were never answered arrived: either is right,
// but from here on they must be counted everywhere or nowhere.
func (v *verifier) lookForUnresolved(ctx context.Context) error {
	for _, name := range v.names {
		s := v.streams[name]
		byDay := map[string][]*made{}
		for i := range s.unresolved {
			m := &s.unresolved[i]
			byDay[dateOf(m.time)] = append(byDay[dateOf(m.time)], m)
		}
		for date, events := range byDay {
			held, err := v.http.ids(ctx, name, date)
			if err != nil {
				return err
			}
			for _, m := range events {
				if held[m.id()] > 0 {
					s.report.Arrived++
					s.arrived(name, m)
				}
			}
		}
	}
	return v.compareCounts(ctx)
}
