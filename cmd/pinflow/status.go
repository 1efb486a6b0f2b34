package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/status"
)

func (c *cli) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Where every stream and unit stands, and whether every event is accounted for",
		Long: `Where every stream stands: accepted = rows + dead + duplicates + gaps + lost + in flight, and how far
the numbers are complete; a table also shows how many closed days of each view the background audit has compared
with the lake (-o json has all of it). What is wrong goes to stderr. Exit code 1 when something is.`,
		Args: arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			server, err := c.client()
			if err != nil {
				return err
			}
			body, err := server.GetRaw(cmd.Context(), "/v1/status", nil)
			if err != nil {
				return err
			}
			var r status.Report
			if err := json.Unmarshal(body, &r); err != nil {
				return fault.New(fault.Unknown, "bad_answer", "reading the answer of %s: %w", server.URL(), err)
			}
			return c.showStatus(&r, body)
		},
	}
}

func (c *cli) showStatus(r *status.Report, body []byte) error {
	var err error
	if c.output == asJSON {
		_, err = fmt.Fprintf(c.stdout, "%s\n", bytes.TrimSpace(body))
	} else {
		err = c.print(c.streams(r))
	}
	if views := c.audited(r); err == nil && c.output == asTable && len(views.rows) > 0 {
		if _, err = fmt.Fprintln(c.stdout); err == nil {
			err = c.print(views)
		}
	}
	if err != nil {
		return err
	}
	for _, p := range r.Problems {
		c.say("problem: %s", printable(p))
	}
	if !r.OK {
		return fault.New(fault.Unknown, "not_well", "something is wrong: %s", plural(len(r.Problems), "problem"))
	}
	return nil
}

func (c *cli) streams(r *status.Report) sheet {
	s := sheet{
		columns: []string{"stream", "accepted", "rows", "dead", "duplicates", "gaps", "lost", "in_flight", "ok", "complete_to", "lag"},
		right:   []bool{false, true, true, true, true, true, true, true, false, false, true},
	}
	for _, st := range r.Streams {
		n := st.Conservation
		var complete, lag any
		if st.CompleteTo != nil {
			complete = st.CompleteTo.UTC().Format(time.RFC3339)
			if c.output == asTable {
				complete = st.CompleteTo.In(c.zone()).Format("2006-01-02 15:04:05 MST")
			}
		}
		if st.LagSeconds != nil {
			lag = *st.LagSeconds
			if c.output == asTable {
				lag = time.Duration(*st.LagSeconds * float64(time.Second)).Round(10 * time.Millisecond).String()
			}
		}
		s.rows = append(s.rows, []any{st.Name, n.Accepted, n.Rows, n.Dead, n.Duplicates, n.Gaps, n.Lost, n.InFlight, n.OK, complete, lag})
	}
	return s
}

// audited is what the background audit found of each view.
func (c *cli) audited(r *status.Report) sheet {
	s := sheet{
		columns: []string{"view", "audited", "days", "from", "to", "rows", "differences"},
		right:   []bool{false, false, true, false, false, true, true},
	}
	for _, st := range r.Streams {
		for _, v := range st.Views {
			if a := v.Audit; a != nil {
				s.rows = append(s.rows, []any{v.Name, a.At.In(c.zone()).Format("2006-01-02 15:04:05 MST"), a.Days, a.From, a.To, a.Rows, a.Differences})
			} else {
				s.rows = append(s.rows, []any{v.Name, "no closed day yet", 0, nil, nil, 0, 0})
			}
		}
	}
	return s
}
