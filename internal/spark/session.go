package spark

import (
	"bufio"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/pinflow/pinflow/internal/fault"
)

//go:embed driver.py
var driver []byte

// stopWithin is how long a driver may take to end before it is killed, once it was told and once it was asked to by
// a signal.
const stopWithin = 5 * time.Second

// ask is a job as the driver takes it.
type ask struct {
	About      string   `json:"about"`
	Files      []string `json:"files"`
	Schema     any      `json:"schema"`
	Counts     []string `json:"counts"`
	Statements []string `json:"statements"`
	To         []string `json:"to"`
}

// message is what a driver says.
type message struct {
	Application string `json:"application"`
	Spark       string `json:"spark"`

	Done int `json:"done"`
	All  int `json:"all"`

	Error string     `json:"error"`
	Rows  []int64    `json:"rows"`
	Wrote [][]string `json:"wrote"`
}

// session is a driver that runs.
type session struct {
	log      *slog.Logger
	dir      string // its own, with the socket
	cmd      *exec.Cmd
	conn     net.Conn
	said     chan message  // closed with the connection
	ended    chan struct{} // the process has
	printed  *lastLines
	greeting message
}

// start runs a driver and waits until Spark takes jobs, however long a cluster lets it wait.
func start(ctx context.Context, cfg Config, log *slog.Logger) (_ *session, err error) {
	s := &session{log: log, ended: make(chan struct{}), said: make(chan message, 16), printed: &lastLines{most: 60}}
	if s.dir, err = os.MkdirTemp("", "pinflow-spark-"); err != nil {
		return nil, fmt.Errorf("making a folder for Spark's driver: %w", err)
	}
	defer func() {
		if err != nil {
			s.stop(true)
		}
	}()
	script, socket := filepath.Join(s.dir, "driver.py"), filepath.Join(s.dir, "socket")
	if err := os.WriteFile(script, driver, 0o600); err != nil {
		return nil, fmt.Errorf("writing Spark's driver: %w", err)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "unix", socket)
	if err != nil {
		return nil, fmt.Errorf("listening for Spark's driver: %w", err)
	}
	defer listener.Close() //nolint:errcheck // one connection is all it is for
	trust, err := cfg.trustStore(s.dir)
	if err != nil {
		return nil, err
	}
	s.cmd = exec.Command(cfg.Submit, append(cfg.arguments(trust), script, socket)...) //nolint:noctx // ended as a group, see stop
	s.cmd.Dir, s.cmd.Env, s.cmd.Stdout, s.cmd.Stderr = s.dir, cfg.environment(os.Environ()), s.printed, s.printed
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	s.cmd.WaitDelay = stopWithin
	if err := s.cmd.Start(); err != nil {
		s.cmd = nil
		return nil, missing(cfg.Submit, err)
	}
	go func() {
		// How it ended is in what it printed, and in what the connection says.
		_ = s.cmd.Wait()
		close(s.ended)
	}()
	if s.conn, err = s.accept(ctx, listener); err != nil {
		return nil, err
	}
	go s.listen()
	if s.greeting, err = s.next(ctx); err != nil {
		return nil, err
	}
	log.Info("Spark takes history", "application", s.greeting.Application, "spark", s.greeting.Spark)
	return s, nil
}

// accept waits for the driver's connection, or its end.
func (s *session) accept(ctx context.Context, l net.Listener) (net.Conn, error) {
	type accepted struct {
		conn net.Conn
		err  error
	}
	got := make(chan accepted, 1)
	go func() {
		conn, err := l.Accept()
		got <- accepted{conn, err}
	}()
	select {
	case a := <-got:
		if a.err != nil {
			return nil, fmt.Errorf("waiting for Spark's driver: %w", a.err)
		}
		return a.conn, nil
	case <-s.ended:
		return nil, s.died()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// listen hands on what the driver says.
func (s *session) listen() {
	defer close(s.said)
	lines := bufio.NewReader(s.conn)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return
		}
		var m message
		if err := json.Unmarshal(line, &m); err != nil {
			m = message{Error: fmt.Sprintf("the driver said %.200q", line)}
		}
		select {
		case s.said <- m:
		case <-s.ended:
			return
		}
	}
}

// next is what the driver says next.
func (s *session) next(ctx context.Context) (message, error) {
	select {
	case m, ok := <-s.said:
		if !ok {
			return m, s.died()
		}
		return m, nil
	case <-ctx.Done():
		return message{}, context.Cause(ctx)
	}
}

// do has a job done. After an error that is not Spark's the session is of no more use.
func (s *session) do(ctx context.Context, a ask, progress func(done, all int)) (message, error) {
	text, err := json.Marshal(a)
	if err != nil {
		return message{}, fmt.Errorf("asking Spark: %w", err)
	}
	if _, err := s.conn.Write(append(text, '\n')); err != nil {
		return message{}, s.died()
	}
	for {
		m, err := s.next(ctx)
		switch {
		case err != nil:
			return m, err
		case m.Error != "" || m.Wrote != nil:
			return m, nil
		}
		progress(m.Done, m.All)
	}
}

// died is the fault of a driver that ended by itself, with what it printed last.
func (s *session) died() error {
	select {
	case <-s.ended:
	case <-time.After(stopWithin):
	}
	return fault.New(fault.Transient, "spark_failed", "Spark's driver (%s) ended: %s", s.greeting.name(), s.printed.reason()).
		WithAdvice("see what Spark says of it; the day is tried again")
}

func (m message) name() string {
	if m.Application == "" {
		return "which took no job yet"
	}
	return m.Application
}

// stop ends the driver and all that it started. At once: without waiting for it to end by itself.
func (s *session) stop(atOnce bool) {
	if s.conn != nil {
		_ = s.conn.Close() // which is how it hears of it
	}
	if s.cmd != nil {
		group := -s.cmd.Process.Pid
		if atOnce || !s.within(stopWithin) {
			_ = syscall.Kill(group, syscall.SIGTERM)
			if !s.within(stopWithin) {
				_ = syscall.Kill(group, syscall.SIGKILL)
			}
		}
		<-s.ended
		_ = syscall.Kill(group, syscall.SIGKILL) // what outlived its leader
	}
	if err := os.RemoveAll(s.dir); err != nil {
		s.log.Info("a folder of Spark's driver is left", "folder", s.dir, "error", err)
	}
}

func (s *session) within(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-s.ended:
		return true
	case <-timer.C:
		return false
	}
}

func (s *session) dead() bool {
	select {
	case <-s.ended:
		return true
	default:
		return false
	}
}

// missing is the fault of a command that cannot be run.
func missing(submit string, err error) error {
	return fault.New(fault.Config, "no_spark", "running %s: %w", submit, err).
		WithAdvice("install Apache Spark 3.5 or later where back-fills run and set backfill.spark.submit to its bin/spark-submit, or set backfill.engine: kernel")
}

// lastLines keeps the end of what a process prints.
type lastLines struct {
	most int

	mu    sync.Mutex
	lines []string
	part  string
}

func (l *lastLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := strings.Split(l.part+string(p), "\n")
	l.part = all[len(all)-1]
	if len(l.part) > 4096 {
		l.part = l.part[:4096]
	}
	l.lines = append(l.lines, all[:len(all)-1]...)
	if n := len(l.lines) - l.most; n > 0 {
		l.lines = append([]string(nil), l.lines[n:]...)
	}
	return len(p), nil
}

// reason is the last exceptions of what was printed, else its last lines.
func (l *lastLines) reason() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var said, last []string
	for _, line := range append(l.lines, l.part) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || strings.HasPrefix(line, "at ") || strings.HasPrefix(line, "... "):
			continue
		case strings.Contains(line, "Exception") || strings.Contains(line, "Error"):
			said = append(said, line)
		}
		last = append(last, line)
	}
	if len(said) == 0 {
		said = last
	}
	if len(said) == 0 {
		return errors.New("it printed nothing").Error()
	}
	return fmt.Sprintf("%.2000s", strings.Join(said[max(0, len(said)-6):], "; "))
}
