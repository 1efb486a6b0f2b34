//go:build !noui

package web

import (
	"io/fs"
	"regexp"
	"strings"
	"testing"
)

// TestBuiltPageIsWhole: whatever the index names is there, and the content security policy has nothing
// to refuse.
func TestBuiltPageIsWhole(t *testing.T) {
	files, err := Files()
	if err != nil {
		t.Fatal(err)
	}
	index, err := fs.ReadFile(files, "index.html")
	if err != nil {
		t.Fatalf("the page is not built (make web): %v", err)
	}
	named := regexp.MustCompile(`(?:src|href)="([^"]+)"`).FindAllStringSubmatch(string(index), -1)
	if len(named) < 3 {
		t.Fatalf("the index names only %v", named)
	}
	for _, m := range named {
		name, local := strings.CutPrefix(m[1], "/assets/")
		if !local {
			t.Errorf("the index names %s, which is no asset of ours", m[1])
			continue
		}
		if _, err := fs.Stat(files, "assets/"+name); err != nil {
			t.Errorf("the index names %s: %v", m[1], err)
		}
	}
	for _, inline := range []string{`style="`, "<style", "onload=", "javascript:", "<script>"} {
		if strings.Contains(string(index), inline) {
			t.Errorf("the index has %s inline", inline)
		}
	}
}
