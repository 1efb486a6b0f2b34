package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pinflow/pinflow/internal/days"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/human"
)

type daysFlags struct {
	stream  string
	wait    bool
	timeout time.Duration
	limit   string // days to list; none: the server's own
}

func (c *cli) daysCommand() *cobra.Command {
	f := &daysFlags{}
	cmd := &cobra.Command{
		Use:   "days [DATE]",
		Short: "Which days are complete, and when they landed",
		Long: `Which days are complete: everything that was answered before their end is in the lake and in the live
numbers. COMPLETE is, of an open day, the part of its time, of one that waits the part of its events.
With a DATE the exit code is 5 when the day is not complete, and with --wait, which waits for it, 6 when
it missed its deadline.`,
		Example: "  pinflow days\n  pinflow days 2026-11-22 --wait --timeout 2h && run-the-report",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.wait && len(args) == 0 {
				return usage(cmd, "--wait needs a DATE")
			}
			date := ""
			if len(args) == 1 {
				if date = args[0]; !isDate(date) {
					return usage(cmd, "%q is no date: write it like 2026-11-22", date)
				}
			}
			return c.days(cmd.Context(), date, f)
		},
	}
	cmd.Flags().StringVar(&f.stream, "stream", "", "of this stream alone")
	cmd.Flags().BoolVar(&f.wait, "wait", false, "wait until the day is complete")
	cmd.Flags().DurationVar(&f.timeout, "timeout", 2*time.Hour, "how long to wait")
	return cmd
}

func isDate(text string) bool {
	_, err := time.Parse(time.DateOnly, text)
	return err == nil
}

// days prints the days, once they are complete if that is to be waited for.
func (c *cli) days(ctx context.Context, date string, f *daysFlags) error {
	all, raw, err := c.askDays(ctx, date, f)
	why, never := "", false
	if err == nil && date != "" && len(all) == 0 {
		why, never, err = c.unknownDay(ctx, date, f)
	}
	for until := time.Now().Add(f.timeout); err == nil && f.wait && !never && !allComplete(all) && time.Now().Before(until); {
		select {
		case <-ctx.Done():
			return context.Canceled
		case <-time.After(min(5*time.Second, max(time.Until(until), time.Millisecond))):
		}
		all, raw, err = c.askDays(ctx, date, f)
	}
	if err != nil {
		return err
	}
	if c.output == asJSON {
		if raw == nil {
			raw = []json.RawMessage{}
		}
		err = c.printJSON(raw)
	} else {
		err = c.print(c.daySheet(all))
	}
	switch {
	case err != nil || date == "":
		return err
	case !allComplete(all):
		if len(all) > 0 {
			why = waitingFor(all)
		}
		return fault.New(fault.Unknown, "not_complete", "%s is not complete%s", date, why).WithExit(fault.ExitNotComplete)
	case f.wait && slices.ContainsFunc(all, missed):
		return fault.New(fault.Unknown, "deadline_missed", "%s was complete after its deadline", date).WithExit(fault.ExitDeadline)
	}
	return nil
}

func (c *cli) askDays(ctx context.Context, date string, f *daysFlags) ([]days.Day, []json.RawMessage, error) {
	server, err := c.client()
	if err != nil {
		return nil, nil, err
	}
	path, q := "/v1/days", url.Values{}
	if date != "" {
		path += "/" + date
	}
	if f.stream != "" {
		q.Set("stream", f.stream)
	}
	if f.limit != "" {
		q.Set("limit", f.limit)
	}
	var list struct {
		Days []json.RawMessage `json:"days"`
	}
	if err := server.Get(ctx, path, q, &list); err != nil {
		return nil, nil, err
	}
	all := make([]days.Day, len(list.Days))
	for i, raw := range list.Days {
		if err := json.Unmarshal(raw, &all[i]); err != nil {
			return nil, nil, fault.New(fault.Unknown, "bad_answer", "reading the answer of %s: %w", server.URL(), err)
		}
	}
	return all, list.Days, nil
}

// mostDays is as many as the server lists.
const mostDays = "400"

// unknownDay says why a day is not among those listed, and whether it never will be.
func (c *cli) unknownDay(ctx context.Context, date string, f *daysFlags) (why string, never bool, err error) {
	listed, _, err := c.askDays(ctx, "", &daysFlags{stream: f.stream, limit: mostDays})
	switch {
	case err != nil:
		return "", false, err
	case len(listed) == 0:
		return ": there is no stream yet", false, nil
	}
	first, last := listed[0].Date, listed[0].Date
	for i := range listed {
		first, last = min(first, listed[i].Date), max(last, listed[i].Date)
	}
	switch {
	case date > last:
		return ": it has not begun, the newest day is " + last, false, nil
	case date < first:
		return ": it is before " + first + ", the first day that is kept account of", true, nil
	}
	return ": no account of it was kept, pinflow did not run then", true, nil
}

// waitingFor names what keeps the days from being complete.
func waitingFor(all []days.Day) string {
	var parts []string
	open := map[string][]string{} // zones by stream
	for i := range all {
		switch d := &all[i]; d.State {
		case days.Complete:
		case days.Open:
			open[d.Stream] = append(open[d.Stream], d.Zone)
		default:
			part := d.Stream + " is " + d.State + " in " + d.Zone
			if d.Note != "" {
				part += ", " + d.Note
			}
			parts = append(parts, part)
		}
	}
	for _, stream := range sorted(open) {
		parts = append(parts, stream+" is open in "+strings.Join(open[stream], ", ")+", events may still come in time")
	}
	return ": " + strings.Join(parts, "; ")
}

// allComplete tells whether there are days and all of them landed.
func allComplete(all []days.Day) bool {
	return len(all) > 0 && !slices.ContainsFunc(all, func(d days.Day) bool { return d.State != days.Complete })
}

func missed(d days.Day) bool {
	return d.DeadlineAt != nil && d.LandedAt != nil && d.LandedAt.After(*d.DeadlineAt)
}

// daySheet has a column for the stream and the zone where there are several.
func (c *cli) daySheet(all []days.Day) sheet {
	several := func(of func(days.Day) string) bool {
		return slices.ContainsFunc(all, func(d days.Day) bool { return of(d) != of(all[0]) })
	}
	machine := c.output != asTable
	streams := machine || several(func(d days.Day) string { return d.Stream })
	zones := machine || several(func(d days.Day) string { return d.Zone })
	s := sheet{columns: []string{"day"}}
	add := func(show bool, names ...string) {
		if show {
			s.columns = append(s.columns, names...)
		}
	}
	add(streams, "stream")
	add(zones, "zone")
	add(true, "state", "complete", "landed", "deadline", "late_events", "note")
	s.right = make([]bool, len(s.columns))
	for i, name := range s.columns {
		s.right[i] = name == "complete" || name == "late_events"
	}
	for i := range all {
		d := &all[i]
		row := []any{d.Date}
		if streams {
			row = append(row, d.Stream)
		}
		if zones {
			row = append(row, d.Zone)
		}
		row = append(row, d.State)
		if machine {
			row = append(row, d.Complete, timeOrNull(d.LandedAt), timeOrNull(d.DeadlineAt), intOrNull(d.Late), orNull(d.Note))
		} else {
			row = append(row, percent(d.Complete), c.landed(d), c.deadline(d, time.Now()), countOrNull(d.Late), orNull(d.Note))
		}
		s.rows = append(s.rows, row)
	}
	return s
}

func timeOrNull(t *time.Time) any {
	if t == nil {
		return nil
	}
	return t.UTC().Format(time.RFC3339)
}

func intOrNull(n *int64) any {
	if n == nil {
		return nil
	}
	return *n
}

// countOrNull groups the digits of a number.
func countOrNull(n *int64) any {
	if n == nil {
		return nil
	}
	return human.Grouped(fmt.Sprint(*n))
}

// percent never says 100 of what is not whole.
func percent(part float64) string {
	switch {
	case part >= 1:
		return "100 %"
	case part > 0.99:
		return fmt.Sprintf("%.2f%%", min(100*part, 99.99))
	}
	return fmt.Sprintf("%d %%", int(100*part))
}

// landed is the time of day at which a day landed, with the date when it is not the next one.
func (c *cli) landed(d *days.Day) any {
	if d.LandedAt == nil && d.EtaTo != nil {
		return "ETA " + c.clock(*d.EtaFrom) + "–" + d.EtaTo.In(c.zone()).Format("15:04")
	}
	if d.LandedAt == nil {
		return nil
	}
	at := d.LandedAt.In(c.zone())
	if day, err := time.Parse(time.DateOnly, d.Date); err == nil && at.Format(time.DateOnly) == day.AddDate(0, 0, 1).Format(time.DateOnly) {
		return at.Format("15:04:05")
	}
	return at.Format("2006-01-02 15:04:05")
}

// clock is the time of day of a moment, with the date when it is not today's.
func (c *cli) clock(t time.Time) string {
	at := t.In(c.zone())
	if at.Format(time.DateOnly) == time.Now().In(c.zone()).Format(time.DateOnly) {
		return at.Format("15:04")
	}
	return at.Format("2006-01-02 15:04")
}

// deadline is how early or late a day landed, or when it has to.
func (c *cli) deadline(d *days.Day, now time.Time) any {
	switch {
	case d.DeadlineAt == nil:
		return nil
	case d.LandedAt != nil:
		if early := d.DeadlineAt.Sub(*d.LandedAt); early >= 0 {
			return roughly(early) + " early"
		}
		return roughly(d.LandedAt.Sub(*d.DeadlineAt)) + " late"
	case now.After(*d.DeadlineAt):
		return d.DeadlineAt.In(c.zone()).Format("15:04") + " (missed)"
	case d.EtaTo != nil && d.EtaTo.After(*d.DeadlineAt):
		return d.DeadlineAt.In(c.zone()).Format("15:04") + " (risk)"
	case d.DeadlineAt.In(c.zone()).Format(time.DateOnly) == now.In(c.zone()).Format(time.DateOnly):
		return d.DeadlineAt.In(c.zone()).Format("15:04")
	}
	at := d.DeadlineAt.In(c.zone())
	if at.Format(time.DateOnly) == now.In(c.zone()).AddDate(0, 0, 1).Format(time.DateOnly) {
		return "tomorrow " + at.Format("15:04")
	}
	return at.Format("2006-01-02 15:04")
}

// roughly is a duration in the two largest units that matter.
func roughly(d time.Duration) string {
	switch {
	case d >= 24*time.Hour:
		return fmt.Sprintf("%d d %d h", int(d.Hours())/24, int(d.Hours())%24)
	case d >= time.Hour:
		return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
	case d >= time.Minute:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	}
	return fmt.Sprintf("%d s", int(d.Seconds()))
}
