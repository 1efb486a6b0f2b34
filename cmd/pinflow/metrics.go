package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pinflow/pinflow/internal/expr"
	"github.com/pinflow/pinflow/internal/fault"
)

// viewAnswer is a view as /v1/views tells it.
type viewAnswer struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	Owner       string `json:"owner"`
	Stream      string `json:"stream"`
	TimeZone    string `json:"time_zone"`
	Grain       string `json:"grain"`
	Version     string `json:"version"`
	State       string `json:"state"`
	Dimensions  []struct {
		Name string `json:"name"`
		Type string `json:"type"`
	} `json:"dimensions"`
	Measures []struct {
		Name        string `json:"name"`
		Description string `json:"description"`
		Agg         string `json:"agg"`
		Type        string `json:"type"`
		Format      string `json:"format"`
		Unit        string `json:"unit"`
		Numerator   string `json:"numerator"`
		Denominator string `json:"denominator"`
	} `json:"measures"`
	SQL        map[string]string `json:"sql"`
	KernelOnly []string          `json:"kernel_only"`
}

func (c *cli) metricsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "metrics", Short: "The views that run, and what they measure", Args: arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		&cobra.Command{
			Use: "ls", Short: "List views", Args: arguments(),
			RunE: func(cmd *cobra.Command, _ []string) error { return c.listViews(cmd) },
		},
		c.showCommand(), c.diffCommand(),
	)
	return cmd
}

func (c *cli) showCommand() *cobra.Command {
	var engine string
	cmd := &cobra.Command{
		Use: "show VIEW", Short: "Show a view's dimensions and measures, or the SQL that computes its states", Args: arguments("VIEW"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if engine == "" && !cmd.Flags().Changed("sql") {
				return c.showView(cmd, args[0])
			}
			if _, ok := expr.DialectNamed(engine); !ok {
				return usage(cmd, "--sql: unknown engine %q: write duckdb or spark", engine)
			}
			return c.showSQL(cmd, args[0], engine)
		},
	}
	cmd.Flags().StringVar(&engine, "sql", "", "print the statement for this engine: duckdb or spark")
	return cmd
}

// showSQL prints the statement and nothing else, so that it can be piped.
func (c *cli) showSQL(cmd *cobra.Command, name, engine string) error {
	server, err := c.client()
	if err != nil {
		return err
	}
	var v viewAnswer
	if err := server.Get(cmd.Context(), "/v1/views/"+url.PathEscape(name), nil, &v); err != nil {
		return err
	}
	text, ok := v.SQL[engine]
	if !ok {
		return fault.New(fault.Record, "kernel_only", "view %s cannot run in %s: only the kernel has %s", name, engine, strings.Join(v.KernelOnly, "; ")).WithExit(fault.ExitFailed)
	}
	if c.output == asJSON {
		return c.printJSON(map[string]string{"view": v.Name, "version": v.Version, "engine": engine, "sql": text})
	}
	_, err = fmt.Fprint(c.stdout, text)
	return err
}

func (c *cli) listViews(cmd *cobra.Command) error {
	server, err := c.client()
	if err != nil {
		return err
	}
	var list struct {
		Views []json.RawMessage `json:"views"`
	}
	if err := server.Get(cmd.Context(), "/v1/views", nil, &list); err != nil {
		return err
	}
	if c.output == asJSON {
		if list.Views == nil {
			list.Views = []json.RawMessage{}
		}
		return c.printJSON(list.Views)
	}
	s := sheet{columns: []string{"view", "stream", "measures", "dimensions", "grain", "version", "state", "owner"}, right: []bool{false, false, true, true}}
	for _, raw := range list.Views {
		var v viewAnswer
		if err := json.Unmarshal(raw, &v); err != nil {
			return fault.New(fault.Unknown, "bad_answer", "reading the answer of %s: %w", server.URL(), err)
		}
		s.rows = append(s.rows, []any{v.Name, v.Stream, len(v.Measures), len(v.Dimensions), v.Grain, short(v.Version), v.State, v.Owner})
	}
	return c.print(s)
}

func (c *cli) showView(cmd *cobra.Command, name string) error {
	server, err := c.client()
	if err != nil {
		return err
	}
	body, err := server.GetRaw(cmd.Context(), "/v1/views/"+url.PathEscape(name), nil)
	if err != nil {
		return err
	}
	if c.output == asJSON {
		var pretty bytes.Buffer
		if err := json.Indent(&pretty, bytes.TrimSpace(body), "", "  "); err != nil {
			return fault.New(fault.Unknown, "bad_answer", "reading the answer of %s: %w", server.URL(), err)
		}
		_, err := fmt.Fprintln(c.stdout, pretty.String())
		return err
	}
	var v viewAnswer
	if err := json.Unmarshal(body, &v); err != nil {
		return fault.New(fault.Unknown, "bad_answer", "reading the answer of %s: %w", server.URL(), err)
	}
	s := sheet{columns: []string{"name", "kind", "type", "unit", "description"}}
	for _, d := range v.Dimensions {
		s.rows = append(s.rows, []any{d.Name, "dimension", d.Type, nil, nil})
	}
	for _, m := range v.Measures {
		kind := m.Agg
		if m.Numerator != "" {
			kind = m.Numerator + " / " + m.Denominator
		}
		s.rows = append(s.rows, []any{m.Name, kind, m.Type, orNull(m.Unit), orNull(m.Description)})
	}
	if err := c.print(s); err != nil {
		return err
	}
	c.say("%s@%s · %s · stream %s · grain %s · %s", v.Name, short(v.Version), v.State, v.Stream, v.Grain, v.TimeZone)
	return nil
}

// short is as much of a version as people need.
func short(version string) string { return version[:min(len(version), 8)] }
