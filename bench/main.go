package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"slices"
	"syscall"
	"time"
)

// bench is one thing measured. run is called once a run, with an empty folder.
type bench struct {
	name, title string
	how         string // for the reader of the figures
	run         func(ctx context.Context, e *env) ([]figure, error)
}

// all benches, in the order of the report.
func all() []bench {
	return []bench{
		collectBench, doorBench, overloadBench, peerBench, batchBench, liveBench, lakeBench, floodBench, windowBench, pipelineBench, freshBench, restartBench, queryBench, backfillBench, historyBench, historyPeersBench, besideBench, kernelBench, duckBench, sketchBench, commitBench,
	}
}

// scale of the benches that compare pinflow with others on much data.
type scale struct {
	events  int           // in the log (batch, live)
	rows    int           // in the lake (history-peers, beside)
	sample  int           // events that are given to what is too slow for all
	rate    float64       // events a second of a steady load (beside)
	seconds time.Duration // how long such a load lasts
	commits int           // to one table, which bring so many
	files   int           // (commits)
}

// env is what a run is given.
type env struct {
	scale
	root    string // of the repository
	dir     string // of this run, empty
	profile string // folder for CPU profiles; "": none
	name    string
	log     *slog.Logger
	out     io.Writer // progress
}

func (e *env) say(format string, args ...any) { fmt.Fprintf(e.out, "    "+format+"\n", args...) }

// options of the command line.
type options struct {
	scale
	runs    int
	list    bool
	out     string
	profile string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) > 2 && os.Args[1] == "-child" {
		if err := child(ctx, os.Args[2], os.Args[3:]); err != nil {
			fmt.Fprintln(os.Stderr, "bench child:", err)
			os.Exit(1)
		}
		return
	}
	var o options
	flag.IntVar(&o.runs, "runs", 3, "runs of each bench; the figure is their median")
	flag.BoolVar(&o.list, "list", false, "list the benches")
	flag.StringVar(&o.out, "out", "bench/RESULTS.md", "file that holds the results; \"\": print only")
	flag.StringVar(&o.profile, "profile", "", "folder to put CPU profiles into: slower, for looking at causes")
	flag.IntVar(&o.events, "events", 2_000_000, "events in the log, of batch and live")
	flag.IntVar(&o.rows, "rows", 50_000_000, "rows in the lake, of history-peers and beside")
	flag.IntVar(&o.sample, "sample", 5000, "events for the consumer that stores each by itself, of batch")
	flag.Float64Var(&o.rate, "rate", 20_000, "events a second beside a back-fill, of beside")
	flag.DurationVar(&o.seconds, "for", 20*time.Second, "how long a steady load lasts, of live and beside")
	flag.IntVar(&o.commits, "commits", 2000, "commits to one table, of commits")
	flag.IntVar(&o.files, "files", 10_000, "data files that they bring, of commits")
	flag.Parse()
	if err := run(ctx, o, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options, names []string) error {
	chosen, err := choose(names)
	if err != nil {
		return err
	}
	if o.list {
		for _, b := range chosen {
			fmt.Printf("%-14s %s\n", b.name, b.title)
		}
		return nil
	}
	root, err := os.Getwd()
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(root, "bench", "doc.go")); err != nil {
		return errors.New("run it in the repository: go run ./bench")
	}
	build := exec.CommandContext(ctx, "make", "--silent", "build")
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("building the binary: %w", err)
	}
	var failed error
	for _, b := range chosen {
		s, err := repeat(ctx, o, root, b)
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", b.name, err))
			fmt.Fprintf(os.Stderr, "%s: %v\n", b.name, err)
			if ctx.Err() != nil {
				return failed
			}
			continue
		}
		fmt.Println(s.markdown())
		if o.out != "" {
			if err := store(o.out, s); err != nil {
				return err
			}
		}
	}
	return failed
}

func choose(names []string) ([]bench, error) {
	if len(names) == 0 {
		return all(), nil
	}
	var chosen []bench
	for _, name := range names {
		i := slices.IndexFunc(all(), func(b bench) bool { return b.name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no bench %q: see -list", name)
		}
		chosen = append(chosen, all()[i])
	}
	return chosen, nil
}

// longest is when a run is given up.
const longest = 3 * time.Hour

// repeat runs a bench so many times and folds its figures.
func repeat(ctx context.Context, o options, root string, b bench) (*section, error) {
	s := &section{bench: b, machine: look(root), runs: o.runs}
	for n := range o.runs {
		dir, err := os.MkdirTemp(filepath.Join(root, ".cache"), "bench-")
		if err != nil {
			return nil, err
		}
		e := &env{
			scale: o.scale, root: root, dir: dir, profile: o.profile, name: b.name, out: os.Stderr,
			log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
		}
		fmt.Fprintf(os.Stderr, "%s, run %d of %d, load %s\n", b.name, n+1, o.runs, loadAverage())
		bounded, cancel := context.WithTimeout(ctx, longest)
		figures, err := b.run(bounded, e)
		cancel()
		err = errors.Join(err, os.RemoveAll(dir))
		if err != nil {
			return nil, err
		}
		s.add(figures)
		debug.FreeOSMemory() // the next run starts as this one did
	}
	return s, nil
}
