package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// spent is what a process and its children took.
type spent struct {
	wall, cpu time.Duration
	peak      float64 // MiB, the sum of each one's most
}

// measure runs a command in a group of its own to its end, and returns what it printed.
func measure(ctx context.Context, cmd *exec.Cmd) (s spent, out []byte, err error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return s, nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	defer stop()
	w := watchGroup(cmd.Process.Pid)
	err = cmd.Wait()
	s = w.end()
	s.wall = time.Since(start)
	if err != nil {
		text := stderr.String()
		err = fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), errors.Join(err, ctx.Err()), text[max(0, len(text)-4000):])
	}
	return s, stdout.Bytes(), err
}

// watcher notes what the processes of a group take.
type watcher struct {
	group int
	stop  chan struct{}
	wg    sync.WaitGroup
	cpu   map[int]time.Duration
	peak  map[int]float64
	seen  map[int]int // how often
}

// lasting is how often a child has to be seen for its memory to count: one that is just forked shows its parent's.
const lasting = 20

func watchGroup(group int) *watcher {
	w := &watcher{group: group, stop: make(chan struct{}), cpu: map[int]time.Duration{}, peak: map[int]float64{}, seen: map[int]int{}}
	w.wg.Go(func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			w.look()
			select {
			case <-w.stop:
				return
			case <-tick.C:
			}
		}
	})
	return w
}

// look reads every process of the group; those that have ended keep what was read last.
func (w *watcher) look() {
	names, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return
	}
	for _, name := range names {
		pid, err := strconv.Atoi(filepath.Base(name))
		if err != nil || groupOf(pid) != w.group {
			continue
		}
		w.seen[pid]++
		w.cpu[pid] = max(w.cpu[pid], cpuOf(pid))
		if _, peak := memory(pid); peak > 0 {
			w.peak[pid] = peak
		}
	}
}

func (w *watcher) end() spent {
	close(w.stop)
	w.wg.Wait()
	var s spent
	for _, d := range w.cpu {
		s.cpu += d
	}
	for pid, m := range w.peak {
		if pid == w.group || w.seen[pid] >= lasting { // the first one has begun its program before it was looked at
			s.peak += m
		}
	}
	return s
}

// groupOf is the process group of a process, 0 if it is gone.
func groupOf(pid int) int {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 3 {
		return 0
	}
	group, err := strconv.Atoi(fields[2])
	if err != nil {
		return 0
	}
	return group
}
