package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pinflow/pinflow/internal/client"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/plan"
)

// planRequest is what POST /v1/plan takes.
type planRequest struct {
	Files  map[string]string `json:"files"`
	Vars   map[string]string `json:"vars,omitempty"`
	Views  []string          `json:"views,omitempty"`
	Repair []string          `json:"repair,omitempty"`
	Engine string            `json:"engine,omitempty"`
}

// applied is what POST /v1/apply answers.
type applied struct {
	Changes   []plan.Change `json:"changes"`
	Backfills []int64       `json:"backfills"`
}

func (c *cli) planCommand() *cobra.Command {
	out, engine := "", ""
	cmd := &cobra.Command{
		Use:   "plan [VIEW…]",
		Short: "What would change if the project's files were applied; changes nothing",
		Long: `Compare the project's files with what runs: what is added, filled in anew, renamed or removed, where the
file says so, and what filling in the history takes. Nothing is changed. With --out the plan is kept for
pinflow apply, which does exactly that, or nothing.`,
		Example: "  pinflow plan\n  pinflow plan pins --out plan.json && pinflow apply plan.json --yes --wait",
		RunE: func(cmd *cobra.Command, views []string) error {
			server, err := c.client()
			if err != nil {
				return err
			}
			doc, raw, err := c.makePlan(cmd.Context(), server, planRequest{Views: views, Engine: engine})
			if err != nil {
				return err
			}
			if out != "" {
				if err := os.WriteFile(out, raw, 0o600); err != nil {
					return fault.New(fault.Config, "cannot_write", "writing the plan: %w", err).WithExit(fault.ExitFailed)
				}
			}
			if err := c.showPlan(doc, out); err != nil {
				return err
			}
			return allRefused(doc)
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "file to write the plan to, for pinflow apply")
	cmd.Flags().StringVar(&engine, "engine", "", "that fills in histories, kernel or spark (default: the server's backfill.engine)")
	return cmd
}

// allRefused is the fault of files that ask for nothing but what cannot be had.
func allRefused(doc *plan.Document) error {
	n := doc.Refuses()
	if n == 0 || doc.Does() {
		return nil
	}
	return fault.New(fault.Config, "all_refused", "%s cannot be had, and there is nothing else to apply", plural(n, "change")).
		WithAdvice("the plan says what to write instead").WithExit(fault.ExitInvalid)
}

// makePlan sends the project's texts and returns the plan, read and as it came.
func (c *cli) makePlan(ctx context.Context, server *client.Client, r planRequest) (*plan.Document, []byte, error) {
	r.Files = map[string]string{}
	if len(r.Repair) == 0 {
		p, err := c.load()
		if err != nil {
			return nil, nil, err
		}
		r.Files, r.Vars = p.Texts(), p.Vars()
	}
	var raw json.RawMessage
	if err := server.Post(ctx, "/v1/plan", r, &raw); err != nil {
		return nil, nil, err
	}
	var doc plan.Document
	if err := json.Unmarshal(raw, &doc); err != nil {
		return nil, nil, fault.New(fault.Unknown, "bad_answer", "reading the plan of %s: %w", server.URL(), err)
	}
	return &doc, raw, nil
}

// showPlan prints the plan as data.
func (c *cli) showPlan(doc *plan.Document, out string) error {
	switch c.output {
	case asJSON:
		return c.printJSON(doc)
	case asTable:
		end := "Nothing was changed. Run: pinflow apply"
		switch {
		case !doc.Does():
			end = "Nothing was changed, and there is nothing to apply."
		case out != "":
			end += " " + out
		}
		_, err := io.WriteString(c.stdout, doc.Text(end))
		return err
	}
	s := sheet{columns: []string{"category", "stream", "view", "file", "line", "detail", "days", "rows", "bytes"}}
	for _, x := range doc.Changes {
		var days, rows, bytes any
		if x.Backfill != nil {
			days, rows, bytes = x.Backfill.Days, x.Backfill.Rows, x.Backfill.Bytes
		}
		s.rows = append(s.rows, []any{string(x.Category), x.Stream, orNull(x.View), orNull(x.File), x.Line, x.Detail, days, rows, bytes})
	}
	return c.print(s)
}

func (c *cli) applyCommand() *cobra.Command {
	yes, wait, engine := false, false, ""
	cmd := &cobra.Command{
		Use:   "apply [plan.json]",
		Short: "Do what a plan says: that of the file, else of the project's files now",
		Long: `Do exactly what the plan says, or nothing: a plan whose base moved since is refused (exit code 4).
Without a file, the project's files are planned first and you are asked. Histories are filled in by the
server; --wait follows them, and ends with exit code 1 when one fails.`,
		Example: "  pinflow apply\n  pinflow apply plan.json --yes --wait",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			server, err := c.client()
			if err != nil {
				return err
			}
			if len(args) > 0 && engine != "" {
				return usage(cmd, "--engine: the plan says which: make one with pinflow plan --engine %s --out FILE", engine)
			}
			doc, err := c.planOf(cmd, server, args, engine)
			if err != nil {
				return err
			}
			return c.apply(cmd.Context(), server, doc, yes, wait)
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	cmd.Flags().BoolVar(&wait, "wait", false, "until histories are filled in")
	cmd.Flags().StringVar(&engine, "engine", "", "that fills in histories, kernel or spark (default: the server's backfill.engine)")
	return cmd
}

// planOf reads the plan of the file, - for stdin, or makes one.
func (c *cli) planOf(cmd *cobra.Command, server *client.Client, args []string, engine string) (*plan.Document, error) {
	if len(args) == 0 {
		doc, _, err := c.makePlan(cmd.Context(), server, planRequest{Engine: engine})
		return doc, err
	}
	var text []byte
	var err error
	if args[0] == "-" {
		text, err = io.ReadAll(c.stdin)
	} else {
		text, err = os.ReadFile(args[0])
	}
	if err != nil {
		return nil, usage(cmd, "reading the plan: %w", err)
	}
	var doc plan.Document
	if err := json.Unmarshal(text, &doc); err != nil {
		return nil, usage(cmd, "%s is no plan: %w", args[0], err)
	}
	if doc.Format == 0 && doc.Hash == "" { // some other JSON: as a plan it would do nothing, and that would pass for success
		return nil, usage(cmd, "%s is no plan: make one with pinflow plan --out FILE", args[0])
	}
	return &doc, nil
}

func (c *cli) apply(ctx context.Context, server *client.Client, doc *plan.Document, yes, wait bool) error {
	fmt.Fprint(c.stderr, doc.Text(""))
	if !doc.Does() {
		if err := allRefused(doc); err != nil {
			return err
		}
		return c.printApplied(&applied{Changes: []plan.Change{}, Backfills: []int64{}})
	}
	if err := c.confirm("Apply it?", yes); err != nil {
		return err
	}
	var done applied
	if err := server.Post(ctx, "/v1/apply", doc, &done); err != nil {
		return err
	}
	if err := c.printApplied(&done); err != nil || !wait {
		return err
	}
	var errs []error
	for _, id := range done.Backfills {
		errs = append(errs, c.follow(ctx, server, id))
	}
	return errors.Join(errs...)
}

func (c *cli) printApplied(done *applied) error {
	if c.output == asJSON {
		return c.printJSON(done)
	}
	s := sheet{columns: []string{"category", "of", "detail"}}
	for _, x := range done.Changes {
		if x.Category == plan.Refused {
			continue
		}
		name := x.View
		if name == "" {
			name = x.Stream
		}
		s.rows = append(s.rows, []any{string(x.Category), name, x.Detail})
	}
	if err := c.print(s); err != nil {
		return err
	}
	for _, id := range done.Backfills {
		c.say("back-fill %d begins: pinflow backfill show %d", id, id)
	}
	return nil
}

// confirm asks, unless yes was given.
func (c *cli) confirm(question string, yes bool) error {
	if yes {
		return nil
	}
	nobody := fault.New(fault.Config, "not_confirmed", "nobody is there to be asked: nothing was changed").WithAdvice("give --yes").WithExit(fault.ExitUsage)
	if c.noInput || !c.inTerminal {
		return nobody
	}
	fmt.Fprintf(c.stderr, "%s Write yes to go on: ", question)
	answer, err := bufio.NewReader(c.stdin).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("reading the answer: %w", err)
	}
	if answer == "" { // the end of the input, not an answer
		return nobody
	}
	if !slices.Contains([]string{"yes", "y"}, strings.ToLower(strings.TrimSpace(answer))) {
		return fault.New(fault.Config, "not_confirmed", "nothing was changed").WithExit(fault.ExitFailed)
	}
	return nil
}
