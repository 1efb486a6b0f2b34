package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// binary is the program under test.
func binary(t *testing.T) string {
	t.Helper()
	path := os.Getenv("PINFLOW_BIN")
	if path == "" {
		t.Fatal("PINFLOW_BIN is not set: run this with make e2e")
	}
	return path
}

// environ is the environment of a child process: ours without what only the tests read, and more settings.
func environ(more ...string) []string {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "PINFLOW_") })
	return append(env, more...)
}

// program is the program under test with arguments, not yet started.
func program(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(binary(t), args...)
	cmd.SysProcAttr = withUs()
	cmd.Env = environ()
	return cmd
}

// freePort returns a port that nobody listens on now.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// server is a running `pinflow up`, or one unit.
type server struct {
	t     *testing.T
	verb  string // up, collect, …
	dir   string // data folder
	addr  string
	kafka string
	env   []string // settings
	extra []string
	cmd   *exec.Cmd
	done  chan error
	out   string // file that holds all that it printed
}

// start runs `pinflow up` on the folder and waits until it is ready.
func start(t *testing.T, dir string, extra ...string) *server {
	t.Helper()
	return startIn(t, nil, dir, extra...)
}

// startIn is start with more in the environment.
func startIn(t *testing.T, env []string, dir string, extra ...string) *server {
	t.Helper()
	return launch(t, "up", dir, env, extra...)
}

// launch runs a command that goes on until it is stopped, with settings in its environment.
func launch(t *testing.T, verb, dir string, env []string, extra ...string) *server {
	t.Helper()
	s := &server{t: t, verb: verb, dir: dir, addr: freePort(t), kafka: freePort(t), env: env, extra: extra, out: filepath.Join(t.TempDir(), verb+".log")}
	s.run()
	t.Cleanup(func() {
		if s.cmd != nil {
			s.kill()
		}
		if t.Failed() {
			t.Logf("the end of what %s printed:\n%s", verb, s.tail())
		}
	})
	return s
}

func (s *server) url() string {
	if slices.ContainsFunc(s.env, func(v string) bool { return strings.HasPrefix(v, "PINFLOW_TLS_CERT_FILE=") }) {
		return "https://" + s.addr
	}
	return "http://" + s.addr
}

// anyone is a client that takes any certificate.
var anyone = &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}

// run starts the process anew, on the same ports, and waits until it is ready.
func (s *server) run() {
	s.t.Helper()
	s.begin()
	s.ready()
}

// begin starts the process anew, on the same ports.
func (s *server) begin() {
	s.t.Helper()
	out, err := os.OpenFile(s.out, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		s.t.Fatal(err)
	}
	defer out.Close()
	args := append([]string{s.verb, "--data", s.dir, "--listen", s.addr, "--log-listen", s.kafka}, s.extra...)
	s.cmd = program(s.t, args...)
	s.cmd.Stdout, s.cmd.Stderr = out, out
	s.cmd.Env = environ(s.env...)
	s.cmd.Dir = filepath.Dir(s.out) // no pinflow.yaml here: the built-in project
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.done = make(chan error, 1)
	go func() { s.done <- s.cmd.Wait() }()
}

// ready polls /readyz until it says 200.
func (s *server) ready() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	for tick := time.NewTicker(20 * time.Millisecond); ; {
		select {
		case err := <-s.done:
			s.cmd = nil
			s.t.Fatalf("up ended by itself: %v\n%s", err, s.tail())
		case <-ctx.Done():
			s.t.Fatalf("up is not ready after a minute:\n%s", s.tail())
		case <-tick.C:
		}
		resp, err := anyone.Get(s.url() + "/readyz")
		if err != nil {
			continue
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			tick.Stop()
			return
		}
	}
}

// until waits for something to become true.
func (s *server) until(done func() bool, what string) {
	s.t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !done(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("after two minutes: %s\n%s", what, s.tail())
		}
	}
}

// kill ends the process with SIGKILL.
func (s *server) kill() {
	s.t.Helper()
	if err := s.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		s.t.Fatal(err)
	}
	<-s.done
	s.cmd = nil
}

// stop asks the process to end, as Ctrl-C does, and wants exit code 0.
func (s *server) stop() {
	s.t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGINT); err != nil {
		s.t.Fatal(err)
	}
	select {
	case err := <-s.done:
		if err != nil {
			s.t.Fatalf("up did not end with 0: %v\n%s", err, s.tail())
		}
	case <-time.After(time.Minute):
		s.t.Fatalf("up did not end within a minute:\n%s", s.tail())
	}
	s.cmd = nil
}

func (s *server) tail() string {
	text, err := os.ReadFile(s.out)
	if err != nil {
		return err.Error()
	}
	if len(text) > 4000 {
		text = text[len(text)-4000:]
	}
	return string(text)
}

// get reads JSON from the API.
func (s *server) get(path string, into any) {
	s.t.Helper()
	resp, err := http.Get(s.url() + path)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		s.t.Fatalf("GET %s: %s: %s", path, resp.Status, body)
	}
	if err := json.Unmarshal(body, into); err != nil {
		s.t.Fatalf("GET %s: %v: %s", path, err, body)
	}
}

// result of a command that ended.
type result struct {
	stdout, stderr string
	code           int
}

// pinflowIn runs a command to its end, with settings in its environment.
func pinflowIn(t *testing.T, env []string, args ...string) result {
	t.Helper()
	return runPinflow(t, "", env, args...)
}

// pinflow runs a command to its end in dir ("": an empty folder).
func pinflow(t *testing.T, dir string, args ...string) result {
	t.Helper()
	return runPinflow(t, dir, nil, args...)
}

func runPinflow(t *testing.T, dir string, env []string, args ...string) result {
	t.Helper()
	if dir == "" {
		dir = t.TempDir()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary(t), args...)
	cmd.SysProcAttr = withUs()
	cmd.Dir = dir
	cmd.Env = environ(env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("pinflow %s: %v", strings.Join(args, " "), err)
	}
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// must runs a command that has to succeed and returns its stdout.
func must(t *testing.T, args ...string) string {
	t.Helper()
	r := pinflow(t, "", args...)
	if r.code != 0 {
		t.Fatalf("pinflow %s: exit code %d\n%s\n%s", strings.Join(args, " "), r.code, r.stdout, r.stderr)
	}
	return r.stdout
}

// refused runs a command that has to fail with a code and one clear line.
func refused(t *testing.T, code int, says []string, args ...string) {
	t.Helper()
	refusedIn(t, nil, code, says, args...)
}

// refusedIn is refused with settings in the environment.
func refusedIn(t *testing.T, env []string, code int, says []string, args ...string) {
	t.Helper()
	r := pinflowIn(t, env, args...)
	if r.code != code {
		t.Errorf("pinflow %s: exit code %d, want %d", strings.Join(args, " "), r.code, code)
	}
	var faults []string
	for line := range strings.Lines(r.stderr) {
		if strings.Contains(line, "goroutine ") || strings.Contains(line, "panic") {
			t.Errorf("a stack trace reached the user:\n%s", r.stderr)
		}
		if strings.HasPrefix(strings.ToLower(line), "error") || strings.HasPrefix(line, "pinflow: ") {
			faults = append(faults, strings.TrimSpace(line))
		}
	}
	if len(faults) != 1 {
		t.Errorf("pinflow %s: %d lines say what is wrong, want one:\n%s", strings.Join(args, " "), len(faults), r.stderr)
		return
	}
	t.Logf("exit %d: %s", r.code, faults[0])
	for _, s := range says {
		if !strings.Contains(faults[0], s) {
			t.Errorf("it does not say %q: %s", s, faults[0])
		}
	}
}

func fmtArgs(format string, args ...any) []string {
	return strings.Fields(fmt.Sprintf(format, args...))
}
