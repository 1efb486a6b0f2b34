package main

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pinflow/pinflow/internal/app"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/status"
)

// askRunning replaces the finding that a running process has the log by what that process says of it.
func (c *cli) askRunning(ctx context.Context, f app.Finding) app.Finding {
	bad := func(err error) app.Finding {
		return app.Finding{Of: f.Of, State: "error", Detail: f.Detail + ", and it does not say how it is: " + err.Error()}
	}
	server, err := c.client()
	if err != nil {
		return bad(err)
	}
	body, err := server.GetRaw(ctx, "/v1/status", nil)
	if err != nil {
		return bad(err)
	}
	var r status.Report
	if err := json.Unmarshal(body, &r); err != nil {
		return bad(err)
	}
	if !r.OK {
		return app.Finding{Of: f.Of, State: "error", Detail: server.URL() + " says: " + strings.Join(r.Problems, "; ")}
	}
	return app.Finding{Of: f.Of, State: "ok", Detail: server.URL() + " says that nothing is wrong"}
}

func (c *cli) doctorCommand() *cobra.Command {
	flags := &settingFlags{}
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look at everything that the project stands on, and say what is wrong or unwise",
		Long: `Look at ledger, lake, log and topics: whether they can be reached, are what the project and the ledger say, and
are set so that nothing accepted can be lost. Exit code 1 for an error, 0 with warnings alone.`,
		Args: arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := c.load(flags.given()...)
			if err != nil {
				return err
			}
			s := sheet{columns: []string{"of", "state", "detail"}}
			bad := 0
			for _, f := range app.Doctor(cmd.Context(), app.Config{Project: p, Version: buildVersion().Version, Log: c.logger()}) {
				if f.State == app.InUse {
					f = c.askRunning(cmd.Context(), f)
				}
				if f.State == "error" {
					bad++
				}
				s.rows = append(s.rows, []any{f.Of, f.State, f.Detail})
			}
			if err := c.print(s); err != nil {
				return err
			}
			if bad > 0 {
				return fault.New(fault.Unknown, "not_well", "something is wrong: %s", plural(bad, "error"))
			}
			return nil
		},
	}
	flags.add(cmd)
	return cmd
}
