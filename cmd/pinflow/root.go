package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pinflow/pinflow/internal/apikey"
	"github.com/pinflow/pinflow/internal/calendar"
	"github.com/pinflow/pinflow/internal/client"
	"github.com/pinflow/pinflow/internal/config"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/nearest"
)

// environment is what a command has of the outside world.
type environment struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	vars           map[string]string // the process's environment
	terminal       bool              // stdout is one
	errTerminal    bool              // stderr is one
	inTerminal     bool              // stdin is one
}

// cli is one invocation: the environment and the global flags.
type cli struct {
	*environment
	output     string
	url        string
	keyFile    string
	configFile string
	timeZone   string
	quiet      bool
	verbose    bool
	noColor    bool
	noInput    bool

	running string // command line of the command that began to run; "": none did
}

// Output formats.
const (
	asTable  = "table"
	asJSON   = "json"
	asNDJSON = "ndjson"
	asCSV    = "csv"
)

var formats = []string{asTable, asJSON, asNDJSON, asCSV}

// run parses the arguments, runs the command and returns the exit code.
func run(ctx context.Context, args []string, env *environment) int {
	c := &cli{environment: env}
	root := c.root()
	root.SetArgs(args)
	root.SetIn(env.stdin)
	root.SetOut(env.stdout)
	root.SetErr(env.stderr)
	cmd, err := root.ExecuteContextC(ctx)
	switch {
	case err == nil:
		return 0
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		c.say("interrupted")
		return fault.ExitInterrupted
	case c.running == "" && fault.KindOf(err) == fault.Unknown: // arguments that cobra refused
		err = usage(cmd, "%w", err)
	}
	if code := fault.CodeOf(err); code != said {
		fmt.Fprintln(env.stderr, "pinflow: "+oneLine(err))
	}
	return fault.ExitCode(err)
}

// said is the code of a failure whose message the user has seen already.
const said = "said"

// oneLine keeps a message to one line, however it was joined.
func oneLine(err error) string {
	return strings.Join(strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
}

// usage is a mistake in the command line.
func usage(cmd *cobra.Command, format string, args ...any) error {
	return fault.New(fault.Config, "usage", format, args...).
		WithAdvice("see `%s --help`", cmd.CommandPath()).WithExit(fault.ExitUsage)
}

func (c *cli) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "pinflow",
		Short:         "Collect events, keep them in a lake, measure them: history and the present in one binary",
		SilenceErrors: true, SilenceUsage: true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			near := nearest.Name(args[0], commandNames(cmd))
			if near != "" {
				return usage(cmd, "unknown command %q: did you mean %q?", args[0], near)
			}
			return usage(cmd, "unknown command %q", args[0])
		},
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return c.prepare(cmd) },
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	f := root.PersistentFlags()
	f.StringVarP(&c.output, "output", "o", "", "table, json, ndjson or csv (default table)")
	f.StringVar(&c.url, "url", "", "address of the server (default: where up runs in the project's data folder, else its listen address)")
	f.StringVar(&c.keyFile, "api-key-file", "", "file that holds the API key")
	f.StringVar(&c.configFile, "config", "", "pinflow.yaml to use (default: the working folder's, else the built-in project)")
	f.StringVar(&c.timeZone, "time-zone", "", "time zone of times shown and of relative times, like Europe/London (default UTC)")
	f.BoolVarP(&c.quiet, "quiet", "q", false, "say nothing but data and failures")
	f.BoolVarP(&c.verbose, "verbose", "v", false, "say more")
	f.BoolVar(&c.noColor, "no-color", false, "no colours (also: NO_COLOR in the environment)")
	f.BoolVar(&c.noInput, "no-input", false, "never ask; fail instead")
	root.CompletionOptions.HiddenDefaultCmd = false
	root.AddCommand(c.commands()...)
	return root
}

// commands are all that work; there are no others.
func (c *cli) commands() []*cobra.Command {
	return []*cobra.Command{
		c.upCommand(), c.collectCommand(), c.batchCommand(), c.liveCommand(), c.serveCommand(), c.initCommand(), c.lintCommand(), c.testCommand(), c.configCommand(), c.versionCommand(),
		c.planCommand(), c.applyCommand(), c.backfillCommand(), c.auditCommand(),
		c.queryCommand(), c.metricsCommand(), c.daysCommand(), c.statusCommand(), c.sendCommand(),
		c.emulateCommand(), c.verifyCommand(), c.keysCommand(), c.tailCommand(),
		c.topicsCommand(), c.doctorCommand(), c.lakeCommand(), c.exportCommand(), c.importCommand(), c.whereCommand(), c.dlqCommand(),
	}
}

func commandNames(cmd *cobra.Command) []string {
	var names []string
	for _, sub := range cmd.Commands() {
		names = append(names, sub.Name())
	}
	return names
}

// prepare settles the global flags, the environment's under the command line's.
func (c *cli) prepare(cmd *cobra.Command) error {
	for _, v := range []struct {
		at   *string
		name string
	}{{&c.output, "PINFLOW_OUTPUT"}, {&c.url, "PINFLOW_URL"}, {&c.keyFile, "PINFLOW_API_KEY_FILE"}, {&c.timeZone, "PINFLOW_TIME_ZONE"}} {
		if *v.at == "" {
			*v.at = c.vars[v.name]
		}
	}
	if c.output == "" {
		c.output = asTable
	}
	if !slices.Contains(formats, c.output) {
		return usage(cmd, "unknown output %q: allowed are %s", c.output, strings.Join(formats, ", "))
	}
	if _, err := calendar.Load(c.timeZone); err != nil {
		return usage(cmd, "--time-zone: %v", err)
	}
	c.running = cmd.CommandPath()
	return nil
}

// arguments asks for exactly the named arguments.
func arguments(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return usage(cmd, "%s is missing", names[len(args)])
		case len(args) > len(names):
			return usage(cmd, "unexpected argument %q", args[len(names)])
		}
		return nil
	}
}

// say tells the user something that is not data.
func (c *cli) say(format string, args ...any) {
	if !c.quiet {
		fmt.Fprintf(c.stderr, format+"\n", args...)
	}
}

// logger writes to stderr: warnings always, what happens unless quiet, details when verbose.
func (c *cli) logger() *slog.Logger {
	level := slog.LevelInfo
	switch {
	case c.verbose:
		level = slog.LevelDebug
	case c.quiet:
		level = slog.LevelWarn
	}
	opts := &slog.HandlerOptions{Level: level}
	if c.errTerminal { // for people: the time of day will do
		opts.ReplaceAttr = func(groups []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey && len(groups) == 0 {
				a.Value = slog.StringValue(a.Value.Time().Format("15:04:05"))
			}
			return a
		}
	}
	return slog.New(slog.NewTextHandler(c.stderr, opts))
}

// color tells whether to paint.
func (c *cli) color() bool {
	return c.terminal && !c.noColor && c.vars["NO_COLOR"] == "" && c.vars["TERM"] != "dumb"
}

// load reads the project with the flags given. Problems go to stderr; errors end the command.
func (c *cli) load(flags ...config.Flag) (*config.Project, error) {
	p, problems, err := config.Load(config.Options{File: c.configFile, Flags: flags, Environ: c.vars})
	if err != nil {
		return nil, err
	}
	if len(problems) > 0 && (!c.quiet || config.Errors(problems) > 0) {
		if err := config.Format(c.stderr, problems, false); err != nil {
			return nil, err
		}
	}
	return p, config.Err(problems)
}

// settings reads the project for its addresses alone: faults of streams and views are no hindrance.
func (c *cli) settings() (*config.Project, error) {
	p, _, err := config.Load(config.Options{File: c.configFile, Environ: c.vars})
	return p, err
}

// client is the connection to the server: --url, PINFLOW_URL, or where the project listens.
func (c *cli) client() (*client.Client, error) {
	address := c.url
	if address == "" {
		p, err := c.settings()
		if err != nil {
			return nil, err
		}
		address = p.ServerURL()
	}
	key, err := c.key()
	if err != nil {
		return nil, err
	}
	return client.New(client.Config{URL: address, Key: key, UserAgent: "pinflow/" + buildVersion().Version})
}

// key is the API key, "" without one. What cannot be one is not sent: no server has to say so.
func (c *cli) key() (string, error) {
	text, from := c.vars["PINFLOW_API_KEY"], "PINFLOW_API_KEY"
	if c.keyFile != "" {
		from = c.keyFile
		var err error
		if text, err = config.ReadSecret(c.keyFile); err != nil {
			return "", fmt.Errorf("reading the API key: %w", err)
		}
	}
	if text = strings.TrimSpace(text); text == "" || apikey.Looks(text) {
		return text, nil
	}
	what := "what is in it does not look like one"
	if n := strings.Count(text, "\n") + 1; n > 1 {
		what = fmt.Sprintf("it holds %d lines", n)
	}
	return "", fault.New(fault.Config, "bad_key_file", "%s is no API key: %s", from, what).
		WithAdvice("give the text that `pinflow keys create` printed, alone: pf_, an id, and 52 characters")
}

// zone is the time zone to show times in.
func (c *cli) zone() *time.Location {
	loc, err := time.LoadLocation(c.timeZone) // "" is UTC; prepare has checked it
	if err != nil {
		return time.UTC
	}
	return loc
}
