package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// edit changes a file of the built-in project: what stands there, and what is to.
type edit struct{ file, old, new string }

// settingOfProject names a project to a process.
const settingOfProject = "PINFLOW_CONFIG="

// project writes the built-in project with some changes and returns the setting that names it. An edit
// without old makes the file anew, one without either removes it. The figures are of one view a stream: pins has
// a second one, tags, which is left out.
func (e *env) project(ctx context.Context, name string, edits ...edit) (string, error) {
	dir := filepath.Join(e.dir, name)
	edits = append([]edit{{file: "metrics/tags.yaml"}}, edits...)
	if out, err := exec.CommandContext(ctx, filepath.Join(e.root, "bin", "pinflow"), "init", dir).CombinedOutput(); err != nil {
		return "", fmt.Errorf("writing the project: %w\n%s", err, out)
	}
	for _, c := range edits {
		path := filepath.Join(dir, c.file)
		if c.old == "" && c.new == "" {
			if err := os.Remove(path); err != nil {
				return "", err
			}
			continue
		}
		text := c.new
		if c.old != "" {
			was, err := os.ReadFile(path)
			if err != nil {
				return "", err
			}
			if !strings.Contains(string(was), c.old) {
				return "", fmt.Errorf("%s has no %q to change", c.file, c.old)
			}
			text = strings.Replace(string(was), c.old, c.new, 1)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return "", err
		}
	}
	return settingOfProject + filepath.Join(dir, "pinflow.yaml"), nil
}
