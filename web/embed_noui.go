//go:build noui

// Package web is left out of this build.
package web

import (
	"embed"
	"io/fs"
)

// Files returns an empty tree: the binary was built without the page.
func Files() (fs.FS, error) { return embed.FS{}, nil }
