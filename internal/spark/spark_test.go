package spark

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	"github.com/google/go-cmp/cmp"

	"github.com/pinflow/pinflow/internal/column"
	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/fold"
	"github.com/pinflow/pinflow/internal/history"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/metric"
)

// shelf is a staging place in a folder.
type shelf struct{ dir string }

func (s shelf) Staged(job string) string { return "file://" + filepath.Join(s.dir, job) }

func (s shelf) RemoveStaged(job string) error { return os.RemoveAll(filepath.Join(s.dir, job)) }

func (s shelf) OpenStaged(at string) (parquet.ReaderAtSeeker, error) {
	return os.Open(strings.TrimPrefix(at, "file://"))
}

func view(t *testing.T) *metric.Compiled {
	t.Helper()
	schema, err := event.Compile(event.Stream{Name: "pin", Topic: "pin", Fields: []event.Field{
		{Name: "category", Type: "string"}, {Name: "n", Type: "long"}, {Name: "x", Type: "double"},
	}}, 1)
	if err != nil {
		t.Fatal(err)
	}
	half := 0.5
	c, problems := metric.Compile(metric.View{
		Version: 1, Name: "pins", Stream: "pin", Grain: "hour", Dimensions: []metric.Dimension{{Name: "category"}, {Name: "n"}},
		Measures: []metric.Measure{
			{Name: "all", Agg: "sum", Expr: "n"},
			{Name: "least", Agg: "min", Expr: "x"},
			{Name: "kinds", Agg: "count_distinct_approx", Expr: "n"},
			{Name: "middle", Agg: "percentile", Percentile: &half, Expr: "x"},
		},
	}, schema)
	if c == nil {
		t.Fatal(problems)
	}
	return c
}

// answerOf writes two groups as Spark does, with each state by its type: the second is of no value.
func answerOf(t *testing.T, c *metric.Compiled, name string) {
	t.Helper()
	bin := arrow.StructOf(arrow.Field{Name: "bin", Type: arrow.PrimitiveTypes.Int64}, arrow.Field{Name: "n", Type: arrow.PrimitiveTypes.Int64})
	fields := []arrow.Field{{Name: "bucket", Type: arrow.PrimitiveTypes.Int64}, {Name: "d0", Type: arrow.BinaryTypes.String, Nullable: true}, {Name: "d1", Type: arrow.PrimitiveTypes.Int64, Nullable: true}}
	for i, s := range c.States {
		f := arrow.Field{Name: fmt.Sprintf("s%d", i), Nullable: true, Type: arrow.PrimitiveTypes.Int64}
		switch fold.TypeOf(s) {
		case fold.SumLong:
			f.Type = &arrow.Decimal128Type{Precision: 38}
		case fold.MinDouble, fold.MaxDouble:
			f.Type = arrow.PrimitiveTypes.Float64
		case fold.Distinct:
			f.Type = arrow.ListOf(arrow.PrimitiveTypes.Int64)
		case fold.Quantile:
			f.Type = arrow.ListOf(bin)
		}
		fields = append(fields, f)
	}
	b := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema(fields, nil))
	defer b.Release()
	b.Field(0).(*array.Int64Builder).AppendValues([]int64{3600e6, 7200e6}, nil)
	b.Field(1).(*array.StringBuilder).AppendValues([]string{"a", ""}, []bool{true, false})
	b.Field(2).(*array.Int64Builder).AppendValues([]int64{-5, 0}, []bool{true, false})
	for i, s := range c.States {
		switch f := b.Field(i + 3).(type) {
		case *array.Decimal128Builder:
			f.AppendValues([]decimal128.Num{decimal128.New(-1, 1<<63), {}}, nil)
		case *array.Float64Builder:
			f.AppendValues([]float64{-2.5, 0}, []bool{true, false})
		case *array.ListBuilder:
			f.Append(true)
			if fold.TypeOf(s) == fold.Distinct {
				f.ValueBuilder().(*array.Int64Builder).AppendValues([]int64{7<<6 | 3, 4095<<6 | 53}, nil)
			} else {
				p := f.ValueBuilder().(*array.StructBuilder)
				p.AppendValues([]bool{true, true})
				p.FieldBuilder(0).(*array.Int64Builder).AppendValues([]int64{70, -70}, nil)
				p.FieldBuilder(1).(*array.Int64Builder).AppendValues([]int64{2, 1}, nil)
			}
			f.AppendNull()
		case *array.Int64Builder:
			f.AppendValues([]int64{int64(i), 0}, nil)
		}
	}
	rec := b.NewRecordBatch()
	defer rec.Release()
	out, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	w, err := pqarrow.NewFileWriter(rec.Schema(), out, nil, pqarrow.DefaultWriterProps())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Write(rec), w.Close()); err != nil {
		t.Fatal(err)
	}
}

// States that were written as Parquet are read back, each by its type.
func TestReadsStates(t *testing.T) {
	c, dir := view(t), t.TempDir()
	answerOf(t, c, filepath.Join(dir, "part.parquet"))
	e := New(Config{}, slog.New(slog.DiscardHandler), shelf{dir})
	var got *fold.States
	if err := e.read(t.Context(), c, "file://"+dir+"/part.parquet", func(s *fold.States) error { got = s; return nil }); err != nil {
		t.Fatal(err)
	}
	if err := fold.Fits(c, got); err != nil || got.N != 2 {
		t.Fatalf("%d groups, %v", got.N, err)
	}
	at := make([]int, len(c.States))
	for i := range at {
		at[i] = i
	}
	value := func(measure string, row int) string {
		return fold.Value(c.Measure(measure), got, at, row).Text(column.Long)
	}
	if d := cmp.Diff([]string{"-9223372036854775808", "null"}, []string{value("all", 0), value("all", 1)}); d != "" {
		t.Error(d)
	}
	if code := got.Dims[0].Codes; string(got.Dims[0].Text(code[0])) != "a" || code[1] != 0 || got.Dims[1].Codes[1] != 0 {
		t.Errorf("%+v", got.Dims)
	}
	least, kinds, middle := got.Cols[c.Measure("least").States[0]], got.Cols[c.Measure("kinds").States[0]], got.Cols[c.Measure("middle").States[0]]
	if least.Floats[0] != -2.5 {
		t.Errorf("the least is %v", least.Floats)
	}
	var ranks []int
	kinds.HLLs[0].Each(func(r int, rank uint8) { ranks = append(ranks, r, int(rank)) })
	if d := cmp.Diff([]int{7, 3, 4095, 53}, ranks); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([][]int32{{0, 2, 2}, {-70, 70}}, [][]int32{middle.Offs, middle.Bins}); d != "" || !slices.Equal(middle.Counts, []int64{1, 2}) {
		t.Errorf("%s %v", d, middle.Counts)
	}
}

// What is not as the statement says is refused.
func TestRefusesOtherStates(t *testing.T) {
	c := view(t)
	mem := memory.DefaultAllocator
	b := array.NewRecordBuilder(mem, arrow.NewSchema([]arrow.Field{{Name: "bucket", Type: arrow.BinaryTypes.String}}, nil))
	defer b.Release()
	b.Field(0).(*array.StringBuilder).Append("x")
	rec := b.NewRecordBatch()
	defer rec.Release()
	if _, err := statesOf(c, rec); err == nil || !strings.Contains(err.Error(), "0 columns are called d0") {
		t.Errorf("%v", err)
	}
	if _, err := long(rec.Column(0), 0); err == nil {
		t.Error("a text is a number")
	}
}

// No secret is on the command line, what is ours goes before what is given, and the keys of the lake's bucket are in
// the environment without what would spoil them.
func TestCommandLine(t *testing.T) {
	c := Config{
		Submit: "/opt/spark/bin/spark-submit", Master: "local[2]", Packages: []string{"a:b:1"}, Jars: []string{"/x.jar", "/y.jar"}, Conf: []string{"spark.ui.enabled=true"},
		S3: S3{Endpoint: "http://127.0.0.1:7070", Region: "eu-west-1", PathStyle: true, AccessKey: "me", SecretKey: "hush"},
	}
	line := strings.Join(c.arguments(""), " ")
	for _, want := range []string{
		"--master local[2] --deploy-mode client --packages a:b:1 --jars /x.jar,/y.jar", "spark.hadoop.fs.s3a.endpoint=http://127.0.0.1:7070",
		"spark.hadoop.fs.s3a.path.style.access=true", "spark.driver.bindAddress=127.0.0.1", "spark.ui.enabled=false --conf",
	} {
		if !strings.Contains(line, want) {
			t.Errorf("no %q in %s", want, line)
		}
	}
	if strings.Contains(line, "hush") || !strings.HasSuffix(line, "--conf spark.ui.enabled=true") {
		t.Error(line)
	}
	env := c.environment([]string{"PATH=/bin", "PINFLOW_LEDGER_DSN=postgres://x", "AWS_SESSION_TOKEN=old", "AWS_ACCESS_KEY_ID=other", "HOME=/root"})
	if d := cmp.Diff([]string{"PATH=/opt/spark/bin:/bin", "HOME=/root", "AWS_ACCESS_KEY_ID=me", "AWS_SECRET_ACCESS_KEY=hush"}, env); d != "" {
		t.Error(d)
	}
}

// script is a command in the place of spark-submit.
func script(t *testing.T, text string) Config {
	t.Helper()
	name := filepath.Join(t.TempDir(), "spark-submit")
	if err := os.WriteFile(name, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
	return Config{Submit: name, Master: "local"}
}

func job(c *metric.Compiled) history.Job {
	return history.Job{
		Name: "task-1-1", Files: []lake.DataFile{{At: "s3://b/x.parquet"}}, Columns: []lake.FileColumn{{Column: lake.Column{Name: "n", Kind: column.Long}, ID: 3}},
		Statements: []history.Statement{{Compiled: c, SQL: "SELECT 1", Count: "SELECT 2"}},
	}
}

// A command that is not there, one that ends with an exception and one that says nothing are told apart; none is the
// job's fault.
func TestSparkThatDoesNotStart(t *testing.T) {
	c := view(t)
	for name, tc := range map[string]struct {
		cfg  Config
		says string
	}{
		"not there": {Config{Submit: filepath.Join(t.TempDir(), "no-spark")}, "backfill.spark.submit"},
		"exception": {script(t, "echo 'some log'; echo 'Exception in thread main: System memory must be at least 4' >&2; echo '  at org.apache' >&2; exit 1\n"), "ended: Exception in thread main: System memory must be at least 4"},
		"no words":  {script(t, "exit 1\n"), "it printed nothing"},
		"other":     {script(t, "echo one; echo two\n"), "one; two"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for _, left := range []string{"task-1-0", "task-1-1", "task-2-1"} {
				if err := os.MkdirAll(filepath.Join(dir, left, "0"), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			e, j := New(tc.cfg, slog.New(slog.DiscardHandler), shelf{dir}), job(c)
			j.Before = []string{"task-1-0"}
			_, err := e.Fold(t.Context(), j, func(*fold.States) error { return nil })
			if !fault.Is(err, fault.Config) || fault.CodeOf(err) != "no_spark" || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("%v", err)
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) != 1 || left[0].Name() != "task-2-1" {
				t.Errorf("left are %v, %v", left, err)
			}
			e.Close()
		})
	}
	if _, err := (&Config{Submit: "/bin/echo"}).Version(t.Context()); fault.CodeOf(err) != "no_spark" {
		t.Errorf("echo is a Spark: %v", err)
	}
	if v, err := script2(t).Version(t.Context()); err != nil || v != "3.5.7" {
		t.Errorf("%q %v", v, err)
	}
}

func script2(t *testing.T) *Config {
	c := script(t, "echo '      version 3.5.7' >&2\n")
	return &c
}

// A Spark that is told to end, ends with all that it started.
func TestStopsAllThatItStarted(t *testing.T) {
	note := filepath.Join(t.TempDir(), "pids")
	if err := syscall.Mkfifo(note, 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := script(t, "trap '' TERM\nsleep 1000 & echo $$ $! > "+note+"\nwait\nwait\nwhile :; do sleep 1000; done\n")
	e := New(cfg, slog.New(slog.DiscardHandler), shelf{t.TempDir()})
	ctx, cancel := context.WithCancelCause(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := e.Fold(ctx, job(view(t)), func(*fold.States) error { return nil })
		done <- err
	}()
	text, err := os.ReadFile(note) // waits for it to be written
	if err != nil {
		t.Fatal(err)
	}
	var leader, child int
	if _, err := fmt.Sscan(string(text), &leader, &child); err != nil {
		t.Fatal(err)
	}
	enough := errors.New("enough")
	cancel(enough)
	if err := <-done; !errors.Is(err, enough) {
		t.Errorf("it ended with %v", err)
	}
	for _, pid := range []int{leader, child} {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err == nil && !strings.Contains(string(stat), ") Z ") {
			t.Errorf("process %d goes on: %s", pid, stat)
		}
	}
}

// The driver reads the files by the numbers of their columns and leaves what it makes in the job's folder.
func TestAsk(t *testing.T) {
	e := New(Config{}, slog.New(slog.DiscardHandler), shelf{"/w"})
	a, err := e.askOf(job(view(t)))
	if err != nil {
		t.Fatal(err)
	}
	want := ask{
		Files: []string{"s3a://b/x.parquet"}, Counts: []string{"SELECT 2"}, Statements: []string{"SELECT 1"}, To: []string{"file:///w/task-1-1/0"},
		Schema: map[string]any{"type": "struct", "fields": []any{map[string]any{"name": "n", "type": "long", "nullable": true, "metadata": map[string]any{"parquet.field.id": 3}}}},
	}
	if d := cmp.Diff(want, a); d != "" {
		t.Error(d)
	}
	for ours1, theirs1 := range map[string]string{"file:///a%20%5Bb%5D/x": "file:///a [b]/x", "s3://b/k v/x": "s3a://b/k v/x"} {
		if got := theirs(ours1); got != theirs1 {
			t.Errorf("Spark takes %s for %s", got, ours1)
		}
	}
	for said, want := range map[string]string{"file:/a%20[b]/x": "file:///a%20%5Bb%5D/x", "s3a://b/k%20v/x": "s3://b/k v/x"} {
		if got := ours(said); got != want {
			t.Errorf("Spark's %s is %s", said, got)
		}
	}
	if rows, err := e.Fold(t.Context(), history.Job{}, nil); rows != 0 || err != nil {
		t.Errorf("a job of no file: %d %v", rows, err)
	}
}
