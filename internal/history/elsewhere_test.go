package history_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pinflow/pinflow/internal/expr"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/history"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/metric"
)

// plain is snapshot with a view that other engines can fold, too.
func plain(t *testing.T, schema int32, score string) *ledger.Snapshot {
	t.Helper()
	c, problems := metric.Compile(metric.View{
		Version: 1, Name: "scores", Stream: "pin", Dimensions: []metric.Dimension{{Name: "category"}},
		Measures: []metric.Measure{{Name: "n", Agg: "count"}, {Name: "score", Agg: "sum", Expr: score}},
	}, compile(t, schemas()[schema-1]))
	if c == nil {
		t.Fatal(problems)
	}
	snap := snapshot(t, schema, "1")
	v := &snap.Views[0].Versions[0]
	v.Hash, v.Definition, v.Metadata = c.Hash(), c.Definition(), c.Metadata()
	return snap
}

// What another engine is asked for and what AddOlder folds are all rows, each once: rows that lack a column that
// the view reads are the kernel's, all others are in a statement that names their schema.
func TestStatementsAndOlderRowsAreAll(t *testing.T) {
	for name, tc := range map[string]struct {
		schema  int32
		score   string
		schemas string // in the statement
		older   map[string]int64
	}{
		"a field of the second schema":  {2, "points", "(2, 3)", map[string]int64{"c0": 1 + 4 + 64, "rows": 3}},
		"under a newer schema":          {3, "points", "(2, 3)", map[string]int64{"c0": 1 + 4 + 64, "rows": 3}},
		"what all schemas have":         {1, "length(category)", "(1, 2, 3)", map[string]int64{}},
		"of a schema newer than fields": {3, "length(category)", "(1, 2, 3)", map[string]int64{}},
	} {
		t.Run(name, func(t *testing.T) {
			r := reader(t, plain(t, tc.schema, tc.score), history.New)
			all, err := r.Statements(expr.Spark, metric.Rows{Log: 5})
			if err != nil || len(all) != 1 {
				t.Fatalf("%d statements, %v", len(all), err)
			}
			where := "WHERE `_log` = 5 AND `_schema` IN " + tc.schemas
			if s := all[0]; s.Count != "SELECT count(*) FROM pinflow_rows "+where || !strings.Contains(s.SQL, "FROM pinflow_rows "+where+"\n") {
				t.Errorf("the rows are not those %s:\n%s\n%s", where, s.Count, s.SQL)
			}
			if err := r.AddOlder(only(r, block(t, 0, 0, 1, 2, 1, 3, 3, 2, 1)), everything); err != nil {
				t.Fatal(err)
			}
			n := r.Rows
			if diff := cmp.Diff(tc.older, scores(t, r)); diff != "" || n != tc.older["rows"] {
				t.Errorf("%d rows: -want +got\n%s", n, diff)
			}
		})
	}
}

func TestStatementsRefuseWhatOnlyTheKernelHas(t *testing.T) {
	r := reader(t, snapshot(t, 1, "1"), history.New)
	if _, err := r.Statements(expr.Spark, metric.Rows{}); fault.CodeOf(err) != "kernel_only" || !strings.Contains(err.Error(), "half") {
		t.Errorf("%v", err)
	}
}
