package e2e

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestWrongConfig(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "pinflow.yaml"), []byte("version: 1\nlistn: 127.0.0.1:8080\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	r := pinflow(t, dir, "up", "--data", filepath.Join(dir, "data"))
	if r.code != 3 {
		t.Errorf("exit code %d, want 3", r.code)
	}
	for _, want := range []string{"pinflow.yaml:2:1", "listn", `"listen"`} {
		if !strings.Contains(r.stderr+r.stdout, want) {
			t.Errorf("it does not say %s:\n%s%s", want, r.stdout, r.stderr)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "data")); err == nil {
		t.Error("a data folder was made although the config is wrong")
	}
}

func TestTakenPorts(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken := l.Addr().String()
	refused(t, 4, []string{taken, "--listen"}, "up", "--data", t.TempDir(), "--listen", taken, "--log-listen", freePort(t))
	refused(t, 4, []string{taken, "--log-listen"}, "up", "--data", t.TempDir(), "--listen", freePort(t), "--log-listen", taken)
}

// A port that nobody chose gives way to the next free one, and that is said.
func TestDefaultPortsGiveWay(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:8080", "127.0.0.1:9092"} {
		if l, err := net.Listen("tcp", addr); err == nil {
			defer l.Close()
		} // else somebody else has it, which is as good
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary(t), "up", "--data", t.TempDir())
	cmd.SysProcAttr = withUs()
	cmd.Dir = t.TempDir()
	cmd.Env = environ()
	out := &watched{want: []string{"127.0.0.1:8080 is taken", "127.0.0.1:9092 is taken", "curl "}, seen: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case <-out.seen:
	case err := <-ended:
		t.Fatalf("up ended: %v\n%s", err, out.text.String())
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Errorf("up did not end with 0: %v\n%s", err, out.text.String())
	}
}

// watched closes seen when all that is wanted was written. exec writes it from one goroutine.
type watched struct {
	want []string
	text bytes.Buffer
	seen chan struct{}
	done bool
}

func (w *watched) Write(p []byte) (int, error) {
	w.text.Write(p)
	for _, s := range w.want {
		if !strings.Contains(w.text.String(), s) {
			return len(p), nil
		}
	}
	if !w.done {
		w.done = true
		close(w.seen)
	}
	return len(p), nil
}

// What only the tests read is none of the program's business.
func TestNoStrangeSettings(t *testing.T) {
	if r := pinflow(t, "", "config", "check"); r.code != 0 || strings.Contains(r.stdout+r.stderr, "PINFLOW_") {
		t.Errorf("exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
}

func TestFolderInUse(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir)
	refused(t, 4, []string{dir, "in use by process", "--data"}, "up", "--data", dir, "--listen", freePort(t), "--log-listen", freePort(t))
	s.stop()
}

// Whoever looks after the topics needs not stop what runs: the embedded log is reached by its Kafka port, wherever
// that is, with the log-in that it asks for.
func TestTopicsWhileUp(t *testing.T) {
	env := []string{"PINFLOW_LOG_SASL_MECHANISM=scram-sha-256", "PINFLOW_LOG_SASL_USERNAME=me", "PINFLOW_LOG_SASL_PASSWORD=secret"}
	project := t.TempDir()
	file := func(name, text string) {
		t.Helper()
		if err := errors.Join(os.MkdirAll(filepath.Join(project, "streams"), 0o755), os.WriteFile(filepath.Join(project, name), []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	file("pinflow.yaml", "version: 1\n")
	file("streams/pin.yaml", "version: 1\nname: pin\npartitions: 3\n")
	config := []string{"--config", filepath.Join(project, "pinflow.yaml")}
	dir := t.TempDir()
	s := startIn(t, env, dir, config...)
	s.post("pin", 7)
	topics := func(want int, args ...string) result {
		t.Helper()
		got := pinflowIn(t, env, append(append([]string{"topics"}, args...), append(config, "--data", dir)...)...)
		if got.code != want {
			t.Fatalf("topics %v: exit code %d\n%s%s", args, got.code, got.stdout, got.stderr)
		}
		return got
	}
	if got := topics(0, "ls", "-o", "csv"); !strings.Contains(got.stdout, "\npin,pin,3,1,1,") || !strings.Contains(got.stdout, ",7,ok\n") {
		t.Errorf("the topics of what runs:\n%s", got.stdout)
	}
	if got := topics(0, "create"); !strings.Contains(got.stderr, "every topic was there") {
		t.Errorf("made what was there: %s", got.stderr)
	}
	file("streams/geo.yaml", "version: 1\nname: geo\n")
	if got := topics(0, "create", "geo"); !strings.Contains(got.stderr, "made geo") {
		t.Errorf("made no topics: %s", got.stderr)
	}
	if got := topics(0, "ls"); strings.Count(got.stdout, " new") != 2 {
		t.Errorf("of a stream that is not applied yet:\n%s", got.stdout)
	}
	topics(4, "create", "geo", "--partitions", "5")
	s.stop()
	s.run()
	s.post("geo", 1)
	if got := topics(0, "ls"); strings.Count(got.stdout, " ok") != 4 {
		t.Errorf("after the next start:\n%s", got.stdout)
	}
}

func TestUnwritableFolder(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(copyBinary(t), "up", "--data", filepath.Join(dir, "data"), "--listen", freePort(t), "--log-listen", freePort(t))
	cmd.Dir = "/"
	cmd.Env = environ()
	if os.Geteuid() == 0 { // root may write anywhere: be nobody
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	out, err := cmd.CombinedOutput()
	if err == nil || cmd.ProcessState.ExitCode() != 1 {
		t.Errorf("exit code %d, want 1", cmd.ProcessState.ExitCode())
	}
	oneLine(t, string(out), dir, "cannot be written", "--data")
}

// copyBinary puts the binary where any user may run it.
func copyBinary(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pinflow-bin")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	program, err := os.ReadFile(binary(t))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "pinflow")
	if err := os.WriteFile(path, program, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func oneLine(t *testing.T, out string, says ...string) {
	t.Helper()
	if strings.Contains(out, "goroutine ") {
		t.Errorf("a stack trace reached the user:\n%s", out)
	}
	for _, s := range says {
		if !strings.Contains(out, s) {
			t.Errorf("it does not say %q:\n%s", s, out)
		}
	}
}

// smallDisk mounts a file system of that many bytes, or tells why it cannot.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting a small disk needs root")
	}
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size="+size, "tmpfs", dir).CombinedOutput(); err != nil {
		t.Skipf("mounting a small disk: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("unmounting: %v: %s", err, out)
		}
	})
	return dir
}

func TestFullDisk(t *testing.T) {
	dir := smallDisk(t, "64k")
	if err := os.WriteFile(filepath.Join(dir, "filler"), make([]byte, 60<<10), 0o644); err != nil {
		t.Fatal(err)
	}
	refused(t, 1, []string{"full"}, "up", "--data", filepath.Join(dir, "data"), "--listen", freePort(t), "--log-listen", freePort(t))
}

func TestCorruptLedger(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir)
	s.stop()
	ledger := filepath.Join(dir, "ledger.db")
	if err := os.WriteFile(ledger, bytes.Repeat([]byte("not a database "), 1000), 0o644); err != nil {
		t.Fatal(err)
	}
	refused(t, 3, []string{"ledger.db", "damaged", "pinflow lake adopt"}, "up", "--data", dir, "--listen", freePort(t), "--log-listen", freePort(t))
	if text, err := os.ReadFile(ledger); err != nil || !bytes.HasPrefix(text, []byte("not a database ")) {
		t.Errorf("the corrupt bytes were not kept: %v", err)
	}
}

// The catalog's file likewise.
func TestCorruptCatalog(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir)
	s.stop()
	catalog := filepath.Join(dir, "lake", "catalog.db")
	if err := os.WriteFile(catalog, bytes.Repeat([]byte("not a database "), 1000), 0o644); err != nil {
		t.Fatal(err)
	}
	refused(t, 3, []string{"catalog.db", "damaged", "pinflow lake adopt"}, "up", "--data", dir, "--listen", freePort(t), "--log-listen", freePort(t))
	if text, err := os.ReadFile(catalog); err != nil || !bytes.HasPrefix(text, []byte("not a database ")) {
		t.Errorf("the corrupt bytes were not kept: %v", err)
	}
}

func TestMovedFolder(t *testing.T) {
	parent := t.TempDir()
	before, after := filepath.Join(parent, "before"), filepath.Join(parent, "after")
	s := start(t, before)
	s.stop()
	if err := os.Rename(before, after); err != nil {
		t.Fatal(err)
	}
	refused(t, 3, []string{before, after}, "up", "--data", after, "--listen", freePort(t), "--log-listen", freePort(t))
	if err := os.Rename(after, before); err != nil {
		t.Fatal(err)
	}
	s = start(t, before) // moved back, it goes on
	s.stop()
}
