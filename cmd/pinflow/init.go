package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/pinflow/pinflow/internal/app"
	"github.com/pinflow/pinflow/internal/config"
	"github.com/pinflow/pinflow/internal/project"
)

func (c *cli) initCommand() *cobra.Command {
	infra := false
	cmd := &cobra.Command{
		Use:   "init [dir]",
		Short: "Write a project: settings, streams, metrics, dashboards and their JSON Schemas",
		Long: `Write the built-in project to a folder, for changing it: pinflow.yaml, streams, metrics, dashboards,
and in .pinflow the JSON Schemas that editors read. A file that exists is never touched; where there is
a project already only the schemas are renewed.

With --infra, make what the project in the working folder needs from its servers: the tables of the ledger,
the bucket (its region is the location constraint), the catalog and tables of the lake, at Kafka the topics.
It can be repeated.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if infra {
				return c.initInfra(cmd, args)
			}
			dir := "."
			if len(args) == 1 {
				dir = args[0]
			}
			return c.initProject(dir)
		},
	}
	cmd.Flags().BoolVar(&infra, "infra", false, "make ledger tables, bucket, catalog, lake tables and topics instead")
	return cmd
}

func (c *cli) initInfra(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage(cmd, "--infra takes no folder: run it where pinflow.yaml is, or name that with --config")
	}
	p, err := c.load()
	if err != nil {
		return err
	}
	return app.Infra(cmd.Context(), p, c.logger(), c.say)
}

func (c *cli) initProject(dir string) error {
	_, err := os.Stat(filepath.Join(dir, config.SettingsFile+".yaml"))
	exists := err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("writing a project: %w", err)
	}
	for _, kind := range config.FileKinds {
		name := filepath.Join(dir, ".pinflow", kind+".schema.json")
		if err := writeFile(name, config.Schemas()[kind], os.O_TRUNC); err != nil {
			return err
		}
	}
	if exists {
		c.say("%s holds a project already: only the schemas in .pinflow were renewed", dir)
		return nil
	}
	files := project.Files()
	err = fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		to := filepath.Join(dir, filepath.FromSlash(name))
		switch err := writeFile(to, text, os.O_EXCL); {
		case errors.Is(err, fs.ErrExist):
			c.say("kept    %s", path.Clean(name))
		case err != nil:
			return err
		default:
			c.say("written %s", path.Clean(name))
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("writing a project: %w", err)
	}
	if dir == "." {
		c.say("next: pinflow up --demo")
	} else {
		c.say("next: cd %s && pinflow up --demo", dir)
	}
	return nil
}

// writeFile writes a whole file, with folders as needed.
func writeFile(name string, text []byte, flag int) (err error) {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|flag, 0o644)
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.Write(text); err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	return nil
}
