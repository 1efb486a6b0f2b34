package oracle

import (
	"context"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/pinflow/pinflow/internal/calendar"
	"github.com/pinflow/pinflow/internal/column"
	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/expr"
	"github.com/pinflow/pinflow/internal/prove"
)

// setting reads a number from the environment.
func setting(t testing.TB, name string, fallback uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return fallback
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

const (
	exprTables  = 120
	exprsEach   = 40
	rowsOfTable = 60
)

// Generated expressions over generated rows: DuckDB, on the emitted SQL, gives the kernel's values and
// fails where it fails. (M3)
func TestExpressionsAgreeWithDuckDB(t *testing.T) {
	prove.Invariant(t, "M3")
	seed, tables := setting(t, "ORACLE_SEED", 1), setting(t, "ORACLE_CASES", exprTables)
	t.Logf("seed %d", seed)
	ctx := context.Background()
	duck, err := Open(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer duck.Close()
	asked, wrong := 0, 0
	for n := range tables {
		g := NewGen(seed, n)
		s, err := g.Schema()
		if err != nil {
			t.Fatal(err)
		}
		rows := g.Rows(s, 1+g.IntN(rowsOfTable))
		if err := duck.Load(ctx, "t", s.Columns(), rows.Cols, rows.N); err != nil {
			t.Fatal(err)
		}
		zone, err := calendar.Load(pick(g, Zones...))
		if err != nil {
			t.Fatal(err)
		}
		env := Env(s)
		env.Zone = zone
		for range exprsEach {
			src := grammar{g, s}.expression(pick(g, long, double, boolean, instant, date, text), 1+g.IntN(4))
			e, err := expr.Compile(src, env)
			if err != nil {
				if strings.Contains(err.Error(), "always null") || strings.Contains(err.Error(), "too large") {
					continue
				}
				t.Fatalf("table %d: %s: %v", n, src, err)
			}
			diff, err := compareExpr(ctx, duck, e, rows)
			if err != nil {
				t.Fatalf("table %d, zone %s: %s: %v", n, zone.Name(), e.Canonical(), err)
			}
			asked++
			if diff != "" {
				if wrong++; wrong <= 20 {
					t.Errorf("table %d, zone %s: %s: %s", n, zone.Name(), e.Canonical(), diff)
				}
			}
		}
	}
	t.Logf("%d expressions, %d wrong", asked, wrong)
	if uint64(asked) < tables*exprsEach*9/10 {
		t.Errorf("only %d expressions", asked)
	}
}

// compareExpr evaluates on both sides and tells the first difference.
func compareExpr(ctx context.Context, duck *Duck, e *expr.Expr, rows *event.Rows) (string, error) {
	sql, err := e.SQL(expr.DuckDB)
	if err != nil {
		return "", err
	}
	failed := sql.Failed
	if failed == "" {
		failed = "false"
	}
	got, err := duck.Query(ctx, fmt.Sprintf("SELECT %s, %s FROM t ORDER BY _row", sql.Value, failed))
	if err != nil {
		return "", err
	}
	p := e.NewProgram(rows.Schema.Index)
	v := p.Eval(rows.Cols, rows.N)
	_, bad := p.Failed()
	for i := range rows.N {
		want := kernelText(v, i)
		if text := answerText(got[i][0]); text != want {
			return fmt.Sprintf("row %d %s: kernel %s, DuckDB %s by %s", i, tellRow(e, rows, i), want, text, sql.Value), nil
		}
		if want := bad != nil && bad[i]; got[i][1] != want {
			return fmt.Sprintf("row %d %s: fails in the kernel %v, in DuckDB %v by %s", i, tellRow(e, rows, i), want, got[i][1], failed), nil
		}
	}
	return "", nil
}

func tellRow(e *expr.Expr, rows *event.Rows, i int) string {
	var b strings.Builder
	for _, c := range e.Columns() {
		fmt.Fprintf(&b, "%s=%s ", c.Name, kernelText(&rows.Cols[rows.Schema.Index(c.Name)], i))
	}
	return b.String()
}

// kernelText and answerText write values of both sides so that equal ones are equal texts.
func kernelText(v *column.Vec, i int) string {
	switch {
	case v.IsNull(i):
		return "NULL"
	case v.Kind == double:
		return doubleText(v.Floats[i])
	case v.Kind == boolean:
		return strconv.FormatBool(v.Ints[i] != 0)
	case v.Kind == text || v.Kind == column.JSON:
		return strconv.Quote(string(v.Text(i)))
	case v.Kind == list:
		return fmt.Sprintf("%q", valueOf(v, i))
	}
	return strconv.FormatInt(v.Ints[i], 10)
}

func doubleText(x float64) string { return fmt.Sprintf("%v (%x)", x, math.Float64bits(x)) }

func answerText(v any) string {
	switch v := v.(type) {
	case nil:
		return "NULL"
	case float64:
		return doubleText(v)
	case string:
		return strconv.Quote(v)
	}
	return fmt.Sprint(v)
}
