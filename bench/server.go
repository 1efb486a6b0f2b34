package main

import (
	"bufio"
	"context"
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
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/pinflow/pinflow/internal/status"
)

// server is a child process that answers HTTP.
type server struct {
	addr, kafka string
	cmd         *exec.Cmd
	done        chan error
	out         string
}

// up starts the real binary on a data folder and waits until it is ready. With a profile wanted, it is
// this program that runs the same App.
func (e *env) up(ctx context.Context, data string, settings ...string) (*server, error) {
	if !slices.ContainsFunc(settings, func(s string) bool { return strings.HasPrefix(s, settingOfProject) }) {
		setting := settingOfProject + filepath.Join(e.dir, "plain", "pinflow.yaml")
		if _, err := os.Stat(filepath.Join(e.dir, "plain")); err != nil {
			if setting, err = e.project(ctx, "plain"); err != nil {
				return nil, err
			}
		}
		settings = append(settings, setting)
	}
	s := &server{addr: freePort(), kafka: freePort(), out: filepath.Join(e.dir, "up.log")}
	args := []string{"up", "--data", data, "--listen", s.addr, "--log-listen", s.kafka}
	s.cmd = exec.Command(filepath.Join(e.root, "bin", "pinflow"), args...)
	if e.profile != "" {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		s.cmd = exec.Command(self, "-child", "up", data, s.addr, s.kafka, e.profile, e.name)
	}
	s.cmd.Env = append(os.Environ(), settings...)
	return s, s.start(ctx, e.dir, "/readyz")
}

// start runs the command in dir and waits until GET path answers 200.
func (s *server) start(ctx context.Context, dir, path string) error {
	out, err := os.OpenFile(s.out, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer out.Close() //nolint:errcheck // the child has its own
	s.cmd.Stdout, s.cmd.Stderr, s.cmd.Dir = out, out, dir
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		return fmt.Errorf("starting a server: %w", err)
	}
	s.done = make(chan error, 1)
	go func() { s.done <- s.cmd.Wait() }()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		select {
		case err := <-s.done:
			return fmt.Errorf("the server ended by itself: %w\n%s", err, s.tail())
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("the server is not ready after a minute:\n%s", s.tail()), s.kill())
		case <-time.After(2 * time.Millisecond):
		}
		resp, err := http.Get("http://" + s.addr + path)
		if err != nil {
			continue
		}
		_ = resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return nil
		}
	}
}

// stop ends it as Ctrl-C does.
func (s *server) stop() error {
	if err := s.cmd.Process.Signal(os.Interrupt); err != nil {
		return err
	}
	select {
	case err := <-s.done:
		if err != nil {
			return fmt.Errorf("stopping the server: %w\n%s", err, s.tail())
		}
		return nil
	case <-time.After(time.Minute):
		return errors.Join(fmt.Errorf("the server did not end:\n%s", s.tail()), s.kill())
	}
}

// kill ends it and its children with SIGKILL.
func (s *server) kill() error {
	err := syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
	<-s.done
	if errors.Is(err, syscall.ESRCH) {
		return nil
	}
	return err
}

func (s *server) pid() int { return s.cmd.Process.Pid }

func (s *server) tail() string {
	text, err := os.ReadFile(s.out)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-3000):])
}

// ask reads an answer of the API.
func (s *server) ask(ctx context.Context, path string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.addr+path, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s: %s", path, resp.Status, body)
	}
	return json.Unmarshal(body, into)
}

// lag is how many events live, batch and lake are behind the log, by /v1/status.
type lag struct {
	live, lake int64
	accepted   int64
	rows       int64
	ok         bool
}

func (s *server) lag(ctx context.Context) (lag, error) {
	var r status.Report
	if err := s.ask(ctx, "/v1/status", &r); err != nil {
		return lag{}, err
	}
	l := lag{ok: r.OK}
	for _, st := range r.Streams {
		l.accepted += st.Conservation.Accepted
		l.rows += st.Conservation.Rows
		for _, p := range st.Partitions {
			if p.End == nil || p.Batch == nil {
				return lag{live: 1, lake: 1}, nil
			}
			l.lake += *p.End - p.Lake
			if !p.Dead {
				if p.Live == nil {
					return lag{live: 1, lake: 1}, nil
				}
				l.live += *p.End - p.Live.Position
			}
		}
	}
	return l, nil
}

// caughtUp waits until live and lake have all that is in the log; it returns when each had.
func (s *server) caughtUp(ctx context.Context) (live, lake time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	for {
		l, err := s.lag(ctx)
		if err != nil {
			return live, lake, fmt.Errorf("waiting for the units: %w\n%s", err, s.tail())
		}
		now := time.Now()
		if l.live == 0 && live.IsZero() {
			live = now
		}
		if l.lake == 0 && lake.IsZero() {
			lake = now
		}
		if !live.IsZero() && !lake.IsZero() {
			if !l.ok {
				return live, lake, errors.New("the status says that something is wrong")
			}
			return live, lake, nil
		}
		time.Sleep(25 * time.Millisecond)
	}
}

// freePort is an address that nobody listens on now.
func freePort() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "127.0.0.1:0"
	}
	defer l.Close() //nolint:errcheck // it was for its number
	return l.Addr().String()
}

// metric is a counter of /metrics, 0 if it does not answer or has none of that name.
func (s *server) metric(ctx context.Context, name string) float64 {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.addr+"/metrics", nil)
	if err != nil {
		return 0
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if text, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			v, err := strconv.ParseFloat(text, 64)
			if err != nil {
				return 0
			}
			return v
		}
	}
	return 0
}
