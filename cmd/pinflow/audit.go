package main

import (
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
	rng := ""
	cmd := &cobra.Command{
		Use:   "audit VIEW --range A..B",
		Short: "Compare a view's numbers with the lake, exactly; writes nothing",
		Long: `Fold the lake's rows of the days from A to B (both included, in the view's zone) again and compare every
measure of every group of every bucket with what the view answers. Exit code 1 when something differs.`,
		Example: "  pinflow audit pins --range 2026-11-01..2026-11-22\n  pinflow audit pins --range 2026-11-22",
		Args:    arguments("VIEW"),
		RunE: func(cmd *cobra.Command, args []string) error {
			first, last, ok := strings.Cut(rng, "..")
			if !ok {
				last = first
			}
			from, err1 := time.Parse(time.DateOnly, first)
			to, err2 := time.Parse(time.DateOnly, last)
			if err1 != nil || err2 != nil || to.Before(from) {
				return usage(cmd, "--range %q is no range of days: write it like 2026-11-01..2026-11-22", rng)
			}
			return c.audit(cmd, args[0], from, to)
		},
	}
	cmd.Flags().StringVar(&rng, "range", "", "first and last day, like 2026-11-01..2026-11-22")
	return cmd
}

// audit asks for a day at a time, so that no answer takes long and progress is seen.
func (c *cli) audit(cmd *cobra.Command, view string, from, to time.Time) error {
	server, err := c.client()
	if err != nil {
		return err
	}
	total := audit.Report{View: view, OK: true, Differences: []audit.Difference{}}
	var done atomic.Int64
	days := int64(to.Sub(from)/(24*time.Hour)) + 1
	stop := c.watch(func() (int64, string) { return done.Load(), "days" }, days)
	defer stop()
	for day := from; !day.After(to); day = day.AddDate(0, 0, 1) {
		var r audit.Report
		q := url.Values{"view": {view}, "from": {day.Format(time.DateOnly)}}
		if err := server.Get(cmd.Context(), "/v1/audit", q, &r); err != nil {
			return err
		}
		if total.Version == "" {
			total.Version, total.From = r.Version, r.From
		}
		total.To = r.To
		total.Rows, total.Buckets, total.Groups, total.More = total.Rows+r.Rows, total.Buckets+r.Buckets, total.Groups+r.Groups, total.More+r.More
		total.OK = total.OK && r.OK
		total.Differences = append(total.Differences, r.Differences...)
		done.Add(1)
	}
	stop()
	return c.showAudit(&total, days)
}

func (c *cli) showAudit(r *audit.Report, days int64) error {
	if c.output == asJSON {
		if err := c.printJSON(r); err != nil {
			return err
		}
	} else {
		s := sheet{columns: []string{"bucket", "group", "measure", "answer", "lake"}, right: []bool{false, false, false, true, true}}
		for _, d := range r.Differences {
			s.rows = append(s.rows, []any{d.Bucket, groupText(d.Group), d.Measure, pointed(d.Answer), pointed(d.Lake)})
		}
		if len(s.rows) > 0 || c.output != asTable {
			if err := c.print(s); err != nil {
				return err
			}
		}
	}
	c.say("%s@%s: %s, %d rows of the lake, %d groups compared", r.View, short(r.Version), plural(int(days), "day"), r.Rows, r.Groups)
	if !r.OK {
		return fault.New(fault.Unknown, "audit_differs", "%s in view %s", plural(len(r.Differences)+r.More, "difference"), r.View).
			WithAdvice("build it anew with: pinflow backfill start %s", r.View)
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

// groupText is the dimension values by name, in order.
func groupText(group map[string]*string) string {
	var parts []string
	for name, v := range group {
		if v == nil {
			parts = append(parts, name+" is null")
		} else {
			parts = append(parts, name+"="+*v)
		}
	}
	slices.Sort(parts)
	return strings.Join(parts, " ")
}
