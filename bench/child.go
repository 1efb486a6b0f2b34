package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pinflow/pinflow/internal/app"
	"github.com/pinflow/pinflow/internal/collect"
	"github.com/pinflow/pinflow/internal/config"
	"github.com/pinflow/pinflow/internal/httpapi"
	"github.com/pinflow/pinflow/internal/kafkalog"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/sqlledger"
)

// child runs what a bench wants in a process of its own.
func child(ctx context.Context, what string, args []string) error {
	switch {
	case what == "up" && len(args) == 5:
		return childUp(ctx, args[0], args[1], args[2], args[3], args[4])
	case what == "door" && len(args) == 4:
		return childDoor(ctx, args[0], args[1], args[2], args[3])
	case what == "unit" && len(args) == 3:
		return tell(childUnit(ctx, ledger.Unit(args[0]), args[1], args[2]))
	case what == "drain" && len(args) == 4:
		return childDrain(ctx, ledger.Unit(args[0]), args[1], args[2], args[3])
	case what == "seed" && len(args) == 4:
		return childSeed(ctx, args[0], args[1], args[2], args[3])
	case what == "fill" && len(args) == 4:
		return tell(childFill(ctx, args[0], args[1], args[2], args[3]))
	case what == "commits" && len(args) == 5:
		return tell(childCommits(ctx, args[0], args[1], args[2], args[3], args[4]))
	}
	return fmt.Errorf("no child %q with %d arguments", what, len(args))
}

// told is a figure on its way from a child.
type told struct {
	Name   string
	At     string
	Value  float64
	Unit   string
	Target float64
	AtMost bool
}

// tell prints figures for inChild.
func tell(figures []figure, err error) error {
	if err != nil {
		return err
	}
	out := make([]told, len(figures))
	for i, f := range figures {
		out[i] = told{f.name, f.at, f.value, f.unit, f.target, f.atMost}
	}
	return json.NewEncoder(os.Stdout).Encode(out)
}

// inChild measures in a process of its own, so that its CPU time and memory are its own.
func (e *env) inChild(ctx context.Context, self string, args ...string) ([]figure, error) {
	cmd := exec.CommandContext(ctx, self, append([]string{"-child"}, args...)...)
	cmd.Stderr, cmd.Dir = os.Stderr, e.dir
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("child %s: %w", args[0], err)
	}
	var got []told
	if err := json.Unmarshal(out, &got); err != nil {
		return nil, fmt.Errorf("child %s said %q: %w", args[0], out, err)
	}
	figures := make([]figure, len(got))
	for i, f := range got {
		figures[i] = figure{f.Name, f.At, f.Value, f.Unit, f.Target, f.AtMost}
	}
	return figures, nil
}

func childLog() *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// childUp is `pinflow up` under the profiler.
func childUp(ctx context.Context, data, addr, kafka, profile, name string) error {
	p, problems, err := config.Load(config.Options{Flags: []config.Flag{
		{Key: "data", Name: "--data", Value: data}, {Key: "listen", Name: "--listen", Value: addr}, {Key: "log.listen", Name: "--log-listen", Value: kafka},
	}})
	if err != nil || len(problems) > 0 {
		return errors.Join(err, fmt.Errorf("%d problems with the settings", len(problems)))
	}
	a, err := app.New(app.Config{Project: p, Version: "bench", Log: childLog()})
	if err != nil {
		return err
	}
	done, err := profiled(profile, name+"-up")
	if err != nil {
		return err
	}
	defer done()
	return a.Run(ctx)
}

// childDoor is the front door alone: HTTP, collector, log; no unit reads what it takes.
func childDoor(ctx context.Context, data, addr, profile, name string) (err error) {
	log := childLog()
	w, err := openWorkshop(ctx, data, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	producer, err := kafkalog.NewProducer(w.broker.Client(), log)
	if err != nil {
		return err
	}
	defer producer.Close()
	registry := prometheus.NewRegistry()
	collector := collect.New(collect.Config{}, log, collect.NewMetrics(registry), producer, w.ledger)
	if err := collector.Refresh(ctx); err != nil {
		return err
	}
	api, err := httpapi.New(httpapi.Config{Version: "bench"}, log, httpapi.Deps{Collector: collector, Registry: registry})
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	done, err := profiled(profile, name+"-door")
	if err != nil {
		return err
	}
	defer done()
	srv := api.Server("")
	defer context.AfterFunc(ctx, func() { api.Close(); _ = srv.Shutdown(context.WithoutCancel(ctx)) })()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// workshop is the stores of a data folder that `up` made, without `up`.
type workshop struct {
	ledger *sqlledger.DB
	broker *kafkalog.Broker // nil on Apache Kafka
	group  string           // begins the names of consumer groups
	admin  *kafkalog.Admin
	wire   kafkalog.Config
	data   string
}

// logCap is enough that no bench fills the log while nobody reads it.
const logCap = 32 << 30

func openWorkshop(ctx context.Context, data string, log *slog.Logger) (*workshop, error) {
	led, err := sqlledger.Open(ctx, filepath.Join(data, "ledger.db"), log)
	if err != nil {
		return nil, err
	}
	broker, err := kafkalog.OpenBroker(ctx, kafkalog.BrokerConfig{Dir: filepath.Join(data, "log"), Cap: logCap}, log)
	if err != nil {
		return nil, errors.Join(err, led.Close())
	}
	w := &workshop{ledger: led, broker: broker, wire: broker.Client(), data: data}
	if w.admin, err = kafkalog.NewAdmin(w.wire, log); err != nil {
		return nil, errors.Join(err, broker.Close(), led.Close())
	}
	return w, nil
}

func (w *workshop) close() error {
	w.admin.Close()
	if w.broker == nil {
		return w.ledger.Close()
	}
	return errors.Join(w.broker.Close(), w.ledger.Close())
}

// prepare makes the streams, topics, tables and views of the built-in project in e.dir/data.
func (e *env) prepare(ctx context.Context) (string, error) {
	data := filepath.Join(e.dir, "data")
	plain := *e
	plain.profile = ""
	s, err := plain.up(ctx, data)
	if err != nil {
		return "", err
	}
	return data, s.stop()
}
