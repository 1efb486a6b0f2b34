package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pinflow/pinflow/internal/deadletter"
	"github.com/pinflow/pinflow/internal/fault"
)

// dlqFlags are what the commands on dead letters have in common.
type dlqFlags struct{ from, to, stream string }

func (f *dlqFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.from, "from", "", "received from then on, like 2026-11-22 or now-7d; UTC (default now-30d/d)")
	cmd.Flags().StringVar(&f.to, "to", "", "received before (default now)")
}

func (f *dlqFlags) values() url.Values {
	q := url.Values{}
	for name, v := range map[string]string{"from": f.from, "to": f.to, "stream": f.stream} {
		if v != "" {
			q.Set(name, v)
		}
	}
	return q
}

func (c *cli) dlqCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "dlq", Short: "Dead letters: events that break their stream's schema or time rules", Args: arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(c.dlqList(), c.dlqShow(), c.dlqStats())
	return cmd
}

func (c *cli) dlqList() *cobra.Command {
	f := &dlqFlags{}
	cmd := &cobra.Command{
		Use: "ls", Short: "Groups by stream, reason and field, most letters first", Args: arguments(),
		Example: "  pinflow dlq ls --from now-7d\n  pinflow dlq ls --stream pin -o json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			g, raw, err := c.deadGroups(cmd, f)
			if err != nil {
				return err
			}
			if c.output == asJSON {
				return c.printJSON(raw)
			}
			s := sheet{columns: []string{"group", "stream", "code", "path", "letters", "first", "last", "message"}, right: []bool{false, false, false, false, true}}
			for _, x := range g.Groups {
				message := ""
				if x.Sample != nil {
					message = x.Sample.Message
				}
				s.rows = append(s.rows, []any{x.ID, x.Stream, x.Code, orNull(x.Path), x.Letters, c.moment(x.First), c.moment(x.Last), c.inShort(message)})
			}
			return c.told(g, s)
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&f.stream, "stream", "", "of this stream alone")
	return cmd
}

func (c *cli) dlqStats() *cobra.Command {
	f := &dlqFlags{}
	cmd := &cobra.Command{
		Use: "stats", Short: "Letters by day (UTC), stream and reason", Args: arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			g, _, err := c.deadGroups(cmd, f)
			if err != nil {
				return err
			}
			type of struct{ day, stream, code string }
			sums := map[of]int64{}
			for _, x := range g.Groups {
				for _, d := range x.Days {
					sums[of{d.Day, x.Stream, x.Code}] += d.Letters
				}
			}
			s := sheet{columns: []string{"day", "stream", "code", "letters"}, right: []bool{false, false, false, true}}
			for k, n := range sums {
				s.rows = append(s.rows, []any{k.day, k.stream, k.code, n})
			}
			slices.SortFunc(s.rows, func(a, b []any) int {
				return cmp.Or(strings.Compare(b[0].(string), a[0].(string)), strings.Compare(a[1].(string), b[1].(string)), strings.Compare(a[2].(string), b[2].(string)))
			})
			return c.told(g, s)
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&f.stream, "stream", "", "of this stream alone")
	return cmd
}

func (c *cli) dlqShow() *cobra.Command {
	f, limit := &dlqFlags{}, 0
	cmd := &cobra.Command{
		Use: "show GROUP", Short: "The newest letters of a group, as they were sent", Args: arguments("GROUP"),
		Long: `The newest letters of a group, as they were sent. A table cuts long bodies; -o json has them whole, to 64 KiB.
One event by its id: pinflow where EVENT_ID.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			server, err := c.client()
			if err != nil {
				return err
			}
			q := f.values()
			if cmd.Flags().Changed("limit") {
				q.Set("limit", strconv.Itoa(limit))
			}
			body, err := server.GetRaw(cmd.Context(), "/v1/dlq/"+url.PathEscape(args[0]), q)
			if err != nil {
				return err
			}
			var g deadletter.Letters
			if err := json.Unmarshal(body, &g); err != nil {
				return fault.New(fault.Unknown, "bad_answer", "reading the answer of %s: %w", server.URL(), err)
			}
			if c.output == asJSON {
				return c.printJSON(json.RawMessage(body))
			}
			s := sheet{columns: []string{"received", "at", "id", "message", "body"}}
			for _, l := range g.Newest {
				s.rows = append(s.rows, []any{c.moment(l.ReceivedAt), fmt.Sprintf("%s/%d/%d", l.Topic, l.Partition, l.Offset), orNull(l.ID), c.inShort(l.Message), c.inShort(l.Body)})
			}
			if err := c.print(s); err != nil {
				return err
			}
			c.say("%d of %s of %s: %s %s · %s", len(g.Newest), plural(int(g.Letters), "letter"), g.Stream, g.Code, g.Path, c.inLake(g.CompleteTo))
			return nil
		},
	}
	f.add(cmd)
	cmd.Flags().IntVar(&limit, "limit", 20, "most letters, 1 to 1000")
	return cmd
}

func (c *cli) deadGroups(cmd *cobra.Command, f *dlqFlags) (*deadletter.Groups, json.RawMessage, error) {
	server, err := c.client()
	if err != nil {
		return nil, nil, err
	}
	body, err := server.GetRaw(cmd.Context(), "/v1/dlq", f.values())
	if err != nil {
		return nil, nil, err
	}
	var g deadletter.Groups
	if err := json.Unmarshal(body, &g); err != nil {
		return nil, nil, fault.New(fault.Unknown, "bad_answer", "reading the answer of %s: %w", server.URL(), err)
	}
	return &g, body, nil
}

// told prints the sheet, and how many letters it is of.
func (c *cli) told(g *deadletter.Groups, s sheet) error {
	if c.output != asTable {
		s.columns = append(s.columns, "_complete_to")
		for i := range s.rows {
			var at any
			if g.CompleteTo != nil {
				at = g.CompleteTo.UTC().Format(time.RFC3339Nano)
			}
			s.rows[i] = append(s.rows[i], at)
		}
	}
	if err := c.print(s); err != nil {
		return err
	}
	c.say("%s received from %s to %s · %s", plural(int(g.Letters), "letter"), g.From.Format(time.RFC3339), g.To.Format(time.RFC3339), c.inLake(g.CompleteTo))
	if g.More > 0 {
		c.say("%s of further groups are counted but not told apart: ask for one stream, or a shorter range", plural(int(g.More), "letter"))
	}
	return nil
}

// inLake says how far the lake is complete.
func (c *cli) inLake(at *time.Time) string {
	if at == nil {
		return "nothing is in the lake yet"
	}
	return fmt.Sprintf("the lake is complete to %v", c.moment(*at))
}
