package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/pinflow/pinflow/internal/emulate"
)

func (c *cli) verifyCommand() *cobra.Command {
	var truth []string
	wait := 2 * time.Minute
	cmd := &cobra.Command{
		Use:   "verify --truth FILE",
		Short: "Hold a server against what emulate sent: counts, lake and live numbers, exactly",
		Long: `Hold a server against what emulate sent to it: counts, the rows of the lake and the live numbers have
to be equal, exactly. The truth files together must tell of everything that the server holds. Differences
go to stderr, the first 20 of them; -o json has up to 1000. Exit code 1 when something differs.`,
		Args: arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(truth) == 0 {
				return usage(cmd, "--truth is missing")
			}
			return c.verify(cmd, truth, wait)
		},
	}
	cmd.Flags().StringArrayVar(&truth, "truth", nil, "file that emulate wrote; may be given more than once")
	cmd.Flags().DurationVar(&wait, "wait", wait, "how long lake and live may take to catch up")
	return cmd
}

func (c *cli) verify(cmd *cobra.Command, truth []string, wait time.Duration) error {
	server, err := c.client()
	if err != nil {
		return err
	}
	if err := server.Reach(cmd.Context()); err != nil {
		return err
	}
	key, err := c.key()
	if err != nil {
		return err
	}
	r, err := emulate.Verify(cmd.Context(), emulate.VerifyConfig{URL: server.URL(), APIKey: key, Truth: truth, Wait: wait}, c.logger())
	if r == nil {
		return err
	}
	if perr := c.showVerified(r); perr != nil {
		return perr
	}
	return err
}

// shownDifferences fit on a screen; -o json has more.
const shownDifferences = 20

func (c *cli) showVerified(r *emulate.Report) error {
	if c.output == asJSON {
		return c.printJSON(r)
	}
	s := sheet{
		columns: []string{"stream", "accepted", "dead_lettered", "rejected", "duplicates", "unresolved", "arrived", "days", "numbers"},
		right:   []bool{false, true, true, true, true, true, true, true, true},
	}
	for _, x := range r.Streams {
		s.rows = append(s.rows, []any{x.Stream, x.Accepted, x.DeadLettered, x.Rejected, x.Duplicates, x.Unresolved, x.Arrived, x.Days, x.Numbers})
	}
	if err := c.print(s); err != nil {
		return err
	}
	first := r.Differences[:min(len(r.Differences), shownDifferences)]
	for _, d := range first {
		c.say("differs: %s", printable(d))
	}
	if more := len(r.Differences) - len(first) + r.More; more > 0 {
		c.say("and %d more differences: -o json names %d", more, len(r.Differences))
	}
	if r.Equal() {
		c.say("equal: counts, lake and live numbers are what was sent")
	}
	return nil
}
