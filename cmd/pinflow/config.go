package main

import (
	"github.com/spf13/cobra"

	"github.com/pinflow/pinflow/internal/config"
)

func (c *cli) configCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "config", Short: "Show or check the settings", Args: arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	flags := &settingFlags{}
	show := &cobra.Command{
		Use: "show", Short: "Every setting with its origin: flag, env, file:line or default; secrets masked", Args: arguments(),
		RunE: func(*cobra.Command, []string) error {
			p, err := c.load(flags.given()...)
			if err != nil {
				return err
			}
			s := sheet{columns: []string{"key", "value", "origin"}}
			for _, v := range p.Values {
				s.rows = append(s.rows, []any{v.Key, v.Value, v.Origin})
			}
			return c.print(s)
		},
	}
	check := &cobra.Command{
		Use: "check", Short: "Check settings, environment and files as `up` would read them", Args: arguments(),
		RunE: func(*cobra.Command, []string) error {
			p, problems, err := config.Load(config.Options{File: c.configFile, Flags: flags.given(), Environ: c.vars})
			if err != nil {
				return err
			}
			return c.report(problems, len(p.Files))
		},
	}
	flags.add(show)
	flags.add(check)
	cmd.AddCommand(show, check)
	return cmd
}

// settingFlags are the settings that can be given as flags.
type settingFlags struct{ data, listen, logListen string }

func (f *settingFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.data, "data", "", "folder of everything that pinflow keeps (default ./pinflow-data)")
	cmd.Flags().StringVar(&f.listen, "listen", "", "address of the HTTP API and the page (default 127.0.0.1:8080)")
	cmd.Flags().StringVar(&f.logListen, "log-listen", "", "Kafka port of the embedded broker (default 127.0.0.1:9092)")
}

func (f *settingFlags) given() []config.Flag {
	var out []config.Flag
	for _, x := range []config.Flag{{Key: "data", Name: "--data", Value: f.data}, {Key: "listen", Name: "--listen", Value: f.listen}, {Key: "log.listen", Name: "--log-listen", Value: f.logListen}} {
		if x.Value != "" {
			out = append(out, x)
		}
	}
	return out
}
