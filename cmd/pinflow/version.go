package main

import (
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// build says which pinflow this is.
type build struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Modified bool   `json:"modified,omitempty"` // built from files that are in no commit
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func buildVersion() build {
	b := build{Version: "devel", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		b.Version = v
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Revision = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}

func (c *cli) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Which pinflow this is", Args: arguments(),
		RunE: func(*cobra.Command, []string) error {
			b := buildVersion()
			if c.output == asJSON {
				return c.printJSON(b)
			}
			return c.print(sheet{
				columns: []string{"version", "revision", "go", "platform"},
				rows:    [][]any{{b.Version, b.Revision, b.Go, b.Platform}},
			})
		},
	}
}
