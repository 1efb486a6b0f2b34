// Command matrix prints which invariant holds on which backend, from the tests that passed just now.
//
// Without arguments it runs every test that calls prove.Invariant, itself or through a contract suite;
// with arguments it reads the logs of `go test -json` instead. It writes docs/invariants.md and fails
// when a cell that this version must fill is empty. A failed or skipped test is no evidence.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
)

const page = "docs/invariants.md"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "invariants:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, logs []string) error {
	found := newEvidence()
	for _, name := range logs {
		if err := readLog(found, name); err != nil {
			return err
		}
	}
	if len(logs) == 0 {
		if err := runTests(ctx, found); err != nil {
			return err
		}
	}
	table, missing := render(found)
	fmt.Print(table)
	if err := os.WriteFile(page, []byte(table), 0o644); err != nil {
		return fmt.Errorf("writing the page: %w", err)
	}
	if len(found.failed) > 0 {
		return fmt.Errorf("these tests failed: %v", found.failed)
	}
	if len(missing) > 0 {
		return fmt.Errorf("nothing that passed proves %v", missing)
	}
	return nil
}

func readLog(found *evidence, name string) error {
	f, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("reading a log: %w", err)
	}
	defer f.Close()
	if err := found.read(f); err != nil {
		return fmt.Errorf("reading %s: %w", name, err)
	}
	return nil
}

// runTests runs the tests that prove something, package by package: two cores are enough for that.
func runTests(ctx context.Context, found *evidence) error {
	packages, err := provers(".")
	if err != nil {
		return err
	}
	for _, p := range packages {
		fmt.Fprintln(os.Stderr, "testing", p.path, p.tests)
		cmd := exec.CommandContext(ctx, "go", "test", "-json", "-count=1", "-timeout=20m", "-tags=synctests", "-run", p.pattern(), "./"+filepath.ToSlash(p.path))
		if _, err := os.Stat(filepath.Join(p.path, "go.mod")); err == nil { // a module of its own, with cgo
			cmd.Args[len(cmd.Args)-1] = "."
			cmd.Dir, cmd.Env = p.path, append(os.Environ(), "CGO_ENABLED=1", "GOFLAGS=-mod=mod")
		}
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			return err
		}
		if err := cmd.Start(); err != nil {
			return fmt.Errorf("testing %s: %w", p.path, err)
		}
		if err := found.read(io.TeeReader(out, logOf(p.path))); err != nil {
			return fmt.Errorf("testing %s: %w", p.path, err)
		}
		if err := cmd.Wait(); err != nil && len(found.failed) == 0 {
			return fmt.Errorf("testing %s: %w", p.path, err)
		}
	}
	return nil
}

// logOf keeps the tests' output for whoever has to look why one failed.
func logOf(pkg string) io.Writer {
	dir := filepath.Join(".cache", "invariants")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return io.Discard
	}
	f, err := os.Create(filepath.Join(dir, filepath.Base(pkg)+".json"))
	if err != nil {
		return io.Discard
	}
	return f
}
