package metric_test

import (
	"testing"

	"github.com/pinflow/pinflow/internal/expr"
	"github.com/pinflow/pinflow/internal/metric"
)

// Of a statement's rows each condition is named, in the words of the engine; without any it is all of them.
func TestRowsOfAStatement(t *testing.T) {
	day := int64(20_000)
	for name, tc := range map[string]struct {
		rows        metric.Rows
		duck, spark string
	}{
		"all": {metric.Rows{}, "", ""},
		"below a cut": {
			metric.Rows{Day: &day, Below: []metric.Cut{{Log: 3, Partition: 1, Offset: 70}, {Log: 4, Offset: 9}}},
			` WHERE "_event_time" >= make_timestamptz(1728000000000000) AND "_event_time" < make_timestamptz(1728086400000000) AND (("_log" = 3 AND "_partition" = 1 AND "_offset" < 70) OR ("_log" = 4 AND "_partition" = 0 AND "_offset" < 9))`,
			" WHERE `_event_time` >= timestamp_micros(1728000000000000) AND `_event_time` < timestamp_micros(1728086400000000) AND ((`_log` = 3 AND `_partition` = 1 AND `_offset` < 70) OR (`_log` = 4 AND `_partition` = 0 AND `_offset` < 9))",
		},
		"below no cut":       {metric.Rows{Below: []metric.Cut{}}, " WHERE (false)", " WHERE (false)"},
		"an imported file":   {metric.Rows{Log: 12}, ` WHERE "_log" = 12`, " WHERE `_log` = 12"},
		"some schemas":       {metric.Rows{Schemas: []int32{2, 3}}, ` WHERE "_schema" IN (2, 3)`, " WHERE `_schema` IN (2, 3)"},
		"one schema of many": {metric.Rows{Log: 1, Schemas: []int32{2}}, ` WHERE "_log" = 1 AND "_schema" IN (2)`, " WHERE `_log` = 1 AND `_schema` IN (2)"},
	} {
		t.Run(name, func(t *testing.T) {
			tc.rows.Table = "t"
			for d, where := range map[expr.Dialect]string{expr.DuckDB: tc.duck, expr.Spark: tc.spark} {
				if got, want := tc.rows.Count(d), "SELECT count(*) FROM t"+where; got != want {
					t.Errorf("%s\n got %s\nwant %s", d, got, want)
				}
			}
		})
	}
}
