package main

import (
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/pinflow/pinflow/internal/app"
	"github.com/pinflow/pinflow/internal/config"
)

func (c *cli) upCommand() *cobra.Command {
	flags := &settingFlags{}
	demo := false
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run everything in one process: log, lake, ledger, both units, API and page",
		Long: `Run everything in one process, until Ctrl-C: embedded log, lake and ledger in one folder, both units,
the API and the page. It applies what the project's files add; the rest it prints and leaves as it runs.
SIGHUP has it read the files again and do the same.`,
		Example: "  pinflow up --demo\n  pinflow up --data /var/lib/pinflow --listen 127.0.0.1:8081",
		Args:    arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.runUnits(cmd, flags, app.Units{}, demo)
		},
	}
	flags.add(cmd)
	cmd.Flags().BoolVar(&demo, "demo", false, "post the demonstration's pins, geolocations and users to it")
	return cmd
}

// runUnits runs a process until it is told to stop.
func (c *cli) runUnits(cmd *cobra.Command, flags *settingFlags, units app.Units, demo bool) error {
	p, err := c.load(flags.given()...)
	if err != nil {
		return err
	}
	greeting := c.stderr
	if c.quiet {
		greeting = io.Discard
	}
	again, stop := hangups()
	defer stop()
	a, err := app.New(app.Config{
		Project: p, Units: units, Version: buildVersion().Version, Demo: demo, Log: c.logger(), Out: greeting,
		Reloading: app.Reloading{Reload: again, Load: func() (*config.Project, error) { return c.load(flags.given()...) }},
	})
	if err != nil {
		return err
	}
	return a.Run(cmd.Context())
}

// unitCommand runs one unit. Any number of such processes share a log on Kafka and a ledger.
func (c *cli) unitCommand(name, short, long string, units app.Units) *cobra.Command {
	flags := &settingFlags{}
	cmd := &cobra.Command{
		Use:   name,
		Short: short,
		Long: long + `

Needs log.kind: kafka: the embedded log lives inside of pinflow up. Any number of these processes may run; those
of one host may share a ledger on SQLite. Streams and views are the ledger's: a unit that finds none brings
the project's, later changes are made by pinflow apply.`,
		Example: "  pinflow " + name + " --config pinflow.yaml --listen 127.0.0.1:8081",
		Args:    arguments(),
		RunE:    func(cmd *cobra.Command, _ []string) error { return c.runUnits(cmd, flags, units, false) },
	}
	flags.add(cmd)
	return cmd
}

func (c *cli) collectCommand() *cobra.Command {
	return c.unitCommand("collect", "Run the front door alone: takes events, puts them on the log",
		"Run the front door alone: it takes events over HTTP and answers when they are durable on the log.", app.Units{Collect: true})
}

func (c *cli) batchCommand() *cobra.Command {
	return c.unitCommand("batch", "Run the batch unit alone: log to lake",
		"Run the batch unit alone: it writes the log's records into the lake's tables, and keeps the tables in shape.", app.Units{Batch: true})
}

func (c *cli) liveCommand() *cobra.Command {
	return c.unitCommand("live", "Run the live unit alone: log to numbers",
		"Run the live unit alone: it folds the log's records into the numbers of the views, and compacts them.", app.Units{Live: true})
}

func (c *cli) serveCommand() *cobra.Command {
	return c.unitCommand("serve", "Run API and page alone",
		"Run the API and the page alone, with the marks that tell how fresh every number is.", app.Units{Serve: true})
}

// hangups tells of each SIGHUP; several that come at once are one.
func hangups() (again <-chan struct{}, stop func()) {
	signals, out, end := make(chan os.Signal, 1), make(chan struct{}, 1), make(chan struct{})
	signal.Notify(signals, syscall.SIGHUP)
	go func() {
		for {
			select {
			case <-end:
				return
			case <-signals:
			}
			select {
			case out <- struct{}{}:
			default:
			}
		}
	}()
	return out, func() { signal.Stop(signals); close(end) }
}
