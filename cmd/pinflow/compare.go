package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pinflow/pinflow/internal/client"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/ledger"
)

func (c *cli) backfillCompare() *cobra.Command {
	f, all := &queryFlags{}, false
	cmd := &cobra.Command{
		Use:   "compare ID|VIEW",
		Short: "The numbers of its version beside those of the one that it replaces",
		Long: `The numbers of the version that a back-fill builds beside those of the version that serves; after the switch,
beside those of the version that stands by. Points that both have completely are compared, while a history is
filled in as far as it is; measures that only one of them has are named.`,
		Example: "  pinflow backfill compare pins\n  pinflow backfill compare 3 -m posted --by category --from 2026-11-01",
		Args:    arguments("ID or VIEW"),
		RunE:    func(cmd *cobra.Command, args []string) error { return c.compare(cmd.Context(), args[0], f, all) },
	}
	fs := cmd.Flags()
	fs.StringSliceVarP(&f.measures, "measures", "m", nil, "measures, with commas between (default: all that both have)")
	fs.StringSliceVar(&f.by, "by", nil, "dimensions to group by")
	fs.StringVar(&f.from, "from", "", "begin: a time, or relative like now-7d/d (default: the first day of the back-fill)")
	fs.StringVar(&f.to, "to", "", "end, not included (default now)")
	fs.StringVar(&f.grain, "grain", "day", "minute, hour, day, week, month or year")
	fs.BoolVar(&all, "all", false, "also numbers that are the same")
	return cmd
}

// sides are the versions that a back-fill has something to do with, by state: the one before it, and its own.
func sides(b *backfillAnswer) (before, after string, err error) {
	switch b.VersionIs {
	case ledger.Building:
		return ledger.Serving, ledger.Building, nil
	case ledger.Serving:
		return ledger.Standby, ledger.Serving, nil
	case ledger.Standby: // it was rolled back
		return ledger.Serving, ledger.Standby, nil
	}
	return "", "", fault.New(fault.Record, "backfill_state", "the version of back-fill %d is %s: it has no numbers any more", b.ID, b.VersionIs).WithExit(fault.ExitConflict)
}

func (c *cli) compare(ctx context.Context, of string, f *queryFlags, all bool) error {
	server, id, err := c.backfillID(ctx, of)
	if err != nil {
		return err
	}
	var b backfillAnswer
	if err := server.Get(ctx, fmt.Sprintf("/v1/backfills/%d", id), nil, &b); err != nil {
		return err
	}
	before, after, err := sides(&b)
	if err != nil {
		return err
	}
	if f.from == "" && len(b.Tasks) > 0 { // newest first
		f.from = b.Tasks[len(b.Tasks)-1].Day
	}
	x := &contrast{by: f.by}
	if x.after, err = c.numbers(ctx, server, b.View+"@"+after, f, c.timeZone); err != nil {
		return err
	}
	// The versions may keep days of different zones.
	if x.before, err = c.numbers(ctx, server, b.View+"@"+before, f, cmp.Or(c.timeZone, x.after.Meta.TimeZone)); err != nil {
		return err
	}
	if err := c.print(x.sheet(all, c.output, x.after.zone(c))); err != nil {
		return err
	}
	c.say("%s@%s and @%s: %d of %d numbers differ · complete to %s", b.View, before, after, x.differ, x.same+x.differ, shortTime(x.after.Meta.CompleteTo, "", x.after.zone(c)))
	if x.open > 0 {
		c.say("not compared: %s that one of them has not completely", plural(x.open, "point"))
	}
	if len(x.alone) > 0 {
		c.say("not compared: %s, which only one of them has", strings.Join(x.alone, ", "))
	}
	return nil
}

// side is one version's answer, and what its buckets are worth: a group that has nothing in a bucket has no row.
type side struct {
	*answer
	worth map[string]string // by time
}

// numbers asks for one side. Of measures that are named a side may lack some.
func (c *cli) numbers(ctx context.Context, server *client.Client, view string, f *queryFlags, zone string) (*side, error) {
	ask := *f
	ask.measures = nil
	a, err := c.ask(ctx, server, view, &ask, zone)
	if err != nil {
		return nil, err
	}
	buckets := a
	if len(f.by) > 0 {
		ask.by = nil
		if buckets, err = c.ask(ctx, server, view, &ask, zone); err != nil {
			return nil, err
		}
	}
	s := &side{answer: a, worth: map[string]string{}}
	for i, row := range buckets.Rows {
		s.worth[fmt.Sprint(row[0])] = buckets.Points.State[i]
	}
	if len(f.measures) > 0 {
		a.only(append([]string{"time"}, append(slices.Clone(f.by), f.measures...)...))
	}
	return s, nil
}

func (c *cli) ask(ctx context.Context, server *client.Client, view string, f *queryFlags, zone string) (*answer, error) {
	body, err := server.GetRaw(ctx, "/v1/query", f.values(view, zone))
	if err != nil {
		return nil, err
	}
	var a answer
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	if err := dec.Decode(&a); err != nil {
		return nil, fault.New(fault.Unknown, "bad_answer", "reading the answer of %s: %w", server.URL(), err)
	}
	return &a, nil
}

// whole tells whether the bucket is complete.
func (s *side) whole(time string) bool {
	return s.worth[time] == "complete" || s.worth[time] == "revised"
}

// only leaves the columns that are named.
func (a *answer) only(names []string) {
	keep := func(i int) bool { return slices.Contains(names, a.Columns[i].Name) }
	for n, row := range a.Rows {
		var out []any
		for i, v := range row {
			if keep(i) {
				out = append(out, v)
			}
		}
		a.Rows[n] = out
	}
	var columns []answerColumn
	for i, col := range a.Columns {
		if keep(i) {
			columns = append(columns, col)
		}
	}
	a.Columns = columns
}

// contrast is two answers to the same question.
type contrast struct {
	by            []string
	before, after *side

	same, differ, open int
	alone              []string // measures that one side lacks
}

// sheet lists the numbers that differ, or all, in the order of the answers.
func (x *contrast) sheet(all bool, output string, zone *time.Location) sheet {
	keys := append([]string{"time"}, x.by...)
	s := sheet{columns: append(slices.Clone(keys), "measure", "before", "after")}
	for range keys {
		s.right = append(s.right, false)
	}
	s.right = append(s.right, false, true, true)
	if output != asTable {
		s.columns = append(s.columns, "_complete_to")
	}
	left, right := x.before.points(keys), x.after.points(keys)
	order := slices.Clone(right.order)
	for _, k := range left.order {
		if _, both := right.at[k]; !both {
			order = append(order, k)
		}
	}
	slices.SortStableFunc(order, func(a, b string) int { return cmp.Compare(a[:strings.IndexByte(a, 0)], b[:strings.IndexByte(b, 0)]) })
	measures := x.shared(keys)
	for _, k := range order {
		l, r := left.at[k], right.at[k]
		if at := fmt.Sprint(r.or(l).keys[0]); !x.before.whole(at) || !x.after.whole(at) {
			x.open++
			continue
		}
		for _, m := range measures {
			was, is := l.number(x.before.answer, m), r.number(x.after.answer, m)
			same := fmt.Sprint(was) == fmt.Sprint(is)
			if same {
				x.same++
			} else {
				x.differ++
			}
			if same && !all {
				continue
			}
			row := slices.Clone(r.or(l).keys)
			for j := range row { // the columns of an answer begin with them
				row[j] = x.after.cell(j, row[j], output, zone)
			}
			row = append(row, m, was, is)
			if output != asTable {
				row = append(row, x.after.Meta.CompleteTo)
			}
			s.rows = append(s.rows, row)
		}
	}
	return s
}

// shared are the measures that both sides have.
func (x *contrast) shared(keys []string) []string {
	names := func(a *answer) (out []string) {
		for _, c := range a.Columns {
			if !slices.Contains(keys, c.Name) {
				out = append(out, c.Name)
			}
		}
		return out
	}
	before, after := names(x.before.answer), names(x.after.answer)
	var both []string
	for _, m := range append(after, before...) {
		switch {
		case slices.Contains(both, m) || slices.Contains(x.alone, m):
		case slices.Contains(before, m) && slices.Contains(after, m):
			both = append(both, m)
		default:
			x.alone = append(x.alone, m)
		}
	}
	return both
}

// point is a row of an answer. nil: there is none, for the group has nothing in it.
type point struct {
	keys []any
	row  []any
}

func (p *point) or(other *point) *point {
	if p == nil {
		return other
	}
	return p
}

func (p *point) number(a *answer, measure string) any {
	if p == nil {
		return nil
	}
	return p.row[slices.IndexFunc(a.Columns, func(c answerColumn) bool { return c.Name == measure })]
}

type points struct {
	at    map[string]*point
	order []string
}

// points are the rows by what they are of: the time, a NUL, the dimensions' values.
func (a *answer) points(keys []string) points {
	out := points{at: map[string]*point{}}
	for _, row := range a.Rows {
		p := &point{row: row}
		for _, k := range keys {
			p.keys = append(p.keys, row[slices.IndexFunc(a.Columns, func(c answerColumn) bool { return c.Name == k })])
		}
		key := fmt.Sprintf("%v\x00%q", p.keys[0], p.keys[1:])
		out.at[key], out.order = p, append(out.order, key)
	}
	return out
}
