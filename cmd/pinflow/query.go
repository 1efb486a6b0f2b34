package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pinflow/pinflow/internal/client"
	"github.com/pinflow/pinflow/internal/fault"
)

// answer is the body of /v1/query.
type answer struct {
	Columns []answerColumn `json:"columns"`
	Rows    [][]any        `json:"rows"`
	Points  struct {
		State []string `json:"state"`
	} `json:"points"`
	Meta struct {
		CompleteTo string             `json:"complete_to"` // null: nothing yet
		From       string             `json:"from"`
		To         string             `json:"to"`
		Grain      string             `json:"grain"`
		TimeZone   string             `json:"time_zone"`
		Versions   map[string]string  `json:"versions"`
		Coverage   []coverage         `json:"coverage"`
		Approx     map[string]float64 `json:"approx"`
		Partial    []partial          `json:"partial"`
		Warnings   []string           `json:"warnings"`
	} `json:"meta"`

	formats map[string]string // by measure; for tables
}

type coverage struct {
	From   string `json:"from"`
	To     string `json:"to"`
	Source string `json:"source"` // lake | live | backfilling | missing
	Reason string `json:"reason"`
}

// partial is a bucket that begins before the data does.
type partial struct {
	Time  string `json:"time"`
	Since string `json:"since"`
}

// answerColumn is a column's name; the server gives it alone or with what it holds.
type answerColumn struct {
	Name string `json:"name"`
	Kind string `json:"kind"` // time | dimension | measure
	Type string `json:"type"`
}

// UnmarshalJSON takes "posted" and {"name": "posted", …}.
func (a *answerColumn) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, &a.Name)
	}
	type plain answerColumn
	return json.Unmarshal(b, (*plain)(a))
}

type queryFlags struct {
	measures, by, filters        []string
	from, to, grain, order, asOf string
	limit                        int
}

func (c *cli) queryCommand() *cobra.Command {
	f := &queryFlags{}
	cmd := &cobra.Command{
		Use:   "query VIEW",
		Short: "Ask for measures of a view",
		Long: `Ask for measures of a view, over time and by dimension; of VIEW@building, VIEW@standby or VIEW@HASH, of that
version of it. The rows go to stdout; how far the numbers
are complete, and what is approximate or missing, to stderr (in json, ndjson and csv beside the rows).
A table shows each measure in its format, like 12.4K or 35.9 %; json, ndjson and csv have every digit.`,
		Example: `  pinflow query pins -m posted,video_share --by category --from now-7d/d --grain day
  pinflow query pins -m posted -f category:travel,country:!gb -o csv`,
		Args: arguments("VIEW"),
		RunE: func(cmd *cobra.Command, args []string) error { return c.query(cmd, args[0], f) },
	}
	fs := cmd.Flags()
	fs.StringSliceVarP(&f.measures, "measures", "m", nil, "measures, with commas between (default: all)")
	fs.StringSliceVar(&f.by, "by", nil, "dimensions to group by")
	fs.StringArrayVarP(&f.filters, "filter", "f", nil, `DIMENSION:VALUE, or DIMENSION:!VALUE for all others; \N is NULL, and \ goes before , and \ and a leading ! in a value`)
	fs.StringVar(&f.from, "from", "", "begin: a time, or relative like now-7d/d")
	fs.StringVar(&f.to, "to", "", "end, not included (default now)")
	fs.StringVar(&f.grain, "grain", "", "minute, hour, day, week, month or year (default: totals)")
	fs.StringVar(&f.order, "order", "", "column to order by; -COLUMN for descending")
	fs.StringVar(&f.asOf, "as-of", "", "complete: leave out points that are not")
	fs.IntVar(&f.limit, "limit", 0, "with --grain and --by: that many top groups, the rest as other; else most rows (default: all)")
	return cmd
}

func (f *queryFlags) values(view, zone string) url.Values {
	q := url.Values{"view": {view}}
	for name, v := range map[string]string{
		"measures": strings.Join(f.measures, ","), "by": strings.Join(f.by, ","), "f": strings.Join(f.filters, ","),
		"from": f.from, "to": f.to, "grain": f.grain, "order": f.order, "as_of": f.asOf, "tz": zone,
	} {
		if v != "" {
			q.Set(name, v)
		}
	}
	if f.limit > 0 {
		q.Set("limit", strconv.Itoa(f.limit))
	}
	return q
}

func (c *cli) query(cmd *cobra.Command, view string, f *queryFlags) error {
	if f.asOf != "" && f.asOf != "complete" {
		return usage(cmd, "unknown --as-of %q: the allowed word is complete", f.asOf)
	}
	if cmd.Flags().Changed("limit") && f.limit < 1 {
		return usage(cmd, "--limit %d is not a number of rows or groups: it is 1 or more", f.limit)
	}
	server, err := c.client()
	if err != nil {
		return err
	}
	body, err := server.GetRaw(cmd.Context(), "/v1/query", f.values(view, c.timeZone))
	if err != nil {
		return err
	}
	if c.output == asJSON {
		_, err := fmt.Fprintf(c.stdout, "%s\n", bytes.TrimSpace(body))
		return err
	}
	var a answer
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	if err := dec.Decode(&a); err != nil {
		return fault.New(fault.Unknown, "bad_answer", "reading the answer of %s: %w", server.URL(), err)
	}
	if c.output == asTable {
		if err := a.askFormats(cmd, server, view); err != nil {
			return err
		}
	}
	if err := c.print(a.sheet(c.output, a.zone(c))); err != nil {
		return err
	}
	if c.output == asTable {
		c.footer(&a)
	}
	return nil
}

// askFormats learns how the view's measures are shown.
func (a *answer) askFormats(cmd *cobra.Command, server *client.Client, view string) error {
	var v viewAnswer
	name, _, _ := strings.Cut(view, "@")
	if err := server.Get(cmd.Context(), "/v1/views/"+url.PathEscape(name), nil, &v); err != nil {
		return err
	}
	a.formats = map[string]string{}
	for _, m := range v.Measures {
		a.formats[m.Name] = m.Format
	}
	return nil
}

// sheet is the answer's rows with the state of each point; machines get complete_to in each row too.
func (a *answer) sheet(output string, zone *time.Location) sheet {
	var s sheet
	for _, col := range a.Columns {
		s.columns = append(s.columns, col.Name)
		s.right = append(s.right, numeric(a, len(s.columns)-1))
	}
	if output == asTable {
		s.columns = append(s.columns, "state")
	} else { // as the server's csv names them: a measure may be called state
		s.columns = append(s.columns, "_state", "_complete_to")
	}
	for i, r := range a.Rows {
		row := slices.Clone(r)
		for j := range row {
			row[j] = a.cell(j, row[j], output, zone)
		}
		state := ""
		if i < len(a.Points.State) {
			state = a.Points.State[i]
		}
		if output == asTable {
			state = a.withSince(i, state, zone)
		}
		row = append(row, state)
		if output != asTable {
			row = append(row, a.Meta.CompleteTo)
		}
		s.rows = append(s.rows, row)
	}
	return s
}

// withSince adds to the state of a bucket that begins before the data does since when there is any.
func (a *answer) withSince(i int, state string, zone *time.Location) string {
	at := slices.IndexFunc(a.Columns, func(c answerColumn) bool { return c.Name == "time" })
	for _, p := range a.Meta.Partial {
		if at >= 0 && state == "incomplete" && a.Rows[i][at] == p.Time {
			return state + ", since " + shortTime(p.Since, "minute", zone)
		}
	}
	return state
}

// cell is a value as the output shows it: in tables times in the zone asked for, numbers in the measure's
// format, and ≈ for what is approximate.
func (a *answer) cell(j int, v any, output string, zone *time.Location) any {
	if output != asTable || j >= len(a.Columns) {
		return v
	}
	col := a.Columns[j]
	if text, ok := v.(string); ok && col.Name == "time" {
		return shortTime(text, a.Meta.Grain, zone)
	}
	shown := v
	if n, ok := v.(json.Number); ok {
		if text, ok := formatted(n, a.formats[col.Name]); ok {
			shown = text
		}
	}
	if _, approx := a.Meta.Approx[col.Name]; approx && v != nil {
		return "≈" + tidyNumber(shown, plainText(shown, ""))
	}
	return shown
}

// zone is the one asked for, else the one the server answered in: the view's.
func (a *answer) zone(c *cli) *time.Location {
	if c.timeZone == "" && a.Meta.TimeZone != "" {
		if loc, err := time.LoadLocation(a.Meta.TimeZone); err == nil {
			return loc
		}
	}
	return c.zone()
}

// shortTime is as much of a bucket's start as its grain has. Where hours can come twice, they are told
// apart.
func shortTime(text, grain string, zone *time.Location) string {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return text
	}
	layout := "2006-01-02 15:04:05"
	switch grain {
	case "year":
		layout = "2006"
	case "month":
		layout = "2006-01"
	case "week", "day":
		layout = "2006-01-02"
	case "hour", "minute":
		layout = "2006-01-02 15:04"
		if zone != time.UTC {
			layout += " MST"
		}
	}
	return t.In(zone).Format(layout)
}

// numeric tells whether a column holds numbers and nothing else.
func numeric(a *answer, j int) bool {
	some := false
	for _, r := range a.Rows {
		switch r[j].(type) {
		case nil:
		case json.Number:
			some = true
		default:
			return false
		}
	}
	return some
}

// footer says how far the numbers can be trusted.
func (c *cli) footer(a *answer) {
	parts := []string{plural(len(a.Rows), "row")}
	if from, to := a.Meta.From, a.Meta.To; from != "" && to != "" {
		parts = append(parts, "from "+shortTime(from, "", a.zone(c))+" to "+shortTime(to, "", a.zone(c)))
	}
	complete := "complete to: nothing yet"
	if t, err := time.Parse(time.RFC3339Nano, a.Meta.CompleteTo); err == nil {
		complete = "complete to " + t.In(a.zone(c)).Format("2006-01-02 15:04:05 MST")
	}
	parts = append(parts, complete)
	for _, name := range sorted(a.Meta.Versions) {
		parts = append(parts, name+"@"+a.Meta.Versions[name])
	}
	states := map[string]int{}
	for _, s := range a.Points.State {
		if s != "complete" {
			states[s]++
		}
	}
	for _, s := range sorted(states) {
		parts = append(parts, fmt.Sprintf("%d %s", states[s], s))
	}
	for _, name := range sorted(a.Meta.Approx) {
		parts = append(parts, fmt.Sprintf("≈ %s ±%.1f %%", name, 100*a.Meta.Approx[name]))
	}
	c.say("%s", strings.Join(parts, " · "))
	for _, g := range a.Meta.Coverage {
		why := ""
		if g.Reason != "" {
			why = ": " + printable(g.Reason)
		}
		if g.Source == "missing" || g.Source == "backfilling" || why != "" {
			c.say("%s: %s … %s%s", g.Source, g.From, g.To, why)
		}
	}
	for _, w := range a.Meta.Warnings {
		c.say("warning: %s", printable(w))
	}
}

func sorted[V any](m map[string]V) []string {
	var names []string
	for n := range m {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}
