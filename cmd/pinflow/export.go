package main

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pinflow/pinflow/internal/app"
	"github.com/pinflow/pinflow/internal/config"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/lake"
)

// withStores opens ledger and lake of the project for fn.
func (c *cli) withStores(ctx context.Context, flags *settingFlags, fn func(*app.Stores) error) error {
	p, err := c.load(flags.given()...)
	if err != nil {
		return err
	}
	s, err := app.OpenStores(ctx, p, c.logger())
	if err != nil {
		return err
	}
	return errors.Join(fn(s), s.Close())
}

func (c *cli) exportCommand() *cobra.Command {
	flags := &settingFlags{}
	var days []string
	var format, to string
	cmd := &cobra.Command{
		Use:   "export STREAM --day D --to DIR|s3://BUCKET/PREFIX",
		Short: "Write a stream's day as JSON Lines, CSV or Parquet",
		Long: `Write the events of a UTC day (by event time) from the lake to a file: jsonl holds the original events, one a
line; csv and parquet hold the columns of the table. Rows are in order of log, partition and offset.
Beside each file NAME.meta.json says how many rows it has, up to when it is complete, and its checksum. It reads
ledger and lake of the project directly, also while pinflow runs on them. --day may be given more than once.`,
		Example: "  pinflow export pin --day 2026-11-22 --format parquet --to ./exports",
		Args:    arguments("STREAM"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if format != app.JSONL && format != app.CSV && format != app.Parquet {
				return usage(cmd, "--format cannot be %q: it is jsonl, csv or parquet", format)
			}
			if to == "" || len(days) == 0 {
				return usage(cmd, "--day and --to are needed")
			}
			if scheme, _, url := strings.Cut(to, "://"); url && scheme != "s3" {
				return usage(cmd, "--to cannot be %s://…: it is a folder or s3://BUCKET/PREFIX", scheme)
			}
			var dates []time.Time
			for _, d := range days {
				date, err := time.Parse(time.DateOnly, d)
				if err != nil {
					return usage(cmd, "--day cannot be %q: write it like 2026-11-22", d)
				}
				dates = append(dates, date)
			}
			return c.withStores(cmd.Context(), flags, func(s *app.Stores) error {
				return c.export(cmd.Context(), s, args[0], dates, format, to)
			})
		},
	}
	flags.add(cmd)
	cmd.Flags().StringSliceVar(&days, "day", nil, "UTC day, like 2026-11-22")
	cmd.Flags().StringVar(&format, "format", app.JSONL, "jsonl, csv or parquet")
	cmd.Flags().StringVar(&to, "to", "", "folder, or s3://BUCKET/PREFIX (reached as lake.s3 says)")
	return cmd
}

func (c *cli) export(ctx context.Context, s *app.Stores, stream string, days []time.Time, format, to string) error {
	out := sheet{
		columns: []string{"stream", "day", "format", "rows", "bytes", "complete_to", "complete", "file"},
		right:   []bool{false, false, false, true, true},
	}
	for _, day := range days {
		e, err := s.Export(ctx, stream, day, format, to)
		if err != nil {
			return err
		}
		var completeTo any
		if !e.CompleteTo.IsZero() {
			completeTo = e.CompleteTo.Format(time.RFC3339)
		}
		out.rows = append(out.rows, []any{e.Stream, e.Day, e.Format, e.Rows, e.Bytes, completeTo, e.Complete, e.File})
	}
	return c.print(out)
}

func (c *cli) lakeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "lake", Short: "The Iceberg tables: what they hold", Args: arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(c.lakeStatus(),
		c.lakeMaintain(lake.Compact, "compact [TABLE]", "Merge small files of a day, sorted by event time"),
		c.lakeMaintain(lake.Expire, "expire [TABLE]", "Drop old snapshots and the files that only they name, and old files that nobody knows"),
		c.lakeUndo(), c.lakeAdopt())
	return cmd
}

func (c *cli) lakeStatus() *cobra.Command {
	flags := &settingFlags{}
	var look app.Look
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show each table beside what the ledger says of it",
		Long: `Show rows, files and newest commit of each table, and whether ledger and table agree: ok, committing (a
commit is under way), differs (one of them was restored, replaced or changed), damaged (data files are gone or not as
long as they were written), missing. It reads both directly, also while pinflow runs on them.
--offsets reads where each row came from, and tells whether every partition of every log has the rows that the ledger
counted; the committing process does so once a day. --orphans lists all data files and counts those older than three
days that no snapshot and no ledger knows: a crash left them, and lake expire or the committing process deletes them.
It ends with exit code 1 if a table differs, is damaged or missing.`,
		Args: arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.withStores(cmd.Context(), flags, func(s *app.Stores) error {
				tables, err := s.Tables(cmd.Context(), look)
				if err != nil {
					return err
				}
				out := sheet{
					columns: []string{"table", "rows", "files", "commit", "snapshot", "uncommitted", "state", "note"},
					right:   []bool{false, true, true, true, true, true},
				}
				if look.Orphans {
					out.columns = append(out.columns, "orphans", "orphan_bytes")
				}
				var bad []string
				for _, t := range tables {
					if t.Wrong() {
						bad = append(bad, t.Name+" is "+t.State)
					}
					row := []any{t.Name, t.Rows, t.Files, t.Commit, t.Snapshot, t.Uncommitted, t.State, t.Note}
					if look.Orphans {
						row = append(row, t.Orphans, t.OrphanBytes)
					}
					out.rows = append(out.rows, row)
				}
				if err := c.print(out); err != nil || len(bad) == 0 {
					return err
				}
				return fault.New(fault.Corrupt, "lake_differs", "%s: see the notes", strings.Join(bad, ", "))
			})
		},
	}
	flags.add(cmd)
	cmd.Flags().BoolVar(&look.Orphans, "orphans", false, "count data files that nobody knows")
	cmd.Flags().BoolVar(&look.Offsets, "offsets", false, "compare the offsets of all rows with those counted")
	return cmd
}

func (c *cli) lakeUndo() *cobra.Command {
	flags := &settingFlags{}
	cmd := &cobra.Command{
		Use: "undo TABLE", Short: "Take back what another engine did to the rows of a table",
		Long: `Put a table back on the snapshot of pinflow's newest commit, if another engine has deleted, overwritten or added
rows since: pinflow stops over that, and pinflow lake status says what was done. What the other engine wrote stays a snapshot
of the table until it expires. Stop pinflow first: while a process commits to the table, this is refused (exit code 4).`,
		Example: "  pinflow lake undo pin",
		Args:    arguments("TABLE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.withStores(cmd.Context(), flags, func(s *app.Stores) error {
				undone, err := s.Undo(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				out := sheet{columns: []string{"table", "undone", "engine", "operation", "snapshot"}, right: []bool{false, true, false, false, true}}
				if undone == nil {
					c.say("table %s has the rows that were counted: there is nothing to undo", args[0])
					return c.print(out)
				}
				for _, f := range undone.Made {
					out.rows = append(out.rows, []any{args[0], f.Snapshot, f.Engine, f.Operation, undone.Base})
				}
				if len(undone.Made) == 0 {
					out.rows = append(out.rows, []any{args[0], undone.Now, "", "rollback", undone.Base})
				}
				return c.print(out)
			})
		},
	}
	flags.add(cmd)
	return cmd
}

func (c *cli) lakeMaintain(kind, use, short string) *cobra.Command {
	flags := &settingFlags{}
	var minFiles int
	olderThan := "3d"
	cmd := &cobra.Command{
		Use: use, Short: short,
		Long: short + `, in every table or the one named. The process that commits to the lake does so by itself; this
is for when none runs, and is refused (exit code 4) while one does. What a killed process held comes free within 15 s, for which
it waits.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			table := ""
			if len(args) > 0 {
				table = args[0]
			}
			if minFiles < 2 {
				return usage(cmd, "--min-files is at least 2")
			}
			age, err := config.ParseDuration(olderThan)
			if err != nil || age < time.Hour {
				return usage(cmd, "--orphans-older-than cannot be %q: write it like 3d, at least 1h: younger files may be a writer's", olderThan)
			}
			return c.withStores(cmd.Context(), flags, func(s *app.Stores) error {
				done, err := s.Maintain(cmd.Context(), kind, table, minFiles, age)
				if err != nil {
					return err
				}
				out := sheet{
					columns: []string{"table", "rewrites", "files_in", "files_out", "rows", "expired", "files", "orphans", "freed_bytes"},
					right:   []bool{false, true, true, true, true, false, true, true, true},
				}
				for _, m := range done {
					out.rows = append(out.rows, []any{m.Table, m.Rewrites, m.In, m.Out, m.Rows, m.Expired, m.FilesAfter, m.Orphans, m.Freed})
				}
				return c.print(out)
			})
		},
	}
	flags.add(cmd)
	minFiles = lake.DefaultShape().MinFiles
	if kind == lake.Expire {
		cmd.Flags().StringVar(&olderThan, "orphans-older-than", "3d", "age from which data files that no snapshot and no ledger knows are deleted")
	}
	if kind == lake.Compact {
		cmd.Flags().IntVar(&minFiles, "min-files", minFiles, "as many small files of a day, of about the same size, are worth merging")
	}
	return cmd
}
