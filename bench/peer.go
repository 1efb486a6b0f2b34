package main

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/pinflow/pinflow/internal/kafkalog"
)

//go:embed peer
var peerFiles embed.FS

var peerBench = bench{
	name: "peer", title: "FastAPI + kafka-python beside pinflow, single posts",
	how: "The same load, one after the other: a FastAPI service with kafka-python (acks=all, answering when the log has the record) in front of the same embedded log, through its Kafka port, where the log does nothing else; then `POST /pin/` of a whole `pinflow up` with both units reading along. 64 connections, 5 s each (a producer per request: 8 connections).",
	run: runPeer,
}

const peerFor = 5 * time.Second

func runPeer(ctx context.Context, e *env) ([]figure, error) {
	if err := e.install(ctx); err != nil {
		return nil, err
	}
	var out []figure
	var best float64
	for _, p := range []struct {
		what            string
		shared, workers int
		conns           int
	}{
		{"FastAPI, a producer per request, 1 worker", 0, 1, 8},
		{"FastAPI, one producer, 1 worker", 1, 1, 64},
		{"FastAPI, one producer, 2 workers", 1, 2, 64},
	} {
		r, err := e.fastapi(ctx, p.shared, p.workers, p.conns)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.what, err)
		}
		best = max(best, r.perSecond())
		out = append(out, fact(p.what, r.perSecond(), "events/s"), fact(p.what+", p99", quantile(r.latency, 0.99), "ms"))
	}
	s, err := e.up(ctx, filepath.Join(e.dir, "data"))
	if err != nil {
		return nil, err
	}
	r, err := loadPeer(ctx, s, 64)
	if err := errors.Join(err, s.stop()); err != nil {
		return nil, err
	}
	return append(out, fact("pinflow up", r.perSecond(), "events/s"), fact("pinflow up, p99", quantile(r.latency, 0.99), "ms"),
		fact("pinflow ÷ the best of them", r.perSecond()/best, "times"),
		fact("pinflow ÷ a producer per request", r.perSecond()/out[0].value, "times")), nil
}

func loadPeer(ctx context.Context, s *server, conns int) (*posted, error) {
	l := load{addr: s.addr, path: "/pin/", conns: conns, batch: 1, duration: time.Second, run: 1}
	if _, err := l.post(ctx); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, s.tail())
	}
	l.duration, l.run = peerFor, 2
	p, err := l.post(ctx)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w\n%s", err, s.tail())
	case p.refused > 0:
		return nil, fmt.Errorf("%d requests were refused: %s", p.refused, p.firstRefusal)
	}
	return p, nil
}

// fastapi runs the service on a log of its own and loads it.
func (e *env) fastapi(ctx context.Context, shared, workers, conns int) (_ *posted, err error) {
	dir, err := os.MkdirTemp(e.dir, "peer-")
	if err != nil {
		return nil, err
	}
	broker, err := kafkalog.OpenBroker(ctx, kafkalog.BrokerConfig{Dir: filepath.Join(dir, "log"), Listen: "127.0.0.1:0", Cap: logCap}, e.log)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, broker.Close()) }()
	admin, err := kafkalog.NewAdmin(broker.Client(), e.log)
	if err != nil {
		return nil, err
	}
	defer admin.Close()
	if _, _, err := admin.EnsureTopic(ctx, kafkalog.TopicSpec{Name: "peer", Partitions: 2}); err != nil {
		return nil, err
	}
	text, err := peerFiles.ReadFile("peer/app.py")
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "app.py"), text, 0o644); err != nil {
		return nil, err
	}
	s := &server{addr: freePort(), out: filepath.Join(dir, "peer.log")}
	host, port, _ := strings.Cut(s.addr, ":")
	s.cmd = exec.Command(e.python(), "-m", "uvicorn", "app:app", "--host", host, "--port", port,
		"--workers", fmt.Sprint(workers), "--log-level", "warning", "--no-access-log")
	s.cmd.Env = append(os.Environ(), "BROKER="+broker.Addr(), fmt.Sprint("SHARED=", shared))
	if err := s.start(ctx, dir, "/healthz"); err != nil {
		return nil, err
	}
	p, err := loadPeer(ctx, s, conns)
	return p, errors.Join(err, s.kill())
}

func (e *env) python() string { return filepath.Join(e.root, ".cache", "bench-venv", "bin", "python") }

// install makes the Python environment of the peer unless it is there.
func (e *env) install(ctx context.Context) error {
	if exec.CommandContext(ctx, e.python(), "-c", "import fastapi, uvicorn, kafka, duckdb, duckdb_extension_httpfs, boto3, lz4.frame").Run() == nil {
		return nil
	}
	e.say("installing the Python peers into .cache/bench-venv")
	venv := filepath.Join(e.root, ".cache", "bench-venv")
	for _, args := range [][]string{
		{"python3", "-m", "venv", venv},
		{e.python(), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", filepath.Join(e.root, "bench", "peer", "requirements.txt")},
	} {
		if out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, out)
		}
	}
	return nil
}
