package oracle

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pinflow/pinflow/internal/calendar"
	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/expr"
	"github.com/pinflow/pinflow/internal/metric"
	"github.com/pinflow/pinflow/internal/prove"
)

// The corpus for Spark is fixed: so many tables of expressions and views, always of this seed.
const (
	corpusSeed   = 20260101
	corpusTables = 12
	corpusExprs  = 40
	exprsAtOnce  = 10
	corpusViews  = 30
)

// sparkJob is a table and what is asked of it.
type sparkJob struct {
	Table   string   `json:"table"`
	Queries []string `json:"queries"`

	check []func(rows [][]any) string // one for each query: "" or what differs
}

// Spark, on the emitted SQL, gives the kernel's values, failures, groups, registers and buckets, in
// its default mode and in ANSI mode. (M3) It needs PINFLOW_PYSPARK, a Python that has pyspark: make soak.
func TestSparkAgrees(t *testing.T) {
	python := os.Getenv("PINFLOW_PYSPARK")
	if python == "" {
		t.Skip("PINFLOW_PYSPARK is not set: make soak sets it")
	}
	prove.Invariant(t, "M3")
	dir, ctx := t.TempDir(), context.Background()
	duck, err := Open(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer duck.Close()
	jobs, err := corpus(ctx, duck, dir)
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	for _, j := range jobs {
		line, err := json.Marshal(j)
		if err != nil {
			t.Fatal(err)
		}
		text.Write(append(line, '\n'))
	}
	jobFile, script := filepath.Join(dir, "jobs"), "spark.py"
	if err := os.WriteFile(jobFile, text.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, ansi := range []string{"false", "true"} {
		answers := filepath.Join(dir, "answers-"+ansi)
		if out, err := exec.CommandContext(ctx, python, script, jobFile, answers, ansi).CombinedOutput(); err != nil {
			t.Fatalf("running Spark: %v\n%.3000s", err, out)
		}
		compareAnswers(t, jobs, answers, "ansi="+ansi)
	}
}

func compareAnswers(t *testing.T, jobs []*sparkJob, name, mode string) {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewReaderSize(f, 1<<20)
	asked := 0
	for _, j := range jobs {
		for k, query := range j.Queries {
			line, err := lines.ReadBytes('\n')
			if err != nil {
				t.Fatalf("answer %d: %v", asked, err)
			}
			var a struct {
				Rows  [][]any
				Error string
			}
			if err := json.Unmarshal(line, &a); err != nil {
				t.Fatal(err)
			}
			asked++
			if a.Error != "" {
				t.Errorf("%s: Spark says %s\nto %s", mode, a.Error, query)
				continue
			}
			for _, row := range a.Rows {
				for i := range row {
					row[i] = sparkValue(row[i])
				}
			}
			if d := j.check[k](a.Rows); d != "" {
				t.Errorf("%s: %s", mode, d)
			}
		}
	}
	t.Logf("%s: %d queries", mode, asked)
}

// sparkValue is a value as DuckDB's driver would give it.
func sparkValue(v any) any {
	switch v := v.(type) {
	case map[string]any:
		if text, ok := v["i"].(string); ok {
			x, _ := new(big.Int).SetString(text, 10)
			if x.IsInt64() {
				return x.Int64()
			}
			return x
		}
		b, err := hex.DecodeString(fmt.Sprint(v["f"]))
		if err != nil || len(b) != 8 {
			return fmt.Errorf("bad double %v", v)
		}
		return math.Float64frombits(new(big.Int).SetBytes(b).Uint64())
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = sparkValue(v[i])
		}
		return out
	}
	return v
}

func corpus(ctx context.Context, duck *Duck, dir string) ([]*sparkJob, error) {
	var jobs []*sparkJob
	for n := range uint64(corpusTables) {
		j, err := exprJob(ctx, duck, NewGen(corpusSeed, n), filepath.Join(dir, fmt.Sprintf("e%d.parquet", n)))
		if err != nil {
			return nil, err
		}
		jobs = append(jobs, j)
	}
	for n := range uint64(corpusViews) {
		j, err := viewJob(ctx, duck, NewGen(corpusSeed, 1<<32|n), filepath.Join(dir, fmt.Sprintf("v%d.parquet", n)))
		if err != nil {
			return nil, err
		}
		if j != nil {
			jobs = append(jobs, j)
		}
	}
	return jobs, nil
}

func save(ctx context.Context, duck *Duck, rows *event.Rows, name string) error {
	if err := duck.Load(ctx, "t", rows.Schema.Columns(), rows.Cols, rows.N); err != nil {
		return err
	}
	return duck.Exec(ctx, "COPY t TO '"+name+"' (FORMAT parquet)")
}

// exprJob asks for many expressions of one table at once.
func exprJob(ctx context.Context, duck *Duck, g Gen, name string) (*sparkJob, error) {
	s, err := g.Schema()
	if err != nil {
		return nil, err
	}
	rows := g.Rows(s, 60)
	if err := save(ctx, duck, rows, name); err != nil {
		return nil, err
	}
	env := Env(s)
	if env.Zone, err = calendar.Load(pick(g, Zones...)); err != nil {
		return nil, err
	}
	j := &sparkJob{Table: name}
	for len(j.Queries) < corpusExprs/exprsAtOnce {
		var batch []*expr.Expr
		var columns []string
		for len(batch) < exprsAtOnce {
			e, err := expr.Compile(grammar{g, s}.expression(pick(g, long, double, boolean, instant, date, text), 1+g.IntN(3)), env)
			if err != nil {
				continue
			}
			sql, err := e.SQL(expr.Spark)
			if err != nil {
				return nil, err
			}
			failed := sql.Failed
			if failed == "" {
				failed = "false"
			}
			batch, columns = append(batch, e), append(columns, sql.Value, failed)
		}
		j.Queries = append(j.Queries, "SELECT "+strings.Join(columns, ", ")+" FROM t ORDER BY _row")
		j.check = append(j.check, func(got [][]any) string {
			var out string
			for k, e := range batch {
				out += diffExpr(e, rows, got, 2*k, columns[2*k])
			}
			return out
		})
	}
	return j, nil
}

// diffExpr compares the columns at and at + 1 of an answer, value and failure, with the kernel's.
func diffExpr(e *expr.Expr, rows *event.Rows, got [][]any, at int, sql string) string {
	p := e.NewProgram(rows.Schema.Index)
	v := p.Eval(rows.Cols, rows.N)
	_, bad := p.Failed()
	for i := range rows.N {
		fails := bad != nil && bad[i]
		if want, text := kernelText(v, i), answerText(got[i][at]); text != want || got[i][at+1] != fails {
			return fmt.Sprintf("%s, row %d %s: kernel %s, fails %v; Spark %s, fails %v by %s\n", e.Canonical(), i, tellRow(e, rows, i), want, fails, text, got[i][at+1], sql)
		}
	}
	return ""
}

func viewJob(ctx context.Context, duck *Duck, g Gen, name string) (*sparkJob, error) {
	c, rows, err := g.viewCase(150)
	if err != nil || c == nil {
		return nil, err
	}
	if err := save(ctx, duck, rows, name); err != nil {
		return nil, err
	}
	sql, err := c.SQL(expr.Spark, metric.Rows{Table: "t"})
	if err != nil {
		return nil, err
	}
	want, err := folded(c, rows)
	if err != nil {
		return nil, err
	}
	return &sparkJob{Table: name, Queries: []string{sql}, check: []func([][]any) string{func(got [][]any) string {
		block, err := Block(c, got)
		if err != nil {
			return err.Error()
		}
		if d := cmp.Diff(Tell(c, want), Tell(c, block)); d != "" {
			return fmt.Sprintf("-kernel +Spark\n%s\n%s\n%s", d, c.Definition(), strings.TrimSpace(sql))
		}
		return ""
	}}}, nil
}
