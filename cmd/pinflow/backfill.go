package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/pinflow/pinflow/internal/app"
	"github.com/pinflow/pinflow/internal/client"
	"github.com/pinflow/pinflow/internal/config"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/plan"
)

// backfillAnswer is a back-fill as /v1/backfills tells it.
type backfillAnswer struct {
	ID        int64            `json:"id"`
	View      string           `json:"view"`
	Version   string           `json:"version"`
	State     string           `json:"state"`
	VersionIs string           `json:"version_state"`
	Engine    string           `json:"engine"`
	Import    string           `json:"import"`
	CreatedAt time.Time        `json:"created_at"`
	Days      map[string]int64 `json:"days"`
	RowsDone  int64            `json:"rows_done"`
	RowsTotal int64            `json:"rows_total"`
	Rate      float64          `json:"rows_per_second"`
	ETA       *float64         `json:"eta_seconds"`
	Waiting   int64            `json:"days_waiting"`
	NextTry   *time.Time       `json:"next_try"`
	Error     string           `json:"error"`
	Tasks     []struct {
		Day    string     `json:"day"`
		State  string     `json:"state"`
		Rows   int64      `json:"rows"`
		Expect int64      `json:"rows_total"`
		Bytes  int64      `json:"bytes"`
		Tries  int        `json:"tries"`
		Error  string     `json:"error"`
		Next   *time.Time `json:"next_try"`
	} `json:"tasks"`
}

func (c *cli) backfillCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "backfill", Short: "Histories that are filled in: how far, and what to do about them", Args: arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		&cobra.Command{
			Use: "ls", Short: "List them, newest first", Args: arguments(),
			RunE: func(cmd *cobra.Command, _ []string) error { return c.listBackfills(cmd.Context()) },
		},
		&cobra.Command{
			Use: "show ID|VIEW", Short: "Show one with its days", Args: arguments("ID or VIEW"),
			RunE: func(cmd *cobra.Command, args []string) error { return c.showBackfill(cmd.Context(), args[0]) },
		},
		c.backfillStart(), c.backfillRun(), c.backfillCompare(),
	)
	for _, a := range []struct{ action, short string }{
		{ledger.Pause, "Start no more days"},
		{ledger.Resume, "Go on"},
		{ledger.Retry, "Try the failed days again"},
		{ledger.Cancel, "Give it up; the version that serves goes on serving"},
		{ledger.Rollback, "Let the version serve again that served before"},
	} {
		cmd.AddCommand(&cobra.Command{
			Use: a.action + " ID|VIEW", Short: a.short, Args: arguments("ID or VIEW"),
			RunE: func(cmd *cobra.Command, args []string) error { return c.steer(cmd.Context(), args[0], a.action) },
		})
	}
	return cmd
}

func (c *cli) backfills(ctx context.Context, server *client.Client) ([]json.RawMessage, error) {
	var list struct {
		Backfills []json.RawMessage `json:"backfills"`
	}
	err := server.Get(ctx, "/v1/backfills", nil, &list)
	if list.Backfills == nil {
		list.Backfills = []json.RawMessage{}
	}
	return list.Backfills, err
}

func (c *cli) listBackfills(ctx context.Context) error {
	server, err := c.client()
	if err != nil {
		return err
	}
	all, err := c.backfills(ctx, server)
	if err != nil {
		return err
	}
	if c.output == asJSON {
		return c.printJSON(all)
	}
	s := sheet{
		columns: []string{"id", "view", "version", "state", "days", "days_done", "rows", "rows_done", "rows_per_second", "eta", "created", "import", "error"},
		right:   []bool{true, false, false, false, true, true, true, true, true, true},
	}
	for _, raw := range all {
		var b backfillAnswer
		if err := json.Unmarshal(raw, &b); err != nil {
			return fault.New(fault.Unknown, "bad_answer", "reading the answer of %s: %w", server.URL(), err)
		}
		s.rows = append(s.rows, []any{
			b.ID, b.View, short(b.Version), b.State, b.Days["total"], b.Days[ledger.Done], b.RowsTotal, b.RowsDone, int64(b.Rate), c.eta(&b), c.moment(b.CreatedAt), orNull(b.Import), c.inShort(b.Error),
		})
	}
	return c.print(s)
}

// inShort cuts a text that would make a table wide; `show` has all of it.
func (c *cli) inShort(s string) any {
	if r := []rune(s); c.output == asTable && len(r) > 80 {
		return string(r[:79]) + "…"
	}
	return orNull(s)
}

func (c *cli) eta(b *backfillAnswer) any {
	switch {
	case b.ETA == nil:
		return nil
	case c.output == asTable:
		return coarse(time.Duration(*b.ETA * float64(time.Second)))
	}
	return *b.ETA
}

// backfillID connects to the server and finds a back-fill there, by its number or the newest of a view's history.
func (c *cli) backfillID(ctx context.Context, of string) (*client.Client, int64, error) {
	return c.backfillBest(ctx, of, func(*backfillAnswer) bool { return true })
}

// backfillBest prefers, of a view's back-fills, the newest that is wanted, to the newest.
func (c *cli) backfillBest(ctx context.Context, of string, wanted func(*backfillAnswer) bool) (*client.Client, int64, error) {
	server, err := c.client()
	if err != nil {
		return nil, 0, err
	}
	if id, err := strconv.ParseInt(of, 10, 64); err == nil {
		return server, id, nil
	}
	all, err := c.backfills(ctx, server)
	if err != nil {
		return nil, 0, err
	}
	var newest int64
	for _, raw := range all {
		var b backfillAnswer
		if err := json.Unmarshal(raw, &b); err != nil || b.View != of || b.Import != "" {
			continue
		}
		if wanted(&b) {
			return server, b.ID, nil
		}
		newest = max(newest, b.ID)
	}
	if newest == 0 {
		return nil, 0, fault.New(fault.Record, "unknown_backfill", "there is no back-fill of view %q", of).WithAdvice("see: pinflow backfill ls")
	}
	return server, newest, nil
}

func (c *cli) showBackfill(ctx context.Context, of string) error {
	server, id, err := c.backfillID(ctx, of)
	if err != nil {
		return err
	}
	body, err := server.GetRaw(ctx, fmt.Sprintf("/v1/backfills/%d", id), nil)
	if err != nil {
		return err
	}
	return c.printBackfill(server, body)
}

func (c *cli) printBackfill(server *client.Client, body []byte) error {
	if c.output == asJSON {
		return c.printJSON(json.RawMessage(body))
	}
	var b backfillAnswer
	if err := json.Unmarshal(body, &b); err != nil {
		return fault.New(fault.Unknown, "bad_answer", "reading the answer of %s: %w", server.URL(), err)
	}
	s := sheet{columns: []string{"day", "state", "rows", "rows_total", "bytes", "tries", "next_try", "error"}, right: []bool{false, false, true, true, true, true}}
	for _, t := range b.Tasks {
		s.rows = append(s.rows, []any{t.Day, t.State, t.Rows, t.Expect, t.Bytes, t.Tries, c.nextTry(t.Next), orNull(t.Error)})
	}
	if err := c.print(s); err != nil {
		return err
	}
	c.say("back-fill %d of %s@%s: %s, its version is %s · %s", b.ID, b.View, short(b.Version), b.State, b.VersionIs, b.progress())
	if b.Error != "" {
		c.say("last failure: %s", b.Error)
	}
	if b.NextTry != nil && b.State == ledger.Running {
		c.say("tried again by itself at %s; at once: pinflow backfill retry %d", b.NextTry.UTC().Format(time.RFC3339), b.ID)
	}
	return nil
}

func (b *backfillAnswer) progress() string {
	if b.State == ledger.Done && b.Days["total"] == 0 {
		return "there was no day to fill in"
	}
	return fmt.Sprintf("%d of %d days, %s of %s rows", b.Days[ledger.Done], b.Days["total"], plan.Amount(float64(b.RowsDone)), plan.Amount(float64(b.RowsTotal))) + b.trouble()
}

// trouble says how many days did not do, "" if all did.
func (b *backfillAnswer) trouble() (text string) {
	if n := b.Days[ledger.Failed]; n > 0 {
		text += fmt.Sprintf(", %d failed", n)
	}
	if b.Waiting > 0 {
		text += fmt.Sprintf(", %d to be tried again", b.Waiting)
	}
	return text
}

func (c *cli) nextTry(at *time.Time) any {
	if at == nil {
		return nil
	}
	return c.moment(*at)
}

func (c *cli) steer(ctx context.Context, of, action string) error {
	// The last switch is rolled back, also when something else was begun and given up since.
	server, id, err := c.backfillBest(ctx, of, func(b *backfillAnswer) bool { return action != ledger.Rollback || b.State == ledger.Done })
	if err != nil {
		return err
	}
	var body json.RawMessage
	if err := server.Post(ctx, fmt.Sprintf("/v1/backfills/%d/%s", id, action), nil, &body); err != nil {
		return err
	}
	return c.printBackfill(server, body)
}

func (c *cli) backfillStart() *cobra.Command {
	yes, wait, engine := false, false, ""
	cmd := &cobra.Command{
		Use:   "start VIEW",
		Short: "Build a view anew by the definition that serves: a repair",
		Args:  arguments("VIEW"),
		RunE: func(cmd *cobra.Command, args []string) error {
			server, err := c.client()
			if err != nil {
				return err
			}
			doc, _, err := c.makePlan(cmd.Context(), server, planRequest{Repair: args, Engine: engine})
			if err != nil {
				return err
			}
			return c.apply(cmd.Context(), server, doc, yes, wait)
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	cmd.Flags().BoolVar(&wait, "wait", false, "until its history is filled in")
	cmd.Flags().StringVar(&engine, "engine", "", "that fills it in, kernel or spark (default: the server's backfill.engine)")
	return cmd
}

func (c *cli) backfillRun() *cobra.Command {
	flags := &settingFlags{}
	workers := 1
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Work on back-fills in this process, until Ctrl-C: on the project's ledger and lake",
		Args:  arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if workers < 1 {
				return usage(cmd, "--workers %d: at least one", workers)
			}
			p, err := c.load(flags.given()...)
			if err != nil {
				return err
			}
			if p.Origin("backfill.share") == "default" || p.BuiltIn {
				p.Settings.Backfill.Share = 1 // nothing else runs in this process
			}
			if err := somethingThere(p.Settings); err != nil {
				return err
			}
			return app.RunBackfill(cmd.Context(), app.Config{Project: p, Version: buildVersion().Version, Log: c.logger()}, workers)
		},
	}
	flags.add(cmd)
	cmd.Flags().IntVar(&workers, "workers", 1, "days worked on at once")
	return cmd
}

// somethingThere refuses a ledger that nobody has made: a worker would make an empty one and wait for ever. One in
// PostgreSQL needs no folder on this host.
func somethingThere(s config.Settings) error {
	if strings.Contains(s.Ledger.DSN, "://") {
		return nil
	}
	if _, err := os.Stat(s.Ledger.DSN); err != nil {
		return fault.New(fault.Config, "no_data", "there is nothing to work on: %w", err).WithAdvice("name the folder of a running up with --data")
	}
	return nil
}

// follow waits until a back-fill has ended, and fails if it did. Its progress is shown once its days are
// known.
func (c *cli) follow(ctx context.Context, server *client.Client, id int64) error {
	var done atomic.Int64
	var state atomic.Pointer[string]
	stop := func() {}
	defer func() { stop() }()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for watched := false; ; {
		var b backfillAnswer
		err := server.Get(ctx, fmt.Sprintf("/v1/backfills/%d", id), nil, &b)
		if err != nil && !fault.Is(err, fault.Transient) {
			return err
		}
		text := "rows of " + b.View + b.trouble()
		state.Store(&text)
		if done.Store(b.RowsDone); !watched && b.RowsTotal > 0 {
			watched = true
			stop = c.watch(func() (int64, string) { return done.Load(), *state.Load() }, b.RowsTotal)
		}
		switch b.State {
		case ledger.Done:
			stop()
			c.say("back-fill %d of %s is done: %s", id, b.View, b.progress())
			return nil
		case ledger.Failed, ledger.Cancelled:
			return fault.New(fault.Unknown, "backfill_failed", "back-fill %d of %s is %s", id, b.View, b.State).WithAdvice("see: pinflow backfill show %d", id)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}
