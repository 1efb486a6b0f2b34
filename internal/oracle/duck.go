package oracle

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"time"

	duckdb "github.com/duckdb/duckdb-go/v2"

	"github.com/pinflow/pinflow/internal/column"
	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/expr"
	"github.com/pinflow/pinflow/internal/sketch"
)

// Duck is a connection to a DuckDB in memory that has the function xxhash64.
type Duck struct {
	db   *sql.DB
	conn *sql.Conn
}

// Open starts a DuckDB. threads 0 leaves the choice to it.
func Open(ctx context.Context, threads int) (*Duck, error) {
	db, err := sql.Open("duckdb", "")
	if err != nil {
		return nil, fmt.Errorf("opening DuckDB: %w", err)
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("connecting to DuckDB: %w", err)
	}
	d := &Duck{db, conn}
	if threads > 0 {
		if err := d.Exec(ctx, fmt.Sprintf("SET threads = %d", threads)); err != nil {
			return nil, err
		}
	}
	return d, d.registerHash()
}

// Close ends it.
func (d *Duck) Close() error {
	if err := d.conn.Close(); err != nil {
		return err
	}
	return d.db.Close()
}

// Exec runs a statement.
func (d *Duck) Exec(ctx context.Context, query string) error {
	if _, err := d.conn.ExecContext(ctx, query); err != nil {
		return fmt.Errorf("running %.2000s: %w", query, err)
	}
	return nil
}

// Query returns all rows of a statement.
func (d *Duck) Query(ctx context.Context, query string) ([][]any, error) {
	rows, err := d.conn.QueryContext(ctx, query)
	if err != nil {
		return nil, fmt.Errorf("asking %s: %w", query, err)
	}
	defer rows.Close()
	cols, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	var out [][]any
	for rows.Next() {
		row, into := make([]any, len(cols)), make([]any, len(cols))
		for i := range row {
			into[i] = &row[i]
		}
		if err := rows.Scan(into...); err != nil {
			return nil, fmt.Errorf("reading the answer to %s: %w", query, err)
		}
		out = append(out, row)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("asking %s: %w", query, err)
	}
	return out, nil
}

// hasher is xxhash64 of one type.
type hasher struct {
	of   duckdb.Type
	hash func(v driver.Value) uint64
}

func (h hasher) Config() duckdb.ScalarFuncConfig {
	in, _ := duckdb.NewTypeInfo(h.of)
	out, _ := duckdb.NewTypeInfo(duckdb.TYPE_UBIGINT)
	return duckdb.ScalarFuncConfig{InputTypeInfos: []duckdb.TypeInfo{in}, ResultTypeInfo: out}
}

func (h hasher) Executor() duckdb.ScalarFuncExecutor {
	return duckdb.ScalarFuncExecutor{RowExecutor: func(values []driver.Value) (any, error) { return h.hash(values[0]), nil }}
}

func (d *Duck) registerHash() error {
	err := duckdb.RegisterScalarUDFSet(d.conn, "xxhash64",
		hasher{duckdb.TYPE_VARCHAR, func(v driver.Value) uint64 { return sketch.HashText([]byte(v.(string))) }},
		hasher{duckdb.TYPE_BIGINT, func(v driver.Value) uint64 { return sketch.HashLong(v.(int64)) }},
		hasher{duckdb.TYPE_DOUBLE, func(v driver.Value) uint64 { return sketch.HashDouble(v.(float64)) }},
	)
	if err != nil {
		return fmt.Errorf("registering xxhash64: %w", err)
	}
	return nil
}

var types = map[column.Kind]string{
	column.Long: "BIGINT", column.Double: "DOUBLE", column.Boolean: "BOOLEAN", column.Timestamptz: "TIMESTAMPTZ",
	column.Date: "DATE", column.String: "VARCHAR", column.JSON: "VARCHAR", column.List: "VARCHAR[]",
}

// Load makes a table of n rows, as the lake would have it, with their number as column _row.
func (d *Duck) Load(ctx context.Context, table string, cols []event.Column, vecs []column.Vec, n int) error {
	create := "CREATE OR REPLACE TABLE " + table + " (_row BIGINT"
	for _, c := range cols {
		create += ", " + expr.DuckDB.Identifier(c.Name) + " " + types[c.Kind]
	}
	if err := d.Exec(ctx, create+")"); err != nil {
		return err
	}
	return d.conn.Raw(func(raw any) error {
		a, err := duckdb.NewAppenderFromConn(raw.(driver.Conn), "", table)
		if err != nil {
			return fmt.Errorf("appending to %s: %w", table, err)
		}
		for i := range n {
			row := make([]driver.Value, 1, len(vecs)+1)
			row[0] = int64(i)
			for k := range vecs {
				row = append(row, valueOf(&vecs[k], i))
			}
			if err := a.AppendRow(row...); err != nil {
				return fmt.Errorf("appending row %d to %s: %w", i, table, err)
			}
		}
		return a.Close()
	})
}

// valueOf is a value as the driver takes it.
func valueOf(v *column.Vec, i int) driver.Value {
	if v.IsNull(i) {
		return nil
	}
	switch v.Kind {
	case column.Double:
		return v.Floats[i]
	case column.Boolean:
		return v.Ints[i] != 0
	case column.Timestamptz:
		return time.UnixMicro(v.Ints[i]).UTC()
	case column.Date:
		return time.Unix(v.Ints[i]*86400, 0).UTC()
	case column.String, column.JSON:
		return string(v.Text(i))
	case column.List:
		from, to := v.List(i)
		out := make([]string, 0, to-from)
		for e := from; e < to; e++ {
			out = append(out, string(v.Text(int(e))))
		}
		return out
	default:
		return v.Ints[i]
	}
}
