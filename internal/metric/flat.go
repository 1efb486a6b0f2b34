package metric

import (
	"fmt"
	"strings"

	"github.com/pinflow/pinflow/internal/column"
	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/expr"
)

// FlatColumn is a column of the states as a table holds them.
type FlatColumn struct {
	Name string
	Kind column.Kind
}

// Flat are the columns of SQL's answer in kinds that a table of the lake has: sums of longs as decimal text,
// registers as a list of "REGISTER·64+RANK", buckets as a list of "BIN:N".
func (c *Compiled) Flat() []FlatColumn {
	var out []FlatColumn
	if c.Unnest >= 0 {
		out = append(out, FlatColumn{"whole", column.Boolean})
	}
	out = append(out, FlatColumn{"bucket", column.Long})
	for i, d := range c.Dims {
		kind := d.Kind
		switch kind {
		case column.List:
			kind = column.String
		case column.Timestamptz, column.Date:
			kind = column.Long
		}
		out = append(out, FlatColumn{fmt.Sprintf("d%d", i), kind})
	}
	for i, s := range c.States {
		kind := column.Long
		switch {
		case s.Op == OpDistinct || s.Op == OpQuantile:
			kind = column.List
		case s.Op == OpSum && s.Kind == column.Long:
			kind = column.String
		case s.Kind == column.Double && s.Op >= OpSum && s.Op <= OpMax:
			kind = column.Double
		}
		out = append(out, FlatColumn{fmt.Sprintf("s%d", i), kind})
	}
	return out
}

// FlatSQL is SQL in Spark with the columns of Flat.
func (c *Compiled) FlatSQL(rows Rows) (string, error) {
	inner, err := c.SQL(expr.Spark, rows)
	if err != nil {
		return "", err
	}
	var cols []string
	for _, f := range c.Flat() {
		form := f.Name
		var i int
		if _, err := fmt.Sscanf(f.Name, "s%d", &i); err == nil {
			switch {
			case f.Kind == column.String:
				form = "CAST(" + f.Name + " AS STRING)"
			case c.States[i].Op == OpDistinct:
				form = "transform(" + f.Name + ", x -> CAST(x AS STRING))"
			case f.Kind == column.List:
				form = "transform(" + f.Name + ", x -> concat(CAST(x.bin AS STRING), ':', CAST(x.n AS STRING)))"
			default:
				form = "CAST(" + f.Name + " AS " + map[column.Kind]string{column.Long: "BIGINT", column.Double: "DOUBLE"}[f.Kind] + ")"
			}
		} else if f.Name == "bucket" {
			form = "CAST(bucket AS BIGINT)"
		}
		cols = append(cols, form+" AS "+f.Name)
	}
	return "SELECT " + strings.Join(cols, ", ") + " FROM (\n" + inner + ")", nil
}

// CountSQL counts rows in Spark by the schema version that judged them: columns schema and n.
func CountSQL(rows Rows) string {
	id := expr.Spark.Identifier(event.ColumnSchema)
	return fmt.Sprintf("SELECT %s AS schema, count(*) AS n FROM %s%s GROUP BY %s", id, rows.Table, rows.where(expr.Spark), id)
}
