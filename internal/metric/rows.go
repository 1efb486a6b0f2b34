package metric

import (
	"fmt"
	"strings"

	"github.com/pinflow/pinflow/internal/calendar"
	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/expr"
)

// Rows says which rows of a stream's table a statement is about.
type Rows struct {
	Table   string  // as the engine knows it: lake.pin, pinflow.lake.pin VERSION AS OF 'x', read_parquet(…)
	Day     *int64  // lake day: rows whose event time lies in it, days since 1970-01-01 in UTC; nil: all
	Below   []Cut   // rows below these offsets; nil: all
	Log     int64   // rows of this log alone; 0: of all
	Schemas []int32 // rows that one of these versions of the schema judged; nil: all
}

// Cut is an offset of a partition of a log: rows below it belong to history.
type Cut struct {
	Log       int64
	Partition int32
	Offset    int64
}

// Count is a statement that counts the rows: one row of one bigint.
func (r Rows) Count(d expr.Dialect) string {
	return "SELECT count(*) FROM " + r.Table + r.where(d)
}

// where is the condition on rows, with a space before it; "" for all.
func (r Rows) where(d expr.Dialect) string {
	var all []string
	if r.Day != nil {
		from, id := *r.Day*86400*calendar.Second, d.Identifier(event.ColumnEventTime)
		at := map[expr.Dialect]string{expr.DuckDB: "make_timestamptz(%d)", expr.Spark: "timestamp_micros(%d)"}[d]
		all = append(all, fmt.Sprintf("%s >= "+at+" AND %s < "+at, id, from, id, from+86400*calendar.Second))
	}
	if r.Log != 0 {
		all = append(all, fmt.Sprintf("%s = %d", d.Identifier(event.ColumnLog), r.Log))
	}
	if r.Schemas != nil {
		all = append(all, fmt.Sprintf("%s IN (%s)", d.Identifier(event.ColumnSchema), strings.Trim(strings.ReplaceAll(fmt.Sprint(r.Schemas), " ", ", "), "[]")))
	}
	if r.Below != nil {
		all = append(all, r.below(d))
	}
	if len(all) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(all, " AND ")
}

// below is the condition that a row lies below its cut; one whose partition has none does not.
func (r Rows) below(d expr.Dialect) string {
	log, partition, offset := d.Identifier(event.ColumnLog), d.Identifier(event.ColumnPartition), d.Identifier(event.ColumnOffset)
	if len(r.Below) == 0 {
		return "(false)"
	}
	below := make([]string, len(r.Below))
	for i, x := range r.Below {
		below[i] = fmt.Sprintf("(%s = %d AND %s = %d AND %s < %d)", log, x.Log, partition, x.Partition, offset, x.Offset)
	}
	return "(" + strings.Join(below, " OR ") + ")"
}
