package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/pinflow/pinflow/internal/ledger"
)

var floodBench = bench{
	name: "flood", title: "Apache Kafka → lake, events of 400 days at once",
	how: "A quarter of `-events` real pins lie in a topic of six partitions on Apache Kafka 4.1.1 (not counted), their event times spread over 400 days, neighbours on different ones; the batch unit and committer alone, with the settings of `up` and the memory limit that `pinflow batch` gives itself, read them from the first to the last. Every stage has a file for each day. CPU and memory as in `batch`.",
	run: runFlood,
}

// floodDays is over how many days the events of a late flood are spread.
const floodDays = 400

func runFlood(ctx context.Context, e *env) (_ []figure, err error) {
	k, err := e.kafka(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, k.stop()) }()
	data, _, err := e.onKafka(ctx, k, "project")
	if err != nil {
		return nil, err
	}
	n := e.events / 4
	if err := k.backlog(ctx, n, floodDays); err != nil {
		return nil, err
	}
	d, err := e.drain(ctx, ledger.Batch, data, k)
	if err != nil {
		return nil, err
	}
	if d.Events != int64(n) {
		return nil, fmt.Errorf("the topic ends at %d for %d events", d.Events, n)
	}
	_, files := folderBytes(filepath.Join(data, "lake", "warehouse"), ".parquet")
	return []figure{
		fact("events", float64(n)/d.Seconds, "events/s"),
		fact("CPU", d.cpu.Seconds()/float64(n)*1e6, "µs/event"),
		most("memory at most", d.peak, "MiB", batchMemory),
		fact("data files", float64(files), ""),
	}, nil
}
