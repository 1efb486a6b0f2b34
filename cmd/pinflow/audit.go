package main

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/pinflow/pinflow/internal/audit"
	"github.com/pinflow/pinflow/internal/fault"
)

func (c *cli) auditCommand() *cobra.Command {
	rng, measures := "", []string(nil)
	cmd := &cobra.Command{
		Use:   "audit VIEW --range A..B",
		Short: "Compare a view's numbers with the lake, exactly; writes nothing",
		Long: `Fold the lake's rows of the days from A to B (both included, in the view's zone) again and compare every
measure of every group of every bucket with what the view answers: counts, integers and the states of approximate
measures exactly, sums of doubles within 1e-9 of their Σ|x|. Exit code 1 when something differs, 5 when
nothing does but the view does not have all of it, as while its history is filled in.`,
		Example: "  pinflow audit pins --range 2026-11-01..2026-11-22\n  pinflow audit pins --range 2026-11-22 -m posted,posters",
		Args:    arguments("VIEW"),
		RunE: func(cmd *cobra.Command, args []string) error {
			first, last, ok := strings.Cut(rng, "..")
			if !ok {
				last = first
			}
			from, err1 := time.Parse(time.DateOnly, first)
			to, err2 := time.Parse(time.DateOnly, last)
			if err1 != nil || err2 != nil {
				return usage(cmd, "--range %q is no range of days: write it like 2026-11-01..2026-11-22", rng)
			}
			if to.Before(from) {
				return usage(cmd, "--range %q ends before it begins", rng)
			}
			return c.audit(cmd, args[0], strings.Join(measures, ","), from, to)
		},
	}
	cmd.Flags().StringSliceVarP(&measures, "measures", "m", nil, "compare these alone (default all, and the hidden ones)")
	cmd.Flags().StringVar(&rng, "range", "", "first and last day, like 2026-11-01..2026-11-22")
	return cmd
}

// audit asks for a day at a time, so that no answer takes long and progress is seen.
func (c *cli) audit(cmd *cobra.Command, view, measures string, from, to time.Time) error {
	server, err := c.client()
	if err != nil {
		return err
	}
	total := audit.Report{View: view, OK: true, Uncovered: []audit.Uncovered{}, Differences: []audit.Difference{}, Damaged: []audit.Damaged{}}
	var done atomic.Int64
	days := int64(to.Sub(from)/(24*time.Hour)) + 1
	stop := c.watch(func() (int64, string) { return done.Load(), "days" }, days)
	defer stop()
	for day := from; !day.After(to); day = day.AddDate(0, 0, 1) {
		var r audit.Report
		q := url.Values{"view": {view}, "from": {day.Format(time.DateOnly)}}
		if measures != "" {
			q.Set("measures", measures)
		}
		if err := server.Get(cmd.Context(), "/v1/audit", q, &r); err != nil {
			return err
		}
		if total.Version == "" {
			total.Version, total.From = r.Version, r.From
		}
		total.To = r.To
		total.Rows, total.Buckets, total.Groups, total.More = total.Rows+r.Rows, total.Buckets+r.Buckets, total.Groups+r.Groups, total.More+r.More
		total.OK = total.OK && r.OK
		total.Differences, total.Uncovered = append(total.Differences, r.Differences...), appendUncovered(total.Uncovered, r.Uncovered)
		for _, d := range r.Damaged { // a segment may hold several days
			if !slices.ContainsFunc(total.Damaged, func(x audit.Damaged) bool { return x.Segment == d.Segment }) {
				total.Damaged = append(total.Damaged, d)
			}
		}
		done.Add(1)
	}
	stop()
	return c.showAudit(&total, days)
}

// appendUncovered joins stretches that go on from one day to the next.
func appendUncovered(all, more []audit.Uncovered) []audit.Uncovered {
	for _, u := range more {
		if n := len(all); n > 0 && all[n-1].To == u.From && all[n-1].Reason == u.Reason {
			all[n-1].To, all[n-1].Rows = u.To, all[n-1].Rows+u.Rows
			continue
		}
		all = append(all, u)
	}
	return all
}

func (c *cli) showAudit(r *audit.Report, days int64) error {
	if c.output == asJSON {
		if err := c.printJSON(r); err != nil {
			return err
		}
	} else {
		s := sheet{columns: []string{"bucket", "group", "measure", "answer", "lake", "detail"}, right: []bool{false, false, false, true, true}}
		for _, d := range r.Differences {
			s.rows = append(s.rows, []any{d.Bucket, audit.GroupText(d.Group), d.Measure, pointed(d.Answer), pointed(d.Lake), orNull(d.Detail)})
		}
		if len(s.rows) > 0 || c.output != asTable {
			if err := c.print(s); err != nil {
				return err
			}
		}
	}
	c.say("%s@%s: %s, %d rows of the lake, %d groups compared", r.View, short(r.Version), plural(int(days), "day"), r.Rows, r.Groups)
	for _, u := range r.Uncovered {
		rows := ""
		if u.Rows > 0 {
			rows = fmt.Sprintf(", %d rows of the lake", u.Rows)
		}
		c.say("not compared: %s … %s%s: %s", u.From, u.To, rows, u.Reason)
	}
	for _, d := range r.Damaged {
		c.say("damaged: segment %d, of %d groups of the buckets %s … %s: %s", d.Segment, d.Rows, d.From, d.To, d.Detail)
	}
	switch {
	case !r.OK && len(r.Differences) == 0:
		return fault.New(fault.Unknown, "audit_differs", "%s of view %s cannot be read", plural(len(r.Damaged), "segment"), r.View).
			WithAdvice("build it anew with: pinflow backfill start %s", r.View)
	case !r.OK:
		return fault.New(fault.Unknown, "audit_differs", "%s in view %s", plural(len(r.Differences)+r.More, "difference"), r.View).
			WithAdvice("build it anew with: pinflow backfill start %s", r.View)
	case len(r.Uncovered) > 0:
		return fault.New(fault.Unknown, "not_covered", "no difference, but view %s does not have all of the range", r.View).WithExit(fault.ExitNotComplete)
	}
	c.say("no difference")
	return nil
}

func pointed(s *string) any {
	if s == nil {
		return nil
	}
	return *s
}
