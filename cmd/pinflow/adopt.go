package main

import (
	"github.com/spf13/cobra"

	"github.com/pinflow/pinflow/internal/app"
)

func (c *cli) lakeAdopt() *cobra.Command {
	flags := &settingFlags{}
	dry, yes := false, false
	cmd := &cobra.Command{
		Use:   "adopt",
		Short: "Build a lost ledger, or a lost catalog, from the lake",
		Long: `Build a ledger that was lost from what the lake's tables keep of it: streams with their schemas, logs, the
positions at which everything before is in the lake, and counts, which it counts again. What the log holds
after them is read again, so nothing is lost or doubled. Tables that the catalog does not name are registered
from the newest metadata in the warehouse. Nothing else may run on ledger and lake.

Views are the project's, and filled in from the lake at the next start; those that only pinflow apply knew
are to be applied again. API keys, marks and the times at which days landed were the ledger's alone: make
keys again; days are judged anew. It shows what it found and asks first; --dry-run only shows. It can be
repeated until it has succeeded; a ledger that knows of streams is never touched (exit code 4).`,
		Example: "  pinflow lake adopt --data /var/lib/pinflow --dry-run",
		Args:    arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := c.load(flags.given()...)
			if err != nil {
				return err
			}
			found, err := app.Adopt(cmd.Context(), p, c.logger(), true)
			if err != nil {
				return err
			}
			c.showAdopted(found)
			if dry {
				c.say("nothing was changed")
				return c.print(adoptedLogs(found))
			}
			if err := c.confirm("Adopt this?", yes); err != nil {
				return err
			}
			if found, err = app.Adopt(cmd.Context(), p, c.logger(), false); err != nil {
				return err
			}
			c.say("adopted: start pinflow as before; it fills the views in from the lake")
			return c.print(adoptedLogs(found))
		},
	}
	flags.add(cmd)
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only show what would be done")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

// showAdopted says what was found.
func (c *cli) showAdopted(a *app.Adopted) {
	for _, t := range a.Tables {
		note := ""
		if t.Registered {
			note = ", not in the catalog: registered from its newest metadata"
		}
		if t.Withdrawn > 0 {
			note += ", of which " + plural(int(t.Withdrawn), "dead letter") + " are read again"
		}
		c.say("table %s: commit %d, %d rows%s", t.Table, t.Commit, t.Rows, note)
	}
	lost := int64(0)
	for _, l := range a.Logs {
		lost += l.Counts.Lost
	}
	if lost > 0 {
		c.say("lost: %d offsets are neither in the lake nor known to be duplicates or gaps", lost)
	}
	if a.Ledger {
		c.say("the ledger was not lost and stays as it is")
	}
	if a.Fresh {
		c.say("no table has a commit yet: the log is read from its beginning")
	}
}

func adoptedLogs(a *app.Adopted) sheet {
	s := sheet{
		columns: []string{"stream", "topic", "log", "partition", "position", "rows", "dead", "duplicates", "gaps", "lost"},
		right:   []bool{false, false, true, true, true, true, true, true, true, true},
	}
	for _, l := range a.Logs {
		s.rows = append(s.rows, []any{l.Stream, l.Topic, int64(l.Key.Log), l.Key.Partition, l.Position, l.Counts.Rows, l.Counts.Dead, l.Counts.Duplicates, l.Counts.Gaps, l.Counts.Lost})
	}
	return s
}
