//go:build !noui

// Package web is the page, built by Vite and committed, so that go install works without Node.
package web

import (
	"embed"
	"io/fs"
)

//go:embed dist
var dist embed.FS

// Files returns the built page: index.html and assets/.
func Files() (fs.FS, error) { return fs.Sub(dist, "dist") }
