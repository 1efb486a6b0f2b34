package main

import (
	"io"

	"github.com/spf13/cobra"

	"github.com/pinflow/pinflow/internal/app"
)

func (c *cli) upCommand() *cobra.Command {
	flags := &settingFlags{}
	demo := false
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run everything in one process: log, lake, ledger, both units, API and page",
		Long: `Run everything in one process, until Ctrl-C: embedded log, lake and ledger in one folder, both units,
the API and the page. It applies what the project's files add; the rest it prints and leaves as it runs.`,
		Example: "  pinflow up --demo\n  pinflow up --data /var/lib/pinflow --listen 127.0.0.1:8081",
		Args:    arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := c.load(flags.given()...)
			if err != nil {
				return err
			}
			greeting := c.stderr
			if c.quiet {
				greeting = io.Discard
			}
			a, err := app.New(app.Config{Project: p, Version: buildVersion().Version, Demo: demo, Log: c.logger(), Out: greeting})
			if err != nil {
				return err
			}
			return a.Run(cmd.Context())
		},
	}
	flags.add(cmd)
	cmd.Flags().BoolVar(&demo, "demo", false, "post the demonstration's pins, geolocations and users to it")
	return cmd
}
