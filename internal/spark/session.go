package spark

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/pinflow/pinflow/internal/fault"
)

// mark begins the lines that the driver says; Spark and Scala say others.
const mark = "@pinflow "

// Bounds of what is kept of the words of others, and how long a cancelled statement may take to end.
const (
	keptLines  = 60
	longest    = 600 // of a message for people, bytes
	cancelling = 20 * time.Second
)

// session is one Spark that runs.
type session struct {
	version string
	users   int // guarded by Spark.mu

	cmd   *exec.Cmd
	dir   string // scratch, removed at the end
	stdin io.WriteCloser
	done  chan struct{} // closed when the process has ended and all it said is read

	mu      sync.Mutex
	waiting map[string]*statement
	said    []string // the last lines of Spark's own
	sink    error    // of writing to it
}

// statement is one that runs.
type statement struct {
	progress func(done, of int)
	answer   chan answer // one comes
}

type answer struct {
	rows []string
	err  error
}

// submit finds spark-submit.
func (c *Config) submit() (string, error) {
	name := "spark-submit"
	if c.Home != "" {
		name = filepath.Join(c.Home, "bin", name)
	}
	at, err := exec.LookPath(name)
	if err != nil {
		f := fault.New(fault.Config, "spark_missing", "there is no Spark: %w", err)
		if c.Home != "" {
			return "", f.WithAdvice("backfill.spark.home names the folder of Apache Spark, with bin/spark-submit in it")
		}
		return "", f.WithAdvice("install Apache Spark 3.5 and set backfill.spark.home to its folder")
	}
	return at, nil
}

// start starts Spark and waits until it takes statements.
func start(ctx context.Context, c *Config, conf [][2]string) (_ *session, err error) {
	submit, err := c.submit()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "pinflow-spark-")
	if err != nil {
		return nil, fmt.Errorf("making a scratch folder for Spark: %w", err)
	}
	p := &session{dir: dir, done: make(chan struct{}), waiting: map[string]*statement{}}
	ready := make(chan string, 1)
	if err := p.launch(submit, c, ready); err != nil {
		return nil, errors.Join(fmt.Errorf("starting %s: %w", submit, err), os.RemoveAll(dir))
	}
	timer := time.NewTimer(c.Start)
	defer timer.Stop()
	select {
	case p.version = <-ready:
	case <-p.done:
		err = fault.New(fault.Transient, "spark_start", "Spark did not start (master %s): %s", c.Master, p.ending())
	case <-timer.C:
		err = fault.New(fault.Transient, "spark_start", "Spark did not start within %s (master %s): %s", c.Start, c.Master, p.lastWords())
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err != nil {
		p.close()
		return nil, err
	}
	for _, x := range conf {
		p.send("conf", text(x[0]), text(x[1]))
	}
	return p, nil
}

// launch starts the process and reads what it says until it ends.
func (p *session) launch(submit string, c *Config, ready chan<- string) error {
	script := filepath.Join(p.dir, "driver.scala")
	if err := os.WriteFile(script, driver, 0o600); err != nil {
		return err
	}
	p.cmd = exec.Command(submit, arguments(c, p.dir, script)...)
	p.cmd.Dir = p.dir
	p.cmd.Env = environment(p.cmd.Environ(), p.dir)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for pinflow, which ends it in order
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		return err
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		return err
	}
	p.stdin = stdin
	if err := p.cmd.Start(); err != nil {
		return err
	}
	var readers sync.WaitGroup
	readers.Go(func() { lines(stdout, func(line string) { p.hear(line, ready) }) })
	readers.Go(func() { lines(stderr, p.note) })
	go func() {
		readers.Wait()
		_ = p.cmd.Wait() // its state is told by ending
		p.forsake()
		close(p.done)
	}()
	return nil
}

// arguments of spark-submit: Spark's own interpreter of Scala runs the script, which every Spark has.
func arguments(c *Config, dir, script string) []string {
	args := []string{
		"--class", "org.apache.spark.repl.Main", "--name", "pinflow back-fill", "--master", c.Master,
		"--conf", "spark.ui.enabled=false", "--conf", "spark.sql.catalogImplementation=in-memory", "--conf", "spark.ui.showConsoleProgress=false",
	}
	if strings.HasPrefix(c.Master, "local") {
		args = append(args, "--conf", "spark.local.dir="+dir)
	}
	if len(c.Jars) > 0 {
		args = append(args, "--jars", strings.Join(c.Jars, ","))
	}
	if len(c.Packages) > 0 {
		args = append(args, "--packages", strings.Join(c.Packages, ","))
	}
	for _, x := range c.Conf {
		args = append(args, "--conf", x)
	}
	return append(args, "spark-shell", "-i", script)
}

// environment lets the interpreter see Spark's classes, and keeps what Java leaves behind in the scratch folder.
func environment(env []string, dir string) []string {
	const name = "SPARK_SUBMIT_OPTS="
	opts := "-Dscala.usejavacp=true -Djava.io.tmpdir=" + dir
	for _, x := range env {
		if more, ok := strings.CutPrefix(x, name); ok {
			opts = more + " " + opts
		}
	}
	return append(slices.DeleteFunc(env, func(x string) bool { return strings.HasPrefix(x, name) }), name+opts)
}

// lines calls fn for each line, however long it is.
func lines(r io.Reader, fn func(string)) {
	in := bufio.NewReaderSize(r, 64<<10)
	for {
		line, err := in.ReadString('\n')
		if line = strings.TrimRight(line, "\r\n"); line != "" {
			fn(line)
		}
		if err != nil {
			return
		}
	}
}

// text is a word of the driver's protocol.
func text(s string) string { return base64.StdEncoding.EncodeToString([]byte("." + s)) }

func untext(s string) string {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil || len(b) == 0 {
		return s
	}
	return string(b[1:])
}

// hear takes a line of the driver.
func (p *session) hear(line string, ready chan<- string) {
	words, ours := strings.CutPrefix(line, mark)
	if !ours {
		p.note(line)
		if strings.HasPrefix(line, "scala>") { // the script ended, or was never understood
			p.kill()
		}
		return
	}
	w := strings.Split(words, " ")
	if w[0] == "ready" && len(w) == 2 {
		ready <- w[1]
		return
	}
	if len(w) < 3 {
		p.note(line)
		return
	}
	p.mu.Lock()
	st := p.waiting[w[1]]
	if st != nil && w[0] != "at" {
		delete(p.waiting, w[1])
	}
	p.mu.Unlock()
	switch {
	case st == nil:
	case w[0] == "ok":
		st.answer <- answer{rows: strings.FieldsFunc(untext(w[2]), func(r rune) bool { return r == '\n' })}
	case w[0] == "failed":
		st.answer <- answer{err: fault.New(fault.Unknown, "spark_failed", "Spark says: %s", brief(untext(w[2])))}
	case w[0] == "at" && len(w) == 4 && st.progress != nil:
		done, err1 := strconv.Atoi(w[2])
		of, err2 := strconv.Atoi(w[3])
		if err1 == nil && err2 == nil {
			st.progress(done, of)
		}
	}
}

// note keeps what Spark says itself.
func (p *session) note(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.said = append(p.said, line); len(p.said) > keptLines {
		p.said = slices.Delete(p.said, 0, len(p.said)-keptLines)
	}
}

// brief makes a message of few words of a long one: on one line, without Java's stack.
func brief(s string) string {
	var out []string
	for line := range strings.Lines(s) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "at ") && strings.Contains(line, "(") {
			continue
		}
		out = append(out, line)
	}
	one := strings.Join(out, " ")
	if len(one) > longest {
		one = strings.ToValidUTF8(one[:longest], "") + " …"
	}
	return one
}

// lastWords is what of Spark's own lines tells most.
func (p *session) lastWords() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	telling := func(line string) bool {
		for _, word := range []string{"Exception", "ERROR", "error:", "Error"} {
			if strings.Contains(line, word) {
				return !strings.HasPrefix(strings.TrimSpace(line), "at ")
			}
		}
		return false
	}
	var out []string
	for _, line := range p.said {
		if telling(line) && len(out) < 4 {
			out = append(out, line)
		}
	}
	if out == nil {
		out = p.said[max(0, len(p.said)-3):]
	}
	if len(out) == 0 {
		return "it said nothing"
	}
	return brief(strings.Join(out, "\n"))
}

// ending says how the process ended. It has.
func (p *session) ending() string {
	return fmt.Sprintf("it ended (%s): %s", p.cmd.ProcessState, p.lastWords())
}

// send writes a line of words; a failure shows when the process ends.
func (p *session) send(words ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sink == nil {
		_, p.sink = io.WriteString(p.stdin, strings.Join(words, " ")+"\n")
	}
}

// ask has the driver do one thing.
func (p *session) ask(ctx context.Context, id string, progress func(done, of int), verb string, words ...string) ([]string, error) {
	st := &statement{progress: progress, answer: make(chan answer, 1)}
	p.mu.Lock()
	p.waiting[id] = st
	p.mu.Unlock()
	if p.ended() {
		return nil, p.gone()
	}
	p.send(append([]string{verb, id}, words...)...)
	select {
	case a := <-st.answer:
		if errors.Is(a.err, errGone) {
			a.err = p.gone()
		}
		return a.rows, a.err
	case <-ctx.Done():
	}
	p.send("cancel", id)
	timer := time.NewTimer(cancelling)
	defer timer.Stop()
	select {
	case <-st.answer:
	case <-timer.C: // then it ends with all the others
		p.kill()
		<-p.done
	}
	return nil, context.Cause(ctx)
}

func (p *session) gone() error {
	<-p.done
	return fault.New(fault.Transient, "spark_ended", "Spark ended while it worked: %s", p.ending())
}

// forsake answers those who wait: nothing will come any more.
func (p *session) forsake() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, st := range p.waiting {
		delete(p.waiting, id)
		st.answer <- answer{err: errGone}
	}
}

func (p *session) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// kill ends the process and those that it started.
func (p *session) kill() {
	if err := syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL); err != nil {
		_ = p.cmd.Process.Kill()
	}
}

// stopping is how long a session may take to say goodbye to its cluster.
const stopping = 3 * time.Second

// close ends the session in order, or at once if it does not, and removes what it left on the disk.
func (p *session) close() {
	_ = p.stdin.Close() // the driver ends when its input does
	timer := time.NewTimer(stopping)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-timer.C:
		p.kill()
		<-p.done
	}
	_ = os.RemoveAll(p.dir)
}
