package e2e

import (
	"bufio"
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// chromium prepares a browser test of web/e2e against s. Screenshots go to PINFLOW_SHOTS, if set.
func chromium(t *testing.T, s *server, script string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	t.Cleanup(cancel)
	args := []string{filepath.Join("e2e", script), "--url", s.url()}
	if shots := os.Getenv("PINFLOW_SHOTS"); shots != "" {
		args = append(args, "--out", shots)
	}
	cmd := exec.CommandContext(ctx, "node", args...)
	cmd.Dir = filepath.Join("..", "..", "web")
	if _, err := os.Stat(filepath.Join(cmd.Dir, "node_modules", "playwright-core")); err != nil {
		t.Fatal("web/node_modules is missing: run this with make e2e")
	}
	return cmd
}

// The page against the demonstration: a number moves without a reload, no other host is asked, no
// error reaches the console; keys, table, filters and addresses do what they say, light, dark, narrow.
// So do the pages beside it.
func TestPageInChromium(t *testing.T) {
	s := start(t, t.TempDir(), "--demo")
	for _, script := range []string{"page.mjs", "pages.mjs"} {
		if script == "pages.mjs" { // there are events to fill in by now
			must(t, "backfill", "start", "pins", "--yes", "--wait", "--url", s.url())
		}
		out, err := chromium(t, s, script).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v:\n%s", script, err, out)
		}
		t.Logf("%s", out)
	}
}

// A project without events shows what to do, and comes alive at the first one.
func TestPageOfAnEmptyProject(t *testing.T) {
	s := start(t, t.TempDir())
	if out, err := chromium(t, s, "first.mjs").CombinedOutput(); err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
}

// One event's journey, of each fate, as a page.
func TestPageOfAnEvent(t *testing.T) {
	s := start(t, t.TempDir())
	if out, err := chromium(t, s, "where.mjs").CombinedOutput(); err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
}

// When the server is killed the page says so and keeps its numbers; when it is back, so are they.
func TestPageWithoutServer(t *testing.T) {
	s := start(t, t.TempDir(), "--demo")
	talk(t, chromium(t, s, "lost.mjs"), map[string]func(){"open": s.kill, "lost": s.run, "back": func() {}})
}

// With keys the page asks for one, and no longer opens when it is revoked.
func TestPageLogIn(t *testing.T) {
	data := t.TempDir()
	_, admin := makeKey(t, "--local", "--data", data, "--name", "admin")
	s := start(t, data)
	by := []string{"--api-key-file", admin, "--url", s.url()}
	reader, _ := makeKey(t, append(by, "--name", "reader", "--scope", "read")...)
	id := keyID(t, "reader", by...)
	cmd := chromium(t, s, "login.mjs")
	cmd.Env = append(os.Environ(), "READER_KEY="+reader)
	talk(t, cmd, map[string]func(){"in": func() { must(t, append([]string{"keys", "revoke", id}, by...)...) }})
}

// talk runs a script to its end and does what each line that it prints asks for.
func talk(t *testing.T, cmd *exec.Cmd, do map[string]func()) {
	t.Helper()
	var faults bytes.Buffer
	cmd.Stderr = &faults
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said := map[string]bool{}
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		if f := do[lines.Text()]; f != nil {
			f()
		}
		said[lines.Text()] = true
	}
	if err := cmd.Wait(); err != nil || len(said) != len(do) {
		t.Fatalf("%v, it came as far as %v:\n%s", err, said, faults.String())
	}
}
