package main

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// Each file of testdata/live is a session with a server of its own, on the script's project and with all that
// belongs to it. The commands beside testscript's: `up` starts it and `down` stops it; `await PATTERN CMD…`
// asks until the output matches.
func TestLiveScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/live",
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOME", env.WorkDir)
			today := time.Now().UTC().Truncate(24 * time.Hour)
			for name, back := range map[string]int{"TODAY": 0, "DAY1": 1, "DAY2": 2, "DAY3": 3} {
				env.Setenv(name, today.AddDate(0, 0, -back).Format(time.DateOnly))
			}
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){"up": upCommand, "await": awaitCommand, "down": downCommand},
	})
}

const stopWithin = 30 * time.Second

var pageLine = regexp.MustCompile(`^ +page +(http://\S+)`)

// server is a process that a script started.
type server struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when its output has ended
}

func (s *server) stop() error {
	if err := s.cmd.Process.Signal(os.Interrupt); err != nil {
		return err
	}
	kill := time.AfterFunc(stopWithin, func() { _ = s.cmd.Process.Kill() })
	defer kill.Stop()
	<-s.done
	return s.cmd.Wait()
}

var (
	liveMu  sync.Mutex
	servers = map[string]*server{} // by the script's work folder
)

func upCommand(ts *testscript.TestScript, _ bool, args []string) {
	cmd := exec.Command(filepath.Join(binDir(ts), "pinflow"), append([]string{"up", "--listen", "127.0.0.1:0", "--log-listen", "127.0.0.1:0"}, args...)...)
	cmd.Dir = ts.MkAbs(".")
	cmd.Env = environOf(ts)
	out, err := cmd.StderrPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	s := &server{cmd: cmd, done: make(chan struct{})}
	found := make(chan string, 1)
	go func() {
		defer close(s.done)
		defer close(found)
		var text bytes.Buffer
		for lines := bufio.NewScanner(out); lines.Scan(); {
			text.WriteString(lines.Text() + "\n")
			if m := pageLine.FindStringSubmatch(lines.Text()); m != nil {
				found <- m[1]
			}
		}
		_ = os.WriteFile(filepath.Join(cmd.Dir, "up.log"), text.Bytes(), 0o600)
	}()
	url, ok := <-found
	if !ok {
		text, _ := os.ReadFile(filepath.Join(cmd.Dir, "up.log"))
		ts.Fatalf("pinflow up did not start: %s", text)
	}
	ts.Setenv("PINFLOW_URL", url)
	liveMu.Lock()
	servers[ts.Getenv("WORK")] = s
	liveMu.Unlock()
	ts.Defer(func() {
		if s := taken(ts); s != nil {
			_ = s.stop()
		}
	})
}

// taken removes the script's server, so that it is stopped once.
func taken(ts *testscript.TestScript) *server {
	liveMu.Lock()
	defer liveMu.Unlock()
	s := servers[ts.Getenv("WORK")]
	delete(servers, ts.Getenv("WORK"))
	return s
}

func downCommand(ts *testscript.TestScript, _ bool, _ []string) {
	s := taken(ts)
	if s == nil {
		ts.Fatalf("nothing is up")
	}
	ts.Check(s.stop())
}

// awaitCommand runs a command until its output matches, a minute long.
func awaitCommand(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: await PATTERN CMD…")
	}
	want := regexp.MustCompile("(?m)" + args[0])
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		cmd := exec.Command(filepath.Join(binDir(ts), args[1]), args[2:]...)
		cmd.Dir, cmd.Env = ts.MkAbs("."), environOf(ts)
		out, err := cmd.CombinedOutput()
		if want.Match(out) {
			return
		}
		select {
		case <-deadline.C:
			ts.Fatalf("%v never matched %s: %v\n%s", args[1:], args[0], err, out)
		case <-tick.C:
		}
	}
}

// binDir is the folder of the commands that testscript made of this test binary.
func binDir(ts *testscript.TestScript) string {
	for _, dir := range filepath.SplitList(ts.Getenv("PATH")) {
		if _, err := os.Stat(filepath.Join(dir, "pinflow")); err == nil {
			return dir
		}
	}
	ts.Fatalf("no pinflow in PATH")
	return ""
}

func environOf(ts *testscript.TestScript) []string {
	var env []string
	for _, name := range []string{"PATH", "HOME", "WORK", "TMPDIR", "PINFLOW_URL", "TESTSCRIPT_COMMAND"} {
		if v := ts.Getenv(name); v != "" {
			env = append(env, name+"="+v)
		}
	}
	return append(env, strings.Fields(ts.Getenv("MORE_ENV"))...)
}
