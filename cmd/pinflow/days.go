package main

import (
	"encoding/json"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pinflow/pinflow/internal/fault"
)

// dayAnswer is a day as /v1/days tells it.
type dayAnswer struct {
	Stream   string     `json:"stream"`
	Date     string     `json:"date"`
	Zone     string     `json:"zone"`
	State    string     `json:"state"` // open | waiting | complete
	LandedAt *time.Time `json:"landed_at"`
}

func (c *cli) daysCommand() *cobra.Command {
	stream := ""
	cmd := &cobra.Command{
		Use:   "days [DATE]",
		Short: "Which days are complete, and when they landed",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path := "/v1/days"
			if len(args) == 1 {
				if _, err := time.Parse(time.DateOnly, args[0]); err != nil {
					return usage(cmd, "%q is no date: write it like 2026-11-22", args[0])
				}
				path += "/" + args[0]
			}
			q := url.Values{}
			if stream != "" {
				q.Set("stream", stream)
			}
			return c.days(cmd, path, q)
		},
	}
	cmd.Flags().StringVar(&stream, "stream", "", "of this stream alone")
	return cmd
}

func (c *cli) days(cmd *cobra.Command, path string, q url.Values) error {
	server, err := c.client()
	if err != nil {
		return err
	}
	var list struct {
		Days []json.RawMessage `json:"days"`
	}
	if err := server.Get(cmd.Context(), path, q, &list); err != nil {
		return err
	}
	if c.output == asJSON {
		if list.Days == nil {
			list.Days = []json.RawMessage{}
		}
		return c.printJSON(list.Days)
	}
	s := sheet{columns: []string{"day", "stream", "state", "landed", "zone"}}
	for _, raw := range list.Days {
		var d dayAnswer
		if err := json.Unmarshal(raw, &d); err != nil {
			return fault.New(fault.Unknown, "bad_answer", "reading the answer of %s: %w", server.URL(), err)
		}
		var landed any
		if d.LandedAt != nil {
			landed = d.LandedAt.UTC().Format(time.RFC3339)
			if c.output == asTable {
				landed = d.LandedAt.In(c.zone()).Format("2006-01-02 15:04:05 MST")
			}
		}
		s.rows = append(s.rows, []any{strings.TrimSpace(d.Date), d.Stream, d.State, landed, d.Zone})
	}
	return c.print(s)
}
