package export

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/pinflow/pinflow/internal/column"
	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/lake"
)

// JSONLines writes each row's original event as one line.
type JSONLines struct {
	w       io.Writer
	schemas map[int64]*event.Schema
	line    []byte
}

// NewJSONLines returns a writer to w; schemas are the stream's, by version.
func NewJSONLines(w io.Writer, schemas map[int64]*event.Schema) *JSONLines {
	return &JSONLines{w: w, schemas: schemas}
}

// Write implements Writer.
func (j *JSONLines) Write(b *lake.Block, rows []int32) error {
	at := b.Index(event.ColumnSchema)
	if at < 0 {
		return fault.New(fault.Corrupt, "lake_columns", "rows without %s", event.ColumnSchema)
	}
	versions := b.Cols[at].Ints
	under := map[int64]*event.Rows{}
	for _, i := range rows {
		v := versions[i]
		if under[v] == nil {
			s := j.schemas[v]
			if s == nil {
				return fault.New(fault.Corrupt, "no_schema", "rows were written under schema %d, which the ledger does not know", v).
					WithAdvice("restore ledger and lake of one moment")
			}
			under[v] = lake.Rows(b, s)
		}
		j.line = append(j.schemas[v].AppendJSON(j.line[:0], under[v], int(i)), '\n')
		if _, err := j.w.Write(j.line); err != nil {
			return fmt.Errorf("writing events: %w", err)
		}
	}
	return nil
}

// CSV writes rows with a header (RFC 4180). NULL is an empty field, an empty text is "". Times are
// RFC 3339 in UTC, lists are JSON.
type CSV struct {
	w      io.Writer
	header []lake.Column
	buf    []byte
}

// NewCSV returns a writer to w of the columns given; the header comes first, also when there are no rows.
func NewCSV(w io.Writer, columns []lake.Column) (*CSV, error) {
	c := &CSV{w: w, header: columns}
	for i, col := range columns {
		if i > 0 {
			c.buf = append(c.buf, ',')
		}
		c.buf = appendQuoted(c.buf, col.Name, false)
	}
	return c, c.flush()
}

func (c *CSV) flush() error {
	c.buf = append(c.buf, '\r', '\n')
	_, err := c.w.Write(c.buf)
	c.buf = c.buf[:0]
	if err != nil {
		return fmt.Errorf("writing CSV: %w", err)
	}
	return nil
}

// Write implements Writer.
func (c *CSV) Write(b *lake.Block, rows []int32) error {
	at := make([]int, len(c.header))
	for i, col := range c.header {
		at[i] = b.Index(col.Name)
	}
	for _, row := range rows {
		for i, from := range at {
			if i > 0 {
				c.buf = append(c.buf, ',')
			}
			if from < 0 || b.Cols[from].IsNull(int(row)) {
				continue
			}
			var err error
			if c.buf, err = appendValue(c.buf, &b.Cols[from], int(row)); err != nil {
				return err
			}
		}
		if err := c.flush(); err != nil {
			return err
		}
	}
	return nil
}

func appendValue(buf []byte, v *column.Vec, i int) ([]byte, error) {
	switch v.Kind {
	case column.Long:
		return strconv.AppendInt(buf, v.Ints[i], 10), nil
	case column.Boolean:
		return strconv.AppendBool(buf, v.Ints[i] != 0), nil
	case column.Double:
		return strconv.AppendFloat(buf, v.Floats[i], 'g', -1, 64), nil
	case column.Timestamptz:
		return time.UnixMicro(v.Ints[i]).UTC().AppendFormat(buf, time.RFC3339Nano), nil
	case column.Date:
		return time.Unix(v.Ints[i]*24*60*60, 0).UTC().AppendFormat(buf, time.DateOnly), nil
	case column.String, column.JSON:
		return appendQuoted(buf, string(v.Text(i)), true), nil
	case column.List:
		from, to := v.List(i)
		items := make([]string, 0, to-from)
		for e := from; e < to; e++ {
			items = append(items, string(v.Text(int(e))))
		}
		doc, err := json.Marshal(items)
		if err != nil {
			return nil, fmt.Errorf("writing a list: %w", err)
		}
		return appendQuoted(buf, string(doc), true), nil
	case column.Invalid:
	}
	return buf, nil
}

// appendQuoted quotes a field if it needs it, and an empty one so that it is not NULL.
func appendQuoted(buf []byte, s string, value bool) []byte {
	if (s != "" || !value) && !strings.ContainsAny(s, ",\"\r\n") && s == strings.TrimSpace(s) {
		return append(buf, s...)
	}
	buf = append(buf, '"')
	buf = append(buf, strings.ReplaceAll(s, `"`, `""`)...)
	return append(buf, '"')
}
