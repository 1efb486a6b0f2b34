package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/pinflow/pinflow/internal/app"
	"github.com/pinflow/pinflow/internal/calendar"
	"github.com/pinflow/pinflow/internal/config"
	"github.com/pinflow/pinflow/internal/fault"
)

func (c *cli) topicsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "topics", Short: "The log's topics: make them, list them, accept what was lost of them", Args: arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(c.topicsCreate(), c.topicsList(), c.topicsReset())
	return cmd
}

// withTopics opens log and ledger of the project for fn; with look what is not there is not made.
func (c *cli) withTopics(ctx context.Context, flags *settingFlags, look bool, fn func(*app.Topics) error) error {
	p, err := c.load(flags.given()...)
	if err != nil {
		return err
	}
	t, err := app.OpenTopics(ctx, app.Config{Project: p, Version: buildVersion().Version, Log: c.logger()}, look)
	if err != nil {
		return err
	}
	return errors.Join(fn(t), t.Close())
}

func (c *cli) topicsCreate() *cobra.Command {
	flags := &settingFlags{}
	var partitions int32
	var replication int16
	var retention string
	cmd := &cobra.Command{
		Use:   "create [STREAM…]",
		Short: "Make the topics of the project's streams that are not there yet",
		Long: `Make the topics of the streams named, or of all: that of the events and that of the dead letters. A topic
that is there as it should be is left alone; one that is there otherwise is an error.`,
		Example: "  pinflow topics create pin --partitions 6 --replication-factor 3 --retention 7d",
		RunE: func(cmd *cobra.Command, streams []string) error {
			keep := time.Duration(0)
			if retention != "" {
				var err error
				if keep, err = config.ParseDuration(retention); err != nil || keep <= 0 {
					return usage(cmd, "--retention cannot be %q: write it like 7d or 36h", retention)
				}
			}
			if partitions < 0 || partitions > 1024 || replication < 0 {
				return usage(cmd, "--partitions is 1 to 1024, --replication-factor at least 1")
			}
			return c.withTopics(cmd.Context(), flags, false, func(t *app.Topics) error {
				made, err := t.Create(cmd.Context(), streams, partitions, replication, keep)
				for _, name := range made {
					c.say("made %s", name)
				}
				if err == nil && len(made) == 0 {
					c.say("every topic was there")
				}
				if len(made) > 0 && partitions > 0 {
					c.say("next: partitions: %d in the file of the stream, which is what pinflow goes by", partitions)
				}
				return err
			})
		},
	}
	flags.add(cmd)
	cmd.Flags().Int32Var(&partitions, "partitions", 0, "of the topics of events (default: what the stream's file says)")
	cmd.Flags().Int16Var(&replication, "replication-factor", 0, "copies of each partition (default: log.replication_factor, else the cluster's)")
	cmd.Flags().StringVar(&retention, "retention", "", "how long records are kept, like 7d (default: log.retention, else the cluster's)")
	return cmd
}

func (c *cli) topicsList() *cobra.Command {
	flags := &settingFlags{}
	cmd := &cobra.Command{
		Use: "ls", Short: "The project's topics: how they are, and whether the ledger knows them", Args: arguments(),
		Long: `List the project's topics. STATE is ok, missing (made at start), new (made at the first take-over), or what is
wrong; what to do about it goes to stderr. Exit code 1 when something is wrong.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.withTopics(cmd.Context(), flags, true, func(t *app.Topics) error {
				all, err := t.List(cmd.Context())
				if err != nil {
					return err
				}
				return c.showTopics(all)
			})
		},
	}
	flags.add(cmd)
	return cmd
}

func (c *cli) showTopics(all []app.TopicState) error {
	s := sheet{
		columns: []string{"topic", "stream", "partitions", "replicas", "in_sync", "min_in_sync", "retention", "records", "state"},
		right:   []bool{false, false, true, true, true, true, true, true},
	}
	bad := 0
	for _, t := range all {
		row := []any{t.Name, t.Stream, nil, nil, nil, nil, nil, nil, t.State}
		if t.Partitions > 0 {
			row[2], row[3], row[4], row[7] = t.Partitions, t.Replicas, t.InSync, t.Records
		}
		if t.MinInSync > 0 {
			row[5] = t.MinInSync
		}
		switch {
		case t.Retention < 0:
			row[6] = "forever"
		case t.Retention > 0:
			row[6] = calendar.Duration(t.Retention)
		}
		s.rows = append(s.rows, row)
	}
	if err := c.print(s); err != nil {
		return err
	}
	for _, t := range all {
		if t.Problem != nil {
			bad++
			c.say("problem: %s", printable(oneLine(t.Problem)))
		}
	}
	if bad > 0 {
		return fault.New(fault.Unknown, "not_well", "something is wrong: %s", plural(bad, "problem"))
	}
	return nil
}

func (c *cli) topicsReset() *cobra.Command {
	flags := &settingFlags{}
	yes := false
	cmd := &cobra.Command{
		Use:   "accept-reset STREAM|TOPIC",
		Short: "Go on after a topic was deleted, made anew, or shortened before it was read",
		Long: `Go on with a log that is not what the ledger knows. Of a topic that was made anew the old log is closed where the
units stood; what they can read no more is booked as lost; the new one is read from its beginning. A log that was
shortened goes on where it begins now. It asks first. Units that run hear of it by themselves, those that
stopped are to be started again.`,
		Args: arguments("STREAM or TOPIC"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.withTopics(cmd.Context(), flags, false, func(t *app.Topics) error { return c.acceptReset(cmd, t, args[0], yes) })
		},
	}
	flags.add(cmd)
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

func (c *cli) acceptReset(cmd *cobra.Command, t *app.Topics, name string, yes bool) error {
	found, err := t.FindResets(cmd.Context(), name)
	if err != nil {
		return err
	}
	for _, f := range found {
		c.say("%s", printable(message(f.Why)))
	}
	if err := c.confirm("What no unit has read of it is lost. Go on with what is there?", yes); err != nil {
		return err
	}
	s := sheet{
		columns: []string{"topic", "partition", "live_at", "live_lost", "batch_at", "batch_lost", "lost"},
		right:   []bool{false, true, true, true, true, true, true},
	}
	accepted, err := t.Accept(cmd.Context(), found)
	for i, a := range accepted {
		f := found[i]
		for _, p := range a.Parts {
			row := []any{f.Log.Topic, p.Key.Partition, p.Live.From, p.Live.Lost(), p.Batch.From, p.Batch.Lost(), p.Lost()}
			if f.Log.Dead {
				row[2], row[3], row[6] = nil, nil, p.Batch.Lost()
			}
			s.rows = append(s.rows, row)
		}
		for _, view := range a.Rebuilt {
			c.say("view %s is built anew: the units had stopped at different offsets", view)
		}
	}
	return errors.Join(err, c.print(s))
}

// message is what is wrong, without what to do about it.
func message(err error) string {
	var f *fault.Error
	if errors.As(err, &f) {
		return f.Err.Error()
	}
	return err.Error()
}
