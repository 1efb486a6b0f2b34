package main

import (
	"context"
	"fmt"
	"time"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/fold"
	"github.com/pinflow/pinflow/internal/metric"

	"github.com/pinflow/pinflow/internal/config"
)

var kernelBench = bench{
	name: "kernel", title: "decode and fold, one core",
	how: "In this process, on one goroutine, no I/O: real pins are decoded into columns in batches of 4,096 (judged, and trusted as live does with the columns of its view only), and 65,536 decoded rows are folded again and again: by a view of five measures (count, filtered count, sum, max, avg) and by the built-in view `pins` (nine aggregates, two of them sketches, a filter, three dimensions, one a CASE).",
	run: runKernel,
}

const (
	kernelRows  = 65_536
	kernelFor   = 2 * time.Second
	decodeBatch = 4096
)

func runKernel(_ context.Context, e *env) ([]figure, error) {
	p, err := config.BuiltIn()
	if err != nil {
		return nil, err
	}
	var schema *event.Schema
	for _, s := range p.EventStreams() {
		if s.Name == "pin" {
			if schema, err = event.Compile(s, 1); err != nil {
				return nil, err
			}
		}
	}
	var pinsView metric.View
	for _, v := range p.MetricViews() {
		if v.Name == "pins" {
			pinsView = v
		}
	}
	done, err := profiled(e.profile, e.name)
	if err != nil {
		return nil, err
	}
	defer done()
	records, bytes, err := kernelRecords()
	if err != nil {
		return nil, err
	}
	builtIn, err := compileView(pinsView, schema)
	if err != nil {
		return nil, err
	}
	five := pinsView
	five.Filter = ""
	five.Dimensions = []metric.Dimension{{Name: "category"}, {Name: "country"}}
	five.Measures = []metric.Measure{
		{Name: "posted", Agg: "count"},
		{Name: "video", Agg: "count", Filter: "is_image_or_video = 'video'"},
		{Name: "reach", Agg: "sum", Expr: "follower_count"},
		{Name: "reach_max", Agg: "max", Expr: "follower_count"},
		{Name: "reach_avg", Agg: "avg", Expr: "follower_count"},
	}
	five.Tests = nil
	fiveView, err := compileView(five, schema)
	if err != nil {
		return nil, err
	}
	all := decodeRate(schema, nil, records)
	needed := decodeRate(schema, builtIn.Columns(schema), records)
	rows, err := decodeAll(schema, records)
	if err != nil {
		return nil, err
	}
	foldFive, err := foldRate(fiveView, rows)
	if err != nil {
		return nil, err
	}
	foldBuiltIn, err := foldRate(builtIn, rows)
	if err != nil {
		return nil, err
	}
	return []figure{
		fact("decode every column", all, "rows/s"), fact("decode the columns of the view", needed, "rows/s"),
		fact("JSON a row", float64(bytes)/kernelRows, "bytes"),
		least("fold five measures, two dimensions", foldFive, "rows/s", 5e6),
		fact("fold the built-in view", foldBuiltIn, "rows/s"),
		fact("decode and fold, as live does", 1/(1/needed+1/foldBuiltIn), "rows/s"),
	}, nil
}

func compileView(v metric.View, s *event.Schema) (*metric.Compiled, error) {
	c, problems := metric.Compile(v, s)
	for _, p := range problems {
		if !p.Warning {
			return nil, fmt.Errorf("compiling view %s: %s: %s", v.Name, p.Path, p.Message)
		}
	}
	return c, nil
}

// kernelRecords are real pins as they lie in the log.
func kernelRecords() ([]event.Record, int, error) {
	pins, err := pins()
	if err != nil {
		return nil, 0, err
	}
	now := time.Now()
	records, bytes := make([]event.Record, kernelRows), 0
	for i := range records {
		value := append([]byte(nil), pins[i%len(pins)]...)
		patch(value, uint64(i), moment(now.Add(time.Duration(i%120)*time.Second-2*time.Minute)))
		records[i] = event.Record{Offset: int64(i), Value: value, ID: fmt.Sprint(i), Received: now.UnixMicro(), Timestamp: now.UnixMicro(), Schema: 1}
		bytes += len(value)
	}
	return records, bytes, nil
}

// decodeRate is rows a second; columns nil: all.
func decodeRate(s *event.Schema, columns []bool, records []event.Record) float64 {
	d := s.NewDecoder(columns)
	n, start := 0, time.Now()
	for time.Since(start) < kernelFor {
		for i := range records {
			d.Append(&records[i])
			if d.Rows().N >= decodeBatch {
				d.Reset()
			}
		}
		n += len(records)
	}
	return float64(n) / time.Since(start).Seconds()
}

func decodeAll(s *event.Schema, records []event.Record) (*event.Rows, error) {
	d := s.NewDecoder(nil)
	for i := range records {
		if v := d.Append(&records[i]); v.Dead() {
			return nil, fmt.Errorf("pin %d is dead: %s %s", i, v.Code, v.Message)
		}
	}
	return d.Rows(), nil
}

func foldRate(c *metric.Compiled, rows *event.Rows) (float64, error) {
	f := fold.New(c)
	n, start := 0, time.Now()
	for time.Since(start) < kernelFor {
		if err := f.Add(rows); err != nil {
			return 0, err
		}
		n += rows.N
	}
	return float64(n) / time.Since(start).Seconds(), nil
}
