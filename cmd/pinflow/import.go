package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/spf13/cobra"

	"github.com/pinflow/pinflow/internal/app"
	"github.com/pinflow/pinflow/internal/rowfile"
)

func (c *cli) importCommand() *cobra.Command {
	flags := &settingFlags{}
	var format string
	var abandon bool
	cmd := &cobra.Command{
		Use:   "import STREAM FILES…",
		Short: "Bring files of events into a stream's history, each exactly once",
		Long: `Bring files into the lake and into the views' history. A row is judged as an event that is posted: what is
none, or breaks the schema, becomes a dead letter. JSON Lines hold an event a line; CSV and TSV begin with
the members' names, an empty value is a member that is not there; of Parquet each column is a member. gzip,
zstd, bzip2 and lz4 are unpacked. What pinflow exported as jsonl or parquet comes back as it was.

Each file is read once as a whole before anything is written, and refused if it cannot be read. A file is known
by its content: importing it again does nothing, and an import that was interrupted goes on where it stopped.
An event happened when it says; it was received when its member _received_at says, else when it happened. Its
id is its own, or made of the file's content and the row. The live numbers of the days come by back-fill.
It writes ledger and lake of the project directly, also while pinflow runs on them.

An import that stopped and cannot go on, because its file was changed or is gone, is ended with --abandon and the
number or the file's name that pinflow status says: what was taken of it stays and is filled in, the rest of that
content is refused from then on. Import the rows after it as a file of their own. If nothing was taken of it, it is
forgotten, and its content may be imported.`,
		Example: "  pinflow import pin 2019-*.jsonl.gz\n  pinflow import user users.csv\n  pinflow import pin --abandon 7",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) < 2 {
				return usage(cmd, "%s missing", []string{"STREAM and FILES are", "FILES are"}[len(args)])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if format != "" && !slices.Contains(rowfile.Formats(), format) {
				return usage(cmd, "--format cannot be %q: it is %s", format, strings.Join(rowfile.Formats(), ", "))
			}
			if abandon && format != "" {
				return usage(cmd, "--abandon reads no file: leave --format out")
			}
			return c.withStores(cmd.Context(), flags, func(s *app.Stores) error {
				if abandon {
					all, err := s.Abandon(cmd.Context(), args[0], args[1:])
					return c.showImported(cmd.Context(), args[0], all, err)
				}
				return c.importFiles(cmd.Context(), s, args[0], format, args[1:])
			})
		},
	}
	flags.add(cmd)
	cmd.Flags().StringVar(&format, "format", "", strings.Join(rowfile.Formats(), ", ")+" (default: by the file's name)")
	cmd.Flags().BoolVar(&abandon, "abandon", false, "end imports that stopped where they are; FILES are names of files or numbers of logs")
	return cmd
}

func (c *cli) importFiles(ctx context.Context, s *app.Stores, stream, format string, paths []string) error {
	files, err := s.Look(ctx, stream, format, paths)
	if err != nil {
		return err
	}
	total := int64(0)
	for _, f := range files {
		total += f.Rows
	}
	var done atomic.Int64
	stop := c.watch(func() (int64, string) { return done.Load(), "rows read" }, total)
	all, err := s.Import(ctx, stream, files, &done)
	stop()
	return c.showImported(ctx, stream, all, err)
}

// showImported says what became of the files, also when one of them failed.
func (c *cli) showImported(ctx context.Context, stream string, all []app.ImportedFile, err error) error {
	out := sheet{
		columns: []string{"file", "state", "rows", "accepted", "dead_lettered", "duplicates", "days"},
		right:   []bool{false, false, true, true, true, true, true},
	}
	filling := 0
	for _, f := range all {
		days := any(nil)
		if f.State != app.Known {
			days = f.Days
			if f.Days > 0 {
				filling = max(filling, f.Views)
			}
		}
		out.rows = append(out.rows, []any{f.File, f.State, f.Rows, f.Counts.Rows, f.Counts.Dead, f.Counts.Duplicates, days})
	}
	if len(all) > 0 || err == nil {
		if printErr := c.print(out); printErr != nil {
			return printErr
		}
	}
	if err != nil {
		return fmt.Errorf("%w%s", err, goesOn(ctx))
	}
	for _, f := range all {
		if f.State == app.Abandoned && f.Rows == 0 {
			c.say("nothing was taken of %s: that content may be imported as any other", f.File)
		}
	}
	if filling > 0 {
		c.say("the days go into %s of stream %s by back-fill: pinflow backfill ls", plural(filling, "view"), stream)
	}
	return nil
}

// goesOn says what an interrupted import is worth.
func goesOn(ctx context.Context) string {
	if ctx.Err() == nil {
		return ""
	}
	return ": what was imported stays; the same command goes on"
}
