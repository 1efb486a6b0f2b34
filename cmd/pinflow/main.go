package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // time zones of views also where the system has none

	"github.com/mattn/go-isatty"

	"github.com/pinflow/pinflow/internal/config"
)

func main() {
	// The first signal asks the command to finish, the second ends the process at once.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], &environment{
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, vars: config.Environ(),
		terminal: isTerminal(os.Stdout), errTerminal: isTerminal(os.Stderr), inTerminal: isTerminal(os.Stdin),
	}))
}

// isTerminal tells whether somebody watches. /dev/null is a character device, too, and nobody.
func isTerminal(f *os.File) bool { return isatty.IsTerminal(f.Fd()) }
